/*
 * tests/unit/test_metrics.c - metrics/: what is counted stands in the text, labels are those of the enums; the socket that serves it.
 */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "metrics/table.h"
#include "store/store.h"

static char *text_of(enum metrics_program program)
{
	struct buf out = BUF_INIT;

	metrics_text(&out, program);
	ck_assert(!out.failed);
	return buf_take(&out);
}

/* The whole line must stand there. */
static void has(enum metrics_program program, const char *line)
{
	struct buf wanted = BUF_INIT;
	char *text = text_of(program);

	buf_printf(&wanted, "\n%s\n", line);
	ck_assert_msg(strstr(text, buf_str(&wanted)) != NULL, "\"%s\" is not in:\n%s", line, text);
	buf_clear(&wanted);
	free(text);
}

static void has_not(enum metrics_program program, const char *words)
{
	char *text = text_of(program);

	ck_assert_msg(strstr(text, words) == NULL, "\"%s\" is in:\n%s", words, text);
	free(text);
}

START_TEST(counters_begin_at_zero_and_add_up)
{
	has(METRICS_OUTBOUND, "enroll_milter_on_error_total{action=\"tempfail\"} 0");
	metrics_count(METRIC_ON_ERROR, METRICS_TEMPFAILED, 0, 0);
	metrics_add(METRIC_ON_ERROR, METRICS_TEMPFAILED, 0, 0, 2);
	has(METRICS_OUTBOUND, "enroll_milter_on_error_total{action=\"tempfail\"} 3");
	has(METRICS_OUTBOUND, "enroll_milter_on_error_total{action=\"pass\"} 0");
	metrics_count_word(METRIC_CHALLENGE_MAILS, "not-authentic");
	metrics_count_word(METRIC_CHALLENGE_MAILS, "not"); /* no word of it */
	has(METRICS_INBOUND, "enroll_milter_challenge_mails_total{verdict=\"not-authentic\"} 1");
	has(METRICS_INBOUND, "enroll_milter_challenge_mails_total{verdict=\"not-ours\"} 0");
}
END_TEST

START_TEST(a_label_out_of_range_counts_nothing)
{
	char *before = text_of(METRICS_OUTBOUND), *after;

	metrics_count(METRIC_ON_ERROR, 2, 0, 0);
	metrics_count(METRIC_ON_ERROR, 0, 1, 0);
	metrics_observe(METRIC_STORE_SECONDS, 2, 1);
	after = text_of(METRICS_OUTBOUND);
	ck_assert_str_eq(before, after);
	free(before);
	free(after);
}
END_TEST

START_TEST(gauges_are_shown_once_they_are_known)
{
	has_not(METRICS_ENROLLD, "\nenroll_milter_paused");
	metrics_set(METRIC_PAUSED, 0, 0, 1);
	metrics_set(METRIC_EARLIEST_EXPIRY, 0, 0, -5);
	has(METRICS_ENROLLD, "enroll_milter_paused 1");
	has(METRICS_ENROLLD, "enroll_milter_certificate_earliest_expiry_seconds -5");
	metrics_unset(METRIC_PAUSED);
	has_not(METRICS_ENROLLD, "\nenroll_milter_paused");
	metrics_set(METRIC_ENROLLMENTS, ENROLLMENT_BLOCKED, ERR_CONFIG, 7);
	has(METRICS_ENROLLD, "enroll_milter_enrollments{state=\"blocked\",class=\"config\"} 7");
	metrics_set(METRIC_ENROLLMENTS, ENROLLMENT_BLOCKED, ERR_CONFIG, 0);
	has_not(METRICS_ENROLLD, "state=\"blocked\"");
}
END_TEST

START_TEST(spans_fall_into_buckets_that_add_up)
{
	metrics_observe(METRIC_SIGNING_SECONDS, 0, 1000);     /* a bound belongs to its bucket */
	metrics_observe(METRIC_SIGNING_SECONDS, 0, 1001);
	metrics_observe(METRIC_SIGNING_SECONDS, 0, 90000000); /* above all */
	has(METRICS_OUTBOUND, "enroll_milter_signing_seconds_bucket{le=\"0.001\"} 1");
	has(METRICS_OUTBOUND, "enroll_milter_signing_seconds_bucket{le=\"0.002\"} 2");
	has(METRICS_OUTBOUND, "enroll_milter_signing_seconds_bucket{le=\"10\"} 2");
	has(METRICS_OUTBOUND, "enroll_milter_signing_seconds_bucket{le=\"+Inf\"} 3");
	has(METRICS_OUTBOUND, "enroll_milter_signing_seconds_sum 90.002001");
	has(METRICS_OUTBOUND, "enroll_milter_signing_seconds_count 3");
}
END_TEST

