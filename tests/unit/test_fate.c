/*
 * tests/unit/test_fate.c - enroll/fate: what delivery reports, taken together, say of the replies of an order.
 */
#include "config.h"

#include <check.h>

#include "enroll/fate.h"
#include "tests/unit/store_fixture.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define S(text) ((char *)(uintptr_t)(text))

static struct store_fixture f;
static struct store *enrolld, *inbound;
static struct err err;

static void setup(void)
{
	store_fixture_start(&f);
	enrolld = store_fixture_open(&f, STORE_ROLE_ENROLLD);
	inbound = store_fixture_open(&f, STORE_ROLE_INBOUND);
}

static void teardown(void)
{
	store_close(inbound);
	store_close(enrolld);
	store_fixture_end(&f);
}

/* A challenge that was answered under the token given. */
static void reply(int64_t id, const char *token, time_t received_at)
{
	struct enrollment row;
	struct challenge c = {.enrollment_id = id, .token_part1 = S(token), .message_id = S("<1@ca.example>"), .received_at = received_at};
	struct store_step step = {.row = &row, .actor = "test", .challenge_state = "replied", .challenge_report_token = token};
	struct challenge_list l;
	bool created, stale;

	ck_assert(store_challenge_add(inbound, &c, &created, &err));
	ck_assert(store_challenges_of(enrolld, id, 0, &l, &err));
	for (size_t i = 0; i < l.n; i++)
		if (strcmp(l.v[i].token_part1, token) == 0)
			step.challenge_id = l.v[i].id;
	challenge_list_clear(&l);
	store_fixture_claim(enrolld, id, &row);
	ck_assert_msg(store_step_commit(enrolld, &step, &stale, &err) && !stale, "%s", err.text);
	enrollment_clear(&row);
}

static const char *const tokens[] = {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"};

/* What came, in order: a letter for the action (r, d, f, w: relayed, delivered, failed, delayed), then which reply, 1 or 2. */
static const struct {
	const char *name, *came;
	enum fate_kind kind;
	bool taken;
} cases[] = {
	{"nothing came", "", FATE_UNKNOWN, false},
	{"it was relayed", "r1", FATE_RELAYED, true},
	{"it was delivered", "d1", FATE_RELAYED, true},
	{"it was refused", "f1", FATE_BOUNCED, false},
	{"it waits", "w1", FATE_DELAYED, false},
	{"it waited, then it was relayed", "w1r1", FATE_RELAYED, true},
	{"it waited, then it was refused", "w1w1f1", FATE_BOUNCED, false},
	{"a late word of waiting is no news", "r1w1", FATE_RELAYED, true},
	{"a refusal is not undone by waiting", "f1w1", FATE_BOUNCED, false},
	{"a forged bounce, then the truth", "f1r1", FATE_RELAYED, true},
	{"relayed, then refused further on", "r1f1", FATE_BOUNCED, true},
	{"of two replies one is enough", "f1r2", FATE_RELAYED, true},
	{"of two replies one is enough, the other way round", "r1f2", FATE_RELAYED, true},
	{"both were refused", "f1f2", FATE_BOUNCED, false},
	{"one refused, one waits", "f1w2", FATE_BOUNCED, false},
};

static void add(const char *came)
{
	for (; *came; came += 2) {
		struct report r = {.action = S(*came == 'r' ? "relayed" : *came == 'd' ? "delivered" : *came == 'f' ? "failed" : "delayed"),
			.received_at = time(NULL)};
		bool known;

		ck_assert(store_report_add(inbound, tokens[came[1] - '1'], &r, &known, &err));
		ck_assert(known);
	}
}

static struct fate fate_of(int64_t id)
{
	struct enrollment row;
	struct fate fate;
	bool found;

	ck_assert(store_enrollment_get(enrolld, id, &row, &found, &err));
	ck_assert_msg(fate_read(enrolld, &row, &fate, &err), "%s", err.text);
	enrollment_clear(&row);
	return fate;
}

START_TEST(the_last_word_on_each_reply_and_the_better_of_two_count)
{
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_ANSWERED);
	struct fate fate;

	reply(id, tokens[0], time(NULL));
	reply(id, tokens[1], time(NULL));
	add(cases[_i].came);
	fate = fate_of(id);
	ck_assert_msg(fate.kind == cases[_i].kind, "%s: %d", cases[_i].name, fate.kind);
	ck_assert_msg(fate.taken == cases[_i].taken, "%s", cases[_i].name);
	ck_assert_msg(fate.news == (*cases[_i].came != '\0'), "%s", cases[_i].name);
	ck_assert_msg((*fate.text != '\0') == (fate.kind != FATE_UNKNOWN), "%s", cases[_i].name);
}
END_TEST

/* Its answer is late; the order it belonged to is history. */
START_TEST(reports_on_a_reply_of_an_older_order_say_nothing)
{
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_ANSWERED);
	struct fate fate;

	reply(id, tokens[0], time(NULL) - 100);
	reply(id, tokens[1], time(NULL));
	add("r1f1");
	fate = fate_of(id);
	ck_assert_int_eq(fate.kind, FATE_UNKNOWN);
	ck_assert(!fate.taken);
	/* Seen it shall be all the same, or the row would look at it for ever. */
	ck_assert(fate.news);
	add("w2");
	fate = fate_of(id);
	ck_assert_int_eq(fate.kind, FATE_DELAYED);
}
END_TEST

static const struct {
	const char *status, *diagnostic, *remote, *type, *words;
	int code;
} answers[] = {
	{"5.7.26", "550 5.7.26 no", "mx.ca.example", "smtp-550", "mx.ca.example refused the reply at ", 550},
	{"5.7.26", "550-5.7.26 no", "mx.ca.example", "smtp-550", ": 550-5.7.26 no", 550},
	{"5.4.4", "Host not found", NULL, "dsn-5.4.4", "the mail system refused the reply at ", 0},
	{"5.1.1", NULL, "mx", "dsn-5.1.1", ": 5.1.1", 0},
	{NULL, NULL, NULL, "dsn", ": it gave no reason", 0},
	{NULL, "5500 strange", NULL, "dsn", ": 5500 strange", 0},
	{NULL, "999 strange", NULL, "dsn", ": 999 strange", 0},
	{NULL, "55", NULL, "dsn", ": 55", 0},
};

START_TEST(the_other_server_is_quoted)
{
	struct report r = {.action = S("failed"), .status = S(answers[_i].status), .diagnostic = S(answers[_i].diagnostic), .remote = S(answers[_i].remote)};
	int64_t id = store_fixture_enroll(enrolld, "alice@example.org", ENROLLMENT_ANSWERED);
	struct fate fate;
	bool known;

	reply(id, tokens[0], time(NULL));
	r.received_at = time(NULL); /* not before its order: what is older belongs to another */
	ck_assert(store_report_add(inbound, tokens[0], &r, &known, &err));
	fate = fate_of(id);
	ck_assert_str_eq(fate.type, answers[_i].type);
	ck_assert_int_eq(fate.status, answers[_i].code);
	ck_assert_msg(strstr(fate.text, answers[_i].words) != NULL, "%s", fate.text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fate");
	TCase *t = tcase_create("fate");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, the_last_word_on_each_reply_and_the_better_of_two_count, 0, COUNT(cases));
	tcase_add_test(t, reports_on_a_reply_of_an_older_order_say_nothing);
	tcase_add_loop_test(t, the_other_server_is_quoted, 0, COUNT(answers));
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
