/*
 * tests/unit/test_why.c - enroll/why: which cause is read out of a mail event, an enrollment and a configuration, and what is said.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "enroll/why.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define S(text) ((char *)(uintptr_t)(text))
#define NOW 1800000000

static struct why_facts plain(void)
{
	return (struct why_facts){.address = "alice@example.org", .now = NOW, .mode = MODE_SIGN, .served = true, .in_pilot = true};
}

static struct why_answer answer;

static void ask(const struct why_facts *f)
{
	why_answer_clear(&answer);
	why_find(f, &answer);
	ck_assert_ptr_nonnull(answer.cause);
	ck_assert_uint_gt(answer.sentence.len, 0);
	ck_assert_uint_gt(answer.what_to_do.len, 0);
	ck_assert_msg(strpbrk(buf_str(&answer.sentence), "{}") == NULL, "%s", buf_str(&answer.sentence));
	ck_assert_msg(strpbrk(buf_str(&answer.what_to_do), "{}") == NULL, "%s", buf_str(&answer.what_to_do));
}

static void says(const char *words)
{
	ck_assert_msg(strstr(buf_str(&answer.sentence), words) != NULL, "\"%s\" is not in: %s", words, buf_str(&answer.sentence));
}

/* Words of the milter (milter/outbound.c, mime.c, session_outbound.c, policy/rules.c, mail_rules.c, store/certificates.c). */
static const struct {
	const char *verdict, *reason, *detail, *action, *cause;
} mails[] = {
	{"signed", "signed", NULL, NULL, "signed-detached"},
	{"signed", "signed after re-encoding", "8-bit content", NULL, "signed-reencoded"},
	{"signed", "signed, opaque", "mail rule lists", NULL, "signed-opaque"},
	{"signed", "signed, opaque as it must not be re-encoded", NULL, NULL, "signed-opaque"},
	{"signed", OUTBOUND_AFTER_DKIM, NULL, NULL, "signed-after-dkim"},
	{"not-ours", "not authenticated", NULL, NULL, "not-submitted-by-login"},
	{"untouched", "more than one From field", NULL, NULL, "two-from-addresses"},
	{"untouched", "more than one From address", NULL, NULL, "two-from-addresses"},
	{"untouched", "From is not well-formed", NULL, NULL, "from-unreadable"},
	{"untouched", "From is not in a served domain", NULL, NULL, "domain-not-served"},
	{"untouched", "from outside: List- fields", NULL, NULL, "from-outside"},
	{"untouched", "already signed", NULL, NULL, "already-signed"},
	{"untouched", "already signed (S/MIME, opaque)", NULL, NULL, "already-signed"},
	{"untouched", "already signed (PGP)", NULL, NULL, "pgp"},
	{"untouched", "already encrypted (PGP)", NULL, NULL, "pgp"},
	{"untouched", "already encrypted (S/MIME)", NULL, NULL, "encrypted"},
	{"untouched", "delivery report (empty envelope sender)", NULL, NULL, "delivery-report"},
	{"untouched", "report", NULL, NULL, "delivery-report"},
	{"untouched", "reply to a CA's challenge", NULL, NULL, "challenge-reply"},
	{"untouched", "two Content-Type fields", NULL, NULL, "duplicate-structure-headers"},
	{"untouched", "list mail", NULL, NULL, "list-mail"},
	{"untouched", "auto-submitted", NULL, NULL, "auto-submitted"},
	{"untouched", "calendar mail", NULL, NULL, "calendar"},
	{"untouched", "a mail rule says so", "mail rule films", NULL, "mail-rule"},
	{"untouched", "address is not listed for this login", NULL, NULL, "login-not-owner"},
	{"untouched", "the login is not this address", NULL, NULL, "login-not-owner"},
	{"untouched", "unknown login", NULL, NULL, "login-unknown"},
	{"untouched", "address is listed by several entries", NULL, NULL, "address-of-several"},
	{"untouched", "disabled", NULL, NULL, "directory-disabled"},
	{"untouched", "not in the pilot", NULL, NULL, "not-in-pilot"},
	{"untouched", "paused by an admin", NULL, NULL, "paused"},
	{"untouched", "the rule signs no mail", NULL, NULL, "rule-signs-nothing"},
	{"untouched", "the rule signs no mail to these domains (unsigned-to)", NULL, NULL, "unsigned-to"},
	{"untouched", "the rule signs outgoing mail only", NULL, NULL, "rule-outgoing-only"},
	{"untouched", "the rule signs internal mail only", NULL, NULL, "rule-internal-only"},
	{"untouched", "the author asked for no signature (unsigned-header)", NULL, NULL, "unsigned-header"},
	{"untouched", "its rule is not in this configuration; enrolld has yet to look at it again", NULL, NULL, "rule-unknown"},
	{"untouched", "cannot be signed without changing what it says", "8-bit", NULL, "cannot-be-reencoded"},
	{"untouched", "the header is larger than 1 MiB", NULL, NULL, "header-too-large"},
	{"untouched", "the relay did not show the secret header", NULL, NULL, "relay-proof-missing"},
	{"untouched", "the relay's mail has no valid DKIM signature of ours", NULL, NULL, "relay-proof-missing"},
	{"unsigned", "no enrollment", NULL, "reject", "rejected"},
	{"unsigned", "waiting", NULL, "hold", "held"},
	{"unsigned", "waiting", NULL, "tempfail", "told-to-come-again"},
	{"unsigned", "no enrollment", NULL, NULL, "no-enrollment"},
	{"unsigned", "enrollment in progress", NULL, NULL, "in-progress"},
	{"unsigned", "disabled", NULL, NULL, "disabled"},
	{"unsigned", "departed", NULL, NULL, "departed"},
	{"unsigned", "waiting", NULL, NULL, "waiting"},
	{"unsigned", "blocked", NULL, NULL, "blocked"},
	{"unsigned", "failed", NULL, NULL, "failed"},
	{"unsigned", "revoked", NULL, NULL, "revoked"},
	{"unsigned", "expired", NULL, NULL, "expired"},
	{"unsigned", "the certificate is not valid now", NULL, NULL, "not-valid"},
	{"unsigned", "the rule says: no certificate", NULL, NULL, "excluded"},
	{"unsigned", "mode is enroll: nothing is signed yet", NULL, NULL, "mode-enroll"},
	{"observed", "would be signed", NULL, NULL, "mode-observe"},
	{"error", "could not be signed, passed unsigned (on-error = pass)", "read store: disk full", "pass", "error-passed"},
	{"error", "could not be signed, the client is told to come again", "x", "tempfail", "error-tempfail"},
	{"untouched", "something nobody has thought of", NULL, NULL, "other"},
	{NULL, NULL, NULL, NULL, "other"},
};

