/*
 * tests/unit/drive_store.c - a store on a string: one command a line on standard input, one answer a line on standard output.
 *
 *	drive_store CONNECTION ROLE BUSY-MS		(outbound, inbound, enrolld, admin)
 *
 * CONNECTION is store.connection of a store in PostgreSQL, or the path of one in SQLite.  An answer is "ok MS WORDS" or "CLASS MS TEXT": how many
 * milliseconds the call took, and what it brought or why it failed.  Commands: create, counter, ready, find ADDRESS, request ADDRESS, awaited ADDRESS,
 * seen ADDRESS MESSAGE-ID TOKEN, challenge ID TOKEN, flag NAME, set NAME VALUE, mail N KEEP, claim OWNER, commit, due, watch CA, enroll ADDRESS STATE,
 * activate ADDRESS, disable ADDRESS, revoke ADDRESS, crowd ADDRESSES SECONDS FOLDER NAME, settle FOLDER NAME, fds.
 *
 * crowd works for so many seconds on the same few rows as others do at the same moment, and counts; settle does what is still due.  FOLDER has a file for
 * each row that is claimed at the moment ("held"), and how many challenges a worker saw of it ("seen").  tests/e2e/test_scale_database.py and
 * test_scale_plans.py drive it.
 */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

#include "tests/unit/store_fixture.h"

static struct store *store;
static struct store_settings settings;
static struct enrollment row; /* of the last claim */
static bool held;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- a crowd ----------------------------------------------------------------------------------------------------- */

struct crowd {
	const char *folder, *name;
	long claims, commits, stale, twice, created, challenges, busy, failed;
	char why[600];
};

static void went_wrong(struct crowd *c, struct err *err)
{
	if (err->class == ERR_TEMPORARY) {
		c->busy++;
	} else {
		c->failed++;
		snprintf(c->why, sizeof(c->why), "%.100s: %.400s", err->op, err->text);
	}
	err_clear(err);
}

static void file_of(const struct crowd *c, const char *what, int64_t id, char path[400])
{
	snprintf(path, 400, "%s/%s-%" PRId64, c->folder, what, id);
}

/* Only ever by whoever holds the row. */
static void note_seen(const struct crowd *c, int64_t id, size_t n)
{
	char path[400];
	FILE *file;

	file_of(c, "seen", id, path);
	file = fopen(path, "w");
	if (file == NULL || fprintf(file, "%zu\n", n) < 0 || fclose(file) != 0)
		abort();
}

/* Claims a row, looks which challenges there are, and gives it back to wait for an hour. */
static bool work_once(struct crowd *c)
{
	struct enrollment e = {0};
	struct store_step step = {.row = &e, .event = "state", .actor = "test"};
	struct challenge_list l = {0};
	struct err err = ERR_INIT;
	char path[400];
	bool found, stale;
	int fd;

	if (!store_enrollment_claim(store, c->name, time(NULL), 600, &e, &found, &err)) {
		went_wrong(c, &err);
		return true;
	}
	if (!found)
		return false;
	c->claims++;
	file_of(c, "held", e.id, path);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	c->twice += fd < 0;
	if (fd >= 0)
		close(fd);
	while (!store_challenges_of(store, e.id, 0, &l, &err))
		went_wrong(c, &err);
	note_seen(c, e.id, l.n);
	challenge_list_clear(&l);
	e.state = e.resume = ENROLLMENT_CHALLENGE_AWAITED;
	e.ordered_at = e.ordered_at ? e.ordered_at : time(NULL);
	e.next_at = time(NULL) + 3600;
	unlink(path);
	while (!store_step_commit(store, &step, &stale, &err))
		went_wrong(c, &err);
	c->commits += !stale;
	c->stale += stale;
	enrollment_clear(&e);
	return true;
}

static void request_once(struct crowd *c, int i)
{
	struct err err = ERR_INIT;
	char address[100];
	bool created;
	int64_t id;

	snprintf(address, sizeof(address), "crowd%d@corp.example", i);
	if (store_enrollment_request(store, address, "mailbox-strict", "sign", "test", &created, &id, &err))
		c->created += created;
	else
		went_wrong(c, &err);
}

