/*
 * base/base.h - what every room stands on: errors, logging, byte buffers, addresses, files.
 *
 * Nothing in here knows of mail servers, CAs, directories or databases.  All functions are thread safe unless they say
 * otherwise; objects belong to one thread at a time.  Lengths are octets, times are seconds since the epoch (UTC), spans
 * are seconds unless the name ends in _ms.
 */
#ifndef ENROLL_BASE_BASE_H
#define ENROLL_BASE_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#if defined(__GNUC__)
#define BASE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define BASE_MUST_CHECK __attribute__((warn_unused_result))
#else
#define BASE_PRINTF(fmt, args)
#define BASE_MUST_CHECK
#endif

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* What kind of failure it is decides what happens next; see enroll/enrollment.c and milter/session.c, the only two edges
 * that consume errors. */
enum err_class {
	ERR_NONE = 0,
	ERR_TEMPORARY, /* will pass by itself: network, server down, lock, rate limit */
	ERR_CA,        /* the CA said no */
	ERR_POLICY,    /* our own rules, CAA or certcheck said no */
	ERR_CONFIG,    /* an admin has to change something here */
	ERR_BUG        /* must not happen; a defect of this program */
};

/* An error is owned by the caller, lives on the stack and needs no cleaning.  A function that fails fills it; nobody both
 * logs and returns.  Texts never hold secrets.  `text` is a sentence for the admin: what, where, what to do. */
struct err {
	enum err_class class;
	char op[64];       /* what was being tried: "finalize order" */
	char subject[256]; /* on what: an address, URL, file name */
	char type[128];    /* ACME problem type, library or system code; may be empty */
	char text[2048];
	time_t retry_at;   /* not before, when somebody told us; 0 = unknown */
	int status;        /* HTTP or SMTP status that came with it; 0 = none */
};

#define ERR_INIT {.class = ERR_NONE}

/* Fill `err` (which may be NULL) anew, type, retry_at and status empty, and return false, so that `return err_set(...)` reads well.  The
 * arguments may point into `err` itself. */
bool err_set(struct err *err, enum err_class class, const char *op, const char *subject, const char *fmt, ...)
	BASE_PRINTF(5, 6);

/* The same, with the text of errno appended and the class chosen from it (ENOENT, EACCES ... are ERR_CONFIG; ENOSPC,
 * EAGAIN, ENOMEM ... are ERR_TEMPORARY). */
bool err_errno(struct err *err, int errnum, const char *op, const char *subject);

/* The same, with OpenSSL's error queue drained into the text and the queue left empty. */
bool err_openssl(struct err *err, enum err_class class, const char *op, const char *subject);

/* Out of memory, as an error like others.  Returns false. */
bool err_nomem(struct err *err, const char *op);

void err_clear(struct err *err);

/* "temporary", "ca", "policy", "config", "bug", "none": the words used in logs, the store and JSON. */
const char *err_class_name(enum err_class class);
enum err_class err_class_parse(const char *name); /* ERR_BUG for an unknown word */

/* ---- logging ----------------------------------------------------------------------------------------------------- */

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG, LOG_TARGET_JOURNAL };

/* Beside the level (LOG_LEVEL_WARNING | LOG_LIMITED) of a line that a stranger can cause at will: 60 of an event at once, then one a second, and what
 * was left out is told as log_suppressed.  An error is never left out, marked or not. */
#define LOG_LIMITED 0x10

/* Tell what was left out, if it is time for that (`all`: whatever it is; at the end of a program).  Each line that is logged does so, too: this is for
 * where there may be none for long.  Cheap when there is nothing to tell. */
void log_settle(bool all);

/* Once at the start of a program, before any thread. `facility` is a syslog facility name such as "mail". Returns false
 * when the facility is unknown.  Without a journal that listens, LOG_TARGET_JOURNAL is stderr with priorities. */
bool log_open(const char *program, enum log_target target, const char *facility, enum log_level level);
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);
bool log_uses_stderr(void);

