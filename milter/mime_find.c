/*
 * mime_find.c - is there a part of some content type in a mail (mime_has_type in mime.h).
 *
 * Asked only where the streaming look saw a line that may be such a part's Content-Type field: the line may as well be text.
 */
#include "config.h"

#include "milter/mime.h"

#include <ctype.h>
#include <string.h>

#include "milter/mime_stream.h"

struct search {
	bool (*is)(const char *type, const char *wanted);
	const char *wanted;
	bool found;
};

static void look_at(GMimeObject *object, struct search *s)
{
	GMimeContentType *type = g_mime_object_get_content_type(object);
	char *text = type != NULL ? g_mime_content_type_get_mime_type(type) : NULL;

	for (char *p = text; p != NULL && *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	s->found |= text != NULL && s->is(text, s->wanted);
	g_free(text);
}

static void look_at_part(GMimeObject *parent, GMimeObject *part, gpointer search)
{
	look_at(part, search);
}

bool mime_has_type(const struct headers *h, const struct spool *body, bool (*is)(const char *type, const char *wanted), const char *wanted,
	bool *has, struct err *err)
{
	struct buf header = BUF_INIT;
	struct mime_source source = {.body = body, .err = ERR_INIT};
	struct search search = {.is = is, .wanted = wanted};
	GMimeObject *object = NULL;
	bool ok;

	mime_library();
	mime_entity_header(&header, h, false);
	source.header = header.data;
	source.header_len = header.len;
	ok = !header.failed || err_nomem(err, "look for a part");
	if (ok) {
		object = mime_parse(&source);
		if (object != NULL) {
			look_at(object, &search);
			if (GMIME_IS_MULTIPART(object))
				g_mime_multipart_foreach(GMIME_MULTIPART(object), look_at_part, &search);
			g_object_unref(object);
		}
		if (source.err.class != ERR_NONE) {
			if (err != NULL)
				*err = source.err;
			ok = false;
		}
	}
	*has = search.found || object == NULL || source.stopped != NULL;
	buf_clear(&header);
	return ok;
}
