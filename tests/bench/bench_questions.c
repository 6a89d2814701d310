/*
 * tests/bench/bench_questions.c - what enrolld asks of its store in the background, and how that grows with the users in it.
 *
 *     bench_questions [--write] SMALL LARGE     two configurations, each with its store; only the first question of each is asked more than once
 *
 * people-memory: MiB that the list of everybody takes at its peak.
 * Milliseconds on the clock, as what matters is how long others wait: compare them with the baseline only.  --write: also what changes rows of
 * everybody; the stores are no good for anything else afterwards.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policy/policy.h"
#include "tests/bench/bench.h"

#define ROUNDS 5
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define DAY 86400

static bool figures(struct store *s, struct err *err)
{
	static const int64_t bounds[] = {DAY, 7 * DAY, 14 * DAY, 30 * DAY, 60 * DAY, 90 * DAY, 180 * DAY, 365 * DAY};
	struct store_figures f;

	return store_figures(s, time(NULL), bounds, COUNT(bounds), &f, err);
}

static bool claim(struct store *s, struct err *err)
{
	struct enrollment row = {0};
	bool found;

	return store_enrollment_claim(s, "bench:", time(NULL), 60, &row, &found, err) && (!found || err_set(err, ERR_BUG, "claim", NULL, "one is due"));
}

static bool next_due(struct store *s, struct err *err)
{
	time_t when;

	return store_enrollment_next_due(s, &when, err);
}

static bool counts(struct store *s, struct err *err)
{
	size_t n[ENROLLMENT_STATES], disabled;

	return store_enrollment_counts(s, n, &disabled, err);
}

static bool enrolled(struct store *s, struct err *err)
{
	size_t n;

	return store_enrolled(s, &n, err);
}

static bool budget(struct store *s, struct err *err)
{
	size_t n;

	return store_orders_since(s, time(NULL) - DAY, NULL, &n, err) && store_orders_open(s, time(NULL) - 7 * DAY, NULL, &n, err);
}

static bool page(struct store *s, struct err *err)
{
	struct enrollment_list l = {0};
	bool ok = store_enrollment_list(s, -1, "user000050@corp.example", 100, &l, err);

	enrollment_list_clear(&l);
	return ok;
}

static bool find(struct store *s, struct err *err)
{
	struct enrollment row = {0};
	bool found, ok = store_enrollment_find(s, "user000077@corp.example", &row, &found, err);

	if (ok && found)
		enrollment_clear(&row);
	return ok;
}

static bool search(struct store *s, struct err *err)
{
	struct enrollment_list l = {0};
	bool ok = store_enrollment_search(s, "user00007", 20, &l, err);

	enrollment_list_clear(&l);
	return ok;
}

static bool late(struct store *s, struct err *err)
{
	struct store_late_list l = {0};
	bool ok = store_renewals_late(s, time(NULL), 100, &l, err);

	store_late_list_clear(&l);
	return ok;
}

static bool expiring(struct store *s, struct err *err)
{
	struct store_certificate_list l = {0};
	bool ok = store_certificates_expiring(s, time(NULL) + 30 * DAY, 100, &l, err);

	store_certificate_list_clear(&l);
	return ok;
}

static bool leaving(struct store *s, struct err *err)
{
	struct store_certificate c = {0};
	time_t next;
	bool found, ok = store_directory_due(s, time(NULL), &c, &found, &next, err);

	if (ok && found)
		store_certificate_clear(&c);
	return ok;
}

static bool people(struct store *s, struct err *err)
{
	struct store_people l = {0};
	bool ok = store_people_list(s, false, &l, err);

	store_people_clear(&l);
	return ok;
}

static bool select_all(struct store *s, struct err *err)
{
	const struct store_selection all = {.issuer = "Issuing"};
	struct store_selected_list l = {0};
	bool ok = store_select(s, &all, &l, err);

	store_selected_list_clear(&l);
	return ok;
}

static bool watch_plan(struct store *s, struct err *err)
{
	return store_watch_plan(s, "", time(NULL), DAY, err);
}

static bool review(struct store *s, struct err *err)
{
	return store_enrollments_review(s, err);
}

static const struct question {
	const char *name;
	bool (*ask)(struct store *s, struct err *err);
	bool writes;
} questions[] = {
	{"figures", figures, false},       /* a scrape */
	{"claim", claim, false},           /* each worker, each second and whenever it was woken */
	{"next-due", next_due, false},
	{"budget", budget, false},         /* before each order */
	{"enrolled", enrolled, false},     /* before each order, where cap-total is set */
	{"late", late, false},
	{"expiring", expiring, false},
	{"leaving", leaving, false},
	{"counts", counts, false},         /* enrollctl status */
	{"page", page, false},             /* enrollctl list */
	{"find", find, false},             /* enrollctl show */
	{"search", search, false},
	{"select", select_all, false},     /* enrollctl replace, before it asks */
	{"people", people, false},         /* a look at who left, and what it holds in memory meanwhile */
	{"watch-plan", watch_plan, true},  /* a CA whose certificates are looked after for the first time */
	{"review", review, true},          /* other rules */
};