START_TEST(each_verdict_of_the_milter_has_a_cause)
{
	struct mail_event m = {.at = NOW - 60, .queue_id = S("4Xk9"), .login = S("alice"), .from = S("alice@example.org"), .verdict = S(mails[_i].verdict),
		.reason = S(mails[_i].reason), .detail = S(mails[_i].detail), .action = S(mails[_i].action)};
	struct why_facts f = plain();

	f.mail = &m;
	ask(&f);
	ck_assert_str_eq(answer.cause, mails[_i].cause);
	ck_assert_int_eq(answer.signed_, mails[_i].verdict && strcmp(mails[_i].verdict, "signed") == 0);
	if (mails[_i].detail && strcmp(mails[_i].detail, "x") != 0)
		says(mails[_i].detail);
}
END_TEST

static const struct {
	enum enrollment_state state;
	bool disabled, certificate;
	int not_before, not_after; /* from now */
	const char *cause, *words;
} rows[] = {
	{ENROLLMENT_REQUESTED, false, false, 0, 0, "in-progress", "looked at by rules"},
	{ENROLLMENT_FINALIZED, false, false, 0, 0, "in-progress", "state finalized"},
	{ENROLLMENT_CHALLENGE_AWAITED, false, false, 0, 0, "challenge-awaited", "challenge mail"},
	{ENROLLMENT_ANSWERED, false, false, 0, 0, "answered", "verdict"},
	{ENROLLMENT_WAITING, false, false, 0, 0, "waiting", "because of rain"},
	{ENROLLMENT_BLOCKED, false, false, 0, 0, "blocked", "because of rain"},
	{ENROLLMENT_FAILED, false, false, 0, 0, "failed", "because of rain"},
	{ENROLLMENT_REVOKING, false, true, -10, 10, "revoked", "revoking"},
	{ENROLLMENT_REVOKED, false, false, 0, 0, "revoked", "revoked since"},
	{ENROLLMENT_EXPIRED, false, false, 0, 0, "expired", "has expired"},
	{ENROLLMENT_ACTIVE, false, true, -20, -10, "expired", "has expired at"},
	{ENROLLMENT_ACTIVE, false, true, 10, 20, "not-yet-valid", "is valid from"},
	{ENROLLMENT_ACTIVE, false, true, -10, 20, "has-certificate", "0ABC"},
	{ENROLLMENT_ACTIVE, true, true, -10, 20, "disabled", "by admin:root: left"},
	/* what a renewal waits for is no reason against the certificate that is there */
	{ENROLLMENT_WAITING, false, true, -10, 20, "has-certificate", "0ABC"},
	{ENROLLMENT_CHALLENGE_AWAITED, false, true, -10, 20, "has-certificate", "0ABC"},
	{ENROLLMENT_BLOCKED, false, true, -20, -10, "expired", "because of rain"},
	{ENROLLMENT_SUPERSEDED, false, false, 0, 0, "no-enrollment", "Nobody has asked"},
};

