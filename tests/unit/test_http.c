/*
 * tests/unit/test_http.c - what an HTTPS request to a CA survives, and what becomes of one that fails.
 *
 * It is over 800 lines because the cases share one server, one proxy and their ways of going wrong.
 */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <check.h>

#include "enroll/http.h"
#include "tests/unit/https_server.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* ---- times and URLs ------------------------------------------------------------------------------------------------ */

#define NOW 1795334400 /* Sun, 22 Nov 2026 08:00:00 GMT */

static const struct {
	const char *name, *value;
	time_t expected;
} retries[] = {
	{"no field", NULL, 0},
	{"seconds", "120", NOW + 120},
	{"zero seconds", "0", NOW},
	{"a date", "Sun, 22 Nov 2026 08:01:00 GMT", NOW + 60},
	{"a date in the form of RFC 850", "Sunday, 22-Nov-26 08:01:00 GMT", NOW + 60},
	{"a date in the past", "Sun, 22 Nov 2020 08:01:00 GMT", NOW},
	{"more seconds than a month", "99999999", NOW + 31 * 86400},
	{"more seconds than a number can hold", "99999999999999999999999999", NOW + 31 * 86400},
	{"a date in the next century", "Sun, 22 Nov 2126 08:01:00 GMT", NOW + 31 * 86400},
	{"a negative number", "-5", 0},
	{"nonsense", "soon", 0},
	{"nothing", "", 0},
};

START_TEST(retry_after_is_understood)
{
	ck_assert_msg(http_retry_after(retries[_i].value, NOW) == retries[_i].expected, "%s: %ld", retries[_i].name,
		(long)http_retry_after(retries[_i].value, NOW) - NOW);
}
END_TEST

static const struct {
	const char *name, *url;
	bool good;
} urls[] = {
	{"a plain URL", "https://ca.example/acme/order/1", true},
	{"a port and a query", "https://ca.example:8443/x?y=z", true},
	{"an IPv6 host", "https://[::1]:8443/x", true},
	{"capital letters in the scheme", "HTTPS://ca.example/", true},
	{"plain http", "http://ca.example/", false},
	{"a file", "file:///etc/passwd", false},
	{"no scheme", "ca.example/acme", false},
	{"a user name", "https://user@ca.example/", false},
	{"a password", "https://user:secret@ca.example/", false},
	{"a fragment", "https://ca.example/#x", false},
	{"a blank", "https://ca.example/a b", false},
	{"a line break", "https://ca.example/\r\nX: y", false},
	{"letters beyond ASCII", "https://c\xc3\xa4.example/", false},
	{"no host", "https:///x", false},
	{"nothing", "", false},
	{"no URL at all", NULL, false},
};

START_TEST(url_is_judged)
{
	ck_assert_msg(http_url_good(urls[_i].url) == urls[_i].good, "%s", urls[_i].name);
}
END_TEST

static const struct {
	const char *name, *reference, *expected;
} references[] = {
	{"an absolute URL", "https://other.example/x", "https://other.example/x"},
	{"a path", "/acme/order/7", "https://ca.example/acme/order/7"},
	{"a relative path", "7", "https://ca.example/acme/7"},
	{"a way down to plain http", "http://ca.example/x", NULL},
	{"another scheme", "javascript:alert(1)", NULL},
	{"a blank", "a b", NULL},
};

START_TEST(reference_is_resolved)
{
	char *url = http_url_resolve("https://ca.example/acme/new", references[_i].reference);

	if (references[_i].expected)
		ck_assert_msg(url && strcmp(url, references[_i].expected) == 0, "%s: %s", references[_i].name, url ? url : "none");
	else
		ck_assert_msg(!url, "%s: %s", references[_i].name, url);
	free(url);
}
END_TEST

/* ---- requests ------------------------------------------------------------------------------------------------------ */

static char dir[64], base[64], ca_file[128];
static struct https_server *server;
static struct http *http;
static size_t requests, newest_connection;

