/*
 * ctl/report.c - `enrollctl report legacy`: a page of the directory, what is to be done about its people, the next page.
 *
 * Lines are printed as they come, so that a large directory needs no memory here; with --json they are gathered, as there is one answer.  The report
 * is the plan of --enroll: whoever has to say yes has seen it, and the yes is about the addresses in it.  Cut short, it is called again, and goes on
 * with those that have none yet.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <string.h>
#include <unistd.h>

#define ADDRESSES_MOST 64

struct legacy_report {
	struct ctl *c;
	json_t *counts;      /* what enrolld counted, added up over the pages; of the directory alone */
	json_t *reasons;     /* certificates by reason */
	json_t *plans;       /* addresses by plan, "queued" among them */
	json_t *seen;        /* address: its plan; an address is counted and asked about once */
	json_t *ours;        /* fingerprints of ours that were told of: the store has them once more */
	json_t *users;       /* with --json: everything */
	size_t lines;
	bool progress;
};

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void count(json_t *counts, const char *key, json_int_t n)
{
	json_object_set_new(counts, key, json_integer(json_integer_value(json_object_get(counts, key)) + n));
}

static long long counted(json_t *counts, const char *key)
{
	return (long long)json_integer_value(json_object_get(counts, key));
}

/* ---- a line a certificate and address -------------------------------------------------------------------------------------- */

static const struct {
	const char *plan, *words;
} words[] = {
	{"enroll", "would be enrolled"},
	{"replaced", "replaced"},
	{"renewal", "renewal will replace it"},
	{"covered", "has a good one beside it"},
	{"under-way", "under way"},
	{"stuck", "stuck"},
	{"refused", "not enrolled"},
	{"unknown", "cannot be told now"},
};

static void plan_words(json_t *plan, struct buf *line)
{
	const char *name = text(plan, "plan"), *word = name;

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(words[i].plan, name) == 0)
			word = words[i].words;
	buf_printf(line, "%s%s%s", word, *text(plan, "text") ? ": " : "", text(plan, "text"));
}

static void reason_words(json_t *certificate, struct buf *line)
{
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(certificate, "reasons"), i, o)
		buf_printf(line, "%s%s", i ? "," : "", text(o, "reason"));
}

static void clear_progress(const struct legacy_report *r)
{
	if (r->progress)
		fputs("\r\033[K", stderr);
}

static void show_progress(const struct legacy_report *r)
{
	if (r->progress)
		fprintf(stderr, "\r%lld entries read, %lld certificates to be replaced ", counted(r->counts, "entries"), counted(r->counts, "bad"));
}

static const char *const csv_columns[] = {"address", "not_after", "reasons", "serial", "issuer", "plan", "text", "in_directory", NULL};

static void print_csv_line(struct legacy_report *r, const char *address, json_t *certificate, json_t *plan, const char *reasons)
{
	json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:O*}", "address", address, "not_after", text(certificate, "not_after"), "reasons", reasons,
		"serial", text(certificate, "serial"), "issuer", text(certificate, "issuer"), "plan", text(plan, "plan"), "text", text(plan, "text"),
		"in_directory", json_object_get(certificate, "in_directory"));

	if (r->lines++ == 0)
		ctl_csv_titles(csv_columns);
	ctl_csv_row(row, csv_columns);
	json_decref(row);
}

/* Lines come one after the other, so columns have widths that fit most. */
static void print_line(struct legacy_report *r, const char *address, json_t *certificate, json_t *plan, const char *reasons)
{
	static const char *const titles[] = {"ADDRESS", "ENDS", "REASONS", "SERIAL", "ISSUER", "WHAT BECOMES OF IT", NULL};
	static const unsigned char least[] = {32, 10, 28, 11, 16, 0};
	struct ctl_table t = {.titles = titles, .least = least};
	struct buf what = BUF_INIT;
	char ends[11], serial[12];

	if (r->lines++ == 0)
		ctl_table_titles(&t);
	snprintf(ends, sizeof ends, "%s", text(certificate, "not_after"));
	snprintf(serial, sizeof serial, "%.8s%s", text(certificate, "serial"), strlen(text(certificate, "serial")) > 8 ? "..." : "");
	plan_words(plan, &what);
	ctl_table_add(&t, address);
	ctl_table_add(&t, ends);
	ctl_table_add(&t, reasons);
	ctl_table_add(&t, serial);
	ctl_table_add(&t, text(certificate, "issuer"));
	ctl_table_add(&t, buf_str(&what));
	ctl_table_rows(&t);
	buf_clear(&what);
}

