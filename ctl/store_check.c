/*
 * ctl/store_check.c - `store check`: is it sound, whole, and of which schema; `store compact`: history that policy does not keep, and the room it took.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store.h"

#define PIECE 1000
#define DAY 86400

/* ---- check: what is found ------------------------------------------------------------------------------------------------------ */

struct job {
	const struct config *config;
	struct store_look look;
	struct store_sound sound;
	bool looked, keys_read;
};

/* The master certificate, and the next one during a rotation: user keys are for one of them. */
struct masters { X509 *v[2]; size_t n; };

static void load_master(struct masters *m, const char *where)
{
	X509 *x = access(where, R_OK) == 0 ? keyvault_master_certificate(where, NULL) : NULL;

	if (x)
		m->v[m->n++] = x;
}

static void load_masters(struct masters *m, const struct config *cfg)
{
	char *next = NULL;

	load_master(m, cfg->master_certificate);
	if (m->n && asprintf(&next, "%s%s", cfg->master_certificate, KEYRING_NEXT) >= 0) {
		load_master(m, next);
		free(next);
	}
}

static bool is_ours(const struct masters *m, const struct store_wrapped *k)
{
	for (size_t i = 0; i < m->n; i++)
		if (keyvault_is_for(k->data, k->len, m->v[i]))
			return true;
	return false;
}

static void note_key(struct store_sound *sound, const struct store_wrapped *k)
{
	char id[40];

	snprintf(id, sizeof id, "key %lld", (long long)k->id);
	store_finding_add(sound, "key-of-another-master", "user keys are wrapped for a master key that is not the configuration's",
		"put the master key of the time of this store back (master.certificate, master.key), or go on with `enrollctl masterkey rotate`", id);
}

static bool look_at_keys(struct store *store, struct job *j, struct err *err)
{
	struct masters m = {.n = 0};
	struct store_wrapped_list l = {0};
	int64_t after = 0;
	bool ok = true;

	load_masters(&m, j->config);
	j->keys_read = m.n > 0;
	do {
		store_wrapped_list_clear(&l);
		ok = m.n == 0 || store_keys_wrapped(store, after, PIECE, &l, err);
		for (size_t i = 0; ok && i < l.n; i++)
			if (!is_ours(&m, &l.v[i]))
				note_key(&j->sound, &l.v[i]);
		after = l.n ? l.v[l.n - 1].id : 0;
	} while (ok && l.n);
	store_wrapped_list_clear(&l);
	while (m.n)
		X509_free(m.v[--m.n]);
	return ok;
}

/* What is of another schema is looked at by a program of that schema. */
static bool check_here(void *arg, struct err *err)
{
	struct job *j = arg;
	struct store *store;
	bool ok;

	if (!store_look(&j->config->store, true, &j->look, err))
		return false;
	if (j->look.schema != store_schema_version())
		return true;
	store = store_open(&j->config->store, STORE_ROLE_ADMIN, err);
	ok = store && store_sound(store, &j->sound, err) && look_at_keys(store, j, err);
	j->looked = ok;
	store_close(store);
	return ok;
}

/* ---- check: what is told --------------------------------------------------------------------------------------------------------- */

static const char *standing(int schema, int readable_by)
{
	if (schema < store_schema_version())
		return "older than this version's: `enrollctl store upgrade`, or start enrolld of this version";
	if (schema == store_schema_version())
		return "this version's";
	return readable_by <= store_schema_version() ? "newer than this version's: milters of this version go on, the others need the newer one"
						     : "newer than this version's, which cannot work with it: install the newer one";
}

static json_t *findings_json(const struct store_sound *s)
{
	json_t *all = json_array();

	for (size_t i = 0; i < s->n; i++)
		json_array_append_new(all, json_pack("{s:s, s:I, s:s, s:s, s:s}", "name", s->v[i].name, "count", (json_int_t)s->v[i].n, "text", s->v[i].text,
			"examples", s->v[i].examples, "advice", s->v[i].advice));
	return all;
}

static json_t *rows_json(const struct store_sound *s)
{
	json_t *rows = json_object();

	for (size_t i = 0; i < s->n_tables; i++)
		json_object_set_new(rows, s->tables[i].table, json_integer(s->tables[i].rows));
	return rows;
}

static void print_check(const struct ctl *c, json_t *r)
{
	json_t *rows = json_object_get(r, "rows"), *value, *f;
	const char *table;
	size_t i;

	ctl_line(r, "path", "store");
	ctl_line(r, "integrity", "integrity");
	ctl_line(r, "schema", "schema");
	ctl_line(r, "known", "known here");
	ctl_line(r, "readable_by", "readable by");
	ctl_line(r, "upgraded_at", "since");
	ctl_line(r, "upgraded_by", "made by");
	ctl_line(r, "standing", "that is");
	ctl_line(r, "octets", "octets");
	json_object_foreach(rows, table, value)
		if (json_integer_value(value))
			printf("  %-22s %12lld rows\n", table, (long long)json_integer_value(value));
	ctl_line(r, "consistency", "consistency");
	json_array_foreach(json_object_get(r, "findings"), i, f)
		ctl_sentence("%s: %lld %s: %s%s. What to do: %s", json_string_value(json_object_get(f, "name")), (long long)json_integer_value(json_object_get(f, "count")),
			json_string_value(json_object_get(f, "text")), json_string_value(json_object_get(f, "examples")),
			json_integer_value(json_object_get(f, "count")) > STORE_EXAMPLES ? " ..." : "", json_string_value(json_object_get(f, "advice")));
}

