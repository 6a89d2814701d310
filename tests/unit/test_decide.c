/*
 * tests/unit/test_decide.c - enroll/decide.c: an address belongs to one row, whatever is committed between two of its questions.
 *
 * Configuration and store are real.  The directory is played here, and between the questions about taken addresses the test may act, as another
 * worker does (both by the linker's --wrap).
 */
#include "config.h"

#include "enroll/decide.h"
#include "tests/unit/test_store.h"

#define MARIA "maria@example.org"
#define MANY "many@example.org"

static const char text[] =
	"domains = [ \"example.org\" ];\n"
	"submission = ( { name = \"s\"; vouch = \"login\"; } );\n"
	"directory = { urls = [ \"ldaps://ldap.example.org\" ]; base = \"dc=x\"; bind-dn = \"cn=x\"; password-file = \"/p\"; publish = \"best-effort\"; };\n"
	"ca = { name = \"first-ca\"; directory-url = \"https://ca.example/d\"; anchor-file = \"/a\"; addresses-per-order = 3; };\n"
	"certificate = { addresses = \"all\"; };\n";

static struct config *config;
static struct enroll_parts parts;
static unsigned questions, act_after; /* act_after: this question; 0 = never */
static void (*act)(void);

/* Both addresses are those of one entry. */
bool __wrap_directory_find(struct directory *d, const char *address, struct directory_person *out, enum directory_found *found, struct err *e);
bool __wrap_directory_find(struct directory *d, const char *address, struct directory_person *out, enum directory_found *found, struct err *e)
{
	static const char *const all[] = {MARIA, MANY};

	(void)d;
	(void)address;
	(void)e;
	memset(out, 0, sizeof *out);
	out->dn = strdup("uid=maria,dc=x");
	out->identity = strdup("uuid:1");
	for (size_t i = 0; i < 2; i++)
		ck_assert(strlist_add(&out->addresses, all[i]) && strlist_add(&out->spellings, all[i]));
	*found = DIRECTORY_ONE;
	return true;
}

bool __real_store_address_taken(struct store *s, const char *address, int64_t except, struct store_taken *out, struct err *e);
bool __wrap_store_address_taken(struct store *s, const char *address, int64_t except, struct store_taken *out, struct err *e);
bool __wrap_store_address_taken(struct store *s, const char *address, int64_t except, struct store_taken *out, struct err *e)
{
	bool ok = __real_store_address_taken(s, address, except, out, e);

	if (++questions == act_after)
		act();
	return ok;
}

static void start(void)
{
	char path[] = "/tmp/test-decide-XXXXXX";
	int fd = mkstemp(path);

	setup();
	ck_assert_int_eq(dprintf(fd, "%s", text), (int)strlen(text));
	close(fd);
	config = config_load(path, &err);
	unlink(path);
	ck_assert_msg(config != NULL, "%s", err.text);
	parts = (struct enroll_parts){.config = config, .store = enrolld, .directory = (struct directory *)&parts};
	questions = act_after = 0;
}

static void end(void)
{
	config_unref(config);
	teardown();
}

static int64_t first_row;

/* As the worker does that decided the older row, for both addresses. */
static void older_row_is_decided(void)
{
	struct enrollment row;
	struct store_step step = {.row = &row, .actor = "test", .decided = true};

	store_fixture_claim(enrolld, first_row, &row);
	ck_assert(strlist_add(&row.addresses, MANY));
	row.state = ENROLLMENT_ELIGIBLE;
	ck_assert(commit(&step));
	enrollment_clear(&row);
}

static void ask(int64_t id, struct verdict *v)
{
	OK(decide(&parts, MANY, id, v, NULL, &err));
}

START_TEST(an_undecided_row_gives_way_to_the_older_one)
{
	struct verdict v;
	int64_t second;

	first_row = request(MARIA);
	second = request(MANY);
	ask(second, &v);
	ck_assert_int_eq(v.covered_by, first_row);
	verdict_clear(&v);
}
END_TEST

/* After the first question the address is free, and at the second the other one is taken already. */
START_TEST(a_row_that_is_decided_between_two_questions_covers)
{
	struct verdict v;
	int64_t second;

	first_row = request(MARIA);
	second = request(MANY);
	act = older_row_is_decided;
	act_after = 1;
	ask(second, &v);
	ck_assert_uint_ge(questions, 2);
	ck_assert_msg(v.covered_by == first_row, "an order of its own would be opened for %zu addresses", v.addresses.n);
	verdict_clear(&v);
}
END_TEST

START_TEST(alone_it_takes_all)
{
	struct verdict v;

	ask(request(MANY), &v);
	ck_assert_int_eq(v.covered_by, 0);
	ck_assert_uint_eq(v.addresses.n, 2);
	ck_assert_str_eq(v.addresses.v[0], MANY);
	verdict_clear(&v);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("decide");
	TCase *tc = tcase_create("decide");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, start, end);
	tcase_add_test(tc, an_undecided_row_gives_way_to_the_older_one);
	tcase_add_test(tc, a_row_that_is_decided_between_two_questions_covers);
	tcase_add_test(tc, alone_it_takes_all);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