static void challenge_once(struct crowd *c, int i, int turn)
{
	struct challenge ch = {.message_id = (char *)(uintptr_t) "<same@ca.example>", .from = (char *)(uintptr_t) "acme@ca.example", .received_at = time(NULL), .date = 1};
	struct awaited a;
	struct err err = ERR_INIT;
	char address[100], token[100];
	bool created;

	snprintf(address, sizeof(address), "crowd%d@corp.example", i);
	snprintf(token, sizeof(token), "token-%d", turn);
	ch.token_part1 = token;
	if (!store_challenge_awaited(store, address, &a, &err)) {
		went_wrong(c, &err);
		return;
	}
	ch.enrollment_id = a.enrollment_id;
	awaited_clear(&a);
	if (ch.enrollment_id == 0)
		return;
	if (store_challenge_add(store, &ch, &created, &err))
		c->challenges += created;
	else
		went_wrong(c, &err);
}

static void mail_once(struct crowd *c)
{
	struct mail_event m[3] = {{.at = time(NULL), .from = (char *)(uintptr_t) "a@corp.example", .verdict = (char *)(uintptr_t) "signed"}};
	struct err err = ERR_INIT;

	m[1] = m[2] = m[0];
	if (!store_mail_events_add(store, m, 3, 20, &err))
		went_wrong(c, &err);
}

/* What each role does: the same rows in the same order for all of them. */
static void crowd(struct crowd *c, int role, int addresses, int64_t until)
{
	for (int turn = 0; now_ms() < until; turn++) {
		int i = turn % addresses;

		if (role == STORE_ROLE_OUTBOUND) {
			request_once(c, i);
			mail_once(c);
		} else if (role == STORE_ROLE_INBOUND) {
			challenge_once(c, i, turn / addresses);
		} else {
			work_once(c);
		}
	}
}

static void told(const struct crowd *c)
{
	printf(" claims=%ld commits=%ld stale=%ld twice=%ld created=%ld challenges=%ld busy=%ld failed=%ld %s", c->claims, c->commits, c->stale, c->twice,
		c->created, c->challenges, c->busy, c->failed, c->why);
}

/* ---- one call ---------------------------------------------------------------------------------------------------- */

static char words[600]; /* of an answer */

static bool ask_find(char **a, struct err *err)
{
	struct store_credential c;
	bool found, ok;
	const char *why;

	ok = store_credential_find(store, a[1], &c, &found, &why, err);
	if (ok)
		snprintf(words, sizeof(words), "%s", found ? "found" : why);
	store_credential_clear(&c);
	return ok;
}

static bool ask_request(char **a, struct err *err)
{
	bool created;
	int64_t id = 0, ok = store_enrollment_request(store, a[1], "mailbox-strict", "sign", "test", &created, &id, err);

	snprintf(words, sizeof(words), "%s %" PRId64, created ? "created" : "there", id);
	return ok;
}

static bool ask_awaited(char **a, struct err *err)
{
	struct awaited found;
	bool ok = store_challenge_awaited(store, a[1], &found, err);

	snprintf(words, sizeof(words), "%" PRId64, found.enrollment_id);
	awaited_clear(&found);
	return ok;
}

static bool ask_seen(char **a, struct err *err)
{
	bool seen, ok = store_challenge_seen(store, a[1], strcmp(a[2], "-") ? a[2] : NULL, strcmp(a[3], "-") ? a[3] : NULL, &seen, err);

	snprintf(words, sizeof(words), "%s", seen ? "seen" : "new");
	return ok;
}

static bool ask_challenge(char **a, struct err *err)
{
	struct challenge c = {.enrollment_id = atoll(a[1]), .token_part1 = a[2], .message_id = a[2], .from = (char *)(uintptr_t) "acme@ca.example",
		.received_at = time(NULL), .date = 1};
	bool created, ok = store_challenge_add(store, &c, &created, err);

	snprintf(words, sizeof(words), "%s", created ? "created" : "there");
	return ok;
}

