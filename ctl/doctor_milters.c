/*
 * ctl/doctor_milters.c - `doctor`: are our two sockets where Postfix has its milters, in the right order, and with settings that lose no mail?
 */
#include "config.h"

#include "ctl/doctor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PROTOCOL_LEAST 6
#define CONNECT_LEAST 5   /* seconds */
#define COMMAND_LEAST 10
#define CONTENT_LEAST 60  /* a body of many MiB is signed in there */

/* One smtpd that has one of our sockets among its milters. */
struct place {
	const struct postfix *p;
	const struct postfix_service *s;
	struct postfix_milters list;
	int outbound, inbound;   /* where in the list; -1 = not there */
};

static bool is_smtpd(const struct postfix_service *s)
{
	return strcmp(s->command, "smtpd") == 0 && (strcmp(s->type, "inet") == 0 || strcmp(s->type, "pass") == 0);
}

/* The next one from *i on; to be cleared by place_clear. */
static bool next_place(struct doctor *d, const struct postfix *p, size_t *i, struct place *out)
{
	for (; *i < p->n; ++*i) {
		const struct postfix_service *s = &p->v[*i];

		if (!is_smtpd(s))
			continue;
		*out = (struct place){.p = p, .s = s};
		postfix_milters_read(postfix_value(p, s, "smtpd_milters"), &out->list);
		out->outbound = postfix_milters_find(&out->list, d->config->milter.outbound_socket);
		out->inbound = postfix_milters_find(&out->list, d->config->milter.inbound_socket);
		if (out->outbound >= 0 || out->inbound >= 0) {
			++*i;
			return true;
		}
		postfix_milters_clear(&out->list);
	}
	return false;
}

static void place_clear(struct place *at)
{
	postfix_milters_clear(&at->list);
}

/* Each of them, looked at by `look`, which says what is wrong and returns whether anything is. */
static size_t each_place(struct doctor *d, const struct postfix *p, bool (*look)(struct doctor *d, struct place *at), size_t *wrong)
{
	struct place at;
	size_t n = 0;

	*wrong = 0;
	for (size_t i = 0; next_place(d, p, &i, &at); n++) {
		*wrong += look(d, &at);
		place_clear(&at);
	}
	return n;
}

static void check_places(struct doctor *d, bool (*look)(struct doctor *d, struct place *at), const char *good)
{
	const struct postfix *p = doctor_postfix(d);
	size_t wrong, n = p ? each_place(d, p, look, &wrong) : 0;

	if (p && n == 0)
		doctor_say(d, "ok", "nothing to look at: no listener has one of our sockets");
	else if (p && !wrong)
		doctor_say(d, "ok", "%s", good);
}

static void fix_list(struct doctor *d, const struct postfix_service *s, bool own, const struct postfix_milters *l)
{
	struct buf value = BUF_INIT;

	postfix_milters_write(l, &value);
	postfix_fix(d, s, own, "smtpd_milters", buf_str(&value));
	postfix_reload_fix(d);
	buf_clear(&value);
}

/* ---- does it run ------------------------------------------------------------------------------------------------------------------ */

