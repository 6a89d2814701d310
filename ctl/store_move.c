/*
 * ctl/store_move.c - `store migrate`: the store copied whole to another place, which is the store from then on; back again; for good.
 *
 * Nothing here is about one kind of database (store/copy.c).  The services are stopped first: not that they could spoil a copy, but that they are started
 * with the configuration that names the new place.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store.h"

struct moving {
	struct ctl *c;
	bool bar; /* there is a terminal to show it on */
	int64_t told;
};

/* A file, or what libpq reads.  Borrows from both. */
static struct store_settings place_settings(const struct config *cfg, const char *place)
{
	struct store_settings s = cfg->store;
	char *at = (char *)(uintptr_t)place;

	s.type = (char *)(uintptr_t)(place[0] == '/' ? "sqlite" : "postgresql");
	*(place[0] == '/' ? &s.path : &s.connection) = at;
	return s;
}

static bool is_a_place(const char *place, struct err *err)
{
	if (place[0] != '/' && config_names_password(place))
		return err_set(err, ERR_CONFIG, "migrate store", "--to", "no password in a place, where others may read it: use passfile=FILE, or a client certificate");
	return place[0] == '/' || strstr(place, "://") || strchr(place, '=') ||
		err_set(err, ERR_CONFIG, "migrate store", place, "a place is a file by its full path, or how PostgreSQL is reached: 'postgresql://enroll_%%r@db.example.org/enroll'");
}

/* ---- there ----------------------------------------------------------------------------------------------------------------------- */

struct creating { const struct store_settings *s; };

static bool create_here(void *arg, struct err *err)
{
	return store_create(((const struct creating *)arg)->s, err);
}

/* A new file is the service user's; the tables of a database are those of the owner in it. */
static bool create(void *arg, const struct store_settings *s, struct err *err)
{
	const struct moving *m = arg;
	const struct users_config *u = &m->c->config->users;
	struct creating what = {s};

	return store_is_file(s) ? as_user(u->enrolld, u->group, create_here, &what, err) : store_create(s, err);
}

static void progress(void *arg, const char *what, int64_t done, int64_t of)
{
	struct moving *m = arg;

	if (!m->bar || mono_ms() < m->told + 100)
		return;
	m->told = mono_ms();
	ctl_progress(true, done, of, what);
}

static void print_steps(const struct ctl *c, json_t *r)
{
	const char *to = json_string_value(json_object_get(r, "to")), *from = json_string_value(json_object_get(r, "from"));
	bool file = to[0] == '/';

	printf("\nNow, in %s%s:\n\n  store = {\n    type = \"%s\";\n    %s = \"%s\";%s\n    ...\n  };\n\n", c->config_path, file ? "" : " of every gateway",
		file ? "sqlite" : "postgresql", file ? "path" : "connection", to, file ? "     # and no connection" : "");
	ctl_sentence("then start the services.  They refuse the old place, %s, from now on.", from);
	ctl_sentence("To go back: `enrollctl store migrate --undo`, as long as nothing has happened in the new place; later copy it back, with `enrollctl store "
		"migrate --to %s`.  When all is well: `enrollctl store migrate --confirm`.", file ? "PLACE" : "/NEW-FILE");
}

static void print_migrate(const struct ctl *c, json_t *r)
{
	long long rows = (long long)json_integer_value(json_object_get(r, "rows")), there = (long long)json_integer_value(json_object_get(r, "there"));

	if (json_is_true(json_object_get(r, "dry_run"))) {
		ctl_sentence("would copy %lld rows of %zu tables from %s to %s%s", rows, json_array_size(json_object_get(r, "tables")),
			json_string_value(json_object_get(r, "from")), json_string_value(json_object_get(r, "to")),
			json_is_true(json_object_get(r, "made")) ? ", where a store would be made first" : "");
		return;
	}
	ctl_sentence("%lld rows of %zu tables are in %s, compared value by value with %s (%.1f seconds)", rows, json_array_size(json_object_get(r, "tables")),
		json_string_value(json_object_get(r, "to")), json_string_value(json_object_get(r, "from")), json_real_value(json_object_get(r, "seconds")));
	if (json_is_true(json_object_get(r, "anew")))
		ctl_sentence("an earlier copy there was not what this store has, and was removed first");
	else if (there)
		ctl_sentence("%lld of them were there from a copy that was cut short", there);
	print_steps(c, r);
}

