/*
 * mime_find.c - which content types are in a mail (mime_part_types in mime.h).
 *
 * Asked only where the streaming look saw a line that may be such a part's Content-Type field: the line may as well be text.
 */
#include "config.h"

#include "milter/mime.h"

#include <ctype.h>
#include <string.h>

#include "milter/mime_stream.h"

#define TYPES_MOST 1000

struct search {
	struct strlist *types;
	bool failed;
};

static void look_at(GMimeObject *object, struct search *s)
{
	GMimeContentType *type = g_mime_object_get_content_type(object);
	char *text = type != NULL ? g_mime_content_type_get_mime_type(type) : NULL;

	for (char *p = text; p != NULL && *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	if (text != NULL && !strlist_has(s->types, text))
		s->failed |= !strlist_add(s->types, s->types->n < TYPES_MOST ? text : MIME_ANY_TYPE);
	g_free(text);
}

static void look_at_part(GMimeObject *parent, GMimeObject *part, gpointer search)
{
	struct search *s = search;

	if (s->types->n <= TYPES_MOST)
		look_at(part, s);
}

bool mime_part_types(const struct headers *h, const struct spool *body, struct strlist *types, struct err *err)
{
	struct buf header = BUF_INIT;
	struct mime_source source = {.body = body, .err = ERR_INIT};
	struct search search = {.types = types};
	GMimeObject *object = NULL;

	mime_library();
	mime_entity_header(&header, h, false);
	source.header = header.data;
	source.header_len = header.len;
	if (!header.failed)
		object = mime_parse(&source);
	if (object != NULL)
		look_at(object, &search);
	if (object != NULL && GMIME_IS_MULTIPART(object))
		g_mime_multipart_foreach(GMIME_MULTIPART(object), look_at_part, &search);
	if (object == NULL || source.stopped != NULL)
		search.failed |= !strlist_add(types, MIME_ANY_TYPE);
	if (object != NULL)
		g_object_unref(object);
	buf_clear(&header);
	if (header.failed || search.failed)
		return err_nomem(err, "look for parts");
	if (source.err.class != ERR_NONE && err != NULL)
		*err = source.err;
	return source.err.class == ERR_NONE;
}
