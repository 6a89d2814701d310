/*
 * ctl/doctor_postfix.c - `doctor`: the configuration of Postfix, as postconf(1) tells it, and how it is changed by postconf(1).
 *
 * -e, -P and -M of postconf are what fixes are made of.  -P takes no blanks (3.7), so lists are written with commas, which Postfix takes as well.
 */
#include "config.h"

#include "ctl/doctor.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MOST (1u << 20)
#define LIST " \t\r\n,"

static const char main_parameters[] = "queue_directory smtpd_milters non_smtpd_milters milter_default_action milter_protocol milter_connect_timeout "
	"milter_command_timeout milter_content_timeout internal_mail_filter_classes content_filter receive_override_options smtpd_sender_login_maps "
	"smtpd_client_restrictions smtpd_helo_restrictions smtpd_sender_restrictions smtpd_relay_restrictions smtpd_recipient_restrictions "
	"smtpd_data_restrictions smtpd_sasl_auth_enable always_bcc milter_macro_daemon_name reports_destination_recipient_limit mail_version";

/* ---- asking ----------------------------------------------------------------------------------------------------------------------- */

static bool postconf(const char *arguments, struct buf *out)
{
	char command[1024], piece[4096];
	size_t n;
	FILE *f;

	snprintf(command, sizeof command, "PATH=/usr/sbin:/usr/bin:/sbin:/bin; exec 2>/dev/null; exec postconf %s", arguments);
	out->max = ANSWER_MOST;
	f = popen(command, "re");
	while (f && (n = fread(piece, 1, sizeof piece, f)) > 0)
		buf_append(out, piece, n);
	return f && pclose(f) == 0 && !out->failed;
}

static char *word(char **at)
{
	char *s = *at + strspn(*at, " \t"), *end = s + strcspn(s, " \t");

	*at = *end ? end + 1 : end;
	*end = '\0';
	return s;
}

/* "name type private unpriv chroot wakeup maxproc command -o..." */
static bool add_service(struct postfix *p, char *line)
{
	struct postfix_service s = {.name = str_dup(word(&line))}, *grown;

	s.type = str_dup(word(&line));
	word(&line);
	word(&line);
	s.chroot = strcmp(word(&line), "y") == 0;
	word(&line);
	word(&line);
	s.command = str_dup(word(&line));
	grown = s.name && s.type && s.command ? realloc(p->v, (p->n + 1) * sizeof *p->v) : NULL;
	if (!grown)
		return false;
	p->v = grown;
	p->v[p->n++] = s;
	return true;
}

static void add_parameter(struct postfix *p, const char *line)
{
	for (size_t i = 0; i < p->n; i++) {
		size_t name = strlen(p->v[i].name), type = strlen(p->v[i].type);

		if (strncmp(line, p->v[i].name, name) == 0 && line[name] == '/' && strncmp(line + name + 1, p->v[i].type, type) == 0 && line[name + 1 + type] == '/')
			strlist_add(&p->v[i].parameters, line + name + type + 2);
	}
}

