/*
 * enroll/sink.c - as much of an SMTP server (RFC 5321) as Postfix needs to hand over one trial mail on loopback: one client at a time, every command is
 * accepted, the message is capped and never stored.
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

#define MESSAGE_MOST 65536

struct sink {
	int listener;
	int64_t until;
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

/* Header of one message: remembers the first DKIM-Signature (unfolded) and whether Message-ID is the one we wait for. */
struct header_reader {
	struct buf *signature;
	const char *message_id;
	bool in_signature, seen_signature, ours, body;
};

static void read_header_line(struct header_reader *r, const char *line)
{
	if (r->body)
		return;
	if (!*line) {
		r->body = true;
	} else if (*line == ' ' || *line == '\t') {
		if (r->in_signature)
			buf_puts(r->signature, line);
	} else {
		r->in_signature = !r->seen_signature && strncasecmp(line, "DKIM-Signature:", 15) == 0;
		r->seen_signature |= r->in_signature;
		if (r->in_signature)
			buf_puts(r->signature, line + 15);
		if (strncasecmp(line, "Message-ID:", 11) == 0)
			r->ours = strstr(line + 11, r->message_id) != NULL;
	}
}

static bool serve(const struct sink *s, int fd, const char *message_id, struct buf *signature)
{
	struct header_reader r = {.signature = signature, .message_id = message_id};
	struct buf in = {.max = MESSAGE_MOST};
	bool data = false, done = false;
	size_t at = 0;
	char *line;

	if (!say(fd, "220 doctor.invalid\r\n"))
		return false;
	while (next_line(s, fd, &in, &at, &line)) {
		if (data && strcmp(line, ".") == 0) {
			data = false;
			done = r.ours;
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
	buf_clear(&in);
	if (!done)
		buf_reset(signature);
	return done;
}

bool sink_wait(struct sink *s, const char *message_id, unsigned wait_ms, struct buf *signature)
{
	bool done = false;

	s->until = mono_ms() + wait_ms;
	while (!done && wait_readable(s, s->listener)) {
		int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		done = serve(s, fd, message_id, signature);
		close(fd);
	}
	return done;
}