static json_t *check_answer(const struct config *cfg, const struct job *j)
{
	char at[32];
	json_t *r = json_pack("{s:s, s:s, s:i, s:i, s:i, s:s, s:s, s:s}", "path", store_where(&cfg->store), "integrity", "ok", "schema", j->look.schema, "known",
		store_schema_version(), "readable_by", j->look.readable_by, "upgraded_at", time_text(j->look.upgraded_at, at), "upgraded_by", j->look.upgraded_by,
		"standing", standing(j->look.schema, j->look.readable_by));

	if (!r || !j->looked)
		return r;
	json_object_set_new(r, "octets", json_integer(j->sound.octets));
	json_object_set_new(r, "rows", rows_json(&j->sound));
	json_object_set_new(r, "consistency", json_string(j->sound.n ? "what follows does not fit together" :
		j->keys_read ? "ok" : "ok; no master certificate was there to hold the keys against"));
	json_object_set_new(r, "findings", findings_json(&j->sound));
	return r;
}

int ctl_store_check(struct ctl *c)
{
	struct job *j = calloc(1, sizeof *j);
	struct err err = ERR_INIT;
	int rc;

	if (!j)
		return 1;
	j->config = c->config;
	if (!ctl_store_act(c->config, check_here, j, sizeof *j, &err))
		rc = ctl_fail(c, &err);
	else if ((rc = ctl_print(c, check_answer(c->config, j), print_check)) == 0)
		rc = j->sound.n ? 1 : 0;
	free(j);
	return rc;
}

/* ---- compact ------------------------------------------------------------------------------------------------------------------- */

struct compacting {
	const struct config *config;
	bool dry_run;
	int64_t counts[STORE_OLD_KINDS], before, after;
};

static bool remove_old(struct store *store, struct compacting *k, struct err *err)
{
	unsigned days = store_retention_days(&k->config->store);
	time_t before = time(NULL) - (time_t)days * DAY;
	bool ok = true, more = days > 0;

	if (k->dry_run)
		return days == 0 || store_old_count(store, before, k->counts, err);
	while (ok && more)
		ok = store_old_remove(store, before, PIECE, k->counts, &more, err);
	return ok;
}

static bool compact_here(void *arg, struct err *err)
{
	struct compacting *k = arg;
	struct store *store = store_open(&k->config->store, STORE_ROLE_ADMIN, err);
	bool ok = store && store_size(store, &k->before, err) && remove_old(store, k, err);

	store_close(store);
	if (!ok || k->dry_run)
		return ok;
	ok = store_compact(&k->config->store, err) && (store = store_open(&k->config->store, STORE_ROLE_ADMIN, err)) != NULL;
	if (!ok)
		return false;
	ok = store_size(store, &k->after, err);
	store_close(store);
	return ok;
}

static void print_compact(const struct ctl *c, json_t *r)
{
	json_t *rows = json_object_get(r, "removed"), *value;
	const char *table;
	bool dry = json_is_true(json_object_get(r, "dry_run"));
	long long days = (long long)json_integer_value(json_object_get(r, "retention_days"));

	if (days == 0)
		ctl_sentence("store.retention-days is 0: all history is kept");
	json_object_foreach(rows, table, value)
		if (json_integer_value(value))
			ctl_sentence("%s %lld rows of %s that are older than %lld days", dry ? "would remove" : "removed", (long long)json_integer_value(value), table, days);
	if (!dry)
		ctl_sentence("the store took %lld octets and takes %lld now", (long long)json_integer_value(json_object_get(r, "before")),
			(long long)json_integer_value(json_object_get(r, "after")));
	else if (store_is_file(&c->config->store))
		ctl_sentence("then the file of %lld octets is written anew: as much room is needed beside it, and whoever writes into the store waits meanwhile, so do it "
			"when there is little mail", (long long)json_integer_value(json_object_get(r, "before")));
	else
		ctl_sentence("then the tables of %lld octets are vacuumed, beside everybody who works with them; autovacuum does the same by itself",
			(long long)json_integer_value(json_object_get(r, "before")));
}

int ctl_store_compact(struct ctl *c)
{
	struct compacting k = {.config = c->config, .dry_run = c->dry_run};
	struct err err = ERR_INIT;
	json_t *removed;

	if (!ctl_store_act(c->config, compact_here, &k, sizeof k, &err))
		return ctl_fail(c, &err);
	removed = json_object();
	for (int i = 0; i < STORE_OLD_KINDS; i++)
		json_object_set_new(removed, store_old_name((enum store_old)i), json_integer(k.counts[i]));
	return ctl_print(c, json_pack("{s:b, s:I, s:o, s:I, s:I}", "dry_run", c->dry_run, "retention_days", (json_int_t)store_retention_days(&c->config->store), "removed",
		removed, "before", (json_int_t)k.before, "after", (json_int_t)k.after), print_compact);
}