/* One fact a line: `event=NAME key=value key="value with blanks"`.  The pairs are const char * key, const char * value, ...
 * closed by a NULL key; a pair whose value is NULL is left out.  Every value is quoted and escaped here (control characters,
 * quotes, backslash, invalid UTF-8), and capped at 1,000 octets: callers pass raw text.  Never pass a secret.
 * Event names and keys are an interface: each is in ctl/log_table.c, which makes enroll-milter-log(7); tests/names.py compares.  Numbers: log_num. */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));

/* The same line with the parts of an error added: class, op, subject, status, type, text, retry_at. `err` may be NULL. */
void log_error(enum log_level level, const char *event, const struct err *err, ...) __attribute__((sentinel));

/* A number as text for log_event; lives as long as the full expression's block: `LOG_NUM(x)` is a compound literal. */
struct log_num { char s[24]; };
const char *log_num(struct log_num *where, long long value);
#define LOG_NUM(v) log_num(&(struct log_num){{0}}, (long long)(v))

/* ---- buffers ----------------------------------------------------------------------------------------------------- */

/* A growing byte string.  Always NUL-terminated behind len when data is not NULL, so text can be read as a C string; mail
 * content is read by length.  A failed growth sets `failed`; further appends do nothing and the caller checks once. `max` = 0
 * means no cap of its own; going over the cap counts as failure. Zero-initialized is a valid empty buffer. */
struct buf {
	char *data;
	size_t len, size, max;
	bool failed;
};
#define BUF_INIT {0}
void buf_append(struct buf *b, const void *data, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) BASE_PRINTF(2, 3);
void buf_reset(struct buf *b);        /* len = 0, failed = false, memory kept */
void buf_clear(struct buf *b);        /* free memory */
void buf_wipe(struct buf *b);         /* overwrite, then free: for key material */
char *buf_take(struct buf *b);        /* move the string out (free() it); NULL when failed; empty string when nothing was added */
const char *buf_str(const struct buf *b); /* "" when empty, never NULL */

/* base64url without padding (RFC 4648 section 5) and plain base64.  Append to `out`; decoding returns false on any foreign
 * character or wrong length (padding is accepted where it is complete) and then appends nothing.  With a line_length every line
 * ends in eol, the last one too; 0 = one line without eol. */
void base64url_encode(struct buf *out, const void *data, size_t len);
bool base64url_decode(struct buf *out, const char *text, size_t len);
void base64_encode(struct buf *out, const void *data, size_t len, size_t line_length, const char *eol);
void hex_encode(struct buf *out, const void *data, size_t len); /* lower case */

/* strdup that takes NULL (gives NULL). */
char *str_dup(const char *s);
bool str_eq_nocase(const char *a, const char *b); /* ASCII only, both non-NULL */
/* True when s is not NULL and holds no control character (CR, LF, NUL cannot be seen here) - what may go into a header value,
 * SMTP command or log line of another program. */
bool text_is_one_line(const char *s);
bool text_is_utf8(const char *s, size_t len);

/* Constant-time comparison of secrets. */
bool secret_equal(const char *a, const char *b);

/* ---- lists of strings -------------------------------------------------------------------------------------------- */

struct strlist {
	char **v;
	size_t n;
};
bool strlist_add(struct strlist *l, const char *s); /* copies; false without memory */
bool strlist_has(const struct strlist *l, const char *s);        /* exact */
bool strlist_has_nocase(const struct strlist *l, const char *s); /* ASCII case ignored */
void strlist_clear(struct strlist *l);

/* ---- mail addresses ---------------------------------------------------------------------------------------------- */

/* RFC 5321 Mailbox in canonical form: local part as given, domain as lower-case A-labels (UTS #46 by libidn2).
 * Comparison in this project: domains as A-labels, local parts ignoring ASCII case (address_key gives the text that
 * compares equal). No address patterns of our own beyond the grammar: dot-atom or quoted-string, UTF-8 allowed (RFC 6531). */
struct address {
	char local[256];  /* unquoted whenever a dot-atom ("alice"@ is alice@); else quoted, with only the backslashes it needs */
	char domain[256]; /* A-labels, lower case */
};