/* Paths of the little server and what they do. */
static void handle(const struct https_request *q, struct https_answer *a, void *arg)
{
	struct buf text = BUF_INIT;

	requests++;
	newest_connection = q->connection;
	if (strcmp(q->path, "/good") == 0) {
		https_answer_put(a, 200,
			"Content-Type: Application/JSON; charset=utf-8\r\nReplay-Nonce:  abc_-1 \r\nLocation: /there\r\nRetry-After: 7\r\n"
			"Link: <https://a>;rel=\"up\"\r\nLink: <https://b>;rel=\"index\"\r\n",
			"{\"a\":1}");
	} else if (strcmp(q->path, "/echo") == 0) {
		https_answer_put(a, 201, "", q->body.data ? q->body.data : "");
	} else if (strcmp(q->path, "/head") == 0) {
		https_answer_put(a, 200, "", q->head.data);
	} else if (strcmp(q->path, "/to-good") == 0) {
		https_answer_put(a, 302, "Location: /good\r\nReplay-Nonce: first\r\n", "elsewhere");
	} else if (strcmp(q->path, "/to-http") == 0) {
		https_answer_put(a, 302, "Location: http://127.0.0.1:9/\r\n", "");
	} else if (strcmp(q->path, "/round") == 0) {
		https_answer_put(a, 302, "Location: /round\r\n", "");
	} else if (strcmp(q->path, "/huge") == 0) {
		for (size_t i = 0; i < HTTP_BODY_MAX + 10; i++)
			buf_putc(&text, 'x');
		https_answer_put(a, 200, "", text.data);
	} else if (strcmp(q->path, "/huge-head") == 0) {
		for (size_t i = 0; i < 2000; i++)
			buf_printf(&text, "X-Field-%zu: and so on and on and on and on\r\n", i);
		https_answer_put(a, 200, text.data, "");
	} else if (strcmp(q->path, "/short") == 0) {
		buf_puts(&a->raw, "HTTP/1.1 201 X\r\nLocation: https://ca.example/order/1\r\nContent-Length: 500\r\n\r\n{\"status\":");
		a->close = true;
	} else if (strcmp(q->path, "/hang") == 0) {
		https_answer_put(a, 200, "", "late");
		a->hold_ms = 2500;
	} else if (strcmp(q->path, "/garbage") == 0) {
		buf_puts(&a->raw, "220 mail.example ESMTP\r\n");
		a->close = true;
	} /* else: close without a word */
	buf_clear(&text);
}

