/*
 * policy/config_check.c - `enrollctl config check`: the world around a configuration that loads.  Files, folders, users, groups, and
 * settings that are allowed but worth a word.
 *
 * It may run as root or as any of the service users, so secrets are judged by owner and mode and never opened.  What cannot be looked
 * at is a warning that says so.  In observe mode nothing of the CA and the master key is used yet: what is missing there is a warning.
 */
#include "config.h"

#include "policy/config_table.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ID_UNKNOWN = -1 };

struct check {
	const struct config *config;
	struct buf *report;
	size_t errors;
	bool later; /* observe mode: missing things are not needed yet */
	long uid_outbound, uid_inbound, uid_enrolld, gid_group, gid_socket;
};

enum line { LINE_OK, LINE_WARNING, LINE_ERROR };

static void say(struct check *k, enum line line, const char *key, const char *fmt, ...) BASE_PRINTF(4, 5);

static void say(struct check *k, enum line line, const char *key, const char *fmt, ...)
{
	static const char *const words[] = {"ok", "warning", "error"};
	char text[900];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	k->errors += line == LINE_ERROR;
	buf_printf(k->report, "%s: %s: %s\n", words[line], key, text);
}

/* ---- users and groups -------------------------------------------------------------------------------------------- */

static long user_id(const char *name)
{
	char text[4096];
	struct passwd pw, *found = NULL;

	return getpwnam_r(name, &pw, text, sizeof(text), &found) == 0 && found ? (long)pw.pw_uid : ID_UNKNOWN;
}

static long group_id(const char *name)
{
	unsigned gid;

	return group_find(name, &gid) ? (long)gid : ID_UNKNOWN;
}

static const char *user_name(uid_t uid, char out[64])
{
	char text[4096];
	struct passwd pw, *found = NULL;

	if (getpwuid_r(uid, &pw, text, sizeof(text), &found) == 0 && found)
		snprintf(out, 64, "%s", pw.pw_name);
	else
		snprintf(out, 64, "uid %u", (unsigned)uid);
	return out;
}

static long check_user(struct check *k, const char *key, const char *name)
{
	long uid = user_id(name);

	if (uid == ID_UNKNOWN)
		say(k, LINE_ERROR, key, "there is no user \"%s\"; systemd-sysusers makes it from the file that comes with the package",
			name);
	else
		say(k, LINE_OK, key, "user %s", name);
	return uid;
}

static long check_group(struct check *k, const char *key, const char *name, enum line if_missing)
{
	long gid = group_id(name);

	if (gid == ID_UNKNOWN)
		say(k, if_missing, key, "there is no group \"%s\"", name);
	else
		say(k, LINE_OK, key, "group %s", name);
	return gid;
}

