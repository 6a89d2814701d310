/*
 * ctl/doctor_config.c - `doctor`: the configuration and who runs with it, users and groups, systemd.
 */
#include "config.h"

#include "ctl/doctor.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void doctor_enrolld(struct doctor *d)
{
	if (d->reached) {
		doctor_say(d, "ok", "answers on %s", d->config->control.socket);
		return;
	}
	doctor_say(d, "fault", "%s. %s", d->unreached.text,
		d->root ? "What it would answer is asked without it" : "What only it, or root, can answer is left out");
	doctor_fix_service(d, "start", "enrolld");
}

/* ---- the file -------------------------------------------------------------------------------------------------------------------- */

/* What checks of their own look at, and say with what mends it. */
static bool looked_at_elsewhere(const char *key)
{
	static const char *const keys[] = {"users.", "milter.socket-group", "control.", "submission.secret-file", "ca.account-key", "ca.eab.key-file",
		"master.key", "directory.password-file", "store.path", "milter.spool-directory", "milter.outbound-socket", "milter.inbound-socket"};

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (strncmp(key, keys[i], strlen(keys[i])) == 0)
			return true;
	return false;
}

/* A line "warning: key: text" of config_check; texts end in "; chmod MODE PATH" where that mends it. */
static bool say_line(struct doctor *d, char *line)
{
	char *key = strstr(line, ": "), *text = key ? strstr(key + 2, ": ") : NULL, *mend;

	if (!text || strncmp(line, "ok", 2) == 0)
		return false;
	*key = *text = '\0';
	if (looked_at_elsewhere(key + 2))
		return false;
	mend = strstr(text + 2, "; chmod ");
	doctor_say(d, strcmp(line, "error") == 0 ? "fault" : "warning", "%s: %s", key + 2, text + 2);
	if (mend)
		doctor_fix(d, "%s", mend + 2);
	return true;
}