static void setup_with(unsigned seconds)
{
	struct http_settings set = {.ca_file = ca_file, .contact = "mailto:postmaster@example.org", .total_seconds = seconds};
	struct err err = ERR_INIT;

	strcpy(dir, "/tmp/test-http-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(ca_file, sizeof ca_file, "%s/https.pem", dir);
	server = https_server_start(dir, handle, NULL);
	snprintf(base, sizeof base, "https://127.0.0.1:%u", https_server_port(server));
	requests = 0;
	http = http_new(&set, &err);
	ck_assert_msg(http != NULL, "%s", err.text);
}

/* Patient, so that a busy machine fails nothing. */
static void setup(void)
{
	setup_with(60);
}

static void teardown(void)
{
	http_free(http);
	https_server_stop(server);
	unlink(ca_file);
	rmdir(dir);
}

static enum http_fate ask(enum http_method method, const char *path, struct http_response *r, struct err *err)
{
	char url[128];
	struct http_request q = {.method = method, .url = url, .body = "body", .len = 4, .content_type = "text/x"};

	snprintf(url, sizeof url, "%s%s", base, path);
	return http_perform(http, &q, r, err);
}

START_TEST(answer_is_taken_apart)
{
	struct http_response r;
	struct err err = ERR_INIT;

	ck_assert_msg(ask(HTTP_GET, "/good", &r, &err) == HTTP_ANSWERED, "%s", err.text);
	ck_assert_int_eq(r.status, 200);
	ck_assert_str_eq(r.content_type, "application/json");
	ck_assert_str_eq(r.replay_nonce, "abc_-1");
	ck_assert_str_eq(r.location, "/there");
	ck_assert_str_eq(r.retry_after, "7");
	ck_assert_uint_eq(r.links.n, 2);
	ck_assert_str_eq(r.links.v[1], "<https://b>;rel=\"index\"");
	ck_assert_str_eq(r.body.data, "{\"a\":1}");
	http_response_clear(&r);
}
END_TEST

START_TEST(post_carries_its_body_and_we_say_who_we_are)
{
	struct http_response r;
	struct err err = ERR_INIT;

	ck_assert_int_eq(ask(HTTP_POST, "/echo", &r, &err), HTTP_ANSWERED);
	ck_assert_str_eq(r.body.data, "body");
	http_response_clear(&r);
	ck_assert_int_eq(ask(HTTP_POST, "/head", &r, &err), HTTP_ANSWERED);
	ck_assert_ptr_nonnull(strstr(r.body.data, "User-Agent: enroll-milter/" PACKAGE_VERSION " (mailto:postmaster@example.org)\r\n"));
	ck_assert_ptr_nonnull(strstr(r.body.data, "Content-Type: text/x\r\n"));
	ck_assert_ptr_null(strstr(r.body.data, "Expect:"));
	http_response_clear(&r);
}
END_TEST

START_TEST(connection_is_kept_but_not_for_what_must_not_arrive_twice)
{
	char url[128];
	struct http_request q = {.method = HTTP_POST, .url = url, .once = true};
	struct http_response r;
	struct err err = ERR_INIT;
	size_t first;

	ck_assert_int_eq(ask(HTTP_GET, "/good", &r, &err), HTTP_ANSWERED);
	http_response_clear(&r);
	first = newest_connection;
	ck_assert_int_eq(ask(HTTP_GET, "/good", &r, &err), HTTP_ANSWERED);
	http_response_clear(&r);
	ck_assert_uint_eq(newest_connection, first);
	snprintf(url, sizeof url, "%s/echo", base);
	ck_assert_int_eq(http_perform(http, &q, &r, &err), HTTP_ANSWERED);
	http_response_clear(&r);
	ck_assert_uint_ne(newest_connection, first);
}
END_TEST

START_TEST(get_follows_a_redirect_and_forgets_the_first_answer)
{
	struct http_response r;
	struct err err = ERR_INIT;

	ck_assert_int_eq(ask(HTTP_GET, "/to-good", &r, &err), HTTP_ANSWERED);
	ck_assert_int_eq(r.status, 200);
	ck_assert_str_eq(r.body.data, "{\"a\":1}");
	ck_assert_str_eq(r.replay_nonce, "abc_-1");
	http_response_clear(&r);
}
END_TEST

START_TEST(post_follows_no_redirect)
{
	struct http_response r;
	struct err err = ERR_INIT;

	ck_assert_int_eq(ask(HTTP_POST, "/to-good", &r, &err), HTTP_ANSWERED);
	ck_assert_int_eq(r.status, 302);
	ck_assert_uint_eq(requests, 1);
	http_response_clear(&r);
}
END_TEST

static const struct {
	const char *name;
	enum http_method method;
	const char *path;
	enum http_fate fate;
	const char *word;
} failures[] = {
	{"a redirect to plain http", HTTP_GET, "/to-http", HTTP_LOST, ""},
	{"redirects without end", HTTP_GET, "/round", HTTP_LOST, ""},
	{"a body over the cap", HTTP_POST, "/huge", HTTP_LOST, "larger than allowed"},
	{"a header over the cap", HTTP_POST, "/huge-head", HTTP_LOST, "larger than allowed"},
	{"a body that ends early", HTTP_POST, "/short", HTTP_LOST, ""},
	{"an answer that takes too long", HTTP_POST, "/hang", HTTP_LOST, ""},
	{"something that is no HTTP", HTTP_POST, "/garbage", HTTP_LOST, ""},
	{"a connection closed without an answer", HTTP_POST, "/nothing", HTTP_LOST, ""},
};

START_TEST(failure_after_sending_is_lost)
{
	struct http_response r;
	struct err err = ERR_INIT;
	int64_t begun = mono_ms();

	if (strcmp(failures[_i].path, "/hang") == 0) {
		teardown();
		setup_with(1);
	}
	ck_assert_msg(ask(failures[_i].method, failures[_i].path, &r, &err) == failures[_i].fate, "%s: %s", failures[_i].name, err.text);
	ck_assert_msg(mono_ms() - begun < 40000, "%s took too long", failures[_i].name);
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert_str_eq(err.type, "lost");
	ck_assert_msg(strstr(err.text, failures[_i].word) != NULL, "%s: %s", failures[_i].name, err.text);
	ck_assert_msg(r.body.len <= HTTP_BODY_MAX, "%s", failures[_i].name);
	http_response_clear(&r);
}
END_TEST

/* libcurl would send it again, five times. */
START_TEST(what_meets_the_end_of_a_kept_connection_is_sent_once)
{
	struct http_response r;
	struct err err = ERR_INIT;

	ck_assert_int_eq(ask(HTTP_GET, "/good", &r, &err), HTTP_ANSWERED);
	http_response_clear(&r);
	ck_assert_int_eq(ask(HTTP_POST, "/nothing", &r, &err), HTTP_LOST);
	http_response_clear(&r);
	ck_assert_uint_eq(requests, 2);
	ck_assert_str_eq(err.type, "lost");
}
END_TEST

START_TEST(header_of_a_short_answer_is_kept)
{
	struct http_response r;
	struct err err = ERR_INIT;

	ck_assert_int_eq(ask(HTTP_POST, "/short", &r, &err), HTTP_LOST);
	ck_assert_int_eq(r.status, 201);
	ck_assert_str_eq(r.location, "https://ca.example/order/1");
	http_response_clear(&r);
}
END_TEST

static int silent_listener(unsigned *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof sin;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof sin), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port = ntohs(sin.sin_port);
	return fd;
}