START_TEST(a_histogram_can_be_counted_anew)
{
	uint64_t counts[STORE_FIGURES_BOUNDS] = {1, 0, 2};
	size_t n;
	const int64_t *bounds = metrics_bounds(METRIC_CERTIFICATE_REMAINING, &n);

	ck_assert_uint_lt(n, STORE_FIGURES_BOUNDS);
	ck_assert_int_eq(bounds[0], 86400);
	metrics_fill(METRIC_CERTIFICATE_REMAINING, counts, 1000000000000000);
	metrics_fill(METRIC_CERTIFICATE_REMAINING, counts, 1000000000000000);
	has(METRICS_ENROLLD, "enroll_milter_certificate_remaining_seconds_bucket{le=\"86400\"} 1");
	has(METRICS_ENROLLD, "enroll_milter_certificate_remaining_seconds_bucket{le=\"604800\"} 3");
	has(METRICS_ENROLLD, "enroll_milter_certificate_remaining_seconds_sum 1000000000000000");
	has(METRICS_ENROLLD, "enroll_milter_certificate_remaining_seconds_count 3");
}
END_TEST

START_TEST(cas_are_labels_by_name_and_the_rest_is_other)
{
	unsigned one = metrics_ca("one"), quoted = metrics_ca("a\"b\\c"), last = 0;
	char name[16];

	has_not(METRICS_ENROLLD, "ca=\"two\"");
	ck_assert_uint_eq(metrics_ca("one"), one);
	metrics_count(METRIC_CA_REQUESTS, one, METRICS_CA_OTHER, METRICS_CA_FAILED);
	metrics_count(METRIC_CA_REQUESTS, quoted, METRICS_CA_DIRECTORY, METRICS_CA_OK);
	has(METRICS_ENROLLD, "enroll_milter_ca_requests_total{ca=\"one\",kind=\"other\",status=\"failed\"} 1");
	has(METRICS_ENROLLD, "enroll_milter_ca_requests_total{ca=\"a\\\"b\\\\c\",kind=\"directory\",status=\"ok\"} 1");
	for (int i = 0; i < 2 * METRICS_CAS; i++) {
		snprintf(name, sizeof name, "ca%d", i);
		last = metrics_ca(name);
	}
	ck_assert_uint_eq(last, METRICS_CAS - 1);
	metrics_count(METRIC_CA_REQUESTS, last, 0, 0);
	has(METRICS_ENROLLD, "enroll_milter_ca_requests_total{ca=\"other\",kind=\"directory\",status=\"ok\"} 1");
}
END_TEST

START_TEST(labels_are_in_the_order_of_the_enums)
{
	char wanted[64];

	for (unsigned i = 0; i < ENROLLMENT_STATES; i++) {
		snprintf(wanted, sizeof wanted, "state=\"%s\"", enrollment_state_name((enum enrollment_state)i));
		ck_assert_str_eq(metrics_rows[METRIC_ENROLLMENTS].labels[0].values[i], wanted);
	}
	ck_assert_ptr_null(metrics_rows[METRIC_ENROLLMENTS].labels[0].values[ENROLLMENT_STATES]);
	for (unsigned i = 0; i <= ERR_BUG; i++) {
		snprintf(wanted, sizeof wanted, "class=\"%s\"", err_class_name((enum err_class)i));
		ck_assert_str_eq(metrics_rows[METRIC_ENROLLMENTS].labels[1].values[i], wanted);
	}
	ck_assert_str_eq(metrics_rows[METRIC_CA_REQUESTS].labels[1].values[METRICS_CA_OTHER], "kind=\"other\"");
	ck_assert_str_eq(metrics_rows[METRIC_CA_REQUESTS].labels[1].values[METRICS_CA_RENEWAL], "kind=\"renewal-info\"");
	ck_assert_str_eq(metrics_rows[METRIC_CA_REQUESTS].labels[2].values[METRICS_CA_FAILED], "status=\"failed\"");
	ck_assert_str_eq(metrics_rows[METRIC_CREDENTIAL_LOOKUPS].labels[0].values[METRICS_LOOKUP_FAILED], "result=\"failed\"");
	ck_assert_str_eq(metrics_rows[METRIC_REPLIES].labels[0].values[METRICS_REPLY_IN_DOUBT], "outcome=\"in-doubt\"");
	ck_assert_str_eq(metrics_rows[METRIC_OLDEST_WAITING].labels[0].values[METRICS_FAILED_ROW], "state=\"failed\"");
	ck_assert_str_eq(metrics_rows[METRIC_QUEUE_OLDEST].labels[0].values[METRICS_QUEUE_REPORTS], "queue=\"reports\"");
}
END_TEST

