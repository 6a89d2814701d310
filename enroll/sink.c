/*
 * enroll/sink.c - as much of an SMTP server (RFC 5321) as Postfix needs to hand over one trial mail on loopback: one client at a time, every command is
 * accepted, the session is capped and no message stored.
 */
#include "config.h"

#include "enroll/sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define SESSION_MOST 524288 /* Postfix may hand over several mails in one */

struct sink {
	int listener;
	unsigned wait_ms;
	int64_t until, end;    /* the next one has to come, and the last one */
};

struct sink *sink_open(struct err *err)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(SINK_PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sink *s = calloc(1, sizeof *s);
	int yes = 1;

	if (!s) {
		err_nomem(err, "open trial receiver");
		return NULL;
	}
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->listener < 0 || setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
		bind(s->listener, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(s->listener, 4) != 0) {
		err_errno(err, errno, "open trial receiver", "127.0.0.1:10027");
		sink_close(s);
		return NULL;
	}
	return s;
}

void sink_close(struct sink *s)
{
	if (s && s->listener >= 0)
		close(s->listener);
	free(s);
}

static void wait_anew(struct sink *s)
{
	int64_t until = mono_ms() + s->wait_ms;

	s->until = until < s->end ? until : s->end;
}

static bool wait_readable(const struct sink *s, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t left = s->until - mono_ms();

	return left > 0 && poll(&p, 1, (int)left) > 0;
}

static bool say(int fd, const char *line)
{
	return send(fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line);
}

/* The next whole line out of `in`, or more octets from the socket. */
static bool next_line(const struct sink *s, int fd, struct buf *in, size_t *at, char **line)
{
	char piece[4096], *end;
	ssize_t n;

	for (;;) {
		end = in->data && *at < in->len ? memchr(in->data + *at, '\n', in->len - *at) : NULL;
		if (end) {
			*line = in->data + *at;
			*at = (size_t)(end - in->data) + 1;
			*end = '\0';
			if (end > *line && end[-1] == '\r')
				end[-1] = '\0';
			return true;
		}
		if (!wait_readable(s, fd) || (n = read(fd, piece, sizeof piece)) <= 0)
			return false;
		buf_append(in, piece, (size_t)n);
		if (in->failed)
			return false;
	}
}

static const char *answer_to(const char *line)
{
	if (strncasecmp(line, "DATA", 4) == 0)
		return "354 go on\r\n";
	if (strncasecmp(line, "QUIT", 4) == 0)
		return "221 bye\r\n";
	if (strncasecmp(line, "EHLO", 4) == 0 || strncasecmp(line, "HELO", 4) == 0)
		return "250 doctor.invalid\r\n";
	return "250 ok\r\n";
}

/* Header of one message: remembers the first DKIM-Signature (unfolded) and which of the mails it is. */
struct header_reader {
	struct sink_mail *mails, *ours;
	size_t n;
	struct buf signature;
	bool in_signature, seen_signature, body;
};

static struct sink_mail *find_mail(const struct header_reader *r, const char *value)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->mails[i].message_id && !r->mails[i].came && strstr(value, r->mails[i].message_id))
			return &r->mails[i];
	return NULL;
}

static void read_header_line(struct header_reader *r, const char *line)
{
	if (r->body)
		return;
	if (!*line) {
		r->body = true;
	} else if (*line == ' ' || *line == '\t') {
		if (r->in_signature)
			buf_puts(&r->signature, line);
	} else {
		r->in_signature = !r->seen_signature && strncasecmp(line, "DKIM-Signature:", 15) == 0;
		r->seen_signature |= r->in_signature;
		if (r->in_signature)
			buf_puts(&r->signature, line + 15);
		if (strncasecmp(line, "Message-ID:", 11) == 0)
			r->ours = find_mail(r, line + 11);
	}
}

/* The message is over: it is one of ours, or nobody's; the next one of this session begins. */
static void end_message(struct sink *s, struct header_reader *r)
{
	if (r->ours) {
		wait_anew(s);
		r->ours->came = true;
		buf_append(&r->ours->signature, buf_str(&r->signature), r->signature.len);
	}
	buf_reset(&r->signature);
	r->ours = NULL;
	r->in_signature = r->seen_signature = r->body = false;
}

static void serve(struct sink *s, int fd, struct sink_mail *mails, size_t n)
{
	struct header_reader r = {.mails = mails, .n = n, .signature = BUF_INIT};
	struct buf in = {.max = SESSION_MOST};
	bool data = false;
	size_t at = 0;
	char *line;

	if (!say(fd, "220 doctor.invalid\r\n"))
		return;
	while (next_line(s, fd, &in, &at, &line)) {
		if (data && strcmp(line, ".") == 0) {
			data = false;
			end_message(s, &r);
			if (!say(fd, "250 taken\r\n"))
				break;
		} else if (data) {
			read_header_line(&r, line);
		} else {
			data = strncasecmp(line, "DATA", 4) == 0;
			if (!say(fd, answer_to(line)) || strncasecmp(line, "QUIT", 4) == 0)
				break;
		}
	}
	buf_clear(&r.signature);
	buf_clear(&in);
}

static bool all_came(const struct sink_mail *mails, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (mails[i].message_id && !mails[i].came)
			return false;
	return true;
}

void sink_wait(struct sink *s, struct sink_mail *mails, size_t n, unsigned wait_ms)
{
	s->wait_ms = wait_ms;
	s->end = mono_ms() + 4 * (int64_t)wait_ms;
	wait_anew(s);
	while (!all_came(mails, n) && wait_readable(s, s->listener)) {
		int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		serve(s, fd, mails, n);
		close(fd);
	}
}