static void tell_line(struct legacy_report *r, const char *address, json_t *certificate, json_t *plan)
{
	struct buf reasons = BUF_INIT;

	if (r->c->json)
		return;
	reason_words(certificate, &reasons);
	if (r->c->csv)
		print_csv_line(r, address, certificate, plan, buf_str(&reasons));
	else
		print_line(r, address, certificate, plan, buf_str(&reasons));
	buf_clear(&reasons);
}

/* ---- what becomes of the addresses ----------------------------------------------------------------------------------------- */

/* Addresses of the page that nothing is known of yet. */
static json_t *new_addresses(struct legacy_report *r, json_t *users)
{
	json_t *list = json_array(), *user, *certificate, *address;
	size_t i, k, n;

	json_array_foreach(users, i, user) {
		json_array_foreach(json_object_get(user, "certificates"), k, certificate) {
			if (json_is_true(json_object_get(certificate, "covered")))
				continue;
			json_array_foreach(json_object_get(certificate, "addresses"), n, address) {
				const char *name = json_string_value(address);

				if (json_object_get(r->seen, name))
					continue;
				json_object_set_new(r->seen, name, json_null());
				json_array_append(list, address);
			}
		}
	}
	return list;
}

static void take_plans(struct legacy_report *r, json_t *answer, bool enroll)
{
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(answer, "plans"), i, o) {
		count(r->plans, "queued", json_is_true(json_object_get(o, "queued")));
		if (enroll) { /* what was told of already is brought up to date where it stands */
			json_object_update(json_object_get(r->seen, text(o, "address")), o);
			continue;
		}
		count(r->plans, text(o, "plan"), 1);
		json_object_set(r->seen, text(o, "address"), o);
	}
}

/* enrolld answers about as many as it can in a few seconds. */
static bool ask_plans(struct legacy_report *r, json_t *addresses, bool enroll)
{
	size_t done = 0, all = json_array_size(addresses);
	bool ok = true;

	while (ok && done < all) {
		json_t *some = json_array(), *answer;
		size_t got;

		for (size_t i = done; i < all && i < done + ADDRESSES_MOST; i++)
			json_array_append(some, json_array_get(addresses, i));
		clear_progress(r);
		answer = ctl_ask(r->c, "report-legacy", json_pack("{s:o, s:b}", "addresses", some, "enroll", enroll));
		got = json_array_size(json_object_get(answer, "plans"));
		take_plans(r, answer, enroll);
		json_decref(answer);
		done += got;
		ok = got > 0;
		show_progress(r);
	}
	return ok;
}

/* ---- pages ------------------------------------------------------------------------------------------------------------------- */

static void tell_certificate(struct legacy_report *r, json_t *user, json_t *certificate)
{
	json_t *addresses = json_object_get(certificate, "addresses"), *address, *reason, *none, *covered, *plans;
	size_t i;

	json_array_foreach(json_object_get(certificate, "reasons"), i, reason)
		count(r->reasons, text(reason, "reason"), 1);
	if (json_is_true(json_object_get(certificate, "ours")))
		json_object_set_new(r->ours, text(certificate, "fingerprint"), json_true());
	none = json_pack("{s:s, s:s}", "plan", "refused", "text", "its entry lists no address");
	covered = json_pack("{s:s}", "plan", "covered");
	plans = json_object();
	if (json_array_size(addresses) == 0)
		tell_line(r, text(user, "dn"), certificate, none);
	if (json_array_size(addresses) == 0)
		count(r->plans, "refused", 1);
	json_array_foreach(addresses, i, address) {
		const char *name = json_string_value(address);
		bool is_covered = json_is_true(json_object_get(certificate, "covered"));
		json_t *plan = is_covered ? covered : json_object_get(r->seen, name);

		if (is_covered)
			count(r->plans, "covered", 1);
		json_object_set(plans, name, plan);
		tell_line(r, name, certificate, plan);
	}
	json_object_set_new(certificate, "plans", plans);
	json_decref(none);
	json_decref(covered);
}

