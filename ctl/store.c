/*
 * ctl/store.c - `store`: its sub-commands, and the upgrade of an older store to this version's schema.
 *
 * Nobody else does that but enrolld when it starts.  A command that would write into an older store says so instead, so that no look at something in
 * passing cuts off milters that cannot read what is new.  Here that is asked before: what the milters that run know is in their notes beside the store
 * (policy/config_running.c); an enrolld that runs on an older store is itself older, and would go on to write as it knows it.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store.h"

static const char *const instances[] = {"outbound", "inbound"};
#define INSTANCES (sizeof instances / sizeof *instances)

bool ctl_store_act(const struct config *cfg, bool (*act)(void *arg, struct err *err), void *arg, size_t size, struct err *err)
{
	const struct users_config *u = &cfg->users;
	unsigned uid, gid;

	umask(0007); /* the group owns the side files, too */
	if (geteuid() != 0 || !store_is_file(&cfg->store))
		return act(arg, err);
	return user_ids(u->enrolld, u->group, &uid, &gid, err) && act_as(uid, gid, act, arg, size, err);
}

/* What the child is asked, and what it answers. */
struct job {
	const struct config *config;
	bool upgrade;
	struct store_look look;
};

static bool work_here(void *arg, struct err *err)
{
	struct job *j = arg;
	const struct store_settings *s = &j->config->store;

	return (!j->upgrade || store_upgrade(s, err)) && store_look(s, false, &j->look, err);
}

static bool work(struct job *j, struct err *err)
{
	return ctl_store_act(j->config, work_here, j, sizeof *j, err);
}

/* ---- upgrade ----------------------------------------------------------------------------------------------------------------- */

/* A milter that runs and would be cut off. */
static bool milter_can_read(struct ctl *c, const char *instance, struct err *err)
{
	struct config_running r;
	int needs = store_schema_readable_by();

	if (!config_running_look(c->config, instance, &r, err))
		return false;
	return !r.runs || r.schema >= needs ||
		err_set(err, ERR_CONFIG, "upgrade store", store_where(&c->config->store),
			"schema %d is readable by milters that know schema %d; enroll-milter@%s, which runs as version %s, knows schemas up to %d and would be cut off: "
			"stop it, upgrade the store, and start it of this version",
			store_schema_version(), needs, instance, r.version, r.schema);
}

bool ctl_enrolld_runs(struct ctl *c)
{
	struct err unreached = ERR_INIT;
	bool reached;

	json_decref(ctl_try(c, "status", NULL, &reached, &unreached));
	return reached;
}

static bool nobody_is_cut_off(struct ctl *c, struct err *err)
{
	if (ctl_enrolld_runs(c))
		return err_set(err, ERR_CONFIG, "upgrade store", store_where(&c->config->store),
			store_is_file(&c->config->store) ? "enrolld of an older version runs: restart it, the new one upgrades the store when it starts; or stop it first"
							 : "enrolld of an older version runs: stop it, on every host, and start it when the store is upgraded");
	for (size_t i = 0; i < INSTANCES; i++)
		if (!milter_can_read(c, instances[i], err))
			return false;
	return true;
}

bool ctl_nobody_runs(struct ctl *c, const char *act, struct err *err)
{
	static const char stop[] = "stop the services first (systemctl stop enroll-milter.target enrolld), on every gateway that shares the store";
	struct config_running r;

	if (ctl_enrolld_runs(c))
		return err_set(err, ERR_CONFIG, act, "enrolld", "enrolld runs; %s", stop);
	for (size_t i = 0; i < INSTANCES; i++) {
		if (!config_running_look(c->config, instances[i], &r, err))
			return false;
		if (r.runs)
			return err_set(err, ERR_CONFIG, act, instances[i], "enroll-milter@%s runs; %s", instances[i], stop);
	}
	return true;
}

static void print_upgrade(const struct ctl *c, json_t *r)
{
	int from = (int)json_integer_value(json_object_get(r, "from")), to = (int)json_integer_value(json_object_get(r, "to"));
	const char *path = json_string_value(json_object_get(r, "path"));

	if (from == to) {
		ctl_sentence("%s has schema %d, this version's: %s", path, to,
			store_is_file(&c->config->store) || c->dry_run ? "nothing to do" : "what each role may do was granted anew, nothing else was to be done");
		return;
	}
	ctl_sentence("%s%s: from schema %d to %d", json_is_true(json_object_get(r, "dry_run")) ? "would upgrade " : "upgraded ", path, from, to);
	ctl_sentence("milters that know schema %lld or a newer one go on with it; restart them when it suits",
		(long long)json_integer_value(json_object_get(r, "readable_by")));
}

static bool upgrade_it(struct ctl *c, struct job *j, int *from, struct err *err)
{
	if (!work(j, err))
		return false;
	*from = j->look.schema;
	if (*from > store_schema_version())
		return err_set(err, ERR_CONFIG, "upgrade store", store_where(&c->config->store), "it has schema %d, this version knows schemas up to %d: install the newer version again",
			*from, store_schema_version());
	/* In a database a role may have been made since, and what is granted may be another version's. */
	if (*from == store_schema_version() && (store_is_file(&c->config->store) || c->dry_run))
		return true;
	j->upgrade = true;
	if (*from == store_schema_version())
		return work(j, err);
	return nobody_is_cut_off(c, err) && (c->dry_run || work(j, err));
}

static int upgrade(struct ctl *c)
{
	struct job j = {.config = c->config};
	struct err err = ERR_INIT;
	int from = 0;

	if (!upgrade_it(c, &j, &from, &err))
		return ctl_fail(c, &err);
	return ctl_print(c, json_pack("{s:s, s:i, s:i, s:i, s:b, s:b}", "path", store_where(&c->config->store), "from", from, "to", store_schema_version(), "readable_by",
		store_schema_readable_by(), "dry_run", c->dry_run, "upgraded", from != store_schema_version() && !c->dry_run), print_upgrade);
}

int ctl_store(struct ctl *c, int argc, char **argv)
{
	static const struct { const char *word; int (*run)(struct ctl *c); } subs[] = {
		{"check", ctl_store_check}, {"upgrade", upgrade}, {"migrate", ctl_store_migrate}, {"compact", ctl_store_compact}};

	for (size_t i = 0; argc == 1 && i < sizeof subs / sizeof *subs; i++)
		if (strcmp(argv[0], subs[i].word) == 0)
			return ctl_config(c) ? subs[i].run(c) : 1;
	return ctl_usage(c, "store takes check, upgrade, migrate or compact");
}
