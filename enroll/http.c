/*
 * enroll/http.c - HTTPS, and plain HTTP for what is signed, by libcurl.
 *
 * The hard idea is the fate of a request that failed.  newOrder is not idempotent, so its caller must know whether the CA may have
 * seen it.  libcurl tells (CURLOPT_PREREQFUNCTION) when name, connection and TLS are done and the first octet of the request is
 * about to leave: that never happened, or it may be there.
 *
 * A struct http is a small pool of easy handles; each keeps its own connections, so that nothing is shared between threads but
 * the list of idle handles and the count of those at work, behind one lock.
 */
#include "config.h"

#include "enroll/http.h"

#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#define IDLE_MAX 64
#define IDLE_DEFAULT 8
#define WAIT_MS 200
#define KEPT_SECONDS 4L /* servers close what is idle, many after five seconds: a request is not to meet that moment */
#define URL_MAX 2048
#define VALUE_MAX 4096
#define RETRY_MAX (31L * 86400)

struct http {
	pthread_mutex_t lock; /* guards idle, busy */
	pthread_cond_t freed;
	CURL *idle[IDLE_MAX];
	size_t n_idle, busy;
	atomic_bool stopped;
	/* never changed after http_new */
	size_t idle_max, busy_max; /* busy_max 0 = any number */
	char *ca_file, *user_agent, *proxy;
	bool plain;
	long connect_ms, total_ms;
};

/* One request under way: what the callbacks of libcurl need. */
struct transfer {
	struct http *http;
	CURL *handle;
	struct http_response *r;
	long sendings;       /* redirects are counted in */
	size_t header_octets, body_max;
	const char *trouble; /* why a callback stopped it */
	char detail[CURL_ERROR_SIZE];
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* A bundle that cannot be read would be found out only at the first request, as a TLS failure that looks like the CA's. */
static bool anchors_readable(const char *file, struct err *err)
{
	struct buf pem = BUF_INIT;
	BIO *bio = NULL;
	X509 *x = NULL;
	bool ok = false;

	if (!file_read(&pem, file, 4 * HTTP_BODY_MAX, err))
		goto out;
	bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	ok = x != NULL;
	if (!ok) {
		ERR_clear_error();
		err_set(err, ERR_CONFIG, "read HTTPS anchors", file, "ca.ca-file \"%s\" holds no PEM certificate", file);
	}
out:
	X509_free(x);
	BIO_free(bio);
	buf_clear(&pem);
	return ok;
}

static char *user_agent_new(const char *contact)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, "enroll-milter/" PACKAGE_VERSION);
	if (contact && *contact && text_is_one_line(contact))
		buf_printf(&b, " (%s)", contact);
	return buf_take(&b);
}

static bool settings_take(struct http *http, const struct http_settings *settings)
{
	unsigned total = settings->total_seconds ? settings->total_seconds : 30;
	unsigned connect = settings->connect_seconds ? settings->connect_seconds : 10;

	http->total_ms = total * 1000L;
	http->connect_ms = (connect < total ? connect : total) * 1000L;
	http->busy_max = settings->connections;
	http->idle_max = settings->connections ? settings->connections : IDLE_DEFAULT;
	if (http->idle_max > IDLE_MAX)
		http->idle_max = IDLE_MAX;
	http->plain = settings->plain;
	http->ca_file = str_dup(settings->ca_file);
	http->proxy = str_dup(settings->proxy);
	http->user_agent = user_agent_new(settings->contact);
	return http->user_agent && (http->ca_file || !settings->ca_file) && (http->proxy || !settings->proxy);
}

struct http *http_new(const struct http_settings *settings, struct err *err)
{
	struct http *http;
	pthread_condattr_t attr;

