/*
 * mime_stream.c - header text and body spool as one GMime stream (mime_stream.h).
 *
 * GMime keeps a substream for the content of each leaf; their bounds are what mime_encode.c is after.  Delimiter lines are counted while
 * the parser reads, over the seams of the pieces it asks for; it reads the stream once from front to end.
 */
#include "config.h"

#include "milter/mime_stream.h"

#include <string.h>

typedef struct {
	GMimeStream parent;
	struct mime_source *source;
	unsigned char tail[2]; /* the last two octets that were counted */
} MimeStream;
typedef struct {
	GMimeStreamClass parent;
} MimeStreamClass;

GType mime_stream_get_type(void);
G_DEFINE_TYPE(MimeStream, mime_stream, GMIME_TYPE_STREAM)

uint64_t mime_source_size(const struct mime_source *s)
{
	return s->header_len + spool_size(s->body);
}

bool mime_source_read(const struct mime_source *s, uint64_t offset, void *data, size_t len, size_t *got, struct err *err)
{
	if (offset >= s->header_len)
		return spool_read(s->body, offset - s->header_len, data, len, got, err);
	*got = s->header_len - (size_t)offset;
	if (*got > len)
		*got = len;
	memcpy(data, s->header + offset, *got);
	return true;
}

static void source_count_field(struct mime_source *s)
{
	if (++s->fields > MIME_FIELDS_MAX)
		s->stopped = "too many header fields in its parts";
}

/* How many lines of what passes by begin with "--": all that can be delimiters are among them. */
static void count_delimiters(MimeStream *m, const char *data, size_t len)
{
	struct mime_source *s = m->source;
	unsigned char before = m->tail[0], last = m->tail[1];

	for (size_t i = 0; i < len; i++) {
		const char *dash = last == '-' ? data + i : memchr(data + i, '-', len - i);

		if (dash == NULL)
			break;
		i = (size_t)(dash - data);
		if (i > 0) {
			last = (unsigned char)data[i - 1];
			before = i > 1 ? (unsigned char)data[i - 2] : m->tail[1];
		}
		if (data[i] == '-' && last == '-' && before == '\n' && ++s->delimiters > MIME_DELIMITERS_MAX)
			s->stopped = "too many delimiter lines";
		before = last;
		last = (unsigned char)data[i];
	}
	m->tail[0] = len > 1 ? (unsigned char)data[len - 2] : m->tail[1];
	m->tail[1] = (unsigned char)data[len - 1];
}

static ssize_t read_method(GMimeStream *stream, char *data, size_t len)
{
	MimeStream *m = (MimeStream *)stream;
	struct mime_source *s = m->source;
	size_t got;

	if (s->stopped != NULL)
		return -1;
	if (stream->bound_end >= 0 && (gint64)len > stream->bound_end - stream->position)
		len = stream->bound_end > stream->position ? (size_t)(stream->bound_end - stream->position) : 0;
	if (!mime_source_read(s, (uint64_t)stream->position, data, len, &got, &s->err)) {
		s->stopped = "its body cannot be read";
		return -1;
	}
	if (got > 0)
		count_delimiters(m, data, got);
	stream->position += (gint64)got;
	return (ssize_t)got;
}

static ssize_t write_method(GMimeStream *stream, const char *data, size_t len)
{
	return -1;
}

static int nothing_method(GMimeStream *stream)
{
	return 0;
}

static gint64 end_of(GMimeStream *stream)
{
	return stream->bound_end >= 0 ? stream->bound_end : (gint64)mime_source_size(((MimeStream *)stream)->source);
}

static gboolean eos_method(GMimeStream *stream)
{
	return ((MimeStream *)stream)->source->stopped != NULL || stream->position >= end_of(stream);
}

static int reset_method(GMimeStream *stream)
{
	stream->position = stream->bound_start;
	return 0;
}

static gint64 seek_method(GMimeStream *stream, gint64 offset, GMimeSeekWhence whence)
{
	gint64 place = whence == GMIME_STREAM_SEEK_SET	 ? offset
		       : whence == GMIME_STREAM_SEEK_CUR ? stream->position + offset
							 : end_of(stream) + offset;

	if (place < stream->bound_start || place > end_of(stream))
		return -1;
	stream->position = place;
	return place;
}

static gint64 tell_method(GMimeStream *stream)
{
	return stream->position;
}

static gint64 length_method(GMimeStream *stream)
{
	return end_of(stream) - stream->bound_start;
}

static GMimeStream *substream_method(GMimeStream *stream, gint64 start, gint64 end)
{
	MimeStream *m = g_object_new(mime_stream_get_type(), NULL);

	m->source = ((MimeStream *)stream)->source;
	g_mime_stream_construct(&m->parent, start, end);
	return &m->parent;
}

static void mime_stream_class_init(MimeStreamClass *class)
{
	GMimeStreamClass *c = &class->parent;

	c->read = read_method;
	c->write = write_method;
	c->flush = nothing_method;
	c->close = nothing_method;
	c->eos = eos_method;
	c->reset = reset_method;
	c->seek = seek_method;
	c->tell = tell_method;
	c->length = length_method;
	c->substream = substream_method;
}

static void mime_stream_init(MimeStream *m)
{
}

GMimeStream *mime_stream_new(struct mime_source *source)
{
	MimeStream *m = g_object_new(mime_stream_get_type(), NULL);

	m->source = source;
	m->tail[1] = '\n';
	g_mime_stream_construct(&m->parent, 0, -1);
	return &m->parent;
}

static void count_field(GMimeParser *parser, const char *name, const char *value, gint64 offset, gpointer source)
{
	source_count_field(source);
}

GMimeObject *mime_parse(struct mime_source *source)
{
	GMimeStream *stream = mime_stream_new(source);
	GMimeParser *parser = g_mime_parser_new_with_stream(stream);
	GMimeObject *object;

	g_mime_parser_set_format(parser, GMIME_FORMAT_MESSAGE);
	g_mime_parser_set_persist_stream(parser, TRUE);
	g_mime_parser_set_header_regex(parser, ".", count_field, source);
	object = g_mime_parser_construct_part(parser, NULL);
	g_object_unref(parser);
	g_object_unref(stream);
	return object;
}
