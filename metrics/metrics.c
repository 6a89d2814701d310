/*
 * metrics/metrics.c - the cells behind the table, and their text.
 *
 * All cells are one static array; where those of a metric begin is found once.  A cell of a counter or gauge is one number; one of a histogram is a
 * number a bucket and the sum.  The count of a histogram is added up from what is read, so that a text never contradicts itself.
 */
#include "config.h"

#include "metrics/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "metrics/table.h"

#define CELLS 8192
#define NAME_MAX 64
#define UNKNOWN INT64_MIN

static _Atomic int64_t cells[CELLS];
static size_t begins[METRICS + 1];
static pthread_once_t laid_out = PTHREAD_ONCE_INIT;

static struct {
	pthread_mutex_t lock;    /* of adding one */
	atomic_uint n;
	char names[METRICS_CAS][NAME_MAX];
} cas = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- where is what ------------------------------------------------------------------------------------------------------- */

static size_t label_size(const struct metrics_label *l)
{
	size_t n = 0;

	if (l->is_ca)
		return METRICS_CAS;
	while (l->values && l->values[n])
		n++;
	return n ? n : 1;
}

static size_t bounds_of(const struct metrics_row *r)
{
	size_t n = 0;

	while (r->bounds && r->bounds[n])
		n++;
	return n;
}

/* Numbers in one cell: of a histogram the buckets, the one above all bounds, and the sum. */
static size_t width(const struct metrics_row *r)
{
	return r->type == METRICS_HISTOGRAM ? bounds_of(r) + 2 : 1;
}

static void lay_out(void)
{
	for (size_t m = 0; m < METRICS; m++) {
		const struct metrics_row *r = &metrics_rows[m];
		size_t n = width(r);

		for (size_t i = 0; i < METRICS_LABELS; i++)
			n *= label_size(&r->labels[i]);
		begins[m + 1] = begins[m] + n;
		for (size_t i = begins[m]; r->type == METRICS_GAUGE && i < begins[m + 1] && i < CELLS; i++)
			atomic_store(&cells[i], UNKNOWN);
	}
}

/* NULL for labels that are out of range. */
static _Atomic int64_t *cell(enum metric m, unsigned a, unsigned b, unsigned c)
{
	const struct metrics_row *r = &metrics_rows[m];
	const unsigned at[METRICS_LABELS] = {a, b, c};
	size_t index = 0;

	pthread_once(&laid_out, lay_out);
	for (size_t i = 0; i < METRICS_LABELS; i++) {
		if (at[i] >= label_size(&r->labels[i]))
			return NULL;
		index = index * label_size(&r->labels[i]) + at[i];
	}
	index = begins[m] + index * width(r);
	return index + width(r) <= CELLS ? &cells[index] : NULL;
}

/* ---- counting -------------------------------------------------------------------------------------------------------------- */

void metrics_add(enum metric m, unsigned a, unsigned b, unsigned c, uint64_t n)
{
	_Atomic int64_t *at = cell(m, a, b, c);

	if (at)
		atomic_fetch_add_explicit(at, (int64_t)n, memory_order_relaxed);
}

void metrics_count(enum metric m, unsigned a, unsigned b, unsigned c)
{
	metrics_add(m, a, b, c, 1);
}

void metrics_count_word(enum metric m, const char *word)
{
	const char *const *values = metrics_rows[m].labels[0].values;
	size_t len = strlen(word);

	for (unsigned i = 0; values && values[i]; i++) {
		const char *text = strchr(values[i], '"') + 1;

		if (strncmp(text, word, len) == 0 && text[len] == '"')
			metrics_count(m, i, 0, 0);
	}
}

void metrics_set(enum metric m, unsigned a, unsigned b, int64_t value)
{
	_Atomic int64_t *at = cell(m, a, b, 0);

	if (at)
		atomic_store_explicit(at, value, memory_order_relaxed);
}

