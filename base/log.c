/*
 * base/log.c - one fact, one line, one write(2).
 *
 * A line is composed in memory and leaves in a single write under a lock, so lines of threads never mix.  What goes to stderr
 * begins with a time stamp and the program for people at a terminal; under systemd (JOURNAL_STREAM names our stderr) with "<N>",
 * the priority prefix of sd-daemon(3), as the journal adds time and program itself.  With log.target "journal" the line goes to the journal
 * by its own protocol, and each key is a field there.
 *
 * Globals: the settings of log_open, written once before threads start, and the level, which is atomic.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#define SD_JOURNAL_SUPPRESS_LOCATION 1 /* it would always be this file */
#include <systemd/sd-journal.h>
#endif

#include "base/base.h"
#include "base/internal.h"

#define LOG_VALUE_MAX 1000
#define FIELDS_MAX 40

static struct {
	char program[64];
	enum log_target target;
	int facility;
	bool prefixed; /* "<N>" instead of time and program */
	bool fields;   /* to the journal itself */
} settings = {.target = LOG_TARGET_STDERR, .facility = LOG_MAIL};
static atomic_int threshold = LOG_LEVEL_INFO;
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;

const char *log_journal_socket = "/run/systemd/journal/socket";

/* What is said: as a line, and for the journal as "KEY=value" one behind the other, each with its NUL. */
struct entry {
	struct buf line, fields;
};

static const struct {
	const char *name;
	int value;
} facilities[] = {
	{"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"cron", LOG_CRON},     {"daemon", LOG_DAEMON}, {"mail", LOG_MAIL},
	{"news", LOG_NEWS},     {"syslog", LOG_SYSLOG},     {"user", LOG_USER},     {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1},
	{"local2", LOG_LOCAL2}, {"local3", LOG_LOCAL3},     {"local4", LOG_LOCAL4}, {"local5", LOG_LOCAL5}, {"local6", LOG_LOCAL6},
	{"local7", LOG_LOCAL7},
};

static int priority_of(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return LOG_ERR;
	case LOG_LEVEL_WARNING:
		return LOG_WARNING;
	case LOG_LEVEL_INFO:
		return LOG_INFO;
	case LOG_LEVEL_DEBUG:
		break;
	}
	return LOG_DEBUG;
}

/* JOURNAL_STREAM is "device:inode" of the stream; a child with redirected stderr inherits the variable, hence the comparison. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (!stream || sscanf(stream, "%llu:%llu", &dev, &ino) != 2 || fstat(STDERR_FILENO, &st) != 0)
		return false;
	return (unsigned long long)st.st_dev == dev && (unsigned long long)st.st_ino == ino;
}

/* libsystemd says nothing when there is no journal, so it is asked only where one listens. */
static bool journal_listens(void)
{
#ifdef HAVE_SYSTEMD
	return access(log_journal_socket, W_OK) == 0;
#else
	return false;
#endif
}

static bool facility_parse(const char *name, int *out)
{
	for (size_t i = 0; i < sizeof(facilities) / sizeof(facilities[0]); i++) {
		if (strcmp(facilities[i].name, name) == 0) {
			*out = facilities[i].value;
			return true;
		}
	}
	return false;
}

bool log_open(const char *program, enum log_target target, const char *facility, enum log_level level)
{
	if (!facility_parse(facility ? facility : "mail", &settings.facility))
		return false;
	text_copy(settings.program, sizeof(settings.program), program);
	settings.target = target;
	settings.prefixed = target == LOG_TARGET_JOURNAL || stderr_is_journal();
	settings.fields = target == LOG_TARGET_JOURNAL && journal_listens();
	if (target == LOG_TARGET_SYSLOG)
		openlog(settings.program, LOG_PID | LOG_NDELAY, settings.facility);
	log_set_level(level);
	return true;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
	return (int)(level & ~LOG_LIMITED) <= atomic_load_explicit(&threshold, memory_order_relaxed);
}

bool log_uses_stderr(void)
{
	return settings.target != LOG_TARGET_SYSLOG;
}