/* Parse a bare addr-spec ("alice@example.org").  Comments, display names, source routes, address literals ("[192.0.2.1]") and
 * anything with control characters are refused.  On failure: ERR_POLICY and a sentence that names the trouble. */
bool address_parse(struct address *out, const char *text, struct err *err) BASE_MUST_CHECK;
/* The canonical spelling, local@domain. */
#define ADDRESS_MAX 520
const char *address_text(const struct address *a, char out[ADDRESS_MAX]);
/* The key under which addresses compare equal: local part in lower case (ASCII), '@', domain. */
const char *address_key(const struct address *a, char out[ADDRESS_MAX]);
bool address_equal(const struct address *a, const struct address *b);
/* Text in, key out, in one call. */
bool address_key_of(const char *text, char out[ADDRESS_MAX], struct err *err) BASE_MUST_CHECK;
/* A domain as lower-case A-labels; false when it is none (empty or too long labels, an IP address, foreign characters).  One
 * trailing dot is taken off. */
bool domain_canonical(const char *text, char out[256]);

/* ---- networks ---------------------------------------------------------------------------------------------------- */

/* An IPv4 or IPv6 network in CIDR form; IPv4-mapped IPv6 addresses compare as IPv4.  IPv6 networks shorter than /96, "::/0" among
 * them, contain no IPv4 address. */
struct network {
	unsigned char addr[16];
	unsigned prefix; /* over 128 bits, IPv4 as ::ffff:a.b.c.d/96+n */
};
bool network_parse(struct network *out, const char *text); /* "192.0.2.0/24", "::1", host bits must be zero */
bool network_contains(const struct network *net, const char *ip);
struct sockaddr;
/* The text of a socket address's IP, without port; "" for others. */
const char *sockaddr_ip(const struct sockaddr *sa, char out[64]);

/* ---- files and secrets ------------------------------------------------------------------------------------------- */

/* Append a whole regular file of at most `max` octets.  Failures name the file; the class is that of err_errno, or ERR_CONFIG. */
bool file_read(struct buf *out, const char *path, size_t max, struct err *err) BASE_MUST_CHECK;
/* Create with its final mode, write, fsync, rename, fsync the directory: after a crash the old or the new content is there.
 * The mode is exact (umask ignored); owner and group stay those of the process unless gid is not (gid_t)-1. */
bool file_write(const char *path, const void *data, size_t len, unsigned mode, long gid, struct err *err) BASE_MUST_CHECK;
/* The same for a new file: it has its name only when it is whole, and never takes the place of another; ERR_CONFIG when there is one. */
bool file_create(const char *path, const void *data, size_t len, unsigned mode, struct err *err) BASE_MUST_CHECK;
/* Give a file or folder that is on disk, name `from` beside it, its name, under which there is nothing (else ERR_CONFIG). */
bool file_settle(const char *from, const char *to, struct err *err) BASE_MUST_CHECK;
/* Read a secret: a path, or "credential:NAME" for a systemd credential ($CREDENTIALS_DIRECTORY/NAME).  A file that others
 * than its owner may read (mode & 077) or that is not owned by us or root is refused, with the chmod that helps.  One trailing
 * newline is taken off when `text` is true.  An empty secret is refused.  What `out` held before is wiped; so is everything
 * on failure.  The caller wipes (buf_wipe). */
bool secret_read(struct buf *out, const char *where, bool text, struct err *err) BASE_MUST_CHECK;
/* The same for a secret that two service users need (the directory's password): a file of root's may also be readable, not
 * writable, by its group (mode 0640). */
bool secret_read_shared(struct buf *out, const char *where, bool text, struct err *err) BASE_MUST_CHECK;

/* ---- time, chance, process --------------------------------------------------------------------------------------- */