static bool ask_flag(char **a, struct err *err)
{
	char *value = NULL;
	bool ok = store_flag_get(store, a[1], &value, err);

	snprintf(words, sizeof(words), "%s", value ? value : "-");
	free(value);
	return ok;
}

static bool ask_set(char **a, struct err *err)
{
	return store_flag_set(store, a[1], a[2], "test", err);
}

static bool ask_mail(char **a, struct err *err)
{
	size_t n = (size_t)atoi(a[1]);
	struct mail_event *m = calloc(n, sizeof(*m));
	bool ok;

	for (size_t i = 0; i < n; i++)
		m[i] = (struct mail_event){.at = time(NULL), .from = (char *)(uintptr_t) "u@corp.example", .verdict = (char *)(uintptr_t) "signed"};
	ok = store_mail_events_add(store, m, n, (size_t)atoi(a[2]), err);
	free(m);
	return ok;
}

static bool ask_claim(char **a, struct err *err)
{
	bool ok;

	enrollment_clear(&row);
	ok = store_enrollment_claim(store, a[1], time(NULL), 600, &row, &held, err);
	snprintf(words, sizeof(words), "%" PRId64, ok && held ? row.id : 0);
	return ok;
}

/* The step that would lead to the state after. */
static bool ask_commit(char **a, struct err *err)
{
	struct store_step step = {.row = &row, .event = "state", .actor = "test"};
	bool stale, ok;

	if (!held)
		return err_set(err, ERR_BUG, "commit", NULL, "nothing was claimed");
	row.state = row.resume = ENROLLMENT_CHALLENGE_AWAITED;
	row.ordered_at = time(NULL);
	row.next_at = time(NULL) + 3600;
	ok = store_step_commit(store, &step, &stale, err);
	snprintf(words, sizeof(words), "%s", stale ? "stale" : "done");
	return ok;
}

static bool ask_due(char **a, struct err *err)
{
	time_t when = 0;
	bool ok = store_enrollment_next_due(store, &when, err);

	snprintf(words, sizeof(words), "%lld", (long long)when);
	return ok;
}

static bool ask_watch(char **a, struct err *err)
{
	struct store_certificate c;
	bool found, ok = store_watch_claim(store, a[1], time(NULL), 1000, &c, &found, err);

	if (ok)
		snprintf(words, sizeof(words), "%" PRId64, found ? c.id : 0);
	if (ok && found)
		store_certificate_clear(&c);
	return ok;
}

static bool ask_enroll(char **a, struct err *err)
{
	enum enrollment_state state;

	if (!enrollment_state_parse(a[2], &state))
		return err_set(err, ERR_CONFIG, "enroll", a[2], "no such state");
	snprintf(words, sizeof(words), "%" PRId64, store_fixture_enroll(store, a[1], state));
	return true;
}

static bool ask_activate(char **a, struct err *err)
{
	char spki[65];

	snprintf(spki, sizeof(spki), "%064llx", (unsigned long long)now_ms());
	snprintf(words, sizeof(words), "%" PRId64, store_fixture_activate(store, a[1], "wrapped", 7, spki, "der", 3, "chain", 5));
	return true;
}

static bool ask_disable(char **a, struct err *err)
{
	struct enrollment e = {0};
	bool found, changed = false, ok = store_enrollment_find(store, a[1], &e, &found, err) &&
			(!found || store_enrollment_admin(store, e.id, ENROLLMENT_ADMIN_DISABLE, "test", NULL, &changed, err));

	snprintf(words, sizeof(words), "%d", changed);
	enrollment_clear(&e);
	return ok;
}

static bool ask_revoke(char **a, struct err *err)
{
	struct enrollment e = {0};
	struct store_revoke what = {.reason = "keyCompromise", .actor = "test"};
	char about[40];
	bool found, ok = store_enrollment_find(store, a[1], &e, &found, err);
	size_t n = 0;

	snprintf(about, sizeof(about), "#%" PRId64, e.id);
	what.about = about;
	ok = ok && store_revoke(store, &what, &n, err);
	snprintf(words, sizeof(words), "%zu", n);
	enrollment_clear(&e);
	return ok;
}