/* The process of queue_directory/pid/master.pid. */
static bool master_runs(const struct postfix *p)
{
	char path[4096];
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	long pid = 0;

	snprintf(path, sizeof path, "%.4000s/pid/master.pid", postfix_value(p, NULL, "queue_directory"));
	if (file_read(&text, path, 64, &err))
		pid = strtol(buf_str(&text), NULL, 10);
	buf_clear(&text);
	return pid > 1 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

void doctor_postfix_runs(struct doctor *d)
{
	const struct postfix *p = doctor_postfix(d);

	if (!p)
		return;
	if (!d->root || master_runs(p)) { /* its pid file is root's */
		doctor_say(d, "ok", "version %s%s", postfix_value(p, NULL, "mail_version"), d->root ? ", running" : "");
	} else {
		doctor_say(d, "fault", "Postfix does not run");
		doctor_fix(d, "postfix start");
	}
}

/* ---- the outbound socket: which listeners have it ------------------------------------------------------------------------------------- */

/* Where users hand in their mail: by name, or as it lets them log in. */
static const struct postfix_service *submission_service(const struct postfix *p)
{
	static const char *const names[] = {"submission", "587", ":587", "submissions", "smtps", "465", ":465"};

	for (size_t k = 0; k < sizeof names / sizeof *names; k++)
		for (size_t i = 0; i < p->n; i++) {
			const char *name = p->v[i].name, *end = strlen(name) >= strlen(names[k]) ? name + strlen(name) - strlen(names[k]) : name;

			if (is_smtpd(&p->v[i]) && strcmp(*names[k] == ':' ? end : name, names[k]) == 0)
				return &p->v[i];
		}
	for (size_t i = 0; i < p->n; i++)
		if (is_smtpd(&p->v[i]) && postfix_has_own(&p->v[i], "smtpd_sasl_auth_enable") && strcmp(postfix_value(p, &p->v[i], "smtpd_sasl_auth_enable"), "yes") == 0)
			return &p->v[i];
	return NULL;
}

/* Ours first, then what is there. */
static void put_outbound_first(struct doctor *d, const struct postfix *p, const struct postfix_service *s)
{
	struct buf name = BUF_INIT, value = BUF_INIT;

	postfix_name_of(p, d->config->milter.outbound_socket, &name);
	buf_printf(&value, "{%s,default_action=tempfail}%s%s", buf_str(&name), *postfix_value(p, s, "smtpd_milters") ? "," : "", postfix_value(p, s, "smtpd_milters"));
	postfix_fix(d, s, true, "smtpd_milters", buf_str(&value));
	postfix_reload_fix(d);
	buf_clear(&name);
	buf_clear(&value);
}

static void say_no_outbound(struct doctor *d, const struct postfix *p)
{
	const struct postfix_service *s = submission_service(p);

	doctor_say(d, "fault", "no listener of Postfix has the outbound socket among its smtpd_milters: nothing is signed%s", s ? "" :
		"; examples/postfix has the lines of master.cf for a submission service, an edge gateway and after a filter");
	if (s)
		put_outbound_first(d, p, s);
}

/* Is there a listener with the outbound socket that is called so? */
static bool is_called(struct doctor *d, const struct postfix *p, const struct strlist *names, const struct postfix_service **any)
{
	struct place at;
	bool found = false;

	for (size_t i = 0; next_place(d, p, &i, &at); place_clear(&at)) {
		if (at.outbound < 0)
			continue;
		if (!*any || at.s == submission_service(p))
			*any = at.s;
		found = found || strlist_has(names, postfix_value(p, at.s, "milter_macro_daemon_name"));
	}
	return found;
}

static size_t check_daemon_names(struct doctor *d, const struct postfix *p)
{
	const struct config *c = d->config;
	size_t said = 0;

	for (size_t i = 0; i < c->n_submissions; i++) {
		const struct strlist *names = &c->submissions[i].daemons;
		const struct postfix_service *any = NULL;

		if (names->n == 0 || is_called(d, p, names, &any) || !any)
			continue;
		said++;
		doctor_say(d, "fault", "submission \"%s\" is for a listener that is called %s, but none with the outbound socket has that milter_macro_daemon_name: its mail is left "
			"alone", c->submissions[i].name, names->v[0]);
		postfix_fix(d, any, true, "milter_macro_daemon_name", names->v[0]);
		postfix_reload_fix(d);
	}
	return said;
}

void doctor_postfix_outbound(struct doctor *d)
{
	const struct postfix *p = doctor_postfix(d);
	struct buf names = BUF_INIT;
	struct place at;

	if (!p)
		return;
	for (size_t i = 0; next_place(d, p, &i, &at); place_clear(&at))
		if (at.outbound >= 0)
			buf_printf(&names, "%s%s", names.len ? ", " : "", at.s->name);
	if (!names.len)
		say_no_outbound(d, p);
	else if (check_daemon_names(d, p) == 0)
		doctor_say(d, "ok", "asked by %s", buf_str(&names));
	buf_clear(&names);
}

/* ---- the inbound socket --------------------------------------------------------------------------------------------------------------------- */

static bool is_loopback(const char *name)
{
	return strncmp(name, "127.", 4) == 0 || strncmp(name, "localhost", 9) == 0 || strncmp(name, "[::1]", 5) == 0;
}

/* Where mail from outside comes in: port 25, or behind postscreen. */
static const struct postfix_service *mx_service(const struct postfix *p)
{
	const struct postfix_service *found = NULL;

	for (size_t i = 0; i < p->n; i++) {
		const char *name = p->v[i].name, *colon = strrchr(name, ':'), *port = colon ? colon + 1 : name;

		if (is_smtpd(&p->v[i]) && !is_loopback(name) &&
			(strcmp(p->v[i].type, "pass") == 0 || strcmp(port, "25") == 0 || strcmp(port, "smtp") == 0) && (!found || strcmp(p->v[i].type, "pass") == 0))
			found = &p->v[i];
	}
	return found;
}

void doctor_postfix_inbound(struct doctor *d)
{
	const struct postfix *p = doctor_postfix(d);
	const struct postfix_service *mx = p ? mx_service(p) : NULL;
	struct buf names = BUF_INIT, value = BUF_INIT, ours = BUF_INIT;
	struct place at;

	if (!p)
		return;
	for (size_t i = 0; next_place(d, p, &i, &at); place_clear(&at))
		if (at.inbound >= 0 && !is_loopback(at.s->name))
			buf_printf(&names, "%s%s", names.len ? ", " : "", at.s->name);
	if (names.len) {
		doctor_say(d, "ok", "asked by %s", buf_str(&names));
	} else {
		doctor_say(d, "fault", "no listener for mail from outside has the inbound socket among its smtpd_milters: the CA's challenge mails are not seen%s",
			mx ? "" : "; see examples/postfix");
		postfix_name_of(p, d->config->milter.inbound_socket, &ours);
		buf_printf(&value, "%s%s%s", mx ? postfix_value(p, mx, "smtpd_milters") : "", mx && *postfix_value(p, mx, "smtpd_milters") ? "," : "", buf_str(&ours));
		if (mx) {
			postfix_fix(d, mx, true, "smtpd_milters", buf_str(&value));
			postfix_reload_fix(d);
		}
	}
	buf_clear(&names);
	buf_clear(&value);
	buf_clear(&ours);
}

/* ---- do the names lead to the sockets --------------------------------------------------------------------------------------------------------- */

static bool look_at_path(struct doctor *d, struct place *at, int which, const char *socket)
{
	struct postfix_milter *m = which >= 0 ? &at->list.v[which] : NULL;
	struct buf name = BUF_INIT;
	bool inside;

	if (!m || postfix_milter_reaches(at->p, at->s, m, socket))
		return false;
	postfix_name_of(at->p, socket, &name);
	inside = strncmp(buf_str(&name), "unix:/", 6) != 0;
	doctor_say(d, "fault", "%s: %s is not %s, where we listen%s%s", at->s->name, m->where, socket, at->s->chroot ? " (this listener is chrooted into Postfix's queue folder)" :
		"", inside ? "" : "; put the socket into that folder (milter.outbound-socket, milter.inbound-socket)");
	if (inside) {
		free(m->where);
		m->where = buf_take(&name);
		fix_list(d, at->s, false, &at->list);
	}
	buf_clear(&name);
	return true;
}

static bool look_at_paths(struct doctor *d, struct place *at)
{
	bool wrong = look_at_path(d, at, at->outbound, d->config->milter.outbound_socket);

	return look_at_path(d, at, at->inbound, d->config->milter.inbound_socket) || wrong;
}

void doctor_postfix_socket(struct doctor *d)
{
	check_places(d, look_at_paths, "what Postfix calls our sockets is where we listen");
}

/* ---- the order ------------------------------------------------------------------------------------------------------------------------------------ */

/* What signs by DKIM, as far as a name tells. */
static bool is_dkim(const struct postfix_milter *m)
{
	static const char *const names[] = {"dkim", "rspamd", ":8891", ":12301", ":11332"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcasestr(m->where, names[i]))
			return true;
	return false;
}

static void move(struct postfix_milters *l, size_t from, size_t to)
{
	struct postfix_milter m = l->v[from];

	if (from > to)
		memmove(&l->v[to + 1], &l->v[to], (from - to) * sizeof m);
	else
		memmove(&l->v[from], &l->v[from + 1], (to - from) * sizeof m);
	l->v[to] = m;
}

static bool look_at_order(struct doctor *d, struct place *at)
{
	struct postfix_milters *l = &at->list;

	for (int i = 0; i < at->outbound; i++) {
		if (!is_dkim(&l->v[i]))
			continue;
		doctor_say(d, "fault", "%s: %s comes before the outbound instance: what DKIM signs is changed by our signature, and every receiver sees it broken", at->s->name,
			l->v[i].where);
		move(l, (size_t)at->outbound, (size_t)i);
		fix_list(d, at->s, false, l);
		return true;
	}
	for (int i = at->inbound + 1; at->inbound >= 0 && at->outbound < 0 && i < (int)l->n; i++) {
		if (!is_dkim(&l->v[i]))
			continue;
		doctor_say(d, "warning", "%s: %s comes after the inbound instance, which then has no Authentication-Results of its to look at", at->s->name, l->v[i].where);
		move(l, (size_t)at->inbound, (size_t)i);
		fix_list(d, at->s, false, l);
		return true;
	}
	return false;
}

void doctor_postfix_order(struct doctor *d)
{
	check_places(d, look_at_order, "DKIM comes after the outbound instance, and before the inbound one");
}

/* ---- what happens while we are away ----------------------------------------------------------------------------------------------------------------- */

/* The value of `name` in "default_action=accept, connect_timeout=5s"; NULL when it is not among them. */
static const char *setting_at(const char *settings, const char *name, size_t *len)
{
	size_t n = strlen(name);

	for (const char *s = settings; *s; s += strcspn(s, " ,\t"), s += strspn(s, " ,\t"))
		if (strncmp(s, name, n) == 0 && s[n + strspn(s + n, " ")] == '=') {
			s += n + strspn(s + n, " ") + 1;
			s += strspn(s, " ");
			*len = strcspn(s, " ,\t");
			return s;
		}
	return NULL;
}

static void setting(const char *settings, const char *name, char out[64])
{
	size_t len = 0;
	const char *s = setting_at(settings, name, &len);

	snprintf(out, 64, "%.*s", (int)len, s ? s : "");
}

/* The others stay, in their order. */
static void fix_own_action(struct doctor *d, struct place *at)
{
	struct postfix_milter *m = &at->list.v[at->outbound];
	size_t len;
	const char *old = setting_at(m->settings, "default_action", &len);
	char *anew = NULL;

	if (!old || asprintf(&anew, "%.*stempfail%s", (int)(old - m->settings), m->settings, old + len) < 0)
		return;
	free(m->settings);
	m->settings = anew;
	fix_list(d, at->s, false, &at->list);
}

static bool look_at_action(struct doctor *d, struct place *at)
{
	char own[64];

	if (at->outbound < 0)
		return false;
	setting(at->list.v[at->outbound].settings, "default_action", own);
	if (strcmp(*own ? own : postfix_value(at->p, at->s, "milter_default_action"), "accept") != 0)
		return false;
	doctor_say(d, "warning", "%s: default_action=accept lets mail pass unsigned, and half-edited, when the outbound instance dies", at->s->name);
	if (*own) {
		fix_own_action(d, at);
	} else {
		postfix_fix(d, at->s, false, "milter_default_action", "tempfail");
		postfix_reload_fix(d);
	}
	return true;
}

void doctor_default_action(struct doctor *d)
{
	check_places(d, look_at_action, "mail waits while the outbound instance is away");
}

/* ---- protocol and times ---------------------------------------------------------------------------------------------------------------------------- */

static bool look_at_protocol(struct doctor *d, struct place *at)
{
	const char *value = postfix_value(at->p, at->s, "milter_protocol");

	if (strtol(value, NULL, 10) >= PROTOCOL_LEAST)
		return false;
	doctor_say(d, "fault", "%s: milter_protocol = %s: our milters need version %d to see what they decide by", at->s->name, value, PROTOCOL_LEAST);
	postfix_fix(d, at->s, false, "milter_protocol", "6");
	postfix_reload_fix(d);
	return true;
}

void doctor_postfix_protocol(struct doctor *d)
{
	check_places(d, look_at_protocol, "milter_protocol is recent enough");
}

/* What a step of a mail may wait for the store, twice, so that Postfix never gives up first. */
static long store_seconds(const struct doctor *d)
{
	return d->config ? 2 * ((long)d->config->store.busy_ms / 1000 + 1) : 0;
}

static bool look_at_times(struct doctor *d, struct place *at)
{
	long store = store_seconds(d);
	const struct { const char *name; long least, store, usual; } times[] = {{"milter_connect_timeout", CONNECT_LEAST, 0, 30},
		{"milter_command_timeout", COMMAND_LEAST, store, 30}, {"milter_content_timeout", CONTENT_LEAST, store, 300}};
	bool wrong = false;

	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		const char *value = postfix_value(at->p, at->s, times[i].name);
		long seconds = postfix_seconds(value);
		char usual[24];

		if (seconds < 0 || (seconds >= times[i].least && seconds >= times[i].store))
			continue;
		wrong = true;
		doctor_say(d, "warning", "%s: %s = %s is shorter than what a large mail, a directory that is slow, or the store (store.busy-ms, twice) may take: it would be"
			" refused for now", at->s->name, times[i].name, value);
		snprintf(usual, sizeof usual, "%lds", times[i].usual > times[i].store ? times[i].usual : times[i].store);
		postfix_fix(d, at->s, false, times[i].name, usual);
		postfix_reload_fix(d);
	}
	return wrong;
}