static void read_lines(struct postfix *p, struct buf *answer, void (*each)(struct postfix *, char *))
{
	char *rest = NULL;

	for (char *line = answer->data ? strtok_r(answer->data, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
		each(p, line);
	buf_clear(answer);
}

static void each_service(struct postfix *p, char *line)
{
	add_service(p, line);
}

static void each_parameter(struct postfix *p, char *line)
{
	add_parameter(p, line);
}

static void each_main(struct postfix *p, char *line)
{
	strlist_add(&p->main, line);
}

static struct postfix *load(void)
{
	struct postfix *p = calloc(1, sizeof *p);
	struct buf answer = BUF_INIT;
	char command[sizeof main_parameters + 8];

	if (!p || !postconf("-M", &answer)) {
		buf_clear(&answer);
		free(p);
		return NULL;
	}
	read_lines(p, &answer, each_service);
	postconf("-Px", &answer); /* none has parameters: it fails */
	read_lines(p, &answer, each_parameter);
	snprintf(command, sizeof command, "-x %s", main_parameters);
	postconf(command, &answer);
	read_lines(p, &answer, each_main);
	return p;
}

void doctor_postfix_free(struct postfix *p)
{
	for (size_t i = 0; p && i < p->n; i++) {
		free(p->v[i].name);
		free(p->v[i].type);
		free(p->v[i].command);
		strlist_clear(&p->v[i].parameters);
	}
	if (p) {
		free(p->v);
		strlist_clear(&p->main);
	}
	free(p);
}

/* The sockets are for another mail server. */
static bool is_for_another(struct doctor *d)
{
	const struct config *c = d->config;

	return strncmp(c->milter.outbound_socket, "unix:", 5) == 0 && strcmp(c->milter.socket_group, "postfix") != 0;
}

/* Said once, and not by each check that would have asked it. */
static void say_why_not(struct doctor *d)
{
	if (d->postfix_said)
		return;
	d->postfix_said = true;
	if (is_for_another(d))
		doctor_say(d, "ok", "the sockets are group %s's (milter.socket-group), not Postfix's: its settings are not looked at", d->config->milter.socket_group);
	else
		doctor_say(d, "warning", "postconf cannot be asked, so none of the mail server's settings is looked at: is Postfix here? For another one set "
			"milter.socket-group to its group");
}

const struct postfix *doctor_postfix(struct doctor *d)
{
	if (!d->postfix_asked && !is_for_another(d))
		d->postfix = load();
	d->postfix_asked = true;
	if (!d->postfix)
		say_why_not(d);
	return d->postfix;
}

/* ---- values ------------------------------------------------------------------------------------------------------------------------------- */

static const char *find(const struct strlist *l, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < l->n; i++)
		if (strncmp(l->v[i], name, n) == 0 && strncmp(l->v[i] + n, " =", 2) == 0)
			return l->v[i] + n + 2 + strspn(l->v[i] + n + 2, " ");
	return NULL;
}

bool postfix_has_own(const struct postfix_service *s, const char *name)
{
	return s && find(&s->parameters, name);
}

const char *postfix_value(const struct postfix *p, const struct postfix_service *s, const char *name)
{
	const char *own = s ? find(&s->parameters, name) : NULL, *all = own ? own : find(&p->main, name);

	return all ? all : "";
}

long postfix_seconds(const char *value)
{
	static const struct { char unit; long seconds; } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}, {'\0', 1}};
	char *end;
	long n = strtol(value, &end, 10);

	for (size_t i = 0; end != value && n >= 0 && n < 1000000 && i < sizeof units / sizeof *units; i++)
		if (*end == units[i].unit)
			return n * units[i].seconds;
	return -1;
}

/* ---- fixes -------------------------------------------------------------------------------------------------------------------------------- */

/* Commas for blanks, none beside braces, and the $ that -x took. */
static void write_value(struct buf *out, const char *value)
{
	bool gap = false;

	for (const char *s = value; *s; s++) {
		if (strchr(LIST, *s)) {
			gap = out->len > 0;
			continue;
		}
		if (gap && *s != '}' && *s != '=' && out->data[out->len - 1] != '{' && out->data[out->len - 1] != '=')
			buf_putc(out, ',');
		gap = false;
		if (*s == '$')
			buf_putc(out, '$');
		buf_putc(out, *s);
	}
}

void postfix_reload_fix(struct doctor *d)
{
	doctor_fix(d, "postfix reload");
}

void postfix_fix(struct doctor *d, const struct postfix_service *s, bool own, const char *name, const char *value)
{
	struct buf text = BUF_INIT, whole = BUF_INIT, quoted = BUF_INIT;

	own = s && (own || postfix_has_own(s, name));
	write_value(&text, value);
	if (own)
		buf_printf(&whole, "%s/%s/", s->name, s->type);
	buf_printf(&whole, "%s=%s", name, buf_str(&text));
	doctor_quote(&quoted, buf_str(&whole));
	doctor_fix(d, "postconf %s %s", own ? "-P" : "-e", buf_str(&quoted));
	buf_clear(&text);
	buf_clear(&whole);
	buf_clear(&quoted);
}

/* ---- lists of milters ----------------------------------------------------------------------------------------------------------------------- */

static void add_milter(struct postfix_milters *l, const char *where, size_t len, const char *settings, size_t settings_len)
{
	struct postfix_milter *grown = realloc(l->v, (l->n + 1) * sizeof *l->v);

	if (!grown)
		return;
	l->v = grown;
	l->v[l->n].where = strndup(where, len);
	l->v[l->n].settings = strndup(settings, settings_len);
	if (l->v[l->n].where && l->v[l->n].settings)
		l->n++;
}