	if (settings->ca_file && !anchors_readable(settings->ca_file, err))
		return NULL;
	pthread_once(&curl_once, curl_start);
	http = calloc(1, sizeof *http);
	if (!http) {
		err_nomem(err, "prepare HTTPS");
		return NULL;
	}
	pthread_mutex_init(&http->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&http->freed, &attr);
	pthread_condattr_destroy(&attr);
	atomic_init(&http->stopped, false);
	if (settings_take(http, settings))
		return http;
	http_free(http);
	err_nomem(err, "prepare HTTPS");
	return NULL;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	while (http->n_idle)
		curl_easy_cleanup(http->idle[--http->n_idle]);
	pthread_cond_destroy(&http->freed);
	pthread_mutex_destroy(&http->lock);
	free(http->ca_file);
	free(http->proxy);
	free(http->user_agent);
	free(http);
}

void http_stop(struct http *http)
{
	atomic_store(&http->stopped, true);
}

void http_response_clear(struct http_response *r)
{
	free(r->url);
	free(r->content_type);
	free(r->location);
	free(r->replay_nonce);
	free(r->retry_after);
	strlist_clear(&r->links);
	buf_clear(&r->body);
	*r = (struct http_response)HTTP_RESPONSE_INIT;
}

/* Wait for our turn.  False: the program is ending meanwhile.  Woken now and then to see that, as http_stop takes no lock. */
static bool turn_take(struct http *http)
{
	struct timespec until;
	bool stopped;

	pthread_mutex_lock(&http->lock);
	while (!(stopped = atomic_load(&http->stopped)) && http->busy_max && http->busy >= http->busy_max) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += WAIT_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&http->freed, &http->lock, &until);
	}
	if (!stopped)
		http->busy++;
	pthread_mutex_unlock(&http->lock);
	return !stopped;
}

static void turn_give(struct http *http)
{
	pthread_mutex_lock(&http->lock);
	http->busy--;
	pthread_cond_signal(&http->freed);
	pthread_mutex_unlock(&http->lock);
}

static CURL *handle_take(struct http *http)
{
	CURL *c = NULL;

	pthread_mutex_lock(&http->lock);
	if (http->n_idle)
		c = http->idle[--http->n_idle];
	pthread_mutex_unlock(&http->lock);
	return c ? c : curl_easy_init();
}

static void handle_give(struct http *http, CURL *c)
{
	curl_easy_reset(c); /* options go, connections stay */
	pthread_mutex_lock(&http->lock);
	if (http->n_idle < http->idle_max) {
		http->idle[http->n_idle++] = c;
		c = NULL;
	}
	pthread_mutex_unlock(&http->lock);
	curl_easy_cleanup(c);
}

/* ---- callbacks --------------------------------------------------------------------------------------------------- */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = size * n;

	if (len > t->body_max - t->r->body.len) {
		t->trouble = "the answer is larger than allowed";
		return 0;
	}
	buf_append(&t->r->body, data, len);
	if (t->r->body.failed) {
		t->trouble = "out of memory";
		return 0;
	}
	return len;
}

/* The value of a field line when it is the one called `name`, without the white space around it; NULL otherwise. */
static char *field_value(const char *line, size_t len, const char *name)
{
	size_t n = strlen(name);
	struct buf b = BUF_INIT;

	if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
		return NULL;
	for (line += n + 1, len -= n + 1; len && isspace((unsigned char)*line); line++)
		len--;
	while (len && isspace((unsigned char)line[len - 1]))
		len--;
	if (!len || len > VALUE_MAX || memchr(line, '\0', len))
		return NULL;
	buf_append(&b, line, len);
	return buf_take(&b);
}

static void keep_first(char **where, char *value)
{
	if (*where)
		free(value);
	else if (value)
		*where = value;
}

static char *media_type(char *value)
{
	if (!value)
		return NULL;
	for (char *p = value; *p; p++) {
		if (*p == ';' || isspace((unsigned char)*p)) {
			*p = '\0';
			break;
		}
		*p = (char)tolower((unsigned char)*p);
	}
	return value;
}

static void response_restart(struct http_response *r)
{
	struct http_response fresh = HTTP_RESPONSE_INIT;

	fresh.body = r->body;
	r->body = (struct buf)BUF_INIT;
	http_response_clear(r);
	fresh.body.len = 0;
	r->body = fresh.body;
}