static void check_users(struct check *k)
{
	const struct config *c = k->config;

	k->uid_outbound = check_user(k, "users.outbound", c->users.outbound);
	k->uid_inbound = check_user(k, "users.inbound", c->users.inbound);
	k->uid_enrolld = check_user(k, "users.enrolld", c->users.enrolld);
	k->gid_group = check_group(k, "users.group", c->users.group, LINE_ERROR);
	k->gid_socket = check_group(k, "milter.socket-group", c->milter.socket_group, LINE_ERROR);
	check_group(k, "control.admin-group", c->control.admin_group, LINE_WARNING);
	check_group(k, "control.helpdesk-group", c->control.helpdesk_group, LINE_WARNING);
	if (k->uid_outbound != ID_UNKNOWN && (k->uid_outbound == k->uid_inbound || k->uid_outbound == k->uid_enrolld))
		say(k, LINE_WARNING, "users.outbound",
			"the outbound instance shares its user with another program, which can then read the master "
			"key; give it a user of its own");
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static bool is_credential(const char *place)
{
	return strncmp(place, "credential:", strlen("credential:")) == 0;
}

/* stat with a line of the report when that fails; `missing` is how bad it is. */
static bool look(struct check *k, const char *key, const char *path, enum line missing, const char *help, struct stat *st)
{
	if (stat(path, st) == 0)
		return true;
	if (errno == EACCES)
		say(k, LINE_WARNING, key, "%s: no permission to look at it; check again as root", path);
	else
		say(k, missing, key, "%s: %s%s%s", path, strerror(errno), *help ? "; " : "", help);
	return false;
}

/* A secret of one user: 0600, belonging to that user or root.  A file of root's only serves a program started by root or by a
 * systemd credential, so the user who has to read it is named. */
static void check_secret(
	struct check *k, const char *key, const char *place, const char *user, long uid, enum line missing, const char *help)
{
	char name[64];
	struct stat st;

	if (!place)
		return;
	if (is_credential(place)) {
		say(k, LINE_OK, key, "%s is handed over by systemd (LoadCredential=)", place);
		return;
	}
	if (!look(k, key, place, missing, help, &st))
		return;
	if (!S_ISREG(st.st_mode))
		say(k, LINE_ERROR, key, "%s: not a file", place);
	else if (st.st_mode & 077)
		say(k, LINE_ERROR, key, "%s: mode %04o lets others read it; chmod 0600 %s", place, (unsigned)(st.st_mode & 07777), place);
	else if (uid != ID_UNKNOWN && st.st_uid != (uid_t)uid)
		say(k, LINE_ERROR, key, "%s: must belong to user %s, belongs to %s; chown %s %s, or hand it over as a systemd credential",
			place, user, user_name(st.st_uid, name), user, place);
	else
		say(k, LINE_OK, key, "%s (mode %04o, user %s)", place, (unsigned)(st.st_mode & 07777), user_name(st.st_uid, name));
}

static X509 *next_certificate(BIO *bio, bool *broken)
{
	X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	unsigned long e = ERR_peek_last_error();

	*broken = !x && ERR_GET_REASON(e) != PEM_R_NO_START_LINE;
	ERR_clear_error();
	return x;
}

/* PEM certificates: at least one, each readable; expired ones and non-CAs are worth a warning where roots are meant. */
static void check_certificates(struct check *k, const char *key, const char *path, enum line missing, bool roots, const char *help)
{
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	struct stat st;
	size_t n = 0;
	bool broken = false;
	BIO *bio = NULL;
	X509 *x;

	if (!path || is_credential(path) || !look(k, key, path, missing, help, &st))
		return;
	if (!file_read(&text, path, 16 * 1024 * 1024, &err)) {
		say(k, LINE_ERROR, key, "%s", err.text);
		goto out;
	}
	if (st.st_mode & 022)
		say(k, LINE_ERROR, key, "%s: others than its owner may change it (mode %04o); chmod 0644 %s", path,
			(unsigned)(st.st_mode & 07777), path);
	bio = BIO_new_mem_buf(buf_str(&text), (int)text.len);
	while (bio && (x = next_certificate(bio, &broken))) {
		n++;
		if (X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
			say(k, LINE_WARNING, key, "%s: certificate %zu has expired", path, n);
		if (roots && X509_check_ca(x) == 0)
			say(k, LINE_WARNING, key, "%s: certificate %zu is no CA certificate", path, n);
		X509_free(x);
	}
	if (broken || n == 0)
		say(k, LINE_ERROR, key, "%s: %s", path,
			broken ? "damaged: not all of it can be read as PEM certificates" : "no PEM certificate in it");
	else
		say(k, LINE_OK, key, "%s (%zu certificate%s)", path, n, n == 1 ? "" : "s");
out:
	BIO_free(bio);
	buf_clear(&text);
}

static void check_readable(struct check *k, const char *key, const char *path, enum line missing)
{
	struct stat st;

	if (!path || !look(k, key, path, missing, "", &st))
		return;
	if (!S_ISREG(st.st_mode))
		say(k, LINE_ERROR, key, "%s: not a file", path);
	else if (st.st_mode & 022)
		say(k, LINE_ERROR, key, "%s: others than its owner may change it (mode %04o); chmod 0640 %s", path,
			(unsigned)(st.st_mode & 07777), path);
	else
		say(k, LINE_OK, key, "%s", path);
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

static bool check_directory(struct check *k, const char *key, const char *path, enum line missing, const char *help, struct stat *st)
{
	if (!look(k, key, path, missing, help, st))
		return false;
	if (!S_ISDIR(st->st_mode)) {
		say(k, LINE_ERROR, key, "%s: not a folder", path);
		return false;
	}
	if ((st->st_mode & 002) && !(st->st_mode & S_ISVTX)) {
		say(k, LINE_ERROR, key, "%s: everybody may change it (mode %04o); chmod o-w %s", path, (unsigned)(st->st_mode & 07777),
			path);
		return false;
	}
	return true;
}

/* Both instances spool there, as two users of one group; the files have no name, so nobody can open another's. */
static void check_spool(struct check *k)
{
	const char *path = k->config->milter.spool_directory;
	struct stat st;

	if (!check_directory(k, "milter.spool-directory", path, LINE_ERROR, "systemd-tmpfiles or `enrollctl init` makes it", &st))
		return;
	if (st.st_mode & 0007)
		say(k, LINE_ERROR, "milter.spool-directory", "%s: mode %04o, mail rests in it; chmod 1770 %s", path, (unsigned)(st.st_mode & 07777), path);
	else if ((st.st_mode & 0070) && !(st.st_mode & S_ISVTX))
		say(k, LINE_WARNING, "milter.spool-directory", "%s: mode %04o without the sticky bit; chmod 1770 %s", path, (unsigned)(st.st_mode & 07777),
			path);
	else if (k->gid_group != ID_UNKNOWN && st.st_gid != (gid_t)k->gid_group)
		say(k, LINE_ERROR, "milter.spool-directory", "%s: must belong to group %s, which both instances are in", path, k->config->users.group);
	else
		say(k, LINE_OK, "milter.spool-directory", "%s", path);
}

/* The folder a file or socket will be made in. */
static void check_parent(struct check *k, const char *key, const char *path, enum line missing, const char *help, long gid)
{
	const char *slash = strrchr(path, '/');
	struct buf dir = BUF_INIT;
	struct stat st;

	if (!slash)
		return;
	buf_append(&dir, path, slash == path ? 1 : (size_t)(slash - path));
	if (check_directory(k, key, buf_str(&dir), missing, help, &st)) {
		if (gid != ID_UNKNOWN && st.st_gid != (gid_t)gid && !(st.st_mode & 001))
			say(k, LINE_WARNING, key, "%s belongs to another group than the one that has to reach it", buf_str(&dir));
		else
			say(k, LINE_OK, key, "%s", buf_str(&dir));
	}
	buf_clear(&dir);
}

static void check_sockets(struct check *k)
{
	const struct config *c = k->config;
	const char *sockets[] = {c->milter.outbound_socket, c->milter.inbound_socket};
	static const char *const keys[] = {"milter.outbound-socket", "milter.inbound-socket"};
	bool tcp = false;

	for (size_t i = 0; i < 2; i++) {
		if (strncmp(sockets[i], "unix:", 5) == 0) {
			check_parent(k, keys[i], sockets[i] + 5, LINE_ERROR, "systemd-tmpfiles makes it", k->gid_socket);
			continue;
		}
		tcp = true;
		say(k, LINE_WARNING, keys[i], "%s: TCP is as good as every user's login to whoever can reach it; prefer a Unix socket",
			sockets[i]);
	}
	if (!tcp && c->milter.n_tcp_peers > 0)
		say(k, LINE_WARNING, "milter.tcp-peers", "no socket is an inet socket, so nothing uses it");
	check_parent(k, "control.socket", c->control.socket, LINE_WARNING, "systemd makes it when enrolld starts", ID_UNKNOWN);
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

static void check_submissions(struct check *k)
{
	const struct config *c = k->config;

	for (size_t i = 0; i < c->n_submissions; i++) {
		const struct submission *s = &c->submissions[i];

		check_readable(k, "submission.map-file", s->map_file, LINE_ERROR);
		check_secret(k, "submission.secret-file", s->secret_file, c->users.outbound, k->uid_outbound, LINE_ERROR, "");
		if (s->daemons.n == 0 && s->n_networks == 0)
			say(k, LINE_WARNING, "submission.daemons",
				"entry \"%s\" takes every listener and every client that logs in; name daemons or networks", s->name);
	}
}

static void join(const struct strlist *l, struct buf *out)
{
	for (size_t i = 0; i < l->n; i++)
		buf_printf(out, "%s%s", i ? ", " : "", l->v[i]);
}

/* What comes from the preset, and where it has no say: who copies the full example and names a preset has overruled all of it. */
static void check_preset(struct check *k, const struct ca_config *ca)
{
	struct buf keys = BUF_INIT, overruled = BUF_INIT;

	if (!ca->preset_file)
		return;
	check_readable(k, "ca.preset", ca->preset_file, LINE_ERROR);
	join(&ca->preset_keys, &keys);
	join(&ca->preset_overruled, &overruled);
	if (keys.len)
		say(k, LINE_OK, "ca.preset", "\"%s\" sets %s", ca->preset, buf_str(&keys));
	if (overruled.len)
		say(k, keys.len ? LINE_OK : LINE_WARNING, "ca.preset", "\"%s\" has %s too, but the configuration says it itself%s", ca->preset,
			buf_str(&overruled), keys.len ? "" : ": the preset does nothing; take these keys out to have its values");
	buf_clear(&keys);
	buf_clear(&overruled);
}

/* enrolld looks at owner and mode before each run; here is said what can be seen by whoever asks. */
static void check_exec_program(struct check *k, const char *path, enum line missing)
{
	struct stat st;

	if (!path)
		return;
	if (stat(path, &st) != 0)
		say(k, missing, "ca.exec.program", "%s cannot be looked at: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		say(k, missing, "ca.exec.program", "%s is no executable file", path);
	else if (st.st_mode & 022)
		say(k, missing, "ca.exec.program", "%s can be written by others than its owner: chmod go-w", path);
}

static void check_ca(struct check *k, const struct ca_config *ca)
{
	const struct config *c = k->config;
	enum line missing = k->later ? LINE_WARNING : LINE_ERROR;

	check_preset(k, ca);
	check_certificates(k, "ca.ca-file", ca->ca_file, missing, true, "");
	check_certificates(k, "ca.anchor-file", ca->anchor_file, missing, true, "");
	check_certificates(k, "ca.intermediate-file", ca->intermediate_file, missing, true, "");
	check_exec_program(k, ca->exec.program, missing);
	if (ca->directory_url)
		check_secret(
			k, "ca.account-key", ca->account_key, c->users.enrolld, k->uid_enrolld, missing, "`enrollctl init` makes it");
	check_secret(k, "ca.eab.key-file", ca->eab_key_file, c->users.enrolld, k->uid_enrolld, missing, "");
	if (!k->later && !ca->accept_terms && ca->driver == CA_DRIVER_ACME)
		say(k, LINE_WARNING, "ca.accept-terms", "false: CA \"%s\" will refuse the account if it has terms of service", ca->name);
	if (ca->authentication == CHALLENGE_NONE_FROM_NETWORK)
		say(k, LINE_WARNING, "ca.challenge-authentication",
			"challenges from challenge-networks are believed without proof; only for a CA inside "
			"the organization");
	if (ca->caa != CAA_ENFORCE)
		say(k, LINE_WARNING, "ca.caa", "CAA records that forbid CA \"%s\" will not stop an order", ca->name);
}

static void check_master(struct check *k)
{
	const struct config *c = k->config;
	enum line missing = k->later ? LINE_WARNING : LINE_ERROR;

	if (c->decryption && strcmp(c->decryption, "exported-keys") == 0 && c->export == EXPORT_NONE)
		say(k, LINE_WARNING, "export", "\"none\", and decryption = \"exported-keys\": until it is \"keys\" nobody can read mail that is encrypted "
			"to these certificates");

	check_certificates(k, "master.certificate", c->master_certificate, missing, false, "`enrollctl init` makes it");
	check_secret(k, "master.key", c->master_key, c->users.outbound, k->uid_outbound, missing, "`enrollctl init` makes it");
}

/* The inbound instance reads it itself, as its own user. */
static void check_challenge_anchors(struct check *k, const struct ca_config *ca)
{
	static const char key[] = "ca.challenge-anchor-file";
	const struct config *c = k->config;
	const char *path = ca->challenge_anchor_file;
	enum line missing = k->later ? LINE_WARNING : LINE_ERROR;
	struct stat st;

	if (!path)
		return;
	check_certificates(k, key, path, missing, true, "");
	if (stat(path, &st) == 0 && k->uid_inbound != ID_UNKNOWN && !(st.st_mode & 004) &&
		!(st.st_uid == (uid_t)k->uid_inbound && (st.st_mode & 0400)) &&
		!(k->gid_group != ID_UNKNOWN && st.st_gid == (gid_t)k->gid_group && (st.st_mode & 040)))
		say(k, missing, key, "%s: user %s, which checks the challenges, cannot read it (mode %04o); chmod 0644 %s", path,
			c->users.inbound, (unsigned)(st.st_mode & 07777), path);
	if (ca->authentication != CHALLENGE_DKIM_OR_SMIME)
		say(k, LINE_WARNING, key, "nothing uses it: ca.challenge-authentication is not \"dkim-or-smime\"");
}

/* The outbound instance asks who owns an address, enrolld publishes: both have to read the password, and nobody else.  So it is root's
 * and readable by the group of the two, or a credential.  The group is the inbound instance's too, hence the warning. */
static void check_directory_password(struct check *k)
{
	static const char key[] = "directory.password-file";
	const struct config *c = k->config;
	const char *place = c->directory.password_file, *group = c->users.group;
	struct stat st;
	bool shared, alone;

	if (!place || strcmp(c->directory.bind, "simple") != 0)
		return;
	if (is_credential(place)) {
		check_secret(k, key, place, "", ID_UNKNOWN, LINE_ERROR, "");
		return;
	}
	if (!look(k, key, place, LINE_ERROR, "", &st))
		return;
	shared = st.st_uid == 0 && (long)st.st_gid == k->gid_group && (st.st_mode & 077) == 040;
	alone = k->uid_outbound == k->uid_enrolld && (long)st.st_uid == k->uid_outbound && !(st.st_mode & 077);
	if (!S_ISREG(st.st_mode))
		say(k, LINE_ERROR, key, "%s: not a file", place);
	else if (shared)
		say(k, LINE_WARNING, key,
			"%s: %s, which reads strangers' mail, is in group %s and can read it as well; a systemd credential keeps it to "
			"those who need it",
			place, c->users.inbound, group);
	else if (alone)
		say(k, LINE_OK, key, "%s (mode %04o)", place, (unsigned)(st.st_mode & 07777));
	else
		say(k, LINE_ERROR, key,
			"%s: %s and %s have to read it and nobody else: chown root:%s %s; chmod 0640 %s; or hand it over as a systemd "
			"credential",
			place, c->users.outbound, c->users.enrolld, group, place, place);
}

static void check_directory_room(struct check *k)
{
	const struct config *c = k->config;

	if (c->directory.urls.n == 0)
		return;
	check_certificates(k, "directory.ca-file", c->directory.ca_file, LINE_ERROR, true, "");
	check_directory_password(k);
	if (c->directory.allow_cleartext && !c->directory.starttls)
		say(k, LINE_WARNING, "directory.allow-cleartext",
			"who owns which address is asked without TLS: whoever can change these answers can have "
			"mail signed as anybody");
}

bool config_check(const struct config *c, struct buf *report, struct err *err)
{
	struct check k = {.config = c, .report = report, .later = c->mode == MODE_OBSERVE};

	check_users(&k);
	check_submissions(&k);
	for (size_t i = 0; i < config_cas(c); i++) {
		check_ca(&k, config_ca_at(c, i));
		check_challenge_anchors(&k, config_ca_at(c, i));
	}
	check_master(&k);
	check_directory_room(&k);
	check_readable(&k, "dns.trust-anchor-file", c->dns.trust_anchor_file, LINE_ERROR);
	check_parent(&k, "store.path", c->store.path, LINE_ERROR, store_is_file(&c->store) ? "`enrollctl init` makes the store" : "`enrollctl init` makes it", k.gid_group);
	check_spool(&k);
	check_sockets(&k);
	if (report->failed)
		return err_nomem(err, "check configuration");
	if (k.errors > 0)
		return err_set(err, ERR_CONFIG, "check configuration", c->path, "%zu error%s in the configuration or around it", k.errors,
			k.errors == 1 ? "" : "s");
	return true;
}