/* Monotonic milliseconds, for spans only. */
int64_t mono_ms(void);
/* UTC as RFC 3339 "2026-11-22T08:00:00Z". */
const char *time_text(time_t t, char out[32]);
/* RFC 3339 section 5.6 with the "T", from the year 1900 on; fractions of a second are dropped.  False for what is no such time. */
bool time_parse(const char *text, time_t *out) BASE_MUST_CHECK;
/* A random number in [0, limit) from OpenSSL's generator; 0 for limit 0. Never fails: aborts when there is no randomness at
 * all, as going on would be worse. */
uint64_t random_below(uint64_t limit);
/* `bytes` random octets as base64url text appended to out. */
void random_text(struct buf *out, size_t bytes);
/* The id of a group, however many members it has; false: there is none of that name, or it cannot be asked. */
bool group_find(const char *name, unsigned *gid);
/* Do `act` in a child process as this user and group, and the user's other groups, when we are root; directly otherwise, or for root.  Result,
 * error and the first `len` octets of *arg come back from the child, and nothing else does.  For processes without threads. */
bool act_as(unsigned uid, unsigned gid, bool (*act)(void *arg, struct err *err), void *arg, size_t len, struct err *err) BASE_MUST_CHECK;
/* No core dumps, not traceable: for processes that hold keys. Best effort, silent. */
void process_harden(void);

/* ---- being a service (notify.c, daemon.c) -------------------------------------------------------------------------- */

/* Lines of sd_notify(3) to whoever started us ($NOTIFY_SOCKET): "READY=1\nSTATUS=signing".  False when nobody listens, which is no error.  Any
 * thread. */
bool notify(const char *fmt, ...) BASE_PRINTF(1, 2);
/* The same with a descriptor, which the supervisor gets a copy of ("FDSTORE=1\nFDNAME=..."); -1 = none. */
bool notify_fd(const char *state, int fd);
/* RELOADING=1 with its time; READY=1 has to follow. */
bool notify_reloading(const char *status);
/* How long we may be silent ($WATCHDOG_USEC, if meant for us); 0 = nobody watches.  WATCHDOG=1 is due in half of that. */
unsigned notify_watchdog_ms(void);
/* Does the supervisor keep descriptors for a successor ($FDSTORE, as systemd sets it from 254 on)? */
bool notify_keeps_fds(void);
/* The first descriptor that the supervisor kept under a name with this beginning, its whole name in `name`; -1 = none.  Others are closed.  Once, at
 * the start. */
int notify_take_fd(const char *prefix, char *name, size_t size);

struct daemon_options {
	bool background;
	const char *pid_file; /* NULL = none */
	const char *user;     /* NULL = as configured, if root starts us */
};
/* Go into the background, open the pid file, give up root's rights for those of `user` in `group`, and in the groups that list the user: at the
 * start, before any thread.  What started us goes on when daemon_ready is called, or with our exit code when we end before.  False: nothing can
 * go on. */
bool daemon_start(const struct daemon_options *o, const char *user, const char *group, struct err *err) BASE_MUST_CHECK;
/* The pid file names us from here on, and not before: who cannot start leaves the one alone who runs. */
void daemon_ready(bool keep_stderr);
/* A path as typed, as it is to be remembered: the background has another working directory.  Symbolic links stay, they may change.  NULL = no memory. */
char *daemon_path(const char *path);
/* Take the pid file away, if it is still ours, or was made by us and is empty as we were never ready, and its folder lets us. */
void daemon_end(void);
/* ---- memory with keys -------------------------------------------------------------------------------------------- */

/* Whatever OpenSSL frees is wiped (in programs that use anything of this file), and there is a secure heap of that size (0: not yet).  At the begin of
 * main.  False when that cannot be had; builds with sanitizers do without. */
bool memory_guard(size_t heap);
/* Between the two, on this thread, all memory that OpenSSL takes comes from its secure heap, if there is one and it has room: around what is done with
 * a private key.  They nest. */
void memory_secret_begin(void);
void memory_secret_end(void);
/* A page of its own, in no core dump and no child's memory; *locked: nor ever swapped out.  NULL without memory.  Freeing wipes. */
void *memory_page_new(size_t *size, bool *locked);
void memory_page_free(void *page);

#endif