/* Only while the answer comes in libcurl lets one look at its connection. */
static void note_tls(struct transfer *t)
{
	struct curl_tlssessioninfo *tls = NULL;

	if (curl_easy_getinfo(t->handle, CURLINFO_TLS_SSL_PTR, &tls) == CURLE_OK && tls && tls->backend == CURLSSLBACKEND_OPENSSL && tls->internals)
		snprintf(t->r->tls, sizeof t->r->tls, "%s", SSL_get_version(tls->internals));
}

static void note_date(struct http_response *r, const char *line, size_t len)
{
	char *value = field_value(line, len, "Date");
	time_t date = value ? curl_getdate(value, NULL) : -1;

	if (date > 0)
		r->date = date;
	free(value);
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = size * n;
	char *link;

	t->header_octets += len;
	if (t->header_octets > HTTP_HEADER_MAX) {
		t->trouble = "its header is larger than allowed";
		return 0;
	}
	/* A status line begins a new answer: after 100 Continue, after a proxy's CONNECT, after a redirect. */
	if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
		response_restart(t->r);
		note_tls(t);
		return len;
	}
	keep_first(&t->r->content_type, media_type(field_value(line, len, "Content-Type")));
	keep_first(&t->r->location, field_value(line, len, "Location"));
	keep_first(&t->r->replay_nonce, field_value(line, len, "Replay-Nonce"));
	keep_first(&t->r->retry_after, field_value(line, len, "Retry-After"));
	note_date(t->r, line, len);
	link = field_value(line, len, "Link");
	if (link && !strlist_add(&t->r->links, link)) {
		free(link);
		t->trouble = "out of memory";
		return 0;
	}
	free(link);
	return len;
}

static int on_progress(void *arg, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow)
{
	struct transfer *t = arg;

	if (!atomic_load(&t->http->stopped))
		return 0;
	t->trouble = "the program is ending";
	return 1;
}

/* When a kept connection ends without a word, libcurl sends the request again, up to five times, with the same nonce; and cannot know
 * whether the first copy was acted upon.  Whoever asked decides whether and when it is sent again. */
static int on_sending(void *arg, char *remote, char *local, int remote_port, int local_port)
{
	struct transfer *t = arg;
	long redirects = 0;

	curl_easy_getinfo(t->handle, CURLINFO_REDIRECT_COUNT, &redirects);
	if (++t->sendings <= 1 + redirects)
		return CURL_PREREQFUNC_OK;
	t->trouble = "the connection ended without an answer";
	return CURL_PREREQFUNC_ABORT;
}

/* ---- URLs -------------------------------------------------------------------------------------------------------- */

static bool part_present(CURLU *u, CURLUPart part)
{
	char *s = NULL;
	bool present = curl_url_get(u, part, &s, 0) == CURLUE_OK;

	curl_free(s);
	return present;
}

static bool parsed_url_good(CURLU *u, const char *wanted)
{
	char *scheme = NULL;
	bool good = curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && strcmp(scheme, wanted) == 0 &&
		part_present(u, CURLUPART_HOST) && !part_present(u, CURLUPART_USER) && !part_present(u, CURLUPART_FRAGMENT);

	curl_free(scheme);
	return good;
}

static bool url_octets_good(const char *url)
{
	size_t n = 0;

	if (!url)
		return false;
	for (; url[n]; n++)
		if (url[n] <= ' ' || url[n] >= 127 || n >= URL_MAX)
			return false;
	return n > 0;
}

static bool url_good(const char *url, const char *scheme)
{
	size_t len = strlen(scheme);
	CURLU *u;
	bool good;

	/* curl_url would guess a scheme for "www.example.org" and pass over a third slash; nothing is guessed here. */
	if (!url_octets_good(url) || strncasecmp(url, scheme, len) != 0 || strncmp(url + len, "://", 3) != 0 || url[len + 3] == '/')
		return false;
	u = curl_url();
	good = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK && parsed_url_good(u, scheme);
	curl_url_cleanup(u);
	return good;
}

bool http_url_good(const char *url)
{
	return url_good(url, "https");
}