static json_t *answer(const struct ctl *c, const struct store_copy_job *job, const struct store_settings *to, int64_t ms)
{
	json_t *all = json_array();
	char from[400], there[400];

	store_place(&c->config->store, from, sizeof from);
	store_place(to, there, sizeof there);
	for (size_t i = 0; i < job->n; i++)
		json_array_append_new(all, json_pack("{s:s, s:I, s:s}", "table", job->tables[i].table, "rows", (json_int_t)job->tables[i].rows, "sha256", job->tables[i].digest));
	return json_pack("{s:b, s:s, s:s, s:I, s:I, s:b, s:b, s:f, s:o}", "dry_run", c->dry_run, "from", from, "to", there, "rows", (json_int_t)job->rows, "there",
		(json_int_t)job->there, "made", job->made, "anew", job->anew, "seconds", (double)ms / 1000, "tables", all);
}

static int migrate(struct ctl *c, const char *place)
{
	struct store_settings to = place_settings(c->config, place);
	struct moving m = {.c = c, .bar = !c->json && isatty(STDERR_FILENO)};
	struct store_copy_job job = {.dry_run = c->dry_run, .create = create, .progress = progress, .arg = &m};
	struct err err = ERR_INIT;
	int64_t began = mono_ms();
	bool ok = is_a_place(place, &err) && (c->dry_run || ctl_nobody_runs(c, "migrate store", &err));

	umask(0007);
	ok = ok && store_copy(&c->config->store, &to, &job, &err);
	ctl_progress(m.bar, 0, 0, NULL);
	return ok ? ctl_print(c, answer(c, &job, &to, mono_ms() - began), print_migrate) : ctl_fail(c, &err);
}

/* ---- and back ---------------------------------------------------------------------------------------------------------------------- */

/* The store that was moved away: the configuration names it still, or names the new one, which knows where it was before. */
static bool find_moved(const struct config *cfg, struct store_settings *old, struct store_moved *m, char origin[400], struct err *err)
{
	*old = cfg->store;
	if (!store_moved_look(old, m, err) || m->moved)
		return m->moved;
	snprintf(origin, 400, "%s", m->origin);
	*old = place_settings(cfg, origin);
	if (!origin[0])
		return err_set(err, ERR_CONFIG, "migrate store", store_where(&cfg->store), "this store was not moved, neither to here nor away");
	if (!store_moved_look(old, m, err))
		return false;
	return m->moved || err_set(err, ERR_CONFIG, "migrate store", origin, "this store, from which that of the configuration was copied, does not say that it was moved");
}

/* It can be asked, so it can be told: it is not gone. */
static bool answers(const struct store_settings *s)
{
	struct store_moved m;
	struct err err = ERR_INIT;

	return store_moved_look(s, &m, &err);
}

static int turn_back(struct ctl *c)
{
	struct store_settings old, now;
	bool told;
	struct store_moved m;
	struct err err = ERR_INIT;
	char place[400], origin[400];

	if (!find_moved(c->config, &old, &m, origin, &err) || !ctl_nobody_runs(c, "undo move", &err))
		return ctl_fail(c, &err);
	now = place_settings(c->config, c->to.n ? c->to.v[0] : m.place);
	/* A place that is gone does not hold anybody back who says so; one that is busy, or was moved on, does: there would be two stores. */
	told = store_move_undo(&old, &now, c->yes, &err);
	if (!told && (!c->yes || answers(&now) || !store_move_undo(&old, NULL, true, &err)))
		return ctl_fail(c, &err);
	store_place(&old, place, sizeof place);
	ctl_say(c, "%s is the store again; the configuration has to name it (store.type)", place);
	ctl_say(c, told ? "%s is none any more" : "%s could not be told that it is none any more: nobody may use it again", m.place);
	return ctl_done(c);
}

static int confirm(struct ctl *c)
{
	struct store_settings old;
	struct store_moved m;
	struct err err = ERR_INIT;
	char place[400], origin[400];

	if (!find_moved(c->config, &old, &m, origin, &err) || !store_move_confirm(&old, &err))
		return ctl_fail(c, &err);
	store_place(&old, place, sizeof place);
	ctl_say(c, "the move to %s is for good", m.place);
	ctl_say(c, store_is_file(&old) ? "%s is of no more use: put it where the backups of its time are, or delete it with its -wal and -shm"
				       : "the tables of %s are of no more use: drop their schema when no backup is needed", place);
	return ctl_done(c);
}

int ctl_store_migrate(struct ctl *c)
{
	if (c->undo + c->confirm > 1 || (c->confirm && c->to.n) || c->to.n > 1 || (!c->undo && !c->confirm && c->to.n == 0))
		return ctl_usage(c, "store migrate takes --to PLACE, --undo or --confirm");
	umask(0007);
	return c->undo ? turn_back(c) : c->confirm ? confirm(c) : migrate(c, c->to.v[0]);
}