void doctor_postfix_timeouts(struct doctor *d)
{
	check_places(d, look_at_times, "Postfix gives its milters time enough");
}

/* ---- what keeps mail from them, or changes it behind them --------------------------------------------------------------------------------------------- */

/* The list without this word. */
static void without(const char *list, const char *word, struct buf *out)
{
	for (const char *s = list + strspn(list, " ,"); *s; s += strcspn(s, " ,"), s += strspn(s, " ,")) {
		size_t n = strcspn(s, " ,");

		if (n != strlen(word) || strncmp(s, word, n) != 0)
			buf_printf(out, "%s%.*s", out->len ? "," : "", (int)n, s);
	}
}

static bool look_at_override(struct doctor *d, struct place *at)
{
	const char *options = postfix_value(at->p, at->s, "receive_override_options"), *filter = postfix_value(at->p, at->s, "content_filter");
	struct buf rest = BUF_INIT;
	bool wrong = false;

	if (strstr(options, "no_milters")) {
		wrong = true;
		doctor_say(d, "fault", "%s: receive_override_options has no_milters: none of its milters is asked", at->s->name);
		without(options, "no_milters", &rest);
		postfix_fix(d, at->s, false, "receive_override_options", buf_str(&rest));
		postfix_reload_fix(d);
	}
	if (at->outbound >= 0 && *filter) {
		wrong = true;
		doctor_say(d, "warning", "%s: content_filter = %s comes behind our signature: should it change mail (footers, disclaimers), that breaks; examples/postfix/after-queue "
			"signs behind such a filter", at->s->name, filter);
	}
	buf_clear(&rest);
	return wrong;
}

void doctor_postfix_override(struct doctor *d)
{
	check_places(d, look_at_override, "no listener passes over its milters, no filter comes behind them");
}
