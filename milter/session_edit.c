/*
 * milter/session_edit.c - the edits that make an outbound message what it has become.
 *
 * All of it was computed before; the order is such that what Postfix may refuse comes before the body, which is most of the work.
 */
#include "config.h"

#include "milter/session.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PIECE 65535 /* the milter protocol's limit */

static bool edit_failed(struct err *err, const char *what)
{
	return err_set(err, ERR_TEMPORARY, "edit message", NULL, "the MTA refused an edit: %s", what);
}

static bool set_header(SMFICTX *ctx, struct session *s, const char *name, int index, const char *value, struct err *err)
{
	struct buf spaced = BUF_INIT;
	int rc;

	buf_printf(&spaced, "%s%s", s->leading_space ? " " : "", value);
	if (spaced.failed)
		rc = MI_FAILURE;
	else if (index)
		rc = smfi_chgheader(ctx, (char *)name, index, spaced.data);
	else
		rc = smfi_addheader(ctx, (char *)name, spaced.data);
	buf_clear(&spaced);
	return rc == MI_SUCCESS || edit_failed(err, name);
}

/* Structure fields leave (last first: smfi_chgheader counts what is left); Content-Type changes in its place. */
static bool remove_structure(SMFICTX *ctx, const struct headers *h, struct err *err)
{
	for (size_t i = h->n; i-- > 0;) {
		const char *name = h->v[i].name;
		int index = 1;

		if (!mime_is_structure(name) || strcasecmp(name, "Content-Type") == 0)
			continue;
		for (size_t k = 0; k < i; k++)
			index += strcasecmp(h->v[k].name, name) == 0;
		if (smfi_chgheader(ctx, (char *)name, index, NULL) != MI_SUCCESS)
			return edit_failed(err, name);
	}
	return true;
}

static bool edit_headers(SMFICTX *ctx, struct session *s, struct err *err)
{
	const struct headers *h = &s->mail->facts.headers;
	const struct composition *made = &s->mail->signed_mail;
	bool has_type = headers_count(h, "Content-Type") > 0;

	if (!remove_structure(ctx, h, err))
		return false;
	if (!headers_get(h, "MIME-Version", 0) && !set_header(ctx, s, "MIME-Version", 0, "1.0", err))
		return false;
	if (!set_header(ctx, s, "Content-Type", has_type ? 1 : 0, buf_str(&made->content_type), err))
		return false;
	return made->form != FORM_OPAQUE || (set_header(ctx, s, "Content-Transfer-Encoding", 0, "base64", err) &&
		set_header(ctx, s, "Content-Disposition", 0, "attachment; filename=\"smime.p7m\"", err));
}

/* Each smfi_replacebody is a packet: pieces are gathered to full ones, so that most mail is a single one. */
struct gatherer {
	SMFICTX *ctx;
	unsigned char *packet;
	size_t len;
};

static bool send_packet(struct gatherer *g, struct err *err)
{
	bool ok = g->len == 0 || smfi_replacebody(g->ctx, g->packet, (int)g->len) == MI_SUCCESS;

	g->len = 0;
	return ok || edit_failed(err, "body");
}

static bool gather(void *arg, const void *data, size_t len, struct err *err)
{
	struct gatherer *g = arg;
	const unsigned char *p = data;

	while (len > 0) {
		size_t n = len < PIECE - g->len ? len : PIECE - g->len;

		memcpy(g->packet + g->len, p, n);
		g->len += n;
		p += n;
		len -= n;
		if (g->len == PIECE && !send_packet(g, err))
			return false;
	}
	return true;
}

static bool edit_body(SMFICTX *ctx, const struct composition *made, struct err *err)
{
	struct gatherer g = {.ctx = ctx, .packet = malloc(PIECE)};
	bool ok = g.packet != NULL || err_nomem(err, "edit message");

	ok = ok && gather(&g, made->head.data, made->head.len, err) && spool_each(made->middle, gather, &g, err) &&
		gather(&g, made->tail.data, made->tail.len, err) && send_packet(&g, err);
	free(g.packet);
	return ok;
}

bool edit_strip_secret(SMFICTX *ctx, struct session *s)
{
	const struct submission *rule = s->mail->submission;

	if (!rule || !rule->secret_header)
		return true;
	for (size_t i = headers_count(&s->mail->facts.headers, rule->secret_header); i > 0; i--)
		if (smfi_chgheader(ctx, rule->secret_header, (int)i, NULL) != MI_SUCCESS)
			return false;
	return true;
}

bool edit_message(SMFICTX *ctx, struct session *s, struct err *err)
{
	if (!edit_strip_secret(ctx, s))
		return edit_failed(err, s->mail->submission->secret_header);
	return edit_headers(ctx, s, err) && edit_body(ctx, &s->mail->signed_mail, err);
}