static void check_unsent(struct http *with, const char *url, const char *word)
{
	struct http_request q = {.method = HTTP_POST, .url = url};
	struct http_response r;
	struct err err = ERR_INIT;

	ck_assert_msg(http_perform(with, &q, &r, &err) == HTTP_UNSENT, "%s: %s", url, err.text);
	ck_assert_int_eq(err.class, ERR_TEMPORARY);
	ck_assert_str_eq(err.type, "unsent");
	ck_assert_msg(strstr(err.text, word) != NULL, "%s", err.text);
	http_response_clear(&r);
}

START_TEST(failure_before_sending_is_unsent)
{
	char url[128];
	unsigned port;
	int fd = silent_listener(&port);

	snprintf(url, sizeof url, "https://127.0.0.1:%u/x", port);
	teardown();
	setup_with(1);
	check_unsent(http, url, "");  /* accepts, and never speaks TLS */
	close(fd);
	teardown();
	setup_with(60);
	check_unsent(http, url, "could not be reached"); /* refuses */
	check_unsent(http, "https://nowhere.invalid/x", "could not be reached");
	snprintf(url, sizeof url, "https://localhost:%u/good", https_server_port(server));
	check_unsent(http, url, "ca.ca-file"); /* the certificate is for another name */
	ck_assert_uint_eq(requests, 0);
}
END_TEST

START_TEST(stranger_certificate_is_not_trusted)
{
	struct http_settings set = {.total_seconds = 2};
	struct err err = ERR_INIT;
	struct http *system_trust = http_new(&set, &err);
	char url[128];

	snprintf(url, sizeof url, "%s/good", base);
	check_unsent(system_trust, url, "ca.ca-file");
	ck_assert_uint_eq(requests, 0);
	http_free(system_trust);
}
END_TEST