bool http_plain_url_good(const char *url)
{
	return url_good(url, "http");
}

/* ---- one request ------------------------------------------------------------------------------------------------- */

static void set_security(CURL *c, const struct http *http)
{
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, http->plain ? "http" : "https");
	curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, http->plain ? "http" : "https");
	curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
	if (http->ca_file) {
		curl_easy_setopt(c, CURLOPT_CAINFO, http->ca_file);
		curl_easy_setopt(c, CURLOPT_CAPATH, NULL); /* else the system's folder would be believed as well */
	}
}

/* What the configuration says is not to be changed by a no_proxy in the environment. */
static void set_proxy(CURL *c, const struct http *http)
{
	curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (!http->proxy)
		return;
	curl_easy_setopt(c, CURLOPT_PROXY, strcmp(http->proxy, "direct") == 0 ? "" : http->proxy);
	curl_easy_setopt(c, CURLOPT_NOPROXY, "");
}

static void set_common(CURL *c, const struct http *http, struct transfer *t)
{
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_USERAGENT, http->user_agent);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, http->connect_ms);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, http->total_ms);
	curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, on_sending);
	curl_easy_setopt(c, CURLOPT_PREREQDATA, t);
	curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, KEPT_SECONDS);
	/* One request at a time on a connection: HTTP/2 has nothing to give here. */
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->detail);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
	curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
}

static bool header_add(struct curl_slist **list, const char *name, const char *value)
{
	struct buf b = BUF_INIT;
	struct curl_slist *longer;
	char *line;

	buf_printf(&b, "%s:%s%s", name, *value ? " " : "", value);
	line = buf_take(&b);
	longer = line ? curl_slist_append(*list, line) : NULL;
	free(line);
	if (!longer)
		return false;
	*list = longer;
	return true;
}

static bool set_request(CURL *c, const struct http *http, const struct http_request *q, struct curl_slist **headers)
{
	curl_easy_setopt(c, CURLOPT_URL, q->url);
	if (q->accept && !header_add(headers, "Accept", q->accept))
		return false;
	switch (q->method) {
	case HTTP_GET:
	case HTTP_HEAD:
		curl_easy_setopt(c, q->method == HTTP_GET ? CURLOPT_HTTPGET : CURLOPT_NOBODY, 1L);
		/* Plain HTTP carries what is signed; but who sits on the way must not choose where we ask next. */
		curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, http->plain ? 0L : 1L);
		curl_easy_setopt(c, CURLOPT_MAXREDIRS, 3L);
		break;
	case HTTP_POST:
		curl_easy_setopt(c, CURLOPT_POST, 1L);
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, q->body ? q->body : "");
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->len);
		curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, q->once ? 1L : 0L);
		/* no waiting for 100 Continue, and no form type that we did not set */
		if (!header_add(headers, "Expect", "") || !header_add(headers, "Content-Type", q->content_type ? q->content_type : ""))
			return false;
		break;
	}
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, *headers);
	return true;
}

static bool is_tls_trouble(CURLcode code)
{
	return code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CERTPROBLEM ||
	       code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_CIPHER;
}

/* Nothing here is ERR_CONFIG: a name that does not resolve or an expired certificate of the CA's web server look the same as a
 * mistake in our configuration, and pass by themselves more often than not. */
static enum http_fate failed(CURLcode code, const struct transfer *t, const struct http_request *q, struct err *err)
{
	const char *why = t->trouble ? t->trouble : *t->detail ? t->detail : curl_easy_strerror(code);
	enum http_fate fate = t->sendings > 0 ? HTTP_LOST : HTTP_UNSENT;