/* The store has what is in the directory once more: those are not told again. */
static void drop_told(struct legacy_report *r, json_t *users)
{
	json_t *user, *certificate;
	size_t i, k, n;

	for (i = json_array_size(users); i-- > 0;) {
		user = json_array_get(users, i);
		n = json_array_size(json_object_get(user, "certificates"));
		for (k = n; k-- > 0;) {
			certificate = json_array_get(json_object_get(user, "certificates"), k);
			if (json_object_get(r->ours, text(certificate, "fingerprint")))
				json_array_remove(json_object_get(user, "certificates"), k);
		}
		if (json_array_size(json_object_get(user, "certificates")) == 0)
			json_array_remove(users, i);
	}
}

static bool tell_page(struct legacy_report *r, json_t *page, bool of_store)
{
	json_t *users = json_object_get(page, "users"), *user, *certificate, *addresses, *n;
	const char *key;
	size_t i, k;
	bool ok;

	if (of_store)
		drop_told(r, users);
	else
		json_object_foreach(json_object_get(page, "counts"), key, n)
			count(r->counts, key, json_integer_value(n));
	show_progress(r);
	addresses = new_addresses(r, users);
	ok = ask_plans(r, addresses, false);
	json_decref(addresses);
	clear_progress(r);
	json_array_foreach(users, i, user)
		json_array_foreach(json_object_get(user, "certificates"), k, certificate) {
			json_object_set_new(certificate, "in_directory", json_boolean(!of_store));
			tell_certificate(r, user, certificate);
		}
	if (r->c->json)
		json_array_extend(r->users, users);
	return ok;
}

static bool walk_directory(struct legacy_report *r)
{
	json_t *arguments = json_object();
	bool ok = true;

	while (ok && arguments) {
		json_t *page = ctl_ask(r->c, "report-legacy", arguments);

		ok = page && tell_page(r, page, false);
		arguments = ok && *text(page, "walk") ? json_pack("{s:s}", "walk", text(page, "walk")) : NULL;
		if (*text(page, "incomplete"))
			json_object_set(r->counts, "incomplete", json_object_get(page, "incomplete"));
		if (json_is_true(json_object_get(page, "no_directory")))
			json_object_set_new(r->counts, "no_directory", json_true());
		json_decref(page);
	}
	return ok;
}

/* What is not published, or was imported. */
static bool walk_store(struct legacy_report *r)
{
	json_t *arguments = json_pack("{s:s}", "after", "");
	bool ok = true;

	while (ok && arguments) {
		json_t *page = ctl_ask(r->c, "report-legacy", arguments);

		ok = page && tell_page(r, page, true);
		arguments = ok && *text(page, "after") ? json_pack("{s:s}", "after", text(page, "after")) : NULL;
		json_decref(page);
	}
	return ok;
}

/* ---- the end ------------------------------------------------------------------------------------------------------------------ */

static void sum(const char *label, long long n)
{
	if (n)
		printf("  %6lld  %s\n", n, label);
}

static void print_sums(const struct legacy_report *r)
{
	json_t *c = r->counts, *p = r->plans;

	if (r->lines)
		puts("");
	printf("%lld entries of the directory have %lld certificates:\n", counted(c, "entries"), counted(c, "certificates"));
	sum("to be replaced", counted(c, "bad"));
	sum("with nothing against them", counted(c, "clean"));
	sum("expired", counted(c, "expired"));
	sum("not valid yet", counted(c, "not_begun"));
	sum("values that are no certificate", counted(c, "unreadable"));
	sum("not looked at: an entry has too many of them, or they are too large", counted(c, "left_out"));
	sum("of all these, ours", counted(c, "ours"));
	if (json_object_size(r->reasons))
		puts("\nWhy, by certificate:");
	for (int i = 0; i < LEGACY_REASONS; i++) {
		const char *name = legacy_reason_name((enum legacy_reason)i);

		if (counted(r->reasons, name))
			printf("  %6lld  %-18s %s\n", counted(r->reasons, name), name, legacy_reason_about((enum legacy_reason)i));
	}
	if (!r->lines)
		return;
	puts("\nAddresses:");
	printf("  %6lld  have no enrollment with us yet: --enroll would request one\n", counted(p, "enroll"));
	sum("replaced by an active certificate of ours; the old one may go from the directory", counted(p, "replaced"));
	sum("have a certificate of ours that is renewed by itself", counted(p, "renewal"));
	sum("have an enrollment under way", counted(p, "under-way"));
	sum("have an enrollment that is stuck, see enrollctl show", counted(p, "stuck"));
	sum("have another certificate beside it that is good for the same", counted(p, "covered"));
	sum("get none, for the reason above", counted(p, "refused"));
	sum("cannot be told now", counted(p, "unknown"));
}