void metrics_unset(enum metric m)
{
	bool gauge = metrics_rows[m].type == METRICS_GAUGE;

	pthread_once(&laid_out, lay_out);
	for (size_t i = begins[m]; i < begins[m + 1] && i < CELLS; i++)
		atomic_store_explicit(&cells[i], gauge ? UNKNOWN : 0, memory_order_relaxed);
}

int64_t metrics_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void metrics_observe(enum metric m, unsigned a, int64_t microseconds)
{
	const struct metrics_row *r = &metrics_rows[m];
	_Atomic int64_t *at = cell(m, a, 0, 0);
	size_t n = bounds_of(r), i = 0;

	if (!at)
		return;
	while (i < n && microseconds > r->bounds[i])
		i++;
	atomic_fetch_add_explicit(&at[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&at[n + 1], microseconds > 0 ? microseconds : 0, memory_order_relaxed);
}

void metrics_fill(enum metric m, const uint64_t *counts, int64_t sum)
{
	size_t n = bounds_of(&metrics_rows[m]);
	_Atomic int64_t *at = cell(m, 0, 0, 0);

	for (size_t i = 0; at && i <= n; i++)
		atomic_store_explicit(&at[i], (int64_t)counts[i], memory_order_relaxed);
	if (at)
		atomic_store_explicit(&at[n + 1], sum, memory_order_relaxed);
}

const int64_t *metrics_bounds(enum metric m, size_t *n)
{
	*n = bounds_of(&metrics_rows[m]);
	return metrics_rows[m].bounds;
}

unsigned metrics_ca(const char *name)
{
	unsigned n, i = 0;

	pthread_mutex_lock(&cas.lock);
	n = atomic_load(&cas.n);
	while (i < n && strncmp(cas.names[i], name, NAME_MAX - 1) != 0)
		i++;
	if (i == n && n < METRICS_CAS) {
		snprintf(cas.names[n], NAME_MAX, "%s", n == METRICS_CAS - 1 ? "other" : name);
		atomic_store(&cas.n, n + 1);
	}
	pthread_mutex_unlock(&cas.lock);
	return i < METRICS_CAS ? i : METRICS_CAS - 1;
}

static bool one_of(const char *text, const char *patterns)
{
	for (const char *at = patterns; *at; at += strcspn(at, "|"), at += *at == '|') {
		size_t len = strcspn(at, "|");
		bool open = at[len - 1] == '*';

		if (open ? strncmp(text, at, len - 1) == 0 : strlen(text) == len && strncmp(text, at, len) == 0)
			return true;
	}
	return false;
}

enum metrics_mail metrics_mail_kind(const char *verdict, const char *reason)
{
	static const struct {
		const char *verdict, *sentences;
	} rows[] = {
#define ROW(id, verdict, reason, sentences) {verdict, sentences},
		METRICS_MAIL_TABLE(ROW)
#undef ROW
	};

	for (unsigned i = 0; i < METRICS_MAIL_KINDS; i++)
		if (strcmp(rows[i].verdict, verdict) == 0 && one_of(reason ? reason : "", rows[i].sentences))
			return (enum metrics_mail)i;
	return METRICS_MAIL_UNDECIDED;
}

void metrics_begin(void)
{
	metrics_set(METRIC_BUILD_INFO, 0, 0, 1);
	metrics_set(METRIC_START_TIME, 0, 0, time(NULL));
}

bool metrics_host_is_loopback(const char *host)
{
	return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "[127.0.0.1]") == 0 || strcmp(host, "::1") == 0 || strcmp(host, "[::1]") == 0;
}

/* ---- text ------------------------------------------------------------------------------------------------------------------- */

static void put_escaped(struct buf *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' || *s == '"')
			buf_putc(out, '\\');
		buf_putc(out, *s);
	}
}

/* A number of units as seconds. */
static void put_seconds(struct buf *out, int64_t units, int64_t per_second)
{
	char text[48];
	size_t len;

	if (per_second == 1) {
		buf_printf(out, "%lld", (long long)units);
		return;
	}
	len = (size_t)snprintf(text, sizeof text, "%lld.%06lld", (long long)(units / per_second), (long long)(units % per_second));
	while (text[len - 1] == '0')
		len--;
	buf_append(out, text, text[len - 1] == '.' ? len - 1 : len);
}