/* The last cell of every metric can be counted: the array of cells is large enough. */
START_TEST(there_is_a_cell_for_everything)
{
	for (unsigned m = 0; m < METRICS; m++) {
		const struct metrics_row *r = &metrics_rows[m];

		ck_assert_ptr_nonnull(r->name);
		ck_assert_ptr_nonnull(r->help);
		ck_assert_uint_ne(r->programs, 0);
		ck_assert(r->type != METRICS_HISTOGRAM || (r->bounds && r->per_second));
	}
	metrics_count_word(METRIC_DELIVERY_REPORTS, "come-again"); /* the last metric's last label */
	has(METRICS_INBOUND, "enroll_milter_delivery_reports_total{verdict=\"come-again\"} 1");
}
END_TEST

static const struct {
	const char *verdict, *reason;
	enum metrics_mail kind;
} mails[] = {
	{"signed", "signed", METRICS_MAIL_SIGNED_DETACHED},
	{"signed", "signed after re-encoding", METRICS_MAIL_SIGNED_REENCODED},
	{"signed", "signed, opaque as it must not be re-encoded", METRICS_MAIL_SIGNED_OPAQUE},
	{"signed", OUTBOUND_AFTER_DKIM, METRICS_MAIL_SIGNED_AFTER_DKIM},
	{"not-ours", "not authenticated", METRICS_MAIL_NOT_OURS},
	{"untouched", "disabled", METRICS_MAIL_DIRECTORY_DISABLED},
	{"untouched", "report", METRICS_MAIL_DELIVERY_REPORT},
	{"untouched", "reports of a stranger", METRICS_MAIL_UNTOUCHED_OTHER},
	{"untouched", "PGP", METRICS_MAIL_PGP},
	{"untouched", "already signed (PGP)", METRICS_MAIL_PGP},
	{"untouched", "already signed", METRICS_MAIL_ALREADY_SIGNED},
	{"untouched", NULL, METRICS_MAIL_UNTOUCHED_OTHER},
	{"unsigned", "disabled", METRICS_MAIL_DISABLED},
	{"unsigned", "no enrollment", METRICS_MAIL_NO_ENROLLMENT},
	{"unsigned", "", METRICS_MAIL_UNSIGNED_OTHER},
	{"observed", "would be signed", METRICS_MAIL_OBSERVED},
	{"error", "an edit failed: the client is told to come again, nothing half-altered goes on", METRICS_MAIL_EDIT_FAILED},
	{"error", "could not be signed, passed unsigned (on-error = pass)", METRICS_MAIL_ERROR_PASSED},
	{"error", "could not be signed, the client is told to come again", METRICS_MAIL_ERROR_TEMPFAIL},
	{"undecided", NULL, METRICS_MAIL_UNDECIDED},
	{"anything else", "signed", METRICS_MAIL_UNDECIDED},
};

START_TEST(each_mail_is_of_one_kind)
{
	ck_assert_int_eq(metrics_mail_kind(mails[_i].verdict, mails[_i].reason), mails[_i].kind);
}
END_TEST