static bool value_is_bare(const char *value, size_t len)
{
	if (len == 0 || len > LOG_VALUE_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)value[i] <= ' ' || (unsigned char)value[i] >= 0x7f || strchr("\"\\'=", value[i]))
			return false;
	return true;
}

static void put_escaped(struct buf *line, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\n')
			buf_puts(line, "\\n");
		else if (s[i] == '\r')
			buf_puts(line, "\\r");
		else if (s[i] == '\t')
			buf_puts(line, "\\t");
		else
			buf_printf(line, "\\x%02x", (unsigned char)s[i]);
	}
}

/* What may not go out as it is, is escaped; between quotation marks these as well. */
static void put_safe(struct buf *line, const char *value, size_t len, bool quoted)
{
	size_t shown = len > LOG_VALUE_MAX ? utf8_cut(value, LOG_VALUE_MAX) : len;
	size_t n;
	uint32_t cp;

	for (size_t i = 0; i < shown; i += n) {
		n = utf8_next(value + i, shown - i, &cp);
		if (n == 0) {
			n = 1;
			put_escaped(line, value + i, n);
		} else if (codepoint_is_hostile(cp)) {
			put_escaped(line, value + i, n);
		} else {
			if (quoted && (cp == '"' || cp == '\\'))
				buf_putc(line, '\\');
			buf_append(line, value + i, n);
		}
	}
	if (shown < len)
		buf_puts(line, "...");
}

/* Names that the journal gives a meaning of its own, or takes from nobody else; systemd.journal-fields(7). */
static bool field_is_taken(const char *key)
{
	static const char *const taken[] = {"message", "message_id", "priority", "errno", "tid", "unit", "user_unit", "documentation", "invocation_id",
		"user_invocation_id"};

	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
		if (strcmp(taken[i], key) == 0)
			return true;
	return strncmp(key, "syslog_", 7) == 0 || strncmp(key, "code_", 5) == 0 || strncmp(key, "object_", 7) == 0 || strncmp(key, "coredump_", 9) == 0 ||
		*key == '_';
}

static void put_field(struct buf *fields, const char *key, const char *value, size_t len)
{
	if (field_is_taken(key))
		buf_puts(fields, "MAIL_");
	for (; *key; key++)
		buf_putc(fields, (char)toupper((unsigned char)*key));
	buf_putc(fields, '=');
	put_safe(fields, value, len, false);
	buf_putc(fields, '\0');
}

static void put_pair(struct entry *e, const char *key, const char *value)
{
	struct buf *line = &e->line;
	size_t len;

	if (!value)
		return;
	/* Long values are cut anyway: no need to walk a megabyte to learn its length. */
	len = strnlen(value, LOG_VALUE_MAX + 1);
	buf_putc(line, ' ');
	buf_puts(line, key);
	buf_putc(line, '=');
	if (value_is_bare(value, len)) {
		buf_append(line, value, len);
	} else {
		buf_putc(line, '"');
		put_safe(line, value, len, true);
		buf_putc(line, '"');
	}
	if (settings.fields)
		put_field(&e->fields, key, value, len);
}

static void put_prefix(struct buf *line, enum log_level level)
{
	struct timespec now;
	struct tm tm;
	char stamp[32];

	if (settings.target == LOG_TARGET_SYSLOG || settings.fields)
		return;
	if (settings.prefixed) {
		buf_printf(line, "<%d>", priority_of(level));
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	if (gmtime_r(&now.tv_sec, &tm) && strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm) > 0)
		buf_printf(line, "%s.%03ldZ ", stamp, now.tv_nsec / 1000000);
	if (settings.program[0])
		buf_printf(line, "%s[%ld]: ", settings.program, (long)getpid());
}