START_TEST(bundle_without_certificate_is_a_configuration_error)
{
	struct http_settings set = {.ca_file = "/dev/null"};
	struct err err = ERR_INIT;

	ck_assert_ptr_null(http_new(&set, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
	set.ca_file = "/nonexistent/ca.pem";
	ck_assert_ptr_null(http_new(&set, &err));
	ck_assert_int_eq(err.class, ERR_CONFIG);
}
END_TEST

START_TEST(plain_http_is_never_asked)
{
	struct http_request q = {.method = HTTP_GET, .url = "http://127.0.0.1:9/x"};
	struct http_response r;
	struct err err = ERR_INIT;

	ck_assert_int_eq(http_perform(http, &q, &r, &err), HTTP_UNSENT);
	ck_assert_int_eq(err.class, ERR_CONFIG);
	http_response_clear(&r);
}
END_TEST

static void *stop_soon(void *arg)
{
	usleep(100000);
	http_stop(arg);
	return NULL;
}

START_TEST(stop_ends_a_request_under_way)
{
	struct http_settings set = {.ca_file = ca_file, .total_seconds = 30};
	struct err err = ERR_INIT;
	struct http *patient = http_new(&set, &err);
	char url[128];
	struct http_request q = {.method = HTTP_GET, .url = url};
	struct http_response r;
	pthread_t thread;
	int64_t begun = mono_ms();

	snprintf(url, sizeof url, "%s/hang", base);
	pthread_create(&thread, NULL, stop_soon, patient);
	ck_assert_int_ne(http_perform(patient, &q, &r, &err), HTTP_ANSWERED);
	ck_assert_int_lt(mono_ms() - begun, 25000);
	pthread_join(thread, NULL);
	http_response_clear(&r);
	http_free(patient);
}
END_TEST

static void *ask_often(void *arg)
{
	struct http_response r;
	struct err err = ERR_INIT;

	for (int i = 0; i < 10; i++) {
		if (ask(HTTP_GET, "/good", &r, &err) != HTTP_ANSWERED)
			*(bool *)arg = false;
		http_response_clear(&r);
	}
	return NULL;
}

START_TEST(threads_share_the_pool)
{
	pthread_t threads[12];
	bool ok[12];

	for (int i = 0; i < 12; i++) {
		ok[i] = true;
		pthread_create(&threads[i], NULL, ask_often, &ok[i]);
	}
	for (int i = 0; i < 12; i++) {
		pthread_join(threads[i], NULL);
		ck_assert(ok[i]);
	}
	ck_assert_uint_eq(requests, 120);
}
END_TEST

/* ---- Link fields --------------------------------------------------------------------------------------------------- */

#define HERE "https://ca.example/acme/cert/1"

static const struct {
	const char *name, *field, *rel, *found; /* blank separated */
} link_rows[] = {
	{"a plain one", "<https://ca.example/2>;rel=\"alternate\"", "alternate", "https://ca.example/2"},
	{"without quotes, in other case", "<https://ca.example/2> ; REL = Alternate", "alternate", "https://ca.example/2"},
	{"relative to the answer", "<2/alternate>;rel=\"alternate\"", "alternate", "https://ca.example/acme/cert/2/alternate"},
	{"two in a line", "<https://a.example/>;rel=\"alternate\",<https://b.example/>;rel=\"alternate\"", "alternate",
		"https://a.example/ https://b.example/"},
	{"one of two types", "<https://a.example/>;rel=\"up alternate\"", "alternate", "https://a.example/"},
	{"a comma and a bracket in the URL", "<https://a.example/1,2;3>;rel=alternate", "alternate", "https://a.example/1,2;3"},
	{"other parameters around", "<https://a.example/>;title=\"x\\\";,<y>\";rel=\"alternate\";hreflang=en;x", "alternate", "https://a.example/"},
	{"another type", "<https://a.example/>;rel=\"index\"", "alternate", ""},
	{"a type that begins like it", "<https://a.example/>;rel=\"alternate2\"", "alternate", ""},
	{"no type", "<https://a.example/>", "alternate", ""},
	{"only the first rel counts", "<https://a.example/>;rel=up;rel=alternate", "alternate", ""},
	{"about another resource", "<https://a.example/>;anchor=\"/x\";rel=alternate", "alternate", ""},
	{"plain http", "<http://a.example/>;rel=alternate", "alternate", ""},
	{"no URL", "<https://a b/>;rel=alternate", "alternate", ""},
	{"the same twice", "<https://a.example/>;rel=alternate, <https://a.example/>;rel=alternate", "alternate", "https://a.example/"},
	{"no closing bracket", "<https://a.example/;rel=alternate", "alternate", ""},
	{"no closing quote", "<https://a.example/>;rel=\"alternate", "alternate", ""},
	{"rubbish behind a good one", "<https://a.example/>;rel=alternate, what <https://b.example/>;rel=alternate", "alternate", "https://a.example/"},
	{"empty members", ",, <https://a.example/>;rel=alternate,,", "alternate", "https://a.example/"},
	{"nothing", "", "alternate", ""},
};

START_TEST(link_is_found)
{
	struct strlist fields = {0}, found = {0};
	struct buf text = BUF_INIT;

	ck_assert(strlist_add(&fields, link_rows[_i].field));
	ck_assert(http_links(&fields, link_rows[_i].rel, HERE, 8, &found));
	for (size_t i = 0; i < found.n; i++)
		buf_printf(&text, "%s%s", i ? " " : "", found.v[i]);
	ck_assert_msg(strcmp(buf_str(&text), link_rows[_i].found) == 0, "%s: \"%s\"", link_rows[_i].name, buf_str(&text));
	buf_clear(&text);
	strlist_clear(&fields);
	strlist_clear(&found);
}
END_TEST

START_TEST(links_without_end_are_cut)
{
	struct strlist fields = {0}, found = {0};
	char text[64];

	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof text, "<https://a.example/%d>;rel=alternate", i);
		ck_assert(strlist_add(&fields, text));
	}
	ck_assert(http_links(&fields, "alternate", HERE, 8, &found));
	ck_assert_uint_eq(found.n, 8);
	strlist_clear(&fields);
	strlist_clear(&found);
}
END_TEST