/* ---- the socket -------------------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/metrics-test-XXXXXX", path[64], where[80];
static bool is_healthy;

static void collect(void *context)
{
	metrics_set(METRIC_SESSIONS, 0, 0, 42);
}

static bool healthy(void *context, struct buf *why)
{
	buf_puts(why, "it does not feel well\n");
	return is_healthy;
}

static bool ready(void *context, struct buf *why)
{
	return true;
}

static const struct metrics_source source = {.collect = collect, .healthy = healthy, .ready = ready};

static void make_folder(void)
{
	strcpy(folder, "/tmp/metrics-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/sock", folder);
	snprintf(where, sizeof where, "unix:%s", path);
}

static void remove_folder(void)
{
	unlink(path);
	rmdir(folder);
}

static struct metrics_server *serve(const char *at, const char *group)
{
	struct err err = ERR_INIT;
	struct metrics_server *s = metrics_serve(at, group, METRICS_OUTBOUND, &source, &err);

	ck_assert_msg(s != NULL, "%s", err.text);
	return s;
}

static void refused(const char *at, const char *group, const char *words)
{
	struct err err = ERR_INIT;

	ck_assert_ptr_null(metrics_serve(at, group, METRICS_OUTBOUND, &source, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	ck_assert_msg(strstr(err.text, words) != NULL, "%s", err.text);
}

/* The whole answer to these octets. */
static const char *ask(const char *request)
{
	static char answer[65536];
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	size_t have = 0;
	ssize_t n;

	strcpy(addr.sun_path, path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	while (have < sizeof answer - 1 && (n = read(fd, answer + have, sizeof answer - 1 - have)) > 0)
		have += (size_t)n;
	answer[have] = '\0';
	close(fd);
	return answer;
}

static void answers(const char *request, const char *status, const char *words)
{
	const char *answer = ask(request);

	ck_assert_msg(strncmp(answer, status, strlen(status)) == 0, "%s: %s", request, answer);
	ck_assert_msg(strstr(answer, words) != NULL, "%s: %s", request, answer);
}

#define REQUEST(line, more) line " HTTP/1.1\r\nHost: localhost\r\n" more "\r\n"

START_TEST(paths_and_methods)
{
	struct metrics_server *s = serve(where, NULL);

	answers(REQUEST("GET /metrics", ""), "HTTP/1.1 200", "enroll_milter_sessions 42\n");
	answers(REQUEST("GET /metrics?x=y", ""), "HTTP/1.1 200", "Content-Type: text/plain; version=0.0.4");
	answers(REQUEST("GET /readyz", ""), "HTTP/1.1 200", "ok\n");
	answers(REQUEST("GET /healthz", ""), "HTTP/1.1 503", "it does not feel well\n");
	is_healthy = true;
	answers(REQUEST("GET /healthz", ""), "HTTP/1.1 200", "ok\n");
	answers(REQUEST("GET /", ""), "HTTP/1.1 404", "/metrics");
	answers(REQUEST("GET /metrics/", ""), "HTTP/1.1 404", "/metrics");
	answers(REQUEST("POST /metrics", ""), "HTTP/1.1 405", "Allow: GET, HEAD");
	answers(REQUEST("GET /metrics", "Content-Length: 5\r\n"), "HTTP/1.1 413", "");
	answers(REQUEST("GET /metrics", "Transfer-Encoding: chunked\r\n"), "HTTP/1.1 413", "");
	ck_assert_ptr_null(strstr(ask(REQUEST("HEAD /metrics", "")), "enroll_milter"));
	ck_assert_ptr_null(strstr(ask("nonsense\r\n\r\n"), "enroll_milter"));
	metrics_stop(s);
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(the_socket_is_for_its_group)
{
	struct metrics_server *s = serve(where, NULL);
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0660);
	metrics_stop(s);
	refused(where, "no-such-group-here", "does not exist");
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(a_successor_takes_over_and_others_do_not)
{
	struct metrics_server *first = serve(where, NULL), *second;
	FILE *file;

	/* another user's, as far as can be told: only root can make one */
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(path, 65534, (gid_t)-1), 0);
		refused(where, NULL, "another process");
		answers(REQUEST("GET /readyz", ""), "HTTP/1.1 200", "ok");
		ck_assert_int_eq(chown(path, 0, (gid_t)-1), 0);
	}
	second = serve(where, NULL);
	metrics_stop(first);
	answers(REQUEST("GET /readyz", ""), "HTTP/1.1 200", "ok");
	metrics_stop(second);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fclose(file);
	refused(where, NULL, "cannot be opened");
	ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(what_a_predecessor_left_is_taken_away)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	close(fd);
	metrics_stop(serve(where, NULL));
}
END_TEST

START_TEST(only_loopback)
{
	refused("inet:9123@0.0.0.0", NULL, "127.0.0.1 or ::1");
	refused("inet:9123@192.0.2.1", NULL, "127.0.0.1 or ::1");
	refused("inet:9123", NULL, "127.0.0.1 or ::1");
	refused("inet:0@127.0.0.1", NULL, "127.0.0.1 or ::1");
	refused("inet:65536@::1", NULL, "127.0.0.1 or ::1");
	refused("/run/socket", NULL, "not understood");
	refused("unix:/nowhere/at/all/sock", NULL, "folder");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("metrics");
	TCase *count = tcase_create("counting"), *serving = tcase_create("serving");
	SRunner *runner;
	int failed;

	tcase_add_test(count, counters_begin_at_zero_and_add_up);
	tcase_add_test(count, a_label_out_of_range_counts_nothing);
	tcase_add_test(count, gauges_are_shown_once_they_are_known);
	tcase_add_test(count, spans_fall_into_buckets_that_add_up);
	tcase_add_test(count, a_histogram_can_be_counted_anew);
	tcase_add_test(count, cas_are_labels_by_name_and_the_rest_is_other);
	tcase_add_test(count, labels_are_in_the_order_of_the_enums);
	tcase_add_test(count, there_is_a_cell_for_everything);
	tcase_add_loop_test(count, each_mail_is_of_one_kind, 0, (int)(sizeof mails / sizeof *mails));
	suite_add_tcase(s, count);
	tcase_add_checked_fixture(serving, make_folder, remove_folder);
	tcase_add_test(serving, paths_and_methods);
	tcase_add_test(serving, the_socket_is_for_its_group);
	tcase_add_test(serving, a_successor_takes_over_and_others_do_not);
	tcase_add_test(serving, what_a_predecessor_left_is_taken_away);
	tcase_add_test(serving, only_loopback);
	tcase_set_timeout(serving, 120);
	suite_add_tcase(s, serving);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
