/*
 * milter/measure.c - what a milter instance tells monitoring.
 *
 * Whether it lives is asked as an MTA would: connect to the milter socket, negotiate, see the answer.  That says more than any flag: accepting,
 * starting a session and its callbacks all work.  It is done at most once in PROBE_MS, with a short deadline, by the metrics thread alone.
 */
#include "config.h"

#include "milter/measure.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "metrics/metrics.h"

#define PROBE_MS 2000
#define ANSWER_SECONDS 2
#define TURN_MS 60000 /* the recorder turns twice a second, but may wait for a busy store */

static struct {
	struct service *service;
	struct metrics_server *server;
	char *where, *group, *milter;
	int64_t probed_ms;            /* the metrics thread only */
	bool answers;
	char trouble[256];
} measure;

/* ---- as an MTA ---------------------------------------------------------------------------------------------------------- */

static int connect_inet(const char *where)
{
	const char *at = strchr(where, '@');
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	bool six = at && strchr(at, ':');
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a4.sin_port = a6.sin6_port = htons((uint16_t)strtol(strchr(where, ':') + 1, NULL, 10));
	if (fd >= 0 && connect(fd, six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4, six ? sizeof a6 : sizeof a4) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int connect_unix(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = ANSWER_SECONDS};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	/* A full queue of connections would keep us waiting. */
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 && connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* SMFIC_OPTNEG with everything offered, and SMFIC_QUIT. */
static bool negotiate(int fd)
{
	static const unsigned char hello[] = {0, 0, 0, 13, 'O', 0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff}, bye[] = {0, 0, 0, 1, 'Q'};
	struct timeval limit = {.tv_sec = ANSWER_SECONDS};
	unsigned char answer[5];

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (send(fd, hello, sizeof hello, MSG_NOSIGNAL) != (ssize_t)sizeof hello || recv(fd, answer, sizeof answer, MSG_WAITALL) != (ssize_t)sizeof answer)
		return false;
	if (send(fd, bye, sizeof bye, MSG_NOSIGNAL) < 0)
		return false;
	return answer[4] == 'O';
}

static bool milter_answers(struct buf *why)
{
	int64_t now = mono_ms();
	int fd;

	if (!measure.probed_ms || now - measure.probed_ms > PROBE_MS) {
		fd = strncmp(measure.milter, "unix:", 5) == 0 ? connect_unix(measure.milter + 5) : connect_inet(measure.milter);
		if (fd < 0)
			snprintf(measure.trouble, sizeof measure.trouble, "the milter socket %.128s cannot be reached: %s", measure.milter, strerror(errno));
		measure.answers = fd >= 0 && negotiate(fd);
		if (fd >= 0 && !measure.answers)
			snprintf(measure.trouble, sizeof measure.trouble, "no session answers at the milter socket %.128s", measure.milter);
		if (fd >= 0)
			close(fd);
		measure.probed_ms = mono_ms();
	}
	if (!measure.answers)
		buf_printf(why, "%s\n", measure.trouble);
	return measure.answers;
}

/* ---- what is asked --------------------------------------------------------------------------------------------------------- */

static void collect(void *context)
{
	struct service *s = context;
	bool up = store_ready(s->store, NULL);

	metrics_set(METRIC_SESSIONS, 0, 0, atomic_load(&s->sessions));
	metrics_set(METRIC_STORE_UP, 0, 0, up);
	if (up)
		metrics_set(METRIC_STORE_LAST_ANSWER, 0, 0, time(NULL));
	if (s->recorder)
		metrics_set(METRIC_PAUSED, 0, 0, recorder_paused(s->recorder));
}

static bool healthy(void *context, struct buf *why)
{
	struct service *s = context;
	int64_t since = s->recorder ? mono_ms() - recorder_turned(s->recorder) : 0;
	bool ok = milter_answers(why);

	if (since <= TURN_MS)
		return ok;
	buf_printf(why, "nothing has been written to the store for %lld seconds; restart enroll-milter\n", (long long)since / 1000);
	return false;
}

static bool ready(void *context, struct buf *why)
{
	struct service *s = context;
	struct err err = ERR_INIT;
	bool ok = milter_answers(why);

	if (store_ready(s->store, &err))
		return ok;
	buf_printf(why, "%s: %s\n", err.op, err.text);
	return false;
}

/* ---- life -------------------------------------------------------------------------------------------------------------------- */

static const char *configured(const struct config *c)
{
	return measure.service->instance == INSTANCE_INBOUND ? c->metrics.inbound : c->metrics.outbound;
}

static void tell_mode(const struct config *c)
{
	for (unsigned i = MODE_OBSERVE; i <= MODE_SIGN; i++)
		metrics_set(METRIC_MODE, i, 0, c->mode == (enum config_mode)i);
}

void measure_start(struct service *s)
{
	const struct config *c = s->current->config;
	bool inbound = s->instance == INSTANCE_INBOUND;
	struct metrics_source source = {.context = s, .collect = collect, .healthy = healthy, .ready = ready};
	struct err err = ERR_INIT;

	measure.service = s;
	metrics_begin();
	tell_mode(c);
	measure.where = str_dup(configured(c));
	measure.group = str_dup(c->metrics.group);
	measure.milter = str_dup(inbound ? c->milter.inbound_socket : c->milter.outbound_socket);
	if (!measure.where || !measure.milter)
		return;
	measure.server = metrics_serve(measure.where, measure.group, inbound ? METRICS_INBOUND : METRICS_OUTBOUND, &source, &err);
	if (measure.server)
		log_event(LOG_LEVEL_INFO, "metrics_open", "socket", measure.where, NULL);
	else
		log_error(LOG_LEVEL_ERROR, "metrics_failed", &err, NULL);
}

static bool same(const char *a, const char *b)
{
	return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

void measure_reloaded(const struct config *c)
{
	tell_mode(c);
	if (!same(configured(c), measure.where) || !same(c->metrics.group, measure.group))
		log_event(LOG_LEVEL_WARNING, "metrics_unchanged", "socket", measure.where, "text", "the metrics group has changed: it takes a restart", NULL);
}

void measure_stop(void)
{
	metrics_stop(measure.server);
	measure.server = NULL;
}