void postfix_milters_read(const char *list, struct postfix_milters *out)
{
	memset(out, 0, sizeof *out);
	for (const char *s = list + strspn(list, LIST); *s; s += strspn(s, LIST)) {
		size_t n = strcspn(s, LIST);

		if (*s == '{') {
			const char *where = s + 1 + strspn(s + 1, LIST), *end = strchr(where, '}');
			size_t len = strcspn(where, LIST "}");

			if (!end)
				return;
			n = (size_t)(end + 1 - s);
			add_milter(out, where, len, where + len + strspn(where + len, LIST), (size_t)(end - where - (ptrdiff_t)len - (ptrdiff_t)strspn(where + len, LIST)));
		} else {
			add_milter(out, s, n, "", 0);
		}
		s += n;
	}
}

void postfix_milters_clear(struct postfix_milters *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].where);
		free(l->v[i].settings);
	}
	free(l->v);
	memset(l, 0, sizeof *l);
}

void postfix_milters_write(const struct postfix_milters *l, struct buf *out)
{
	for (size_t i = 0; i < l->n; i++)
		buf_printf(out, "%s%s%s%s%s%s", i ? "," : "", *l->v[i].settings ? "{" : "", l->v[i].where, *l->v[i].settings ? "," : "", l->v[i].settings,
			*l->v[i].settings ? "}" : "");
}

/* The last two parts of a path. */
static const char *tail_of(const char *path)
{
	const char *s = strrchr(path, '/');

	while (s && s > path && s[-1] != '/')
		s--;
	return s ? s : path;
}

/* "inet:PORT@HOST" of ours is "inet:HOST:PORT" there. */
static bool same_port(const char *theirs, const char *ours)
{
	const char *at = strchr(ours, '@'), *colon = strrchr(theirs, ':');
	size_t port = at ? (size_t)(at - ours - 5) : strlen(ours + 5);

	return colon && strlen(colon + 1) == port && strncmp(colon + 1, ours + 5, port) == 0;
}

bool postfix_milter_is(const struct postfix_milter *m, const char *socket)
{
	if (strncmp(socket, "inet:", 5) == 0)
		return strncmp(m->where, "inet:", 5) == 0 && same_port(m->where, socket);
	return strncmp(m->where, "unix:", 5) == 0 && strcmp(tail_of(m->where + 5), tail_of(socket + 5)) == 0;
}

bool postfix_milter_reaches(const struct postfix *p, const struct postfix_service *s, const struct postfix_milter *m, const char *socket)
{
	const char *queue = postfix_value(p, NULL, "queue_directory"), *path = m->where + 5;
	char there[PATH_MAX], real[PATH_MAX], wanted[PATH_MAX];

	if (strncmp(socket, "unix:", 5) != 0)
		return true;
	if (*path != '/' || (s && s->chroot))
		snprintf(there, sizeof there, "%.2000s/%.2000s", queue, path + (*path == '/'));
	else
		snprintf(there, sizeof there, "%.4000s", path);
	if (strcmp(there, socket + 5) == 0)
		return true;
	return realpath(there, real) && realpath(socket + 5, wanted) && strcmp(real, wanted) == 0;
}

int postfix_milters_find(const struct postfix_milters *l, const char *socket)
{
	for (size_t i = 0; i < l->n; i++)
		if (postfix_milter_is(&l->v[i], socket))
			return (int)i;
	return -1;
}

void postfix_name_of(const struct postfix *p, const char *socket, struct buf *out)
{
	const char *queue = postfix_value(p, NULL, "queue_directory"), *at = strchr(socket, '@');
	size_t n = strlen(queue);

	if (strncmp(socket, "inet:", 5) == 0)
		buf_printf(out, "inet:%s:%.*s", at ? at + 1 : "localhost", at ? (int)(at - socket - 5) : 16, socket + 5);
	else if (n && strncmp(socket + 5, queue, n) == 0 && socket[5 + n] == '/')
		buf_printf(out, "unix:%s", socket + 5 + n + 1);
	else
		buf_puts(out, socket);
}