static bool ask_counter(char **a, struct err *err)
{
	snprintf(words, sizeof(words), "%" PRId64, store_change_counter(store));
	return true;
}

static bool ask_ready(char **a, struct err *err)
{
	return store_ready(store, err);
}

static bool ask_fds(char **a, struct err *err)
{
	DIR *d = opendir("/proc/self/fd");
	int n = -3; /* . and .. and itself */

	while (d != NULL && readdir(d) != NULL)
		n++;
	if (d != NULL)
		closedir(d);
	snprintf(words, sizeof(words), "%d", n);
	return true;
}

static const struct {
	const char *name;
	int arguments;
	bool (*ask)(char **a, struct err *err);
} commands[] = {
	{"find", 1, ask_find}, {"request", 1, ask_request}, {"awaited", 1, ask_awaited}, {"seen", 3, ask_seen}, {"challenge", 2, ask_challenge},
	{"flag", 1, ask_flag}, {"set", 2, ask_set}, {"mail", 2, ask_mail}, {"claim", 1, ask_claim}, {"commit", 0, ask_commit}, {"due", 0, ask_due},
	{"watch", 1, ask_watch}, {"enroll", 2, ask_enroll}, {"activate", 1, ask_activate}, {"disable", 1, ask_disable}, {"revoke", 1, ask_revoke},
	{"counter", 0, ask_counter}, {"ready", 0, ask_ready}, {"fds", 0, ask_fds},
};

static int role;

static bool in_crowd(char **a, int n)
{
	struct crowd c = {.folder = a[n - 2], .name = a[n - 1]};

	if (strcmp(a[0], "settle") == 0)
		while (work_once(&c))
			;
	else
		crowd(&c, role, atoi(a[1]), now_ms() + 1000 * atoi(a[2]));
	printf("ok 0");
	told(&c);
	return true;
}

static bool obey(char **a, int n)
{
	struct err err = ERR_INIT;
	int64_t began = now_ms();
	bool ok;

	if (strcmp(a[0], "settle") == 0 || strcmp(a[0], "crowd") == 0)
		return in_crowd(a, n);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, a[0]) == 0 && commands[i].arguments == n - 1) {
			words[0] = '\0';
			ok = commands[i].ask(a, &err);
			printf("%s %" PRId64 " %s", ok ? "ok" : err_class_name(err.class), now_ms() - began, ok ? words : err.text);
			return true;
		}
	return false;
}

static int open_store(char **argv)
{
	static const char *const names[] = {"outbound", "inbound", "enrolld", "admin"};
	struct err err = ERR_INIT;

	store_settings_init(&settings);
	settings.busy_ms = (unsigned)atoi(argv[3]);
	if (strchr(argv[1], '=') != NULL) {
		free(settings.type);
		settings.type = strdup("postgresql");
		settings.connection = strdup(argv[1]);
	} else {
		free(settings.path);
		free(settings.group);
		settings.path = strdup(argv[1]);
		settings.group = strdup("");
	}
	while (role < 4 && strcmp(names[role], argv[2]) != 0)
		role++;
	if (strcmp(argv[2], "create") == 0 && store_create(&settings, &err))
		return 0;
	if (role < 4 && (store = store_open(&settings, (enum store_role)role, &err)) != NULL)
		return 1;
	printf("%s 0 %s\n", err_class_name(err.class), err.text);
	return 2;
}

int main(int argc, char **argv)
{
	char *line = NULL, *a[8];
	size_t size = 0;
	int how;

	if (argc != 4)
		return 2;
	how = open_store(argv);
	if (how == 1) {
		printf("ok 0 open\n");
		fflush(stdout);
		while (getline(&line, &size, stdin) > 0) {
			int n = 0;

			for (char *word = strtok(line, " \n"); word != NULL && n < 8; word = strtok(NULL, " \n"))
				a[n++] = word;
			if (n == 0 || !obey(a, n))
				printf("bug 0 no such command");
			printf("\n");
			fflush(stdout);
		}
		enrollment_clear(&row);
		store_close(store);
	}
	free(line);
	store_settings_clear(&settings);
	return how == 2;
}