/* The labels of the cell with this number, without braces. */
static void put_labels(struct buf *out, const struct metrics_row *r, size_t number)
{
	size_t sizes[METRICS_LABELS], at[METRICS_LABELS];
	bool first = true;

	for (size_t i = METRICS_LABELS; i-- > 0;) {
		sizes[i] = label_size(&r->labels[i]);
		at[i] = number % sizes[i];
		number /= sizes[i];
	}
	for (size_t i = 0; i < METRICS_LABELS; i++) {
		if (!r->labels[i].is_ca && !r->labels[i].values)
			continue;
		if (!first)
			buf_putc(out, ',');
		first = false;
		if (r->labels[i].is_ca) {
			buf_puts(out, "ca=\"");
			put_escaped(out, cas.names[at[i]]);
			buf_putc(out, '"');
		} else {
			buf_puts(out, r->labels[i].values[at[i]]);
		}
	}
}

static void put_name(struct buf *out, const struct metrics_row *r, const char *suffix, const char *labels, const char *le)
{
	buf_printf(out, "%s%s", r->name, suffix);
	if (*labels || le)
		buf_printf(out, "{%s%s%s%s%s}", labels, *labels && le ? "," : "", le ? "le=\"" : "", le ? le : "", le ? "\"" : "");
	buf_putc(out, ' ');
}

static void put_histogram(struct buf *out, const struct metrics_row *r, const _Atomic int64_t *at, const char *labels)
{
	size_t n = bounds_of(r);
	long long sum = 0;

	for (size_t i = 0; i <= n; i++) {
		struct buf le = BUF_INIT;

		sum += atomic_load_explicit(&at[i], memory_order_relaxed);
		if (i < n)
			put_seconds(&le, r->bounds[i], r->per_second);
		put_name(out, r, "_bucket", labels, i < n ? buf_str(&le) : "+Inf");
		buf_printf(out, "%lld\n", sum);
		buf_clear(&le);
	}
	put_name(out, r, "_sum", labels, NULL);
	put_seconds(out, atomic_load_explicit(&at[n + 1], memory_order_relaxed), r->per_second);
	buf_putc(out, '\n');
	put_name(out, r, "_count", labels, NULL);
	buf_printf(out, "%lld\n", sum);
}

static void put_cell(struct buf *out, const struct metrics_row *r, const _Atomic int64_t *at, const char *labels)
{
	int64_t value = atomic_load_explicit(at, memory_order_relaxed);

	if (r->type == METRICS_HISTOGRAM) {
		put_histogram(out, r, at, labels);
	} else if (value != UNKNOWN && (value != 0 || !r->sparse)) {
		put_name(out, r, "", labels, NULL);
		buf_printf(out, "%lld\n", (long long)value);
	}
}

/* Cells of CAs that are not there come last in their label, so a bound on the first label is enough. */
static size_t numbers(const struct metrics_row *r)
{
	size_t n = r->labels[0].is_ca ? atomic_load(&cas.n) : label_size(&r->labels[0]);

	for (size_t i = 1; i < METRICS_LABELS; i++)
		n *= label_size(&r->labels[i]);
	return n;
}

void metrics_text(struct buf *out, enum metrics_program program)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};

	pthread_once(&laid_out, lay_out);
	for (size_t m = 0; m < METRICS; m++) {
		const struct metrics_row *r = &metrics_rows[m];

		if (!(r->programs & program))
			continue;
		buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", r->name, r->help, r->name, types[r->type]);
		for (size_t i = 0; i < numbers(r); i++) {
			struct buf labels = BUF_INIT;

			put_labels(&labels, r, i);
			put_cell(out, r, &cells[begins[m] + i * width(r)], buf_str(&labels));
			buf_clear(&labels);
		}
	}
}
