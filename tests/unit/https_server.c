/* tests/unit/https_server.c - one thread accepts, one serves each connection; every thread is joined at the end. */
#include "config.h"

#include "tests/unit/https_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <check.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define CONNECTIONS_MAX 256

struct connection {
	struct https_server *server;
	pthread_t thread;
	int fd;
	size_t number;
};

struct https_server {
	https_handler *handler;
	void *arg;
	SSL_CTX *tls;
	int listener;
	unsigned port;
	pthread_t thread;
	pthread_mutex_t lock; /* connections, and the handler */
	struct connection connections[CONNECTIONS_MAX];
	size_t n;
};

/* ---- certificate --------------------------------------------------------------------------------------------------- */

static void extension_add(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	ck_assert_ptr_nonnull(e);
	ck_assert_int_eq(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

static X509 *certificate_new(EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test CA", -1, -1, 0);
	X509_set_issuer_name(x, name);
	X509_set_pubkey(x, key);
	extension_add(x, NID_basic_constraints, "critical,CA:TRUE");
	extension_add(x, NID_subject_alt_name, "IP:127.0.0.1");
	ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
	return x;
}

static SSL_CTX *tls_new(const char *directory)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = certificate_new(key);
	char path[512];
	FILE *f;

	snprintf(path, sizeof path, "%s/https.pem", directory);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(PEM_write_X509(f, x), 1);
	fclose(f);
	ck_assert_int_eq(SSL_CTX_use_certificate(ctx, x), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, key), 1);
	X509_free(x);
	EVP_PKEY_free(key);
	return ctx;
}

/* ---- serving ------------------------------------------------------------------------------------------------------- */

static bool line_read(SSL *ssl, struct buf *head)
{
	char c = 0;

	while (c != '\n' && SSL_read(ssl, &c, 1) == 1)
		buf_putc(head, c);
	return c == '\n';
}

static bool request_read(SSL *ssl, struct https_request *q)
{
	const char *length;
	size_t at, want;
	char c;

	buf_reset(&q->head);
	buf_reset(&q->body);
	do {
		at = q->head.len;
		if (!line_read(ssl, &q->head))
			return false;
	} while (strcmp(q->head.data + at, "\r\n") != 0);
	if (sscanf(q->head.data, "%7s %511s", q->method, q->path) != 2)
		return false;
	length = strstr(q->head.data, "Content-Length: ");
	want = length ? strtoul(length + 16, NULL, 10) : 0;
	while (q->body.len < want && SSL_read(ssl, &c, 1) == 1)
		buf_putc(&q->body, c);
	return q->body.len == want;
}

static void serve(struct connection *c, SSL *ssl)
{
	struct https_request q = {.connection = c->number};
	bool on = true;

	while (on && request_read(ssl, &q)) {
		struct https_answer a = {.close = false};
		struct timespec hold;

		pthread_mutex_lock(&c->server->lock);
		c->server->handler(&q, &a, c->server->arg);
		pthread_mutex_unlock(&c->server->lock);
		hold.tv_sec = a.hold_ms / 1000;
		hold.tv_nsec = (long)(a.hold_ms % 1000) * 1000000L;
		nanosleep(&hold, NULL);
		on = a.raw.len > 0 && SSL_write(ssl, a.raw.data, (int)a.raw.len) > 0 && !a.close;
		buf_clear(&a.raw);
	}
	buf_clear(&q.head);
	buf_clear(&q.body);
}

static void *connection_run(void *arg)
{
	struct connection *c = arg;
	SSL *ssl = SSL_new(c->server->tls);

	SSL_set_fd(ssl, c->fd);
	if (SSL_accept(ssl) == 1)
		serve(c, ssl);
	SSL_free(ssl);
	shutdown(c->fd, SHUT_RDWR);
	return NULL;
}

static void *server_run(void *arg)
{
	struct https_server *s = arg;
	int fd;

	while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
		pthread_mutex_lock(&s->lock);
		ck_assert_uint_lt(s->n, CONNECTIONS_MAX);
		s->connections[s->n] = (struct connection){.server = s, .fd = fd, .number = s->n + 1};
		pthread_create(&s->connections[s->n].thread, NULL, connection_run, &s->connections[s->n]);
		s->n++;
		pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

struct https_server *https_server_start(const char *directory, https_handler *handler, void *arg)
{
	struct https_server *s = calloc(1, sizeof *s);
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof sin;

	signal(SIGPIPE, SIG_IGN);
	s->handler = handler;
	s->arg = arg;
	s->tls = tls_new(directory);
	pthread_mutex_init(&s->lock, NULL);
	s->listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(s->listener, (struct sockaddr *)&sin, sizeof sin), 0);
	ck_assert_int_eq(listen(s->listener, 64), 0);
	ck_assert_int_eq(getsockname(s->listener, (struct sockaddr *)&sin, &len), 0);
	s->port = ntohs(sin.sin_port);
	ck_assert_int_eq(pthread_create(&s->thread, NULL, server_run, s), 0);
	return s;
}

void https_server_stop(struct https_server *s)
{
	shutdown(s->listener, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->listener);
	for (size_t i = 0; i < s->n; i++)
		shutdown(s->connections[i].fd, SHUT_RDWR);
	for (size_t i = 0; i < s->n; i++) {
		pthread_join(s->connections[i].thread, NULL);
		close(s->connections[i].fd);
	}
	SSL_CTX_free(s->tls);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

unsigned https_server_port(const struct https_server *s)
{
	return s->port;
}

void https_answer_put(struct https_answer *a, int status, const char *headers, const char *body)
{
	buf_printf(&a->raw, "HTTP/1.1 %d X\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers, strlen(body), body);
}