START_TEST(without_a_mail_the_enrollment_speaks)
{
	struct enrollment e = {.state = rows[_i].state, .disabled = rows[_i].disabled, .state_since = NOW - 5, .next_at = NOW + 5, .why = S("because of rain")};
	struct store_certificate c = {.serial = S("0ABC"), .not_before = NOW + rows[_i].not_before, .not_after = NOW + rows[_i].not_after};
	struct why_facts f = plain();

	f.row = &e;
	f.active = rows[_i].certificate ? &c : NULL;
	f.disabled_by = "by admin:root: left";
	ask(&f);
	ck_assert_str_eq(answer.cause, rows[_i].cause);
	says(rows[_i].words);
	ck_assert_int_eq(answer.signed_, strcmp(rows[_i].cause, "has-certificate") == 0);
}
END_TEST

static const struct {
	const char *why, *words, *then;
	time_t ended;
	enum enrollment_state state;
} leavers[] = {
	{"disabled", "their entry in the directory is disabled", "mail after that is signed", 0, ENROLLMENT_ACTIVE},
	{"address", "does not list this address any more", "mail after that is signed", 0, ENROLLMENT_WAITING},
	{"gone", "no entry for them any more", "mail after that is signed", 0, ENROLLMENT_ACTIVE},
	{"gone", "no entry for them any more", "a new certificate is asked for then", NOW - 5, ENROLLMENT_SUPERSEDED},
	{"gone", "no entry for them any more", "a new certificate is asked for then", NOW - 5, ENROLLMENT_REVOKED},
};

START_TEST(who_left_is_told_why_and_how_it_is_put_right)
{
	struct enrollment e = {.state = leavers[_i].state, .gone_since = NOW - 10, .gone_ended = leavers[_i].ended, .gone_why = S(leavers[_i].why), .rule = S("all")};
	struct store_certificate c = {.serial = S("0ABC"), .not_before = NOW - 10, .not_after = NOW + 20};
	struct mail_event m = {.at = NOW - 3, .verdict = S("unsigned"), .reason = S("departed")};
	struct why_facts f = plain();

	f.row = &e;
	f.active = e.state == ENROLLMENT_ACTIVE ? &c : NULL;
	f.excluded = true; /* what the rules say of nobody's address is of no interest */
	ask(&f);
	ck_assert_str_eq(answer.cause, "departed");
	says(leavers[_i].words);
	ck_assert_ptr_nonnull(strstr(buf_str(&answer.what_to_do), leavers[_i].then));
	ck_assert_ptr_nonnull(strstr(buf_str(&answer.what_to_do), "in the directory put right"));
	f.nobody_looks = true;
	ask(&f);
	ck_assert_str_eq(answer.cause, "departed");
	says(leavers[_i].words);
	says("nobody looks at the directory");
	ck_assert_ptr_nonnull(strstr(buf_str(&answer.what_to_do), "`enrollctl enable alice@example.org`"));
	ck_assert_ptr_nonnull(strstr(buf_str(&answer.what_to_do), leavers[_i].then));
	f.nobody_looks = false;
	f.mail = &m;
	ask(&f);
	ck_assert_str_eq(answer.cause, "departed");
	ck_assert(!answer.signed_);
	/* Back again: the mail of then was not signed, the next one is. */
	e.gone_since = 0;
	f.active = &c;
	e.state = ENROLLMENT_ACTIVE;
	ask(&f);
	ck_assert_str_eq(answer.cause, "departed");
	says("mail sent from now on is signed");
	f.mail = NULL;
	e.gone_since = NOW - 10;
	e.disabled = true;
	ask(&f);
	ck_assert_msg(strcmp(answer.cause, "disabled") == 0, "the admin's word comes first: it is not put right in the directory");
}
END_TEST