void doctor_configuration(struct doctor *d)
{
	struct buf report = BUF_INIT;
	struct err err = ERR_INIT;
	char *rest = NULL;
	size_t said = 0;

	if (!d->config) {
		doctor_say(d, "fault", "%s. Nothing else was looked at", d->config_error.text);
		return;
	}
	if (!config_check(d->config, &report, &err) && report.failed)
		doctor_say(d, "fault", "%s", err.text);
	for (char *line = report.data ? strtok_r(report.data, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
		said += say_line(d, line);
	if (!said)
		doctor_say(d, "ok", "%s has no error", d->config->path);
	buf_clear(&report);
}

/* ---- who runs with it ---------------------------------------------------------------------------------------------------------------- */

static void enrolld_runs_with(struct doctor *d, size_t *said)
{
	struct buf now = BUF_INIT;
	struct err err = ERR_INIT;
	bool reached;
	json_t *r = d->reached ? ctl_try(d->ctl, "config", NULL, &reached, &err) : NULL;
	const char *text = json_string_value(json_object_get(r, "text"));

	if (r && text && config_show(d->config, false, &now, &err) && strcmp(text, buf_str(&now)) != 0) {
		(*said)++;
		doctor_say(d, "fault", "enrolld runs with another configuration than that of %s: a reload is due", d->config->path);
		doctor_fix_service(d, "reload", "enrolld");
	} else if (d->reached && !r) {
		(*said)++;
		doctor_say(d, "warning", "enrolld does not tell what it runs with: %s", err.text);
	}
	json_decref(r);
	buf_clear(&now);
}

static void enrolld_is_of(struct doctor *d, size_t *said)
{
	struct err err = ERR_INIT;
	bool reached;
	json_t *r = d->reached ? ctl_try(d->ctl, "status", NULL, &reached, &err) : NULL;
	const char *version = json_string_value(json_object_get(r, "version"));

	if (version && strcmp(version, PACKAGE_VERSION) != 0) {
		(*said)++;
		doctor_say(d, "warning", "enrolld still runs as version %s; version %s is installed: a restart is due", version, PACKAGE_VERSION);
		doctor_fix_service(d, "restart", "enrolld");
	}
	json_decref(r);
}

static void milter_runs_with(struct doctor *d, const char *instance, size_t *said)
{
	struct config_running r;
	struct err err = ERR_INIT;

	if (!config_running_look(d->config, instance, &r, &err)) {
		(*said)++;
		doctor_say(d, "warning", "%s", err.text);
	} else if (r.runs && (strcmp(r.version, PACKAGE_VERSION) != 0 || r.schema != store_schema_version())) {
		(*said)++;
		/* Cut off from the store, or soon: as soon as enrolld has upgraded it. */
		doctor_say(d, r.schema < store_schema_readable_by() ? "fault" : "warning",
			"enroll-milter@%s still runs as version %s (store schema %d); version %s (schema %d%s) is installed: a restart is due", instance, r.version,
			r.schema, PACKAGE_VERSION, store_schema_version(), r.schema < store_schema_readable_by() ? ", which the old one cannot read" : "");
		doctor_fix_service(d, "restart", instance);
	} else if (r.known && !r.same) {
		(*said)++;
		doctor_say(d, "fault", "enroll-milter@%s runs with another configuration than that of %s: a reload is due", instance, d->config->path);
		doctor_fix_service(d, "reload", instance);
	}
}

void doctor_running(struct doctor *d)
{
	size_t said = 0;

	enrolld_is_of(d, &said);
	if (!said) /* another version shows other keys */
		enrolld_runs_with(d, &said);
	if (d->root) { /* what the two noted is beside the store, which is closed to others */
		milter_runs_with(d, "outbound", &said);
		milter_runs_with(d, "inbound", &said);
	}
	if (!said && d->reached)
		doctor_say(d, "ok", "%s with what the file says", d->root ? "all run" : "enrolld runs");
}

/* ---- users and groups ------------------------------------------------------------------------------------------------------------------ */

static bool is_member(const char *user, const char *group)
{
	const struct group *g = getgrnam(group);
	const struct passwd *p = getpwnam(user);

	if (!g || !p)
		return false;
	if (p->pw_gid == g->gr_gid)
		return true;
	for (char **m = g->gr_mem; *m; m++)
		if (strcmp(*m, user) == 0)
			return true;
	return false;
}

static bool group_there(struct doctor *d, const char *group, bool ours)
{
	if (getgrnam(group))
		return true;
	doctor_say(d, "fault", "there is no group %s", group);
	if (ours)
		doctor_fix(d, "groupadd --system %s", group);
	return false;
}

static bool user_there(struct doctor *d, const char *user)
{
	const char *group = d->config->users.group;

	if (!getpwnam(user)) {
		doctor_say(d, "fault", "there is no user %s", user);
		doctor_fix(d, "useradd --system --no-create-home --shell /usr/sbin/nologin --groups %s %s", group, user);
		return false;
	}
	if (is_member(user, group))
		return true;
	doctor_say(d, "fault", "user %s is not in group %s, which the programs share the store by; after the fix restart it", user, group);
	doctor_fix(d, "usermod -a -G %s %s", group, user);
	return false;
}

/* Whoever is in that group can connect to every milter socket, and claim any login. */
static bool not_in_socket_group(struct doctor *d, const char *user)
{
	const char *group = d->config->milter.socket_group;

	if (!is_member(user, group) || strcmp(group, "root") == 0)
		return true;
	doctor_say(d, "warning", "user %s is in group %s: it can connect to the outbound socket, and have mail signed as anybody; after the fix restart it", user, group);
	doctor_fix(d, "gpasswd -d %s %s", user, group);
	return false;
}

void doctor_users(struct doctor *d)
{
	const struct config *c = d->config;
	const char *const users[] = {c->users.outbound, c->users.inbound, c->users.enrolld};
	bool good = group_there(d, c->users.group, true);

	good = group_there(d, c->milter.socket_group, false) && good;
	good = group_there(d, c->control.admin_group, true) && good;
	good = group_there(d, c->control.helpdesk_group, true) && good;
	for (size_t i = 0; i < 3; i++)
		good = user_there(d, users[i]) && good;
	good = not_in_socket_group(d, c->users.inbound) && good;
	good = not_in_socket_group(d, c->users.enrolld) && good;
	if (strcmp(c->users.outbound, c->users.inbound) == 0 || strcmp(c->users.outbound, c->users.enrolld) == 0) {
		doctor_say(d, "warning", "user %s of the outbound instance is another program's as well, which can then read the master key: give it one of its own",
			c->users.outbound);
		good = false;
	}
	if (good)
		doctor_say(d, "ok", "%s, %s and %s are there, in group %s", users[0], users[1], users[2], c->users.group);
}

/* ---- systemd ----------------------------------------------------------------------------------------------------------------------------- */

#define UNITS "enrolld enroll-milter@outbound enroll-milter@inbound"

static bool systemctl_says(const char *question, const char *unit)
{
	char command[256];
	int rc;

	snprintf(command, sizeof command, "PATH=/usr/bin:/bin; exec systemctl --quiet %s %s 2>/dev/null", question, unit);
	rc = system(command);
	return rc >= 0 && WIFEXITED(rc) && WEXITSTATUS(rc) == 0;
}

static bool in_credential_store(const char *name)
{
	static const char *const folders[] = {"/etc/credstore", "/etc/credstore.encrypted", "/run/credstore", "/run/credstore.encrypted"};
	char path[512];

	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		snprintf(path, sizeof path, "%s/%.200s", folders[i], name);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

/* A line "LoadCredential=name:/path" of a unit's, or "SetCredential=name:...", which has it in itself. */
static bool line_brings(char *line, const char *name)
{
	char *value = strchr(line, '='), *path = value ? strchr(value, ':') : NULL;

	if (!path || (size_t)(path - value - 1) != strlen(name) || strncmp(value + 1, name, strlen(name)) != 0)
		return false;
	path++;
	path[strcspn(path, "\n")] = '\0';
	return strncmp(line, "Set", 3) == 0 || (*path == '/' && access(path, F_OK) == 0);
}

static bool in_a_unit(const char *name)
{
	FILE *answer = popen("PATH=/usr/bin:/bin; exec systemctl show -p LoadCredential -p LoadCredentialEncrypted -p SetCredential -p SetCredentialEncrypted " UNITS
		" 2>/dev/null", "re");
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	while (answer && getline(&line, &size, answer) > 0)
		found = line_brings(line, name) || found;
	free(line);
	if (answer)
		pclose(answer);
	return found;
}

/* `typed`: what a person types, a password; keys are files. */
static size_t credential_there(struct doctor *d, const char *where, bool typed)
{
	const char *name = where ? where + 11 : "";

	if (!doctor_is_credential(where) || !d->root || in_credential_store(name) || in_a_unit(name))
		return 0;
	doctor_say(d, "warning", "%s is in no credential store of systemd's, and no unit of ours brings it along: whoever needs it does not start%s%s%s%s", where,
		typed ? "" : ". It is a key: put the file that has it there by systemd-creds encrypt --name=", typed ? "" : name,
		typed ? "" : " FILE /etc/credstore.encrypted/", typed ? "" : name);
	if (typed) {
		doctor_fix(d, "install -d -m 700 /etc/credstore.encrypted");
		doctor_fix(d, "systemd-ask-password -n | systemd-creds encrypt --name=%s - /etc/credstore.encrypted/%s", name, name);
	}
	return 1;
}

static size_t credentials_there(struct doctor *d)
{
	const struct config *c = d->config;
	size_t said = credential_there(d, c->master_key, false) + credential_there(d, c->directory.password_file, true);

	for (size_t i = 0; i < config_cas(c); i++)
		said += credential_there(d, config_ca_at(c, i)->account_key, false) + credential_there(d, config_ca_at(c, i)->eab_key_file, false);
	for (size_t i = 0; i < c->n_submissions; i++)
		said += credential_there(d, c->submissions[i].secret_file, true);
	return said;
}

void doctor_systemd(struct doctor *d)
{
	static const char *const units[] = {"enrolld", "enroll-milter@outbound", "enroll-milter@inbound"};
	size_t said = 0;

	if (!doctor_has_systemd()) {
		doctor_say(d, "ok", "systemd does not run here: nothing to look at");
		return;
	}
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (systemctl_says("is-enabled", units[i]))
			continue;
		said++;
		doctor_say(d, "warning", "%s is not enabled: it will not be there after the next start of this host", units[i]);
		doctor_fix(d, "systemctl enable %s", units[i]);
	}
	said += credentials_there(d);
	if (!said)
		doctor_say(d, "ok", "the units are enabled, credentials are where systemd looks for them");
}