	if (is_tls_trouble(code) && fate == HTTP_UNSENT)
		err_set(err, ERR_TEMPORARY, "ask the CA", q->url,
			"no trusted TLS connection to the CA: %s. If its HTTPS certificate comes from a private CA, name that in ca.ca-file", why);
	else if (fate == HTTP_UNSENT)
		err_set(err, ERR_TEMPORARY, "ask the CA", q->url, "the CA could not be reached%s: %s",
			t->http->proxy && strcmp(t->http->proxy, "direct") != 0 ? " through the proxy of ca.proxy" : "", why);
	else
		err_set(err, ERR_TEMPORARY, "ask the CA", q->url, "the CA did not answer in full: %s", why);
	if (fate == HTTP_UNSENT)
		t->r->status = 0; /* a proxy's */
	if (err) {
		snprintf(err->type, sizeof err->type, "%s", fate == HTTP_LOST ? "lost" : "unsent");
		err->status = (int)t->r->status;
	}
	return fate;
}

static enum http_fate run(CURL *c, struct http *http, const struct http_request *q, struct http_response *r, struct err *err)
{
	struct transfer t = {.http = http, .handle = c, .r = r, .body_max = q->max_body ? q->max_body : HTTP_BODY_MAX};
	struct curl_slist *headers = NULL;
	enum http_fate fate = HTTP_UNSENT;
	const char *url = NULL;
	curl_off_t took = 0;
	CURLcode code;

	set_security(c, http);
	set_proxy(c, http);
	set_common(c, http, &t);
	if (!set_request(c, http, q, &headers)) {
		err_nomem(err, "ask the CA");
		goto out;
	}
	code = curl_easy_perform(c);
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &r->status);
	curl_easy_getinfo(c, CURLINFO_EFFECTIVE_URL, &url);
	curl_easy_getinfo(c, CURLINFO_TOTAL_TIME_T, &took);
	r->ms = (unsigned)(took / 1000);
	r->url = str_dup(url ? url : q->url);
	fate = code == CURLE_OK ? HTTP_ANSWERED : failed(code, &t, q, err);
out:
	curl_slist_free_all(headers);
	return fate;
}

enum http_fate http_perform(struct http *http, const struct http_request *q, struct http_response *r, struct err *err)
{
	enum http_fate fate;
	CURL *c;

	*r = (struct http_response)HTTP_RESPONSE_INIT;
	if (!url_good(q->url, http->plain ? "http" : "https")) {
		err_set(err, ERR_CONFIG, "ask the CA", q->url, "\"%s\" is no %s URL", q->url ? q->url : "", http->plain ? "http" : "https");
		return HTTP_UNSENT;
	}
	if (!turn_take(http)) {
		err_set(err, ERR_TEMPORARY, "ask the CA", q->url, "the CA was not asked: the program is ending");
		if (err)
			snprintf(err->type, sizeof err->type, "unsent");
		return HTTP_UNSENT;
	}
	c = handle_take(http);
	if (!c) {
		turn_give(http);
		err_nomem(err, "ask the CA");
		return HTTP_UNSENT;
	}
	fate = run(c, http, q, r, err);
	handle_give(http, c);
	turn_give(http);
	return fate;
}

/* ---- URLs and times ---------------------------------------------------------------------------------------------- */

char *http_url_resolve(const char *base, const char *reference)
{
	CURLU *u = NULL;
	char *whole = NULL, *result = NULL;

	if (!url_octets_good(base) || !url_octets_good(reference))
		return NULL;
	u = curl_url();
	if (u && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK && curl_url_set(u, CURLUPART_URL, reference, 0) == CURLUE_OK &&
		parsed_url_good(u, "https") && curl_url_get(u, CURLUPART_URL, &whole, 0) == CURLUE_OK && http_url_good(whole))
		result = str_dup(whole);
	curl_free(whole);
	curl_url_cleanup(u);
	return result;
}

static bool all_digits(const char *s)
{
	size_t n = strspn(s, "0123456789");

	return n > 0 && s[n] == '\0';
}

time_t http_retry_after(const char *value, time_t now)
{
	time_t at;

	if (!value)
		return 0;
	if (all_digits(value))
		at = strlen(value) > 9 ? now + RETRY_MAX : now + (time_t)strtol(value, NULL, 10);
	else
		at = curl_getdate(value, NULL);
	if (at == (time_t)-1)
		return 0;
	if (at < now)
		return now;
	return at > now + RETRY_MAX ? now + RETRY_MAX : at;
}