START_TEST(without_a_mail_the_configuration_speaks_first)
{
	struct why_facts f = plain();

	ask(&f);
	ck_assert_str_eq(answer.cause, "no-enrollment");
	f.excluded = true;
	f.rule = "left";
	ask(&f);
	ck_assert_str_eq(answer.cause, "excluded");
	says("Rule left");
	f.in_pilot = false;
	ask(&f);
	ck_assert_str_eq(answer.cause, "not-in-pilot");
	f.mode = MODE_OBSERVE;
	ask(&f);
	ck_assert_str_eq(answer.cause, "mode-observe");
	f.paused = "by admin:root";
	ask(&f);
	ck_assert_str_eq(answer.cause, "paused");
	says("by admin:root");
	f.asked_for_one = true;
	ask(&f);
	ck_assert_str_eq(answer.cause, "no-such-mail");
	f.served = false;
	ask(&f);
	ck_assert_str_eq(answer.cause, "domain-not-served");
}
END_TEST

START_TEST(what_was_then_and_what_is_now_are_both_said)
{
	struct mail_event m = {.at = NOW - 60, .verdict = S("unsigned"), .reason = S("enrollment in progress")};
	struct enrollment e = {.state = ENROLLMENT_CHALLENGE_AWAITED, .state_since = NOW - 50};
	struct store_certificate c = {.serial = S("0ABC"), .not_before = NOW - 10, .not_after = NOW + 1000};
	struct why_facts f = plain();

	f.mail = &m;
	f.row = &e;
	ask(&f);
	ck_assert_str_eq(answer.cause, "challenge-awaited");
	says("was still on its way");
	says("waits for the CA's challenge mail");
	e.state = ENROLLMENT_ACTIVE;
	f.active = &c;
	ask(&f);
	ck_assert_str_eq(answer.cause, "in-progress");
	says("was still on its way");
	says("mail sent from now on is signed");
	/* and nothing of it where a certificate was not what the mail lacked */
	m.verdict = S("untouched");
	m.reason = S("list mail");
	ask(&f);
	ck_assert_ptr_null(strstr(buf_str(&answer.sentence), "0ABC"));
}
END_TEST

START_TEST(braces_of_strangers_are_left_alone)
{
	struct mail_event m = {.at = NOW, .verdict = S("untouched"), .reason = S("a mail rule says so"), .detail = S("mail rule {login} %s {")};
	struct why_facts f = plain();

	f.mail = &m;
	why_find(&f, &answer);
	says("mail rule {login} %s {");
}
END_TEST

START_TEST(there_are_causes_enough_and_every_name_is_a_word)
{
	size_t n = 0;

	for (; why_cause_name(n); n++)
		ck_assert_uint_eq(strspn(why_cause_name(n), "abcdefghijklmnopqrstuvwxyz-"), strlen(why_cause_name(n)));
	ck_assert_uint_gt(n, 50);
}
END_TEST

static void teardown(void)
{
	why_answer_clear(&answer);
}

int main(void)
{
	Suite *s = suite_create("why");
	TCase *t = tcase_create("why");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_loop_test(t, each_verdict_of_the_milter_has_a_cause, 0, COUNT(mails));
	tcase_add_loop_test(t, without_a_mail_the_enrollment_speaks, 0, COUNT(rows));
	tcase_add_loop_test(t, who_left_is_told_why_and_how_it_is_put_right, 0, COUNT(leavers));
	tcase_add_test(t, without_a_mail_the_configuration_speaks_first);
	tcase_add_test(t, what_was_then_and_what_is_now_are_both_said);
	tcase_add_test(t, braces_of_strangers_are_left_alone);
	tcase_add_test(t, there_are_causes_enough_and_every_name_is_a_word);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