/* ---- proxy --------------------------------------------------------------------------------------------------------- */

/* A proxy that knows CONNECT and nothing else, or refuses everybody. */
struct proxy {
	int fd;
	unsigned port;
	bool refuses;
	atomic_uint asked;
	char request[256]; /* the last request line */
	pthread_t thread;
};

static void relay(int a, int b)
{
	struct pollfd ends[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
	char piece[4096];
	ssize_t n;

	while (poll(ends, 2, -1) > 0)
		for (int i = 0; i < 2; i++)
			if (ends[i].revents) {
				n = read(ends[i].fd, piece, sizeof piece);
				if (n <= 0 || write(ends[1 - i].fd, piece, (size_t)n) != n)
					return;
			}
}

static int connect_to(unsigned port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	close(fd);
	return -1;
}

static void proxy_serve(struct proxy *p, int client)
{
	static const char yes[] = "HTTP/1.1 200 Go\r\n\r\n", no[] = "HTTP/1.1 407 No\r\nContent-Length: 0\r\nRetry-After: 5\r\n\r\n";
	const char *answer = p->refuses ? no : yes;
	char head[2048] = "";
	size_t len = 0;
	ssize_t n;
	unsigned port;
	int server_fd = -1;

	while (!strstr(head, "\r\n\r\n") && len < sizeof head - 1 && (n = read(client, head + len, sizeof head - 1 - len)) > 0)
		len += (size_t)n;
	atomic_fetch_add(&p->asked, 1);
	snprintf(p->request, sizeof p->request, "%.*s", (int)strcspn(head, "\r"), head);
	if (!p->refuses && sscanf(head, "CONNECT 127.0.0.1:%u ", &port) == 1)
		server_fd = connect_to(port);
	if ((p->refuses || server_fd >= 0) && write(client, answer, strlen(answer)) > 0 && server_fd >= 0)
		relay(client, server_fd);
	if (server_fd >= 0)
		close(server_fd);
	close(client);
}

static void *proxy_run(void *arg)
{
	struct proxy *p = arg;
	int client;

	while ((client = accept(p->fd, NULL, NULL)) >= 0)
		proxy_serve(p, client);
	return NULL;
}

static void proxy_start(struct proxy *p, bool refuses)
{
	memset(p, 0, sizeof *p);
	p->refuses = refuses;
	p->fd = silent_listener(&p->port);
	pthread_create(&p->thread, NULL, proxy_run, p);
}

static void proxy_end(struct proxy *p)
{
	shutdown(p->fd, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->fd);
}

/* GET /good by a struct http of its own. */
static enum http_fate ask_by(const char *proxy, struct err *err)
{
	struct http_settings set = {.ca_file = ca_file, .total_seconds = 20, .proxy = proxy};
	struct http *by = http_new(&set, err);
	char url[128];
	struct http_request q = {.method = HTTP_GET, .url = url};
	struct http_response r;
	enum http_fate fate;

	ck_assert_ptr_nonnull(by);
	snprintf(url, sizeof url, "%s/good", base);
	fate = http_perform(by, &q, &r, err);
	ck_assert(fate != HTTP_ANSWERED || (r.status == 200 && strcmp(buf_str(&r.body), "{\"a\":1}") == 0));
	http_response_clear(&r);
	http_free(by);
	return fate;
}

START_TEST(proxy_is_used_when_it_is_named)
{
	struct proxy p;
	struct err err = ERR_INIT;
	char url[64], wanted[64];

	proxy_start(&p, false);
	snprintf(url, sizeof url, "http://127.0.0.1:%u", p.port);
	setenv("no_proxy", "*", 1); /* the configuration comes first */
	ck_assert_msg(ask_by(url, &err) == HTTP_ANSWERED, "%s", err.text);
	ck_assert_uint_eq(atomic_load(&p.asked), 1);
	snprintf(wanted, sizeof wanted, "CONNECT 127.0.0.1:%u HTTP/1.1", https_server_port(server));
	ck_assert_str_eq(p.request, wanted);
	ck_assert_uint_eq(requests, 1);
	proxy_end(&p);
}
END_TEST

START_TEST(proxy_of_the_environment_is_used_unless_it_is_to_be_direct)
{
	struct proxy p;
	struct err err = ERR_INIT;
	char url[64];

	proxy_start(&p, false);
	snprintf(url, sizeof url, "http://127.0.0.1:%u", p.port);
	setenv("https_proxy", url, 1);
	unsetenv("no_proxy");
	unsetenv("NO_PROXY");
	ck_assert_int_eq(ask_by("direct", &err), HTTP_ANSWERED);
	ck_assert_uint_eq(atomic_load(&p.asked), 0);
	ck_assert_int_eq(ask_by(NULL, &err), HTTP_ANSWERED);
	ck_assert_uint_eq(atomic_load(&p.asked), 1);
	setenv("no_proxy", "127.0.0.1", 1);
	ck_assert_int_eq(ask_by(NULL, &err), HTTP_ANSWERED);
	ck_assert_uint_eq(atomic_load(&p.asked), 1);
	proxy_end(&p);
}
END_TEST

START_TEST(proxy_that_refuses_means_unsent)
{
	struct proxy p;
	struct err err = ERR_INIT;
	char url[64];

	proxy_start(&p, true);
	snprintf(url, sizeof url, "http://127.0.0.1:%u", p.port);
	ck_assert_int_eq(ask_by(url, &err), HTTP_UNSENT);
	ck_assert_str_eq(err.type, "unsent");
	ck_assert_int_eq(err.status, 0);
	ck_assert_msg(strstr(err.text, "ca.proxy") && strstr(err.text, "407"), "%s", err.text);
	proxy_end(&p);
	err_clear(&err);
	ck_assert_int_eq(ask_by(url, &err), HTTP_UNSENT); /* nobody there any more */
	ck_assert_msg(strstr(err.text, "ca.proxy") != NULL, "%s", err.text);
	ck_assert_uint_eq(requests, 0);
}
END_TEST

/* ---- turns --------------------------------------------------------------------------------------------------------- */

struct visitor {
	struct http *by;
	pthread_t thread;
	enum http_fate fate;
	struct err err;
};

static void *visit(void *arg)
{
	struct visitor *v = arg;
	char url[128];
	struct http_request q = {.method = HTTP_GET, .url = url};
	struct http_response r;

	snprintf(url, sizeof url, "%s/hang", base);
	v->fate = http_perform(v->by, &q, &r, &v->err);
	http_response_clear(&r);
	return NULL;
}

static void visit_all(struct visitor *v, int n, struct http *by)
{
	for (int i = 0; i < n; i++) {
		v[i] = (struct visitor){.by = by};
		pthread_create(&v[i].thread, NULL, visit, &v[i]);
	}
}

/* Each answer takes longer than half the time a request has: without its turn's time left out, the third would not come in time. */
START_TEST(waiting_for_a_turn_is_not_part_of_a_requests_time)
{
	struct http_settings set = {.ca_file = ca_file, .total_seconds = 6, .connections = 1};
	struct err err = ERR_INIT;
	struct http *by = http_new(&set, &err);
	struct visitor v[3];

	visit_all(v, COUNT(v), by);
	for (int i = 0; i < COUNT(v); i++) {
		pthread_join(v[i].thread, NULL);
		ck_assert_msg(v[i].fate == HTTP_ANSWERED, "%s", v[i].err.text);
	}
	ck_assert_uint_eq(newest_connection, 1); /* one after the other, on one connection */
	http_free(by);
}
END_TEST

START_TEST(stop_ends_the_wait_for_a_turn)
{
	struct http_settings set = {.ca_file = ca_file, .total_seconds = 25, .connections = 1};
	struct err err = ERR_INIT;
	struct http *by = http_new(&set, &err);
	struct visitor v[4];
	unsigned unsent = 0;

	visit_all(v, COUNT(v), by);
	http_stop(by);
	for (int i = 0; i < COUNT(v); i++) {
		pthread_join(v[i].thread, NULL);
		ck_assert_int_ne(v[i].fate, HTTP_ANSWERED);
		ck_assert_int_eq(v[i].err.class, ERR_TEMPORARY);
		unsent += v[i].fate == HTTP_UNSENT;
	}
	ck_assert_uint_ge(unsent, COUNT(v) - 1);
	http_free(by);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("http");
	TCase *pure = tcase_create("pure"), *t = tcase_create("requests");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(pure, retry_after_is_understood, 0, COUNT(retries));
	tcase_add_loop_test(pure, url_is_judged, 0, COUNT(urls));
	tcase_add_loop_test(pure, reference_is_resolved, 0, COUNT(references));
	tcase_add_loop_test(pure, link_is_found, 0, COUNT(link_rows));
	tcase_add_test(pure, links_without_end_are_cut);
	suite_add_tcase(s, pure);
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, answer_is_taken_apart);
	tcase_add_test(t, post_carries_its_body_and_we_say_who_we_are);
	tcase_add_test(t, connection_is_kept_but_not_for_what_must_not_arrive_twice);
	tcase_add_test(t, get_follows_a_redirect_and_forgets_the_first_answer);
	tcase_add_test(t, post_follows_no_redirect);
	tcase_add_loop_test(t, failure_after_sending_is_lost, 0, COUNT(failures));
	tcase_add_test(t, what_meets_the_end_of_a_kept_connection_is_sent_once);
	tcase_add_test(t, header_of_a_short_answer_is_kept);
	tcase_add_test(t, failure_before_sending_is_unsent);
	tcase_add_test(t, stranger_certificate_is_not_trusted);
	tcase_add_test(t, bundle_without_certificate_is_a_configuration_error);
	tcase_add_test(t, plain_http_is_never_asked);
	tcase_add_test(t, stop_ends_a_request_under_way);
	tcase_add_test(t, threads_share_the_pool);
	tcase_add_test(t, proxy_is_used_when_it_is_named);
	tcase_add_test(t, proxy_of_the_environment_is_used_unless_it_is_to_be_direct);
	tcase_add_test(t, proxy_that_refuses_means_unsent);
	tcase_add_test(t, waiting_for_a_turn_is_not_part_of_a_requests_time);
	tcase_add_test(t, stop_ends_the_wait_for_a_turn);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
