/*
 * enroll/instance.c - the name of this enrolld, its sign of life in the store, and the others'.
 */
#include "config.h"

#include "enroll/instance.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enroll/account_gate.h"
#include "enroll/answer.h"

#define PREFIX "enrolld:"
#define NAME_OCTETS 12         /* random ones: 16 characters */
#define ALIVE_SECONDS 90       /* without a sign for so long it is taken for dead; written at half of that */
#define RECENT 86400
#define FORGET (7 * 86400)

/* ---- the name ------------------------------------------------------------------------------------------------------------------ */

static bool name_good(const char *name)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");

	return n >= 8 && n < INSTANCE_NAME && !name[n];
}

static bool name_read(const char *path, char out[INSTANCE_NAME])
{
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	bool ok = file_read(&text, path, 256, &err);

	snprintf(out, INSTANCE_NAME, "%.*s", (int)strcspn(buf_str(&text), "\r\n"), buf_str(&text));
	buf_clear(&text);
	return ok && name_good(out);
}

/* A host that cannot keep it works all the same. */
static void name_make(struct enroll_parts *p)
{
	const char *path = p->config->control.instance_file;
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;

	random_text(&text, NAME_OCTETS);
	snprintf(p->instance, sizeof p->instance, "%s", buf_str(&text));
	buf_puts(&text, "\n");
	if (!file_write(path, buf_str(&text), text.len, 0640, -1, &err))
		log_error(LOG_LEVEL_WARNING, "instance_unsaved", &err, "instance", p->instance, NULL);
	buf_clear(&text);
}

void instance_owner(const struct enroll_parts *p, char out[INSTANCE_OWNER])
{
	struct buf random = BUF_INIT;

	random_text(&random, 6);
	snprintf(out, INSTANCE_OWNER, "%s:%s:%ld:%s", p->instance, p->host, (long)getpid(), buf_str(&random));
	buf_clear(&random);
}

static void turn_name(const struct enroll_parts *p, char out[INSTANCE_NAME + sizeof PREFIX])
{
	snprintf(out, INSTANCE_NAME + sizeof PREFIX, PREFIX "%s", p->instance);
}

static bool release(struct enroll_parts *p, struct err *err)
{
	char prefix[INSTANCE_NAME + 2];

	snprintf(prefix, sizeof prefix, "%s:", p->instance);
	return store_leases_release(p->store, prefix, err);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

/* An enrolld of another host has our name and is alive: this host is a copy of that one.  What it holds is not ours to give back. */
static bool is_copy(struct enroll_parts *p, time_t now, bool *copy, struct err *err)
{
	char name[INSTANCE_NAME + sizeof PREFIX], host[INSTANCE_OWNER];
	struct store_turn t = {0};

	turn_name(p, name);
	snprintf(host, sizeof host, "%s:%s:", p->instance, p->host);
	if (!store_turn_get(p->store, name, &t, err))
		return false;
	*copy = t.owner && t.owner[0] && t.until > now && strncmp(t.owner, host, strlen(host)) != 0;
	store_turn_clear(&t);
	return true;
}

bool instance_begin(struct enroll_parts *p, struct err *err)
{
	char name[INSTANCE_NAME + sizeof PREFIX];
	time_t now = time(NULL);
	bool copy = false;

	if (!name_read(p->config->control.instance_file, p->instance))
		name_make(p);
	if (!is_copy(p, now, &copy, err))
		return false;
	if (copy) {
		log_event(LOG_LEVEL_ERROR, "instance_twice", "instance", p->instance, "file", p->config->control.instance_file, "text",
			"an enrolld of another host has the same name, as after a copy of the machine; this one begins under a new one", NULL);
		name_make(p);
	}
	instance_owner(p, p->owner);
	turn_name(p, name);
	return release(p, err) && store_turn_seize(p->store, name, p->owner, now + ALIVE_SECONDS, err) &&
	       store_turns_forget(p->store, PREFIX, now - FORGET, err);
}

bool instance_keep(struct enroll_parts *p, bool *lost, struct err *err)
{
	char name[INSTANCE_NAME + sizeof PREFIX];
	bool mine;

	turn_name(p, name);
	if (!store_turn_take(p->store, name, p->owner, time(NULL), ALIVE_SECONDS, 0, &mine, err))
		return false;
	*lost = !mine;
	if (mine)
		return true;
	log_event(LOG_LEVEL_ERROR, "instance_twice", "instance", p->instance, "file", p->config->control.instance_file, "text",
		"another enrolld has the same name, as after a copy of the state directory; this one goes on under a new one", NULL);
	p->lost = true;
	name_make(p);
	return true;
}

void instance_end(struct enroll_parts *p)
{
	char name[INSTANCE_NAME + sizeof PREFIX];
	struct err err = ERR_INIT;

	if (!p->store || !p->owner[0] || p->lost)
		return;
	turn_name(p, name);
	/* It was here until now. */
	if ((!release(p, &err) || !store_turn_seize(p->store, name, p->owner, time(NULL), &err)) && !store_is_too_new(&err))
		log_error(LOG_LEVEL_WARNING, "store_failed", &err, NULL);
}

/* ---- the others ------------------------------------------------------------------------------------------------------------------ */

bool instance_has_others(struct enroll_parts *p)
{
	struct store_turn_list l = {0};
	char name[INSTANCE_NAME + sizeof PREFIX];
	bool any = !store_turn_list(p->store, PREFIX, &l, NULL);

	turn_name(p, name);
	for (size_t i = 0; i < l.n; i++)
		any = any || (strcmp(l.v[i].name, name) != 0 && l.v[i].until > time(NULL) - RECENT);
	store_turn_list_clear(&l);
	return any;
}

/* "NAME:host:pid:random" */
static json_t *json_of(const struct enroll_parts *p, const struct store_turn *t, time_t now)
{
	char name[INSTANCE_NAME] = "", host[256] = "";
	json_t *o = json_object();
	long pid = 0;

	sscanf(t->owner, "%39[^:]:%255[^:]:%ld", name, host, &pid);
	answer_set(o, "instance", json_string(t->name + strlen(PREFIX)));
	answer_set(o, "host", json_string(host));
	answer_set(o, "pid", json_integer(pid));
	answer_set(o, "running", json_boolean(t->until > now));
	answer_set(o, "seen_at", answer_time(t->until > now ? now : t->until));
	answer_set(o, "here", json_boolean(strcmp(t->owner, p->owner) == 0));
	return o;
}

static json_t *list(struct enroll_parts *p, struct err *err)
{
	struct store_turn_list l = {0};
	time_t now = time(NULL);
	json_t *a;

	if (!store_turn_list(p->store, PREFIX, &l, err))
		return NULL;
	a = json_array();
	for (size_t i = 0; i < l.n; i++)
		if (l.v[i].until > now - RECENT)
			json_array_append_new(a, json_of(p, &l.v[i], now));
	store_turn_list_clear(&l);
	return a;
}

bool instance_status(struct enroll_parts *p, json_t *o, struct err *err)
{
	char why[ACCOUNT_GATE_TEXT];
	json_t *a = list(p, err);

	if (!a)
		return false;
	answer_set(o, "enrollds", a);
	account_gate_why(p, why);
	answer_set(o, "account_key", why[0] ? json_string(why) : NULL);
	return true;
}