static void write_all(const char *data, size_t len)
{
	ssize_t n;

	pthread_mutex_lock(&write_lock);
	while (len > 0) {
		n = write(STDERR_FILENO, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break; /* nowhere left to complain */
		data += n;
		len -= (size_t)n;
	}
	pthread_mutex_unlock(&write_lock);
}

/* False: the journal did not take it. */
static bool send_to_journal(enum log_level level, struct entry *e)
{
#ifdef HAVE_SYSTEMD
	struct iovec parts[FIELDS_MAX];
	struct buf own = BUF_INIT; /* four more, without NULs in them */
	size_t n = 0;
	bool ok;

	buf_printf(&own, "MESSAGE=%s%cPRIORITY=%d%cSYSLOG_IDENTIFIER=%s%cSYSLOG_FACILITY=%d%c", buf_str(&e->line), 0, priority_of(level), 0, settings.program, 0,
		settings.facility >> 3, 0);
	buf_append(&own, buf_str(&e->fields), e->fields.len);
	if (own.failed || e->line.failed || e->fields.failed) {
		buf_clear(&own);
		return false;
	}
	for (size_t at = 0; at < own.len && n < FIELDS_MAX; n++) {
		parts[n] = (struct iovec){.iov_base = own.data + at, .iov_len = strlen(own.data + at)};
		at += parts[n].iov_len + 1;
	}
	ok = sd_journal_sendv(parts, (int)n) >= 0;
	buf_clear(&own);
	return ok;
#else
	(void)level;
	(void)e;
	return false;
#endif
}

static void send_entry(enum log_level level, struct entry *e)
{
	static const char lost[] = "event=log_line_lost reason=\"out of memory\"\n";
	struct buf *line = &e->line;

	if (settings.target == LOG_TARGET_SYSLOG) {
		syslog(settings.facility | priority_of(level), "%s", line->failed ? lost : buf_str(line));
	} else if (!settings.fields || !send_to_journal(level, e)) {
		buf_putc(line, '\n');
		if (line->failed)
			write_all(lost, sizeof(lost) - 1);
		else
			write_all(line->data, line->len);
	}
	buf_clear(line);
	buf_clear(&e->fields);
}

static void start_entry(struct entry *e, enum log_level level, const char *event, va_list args)
{
	const char *key;

	put_prefix(&e->line, level);
	buf_puts(&e->line, "event=");
	buf_puts(&e->line, event);
	if (settings.fields)
		put_field(&e->fields, "event", event, strlen(event));
	while ((key = va_arg(args, const char *)) != NULL)
		put_pair(e, key, va_arg(args, const char *));
}

/* Does this line go out?  The level without its mark, then. */
static bool may_pass(enum log_level *level, const char *event)
{
	bool limited = (*level & LOG_LIMITED) != 0;

	*level = (enum log_level)(*level & ~LOG_LIMITED);
	if (!log_enabled(*level))
		return false;
	log_settle(false);
	return !limited || *level == LOG_LEVEL_ERROR || limit_take(event);
}

void log_event(enum log_level level, const char *event, ...)
{
	struct entry e = {BUF_INIT, BUF_INIT};
	int saved = errno;
	va_list args;

	if (!may_pass(&level, event))
		return;
	va_start(args, event);
	start_entry(&e, level, event, args);
	va_end(args);
	send_entry(level, &e);
	errno = saved;
}

static const char *unless_empty(const char *s)
{
	return *s ? s : NULL;
}

void log_error(enum log_level level, const char *event, const struct err *err, ...)
{
	struct entry e = {BUF_INIT, BUF_INIT};
	int saved = errno;
	char when[32];
	va_list args;

	if (!may_pass(&level, event))
		return;
	va_start(args, err);
	start_entry(&e, level, event, args);
	va_end(args);
	if (err) {
		put_pair(&e, "class", err_class_name(err->class));
		put_pair(&e, "op", unless_empty(err->op));
		put_pair(&e, "subject", unless_empty(err->subject));
		put_pair(&e, "status", err->status ? LOG_NUM(err->status) : NULL);
		put_pair(&e, "type", unless_empty(err->type));
		put_pair(&e, "text", unless_empty(err->text));
		put_pair(&e, "retry_at", err->retry_at ? time_text(err->retry_at, when) : NULL);
	}
	send_entry(level, &e);
	errno = saved;
}

const char *log_num(struct log_num *where, long long value)
{
	snprintf(where->s, sizeof(where->s), "%lld", value);
	return where->s;
}