static void print_report(const struct legacy_report *r)
{
	if (r->c->csv) {
		if (!r->lines)
			ctl_csv_titles(csv_columns);
		return;
	}
	print_sums(r);
	if (json_object_get(r->counts, "no_directory"))
		puts("no directory is configured: only certificates in the store were looked at");
}

static void print_answer(const struct legacy_report *r)
{
	json_t *o = json_pack("{s:O, s:O, s:O, s:O, s:b}", "users", r->users, "counts", r->counts, "reasons", r->reasons, "plans", r->plans, "enroll",
		r->c->enroll && !r->c->dry_run);

	ctl_print_json(r->c, o);
	json_decref(o);
}

/* ---- asking for the replacements --------------------------------------------------------------------------------------------------- */

static json_t *to_enroll(const struct legacy_report *r)
{
	json_t *list = json_array(), *plan;
	const char *address;

	json_object_foreach(r->seen, address, plan)
		if (strcmp(text(plan, "plan"), "enroll") == 0)
			json_array_append_new(list, json_string(address));
	return list;
}

static bool enroll_them(struct legacy_report *r, json_t *addresses)
{
	bool ok = ask_plans(r, addresses, true);

	clear_progress(r);
	if (ok && !r->c->json && !r->c->csv)
		printf("%lld enrollments requested now; they go on as cap-per-day and cap-total allow\n", counted(r->plans, "queued"));
	else if (!ok && counted(r->plans, "queued"))
		fprintf(stderr, "%s: not finished; %lld enrollments were requested so far, call it again for the others\n", r->c->program,
			counted(r->plans, "queued"));
	return ok;
}

static int enroll(struct legacy_report *r)
{
	json_t *addresses = to_enroll(r);
	struct err err = ERR_INIT;
	char question[CTL_QUESTION];
	int rc = 0;

	snprintf(question, sizeof question, "Certificates will be ordered for these %zu addresses.", json_array_size(addresses));
	if (!ctl_confirm(r->c, "enroll", NULL, question, &err))
		rc = ctl_fail(r->c, &err);
	else if (!enroll_them(r, addresses))
		rc = 1;
	json_decref(addresses);
	return rc;
}

/* ---- all of it ----------------------------------------------------------------------------------------------------------------------- */

static int report(struct legacy_report *r)
{
	const char *incomplete;
	int rc = 0;

	if (!walk_directory(r) || !walk_store(r)) {
		clear_progress(r);
		return 1;
	}
	clear_progress(r);
	incomplete = json_string_value(json_object_get(r->counts, "incomplete"));
	if (!r->c->json)
		print_report(r);
	if (incomplete)
		fprintf(stderr, "%s: %s\n", r->c->program, incomplete);
	if (r->c->enroll && !r->c->dry_run)
		rc = enroll(r);
	if (rc == 0 && r->c->json)
		print_answer(r);
	return incomplete ? 1 : rc;
}

int ctl_report(struct ctl *c, int argc, char **argv)
{
	struct legacy_report r = {.c = c};
	int rc;

	if (argc != 1 || strcmp(argv[0], "legacy") != 0)
		return ctl_usage(c, "report takes legacy");
	r.counts = json_object();
	r.reasons = json_object();
	r.plans = json_object();
	r.seen = json_object();
	r.ours = json_object();
	r.users = json_array();
	r.progress = isatty(STDERR_FILENO) && !c->json;
	rc = report(&r);
	json_decref(r.counts);
	json_decref(r.reasons);
	json_decref(r.plans);
	json_decref(r.seen);
	json_decref(r.ours);
	json_decref(r.users);
	return rc;
}