static struct store *open_store(const char *path, struct config **config)
{
	struct err err = ERR_INIT;
	struct store *s;

	*config = config_load(path, &err);
	s = *config ? store_open(&(*config)->store, STORE_ROLE_ENROLLD, &err) : NULL;
	if (!s)
		bench_die("%s: %s", path, err.text);
	return s;
}

/* Since it was forgotten last. */
static double peak_mib(void)
{
	char line[200];
	FILE *file = fopen("/proc/self/status", "r"), *forget;
	long kib = 0;

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "VmHWM: %ld", &kib) == 1)
			break;
	if (file)
		fclose(file);
	forget = fopen("/proc/self/clear_refs", "w");
	if (!file || !forget || fputs("5", forget) < 0 || fclose(forget) != 0)
		bench_die("/proc/self: no peak of memory");
	return (double)kib / 1024;
}

static double ask(const struct question *q, struct store *s)
{
	struct err err = ERR_INIT;
	double began = bench_wall_us();

	if (!q->ask(s, &err))
		bench_die("%s: %s", q->name, err.text);
	return (bench_wall_us() - began) / 1000;
}

static void compare_memory(struct store *small, struct store *large)
{
	static const struct question q = {.name = "people-memory", .ask = people};
	double rest, few, many;

	peak_mib();
	rest = peak_mib();
	ask(&q, small);
	few = peak_mib() - rest;
	ask(&q, large);
	many = peak_mib() - rest;
	bench_line(q.name, many, "MiB", few, few > 0.001 ? many / few : 1);
}

static void compare(const struct question *q, struct store *small, struct store *large)
{
	double v[ROUNDS], b[ROUNDS], value, baseline;
	size_t rounds = q->writes ? 1 : ROUNDS;

	for (size_t i = 0; i < rounds; i++) {
		b[i] = ask(q, small);
		v[i] = ask(q, large);
	}
	value = bench_median(v, rounds);
	baseline = bench_median(b, rounds);
	bench_line(q->name, value, "ms", baseline, value / baseline);
}

int main(int argc, char **argv)
{
	bool write = argc > 1 && strcmp(argv[1], "--write") == 0;
	struct config *config[2];
	struct store *small, *large;

	if (argc - write != 3)
		bench_die("bench_questions [--write] SMALL LARGE");
	small = open_store(argv[1 + write], &config[0]);
	large = open_store(argv[2 + write], &config[1]);
	compare_memory(small, large);
	for (size_t i = 0; i < COUNT(questions); i++)
		if (write || !questions[i].writes)
			compare(&questions[i], small, large);
	store_close(small);
	store_close(large);
	config_unref(config[0]);
	config_unref(config[1]);
	return 0;
}
