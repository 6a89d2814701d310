/*
 * base/err.c - filling in a struct err.
 *
 * The hard idea is that a caller may wrap an error in itself (`err_set(err, err->class, "publish", err->subject, "...: %s",
 * err->text)`), so everything is composed in temporaries before the struct is touched.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include <openssl/err.h>

#include "base/base.h"
#include "base/internal.h"

static bool err_fill(struct err *err, enum err_class class, const char *op, const char *subject, const char *type, const char *text)
{
	struct err filled = ERR_INIT;

	filled.class = class;
	text_copy(filled.op, sizeof(filled.op), op);
	text_copy(filled.subject, sizeof(filled.subject), subject);
	text_copy(filled.type, sizeof(filled.type), type);
	text_copy(filled.text, sizeof(filled.text), text);
	*err = filled;
	return false;
}

bool err_set(struct err *err, enum err_class class, const char *op, const char *subject, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list args;
	int n;

	if (!err)
		return false;
	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (n < 0)
		text[0] = '\0';
	else if ((size_t)n >= sizeof(text))
		text[utf8_cut(text, sizeof(text) - 1)] = '\0';
	return err_fill(err, class, op, subject, "", text);
}

static enum err_class errno_class(int errnum)
{
	switch (errnum) {
	case ENOENT:
	case EACCES:
	case EPERM:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case ENAMETOOLONG:
	case EROFS:
	case EEXIST:
	case EXDEV:
	case ENODEV:
	case ENXIO:
	case EADDRNOTAVAIL:
	case EADDRINUSE:
	case EAFNOSUPPORT:
		return ERR_CONFIG;
	case EBADF:
	case EFAULT:
	case EINVAL:
	case ENOTSOCK:
		return ERR_BUG;
	default:
		return ERR_TEMPORARY;
	}
}

/* strerror is not thread safe everywhere; glibc has forms that are. */
static const char *errno_text(int errnum)
{
#ifdef __GLIBC__
	const char *text = strerrordesc_np(errnum);

	return text ? text : "unknown error";
#else
	return strerror(errnum);
#endif
}

static const char *errno_name(int errnum, struct log_num *room)
{
#ifdef __GLIBC__
	const char *name = strerrorname_np(errnum);

	if (name)
		return name;
#endif
	return log_num(room, errnum);
}

bool err_errno(struct err *err, int errnum, const char *op, const char *subject)
{
	struct log_num room;

	if (!err)
		return false;
	return err_fill(err, errno_class(errnum), op, subject, errno_name(errnum, &room), errno_text(errnum));
}

bool err_openssl(struct err *err, enum err_class class, const char *op, const char *subject)
{
	struct buf text = {.max = sizeof(err->text)};
	char type[64] = "";
	unsigned long code;
	const char *data, *reason;
	int flags;

	while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
		reason = ERR_reason_error_string(code);
		if (text.len == 0)
			snprintf(type, sizeof(type), "openssl:%08lX", code);
		buf_printf(&text, "%s%s", text.len ? "; " : "", reason ? reason : "unknown reason");
		if (data && *data && (flags & ERR_TXT_STRING))
			buf_printf(&text, " (%s)", data);
	}
	if (err)
		err_fill(err, class, op, subject, type, text.len ? buf_str(&text) : "OpenSSL failed without saying why");
	buf_clear(&text);
	return false;
}

bool err_nomem(struct err *err, const char *op)
{
	return err_set(err, ERR_TEMPORARY, op, "", "out of memory");
}

void err_clear(struct err *err)
{
	if (err)
		*err = (struct err)ERR_INIT;
}

static const char *const class_names[] = {
	[ERR_NONE] = "none",
	[ERR_TEMPORARY] = "temporary",
	[ERR_CA] = "ca",
	[ERR_POLICY] = "policy",
	[ERR_CONFIG] = "config",
	[ERR_BUG] = "bug",
};

const char *err_class_name(enum err_class class)
{
	if ((size_t)class >= sizeof(class_names) / sizeof(class_names[0]))
		return "bug";
	return class_names[class];
}

enum err_class err_class_parse(const char *name)
{
	for (size_t i = 0; name && i < sizeof(class_names) / sizeof(class_names[0]); i++)
		if (strcmp(name, class_names[i]) == 0)
			return (enum err_class)i;
	return ERR_BUG;
}
