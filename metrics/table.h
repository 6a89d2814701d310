/* metrics/table.h - the table of metrics.  Private to metrics/. */
#ifndef ENROLL_METRICS_TABLE_H
#define ENROLL_METRICS_TABLE_H

#include "metrics/metrics.h"

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

#define METRICS_LABELS 3

/* A label: NULL-terminated values in the order of its enum, each as it stands in the text (name="value"; one entry may hold two names). */
struct metrics_label { const char *const *values; bool is_ca; };

struct metrics_row {
	const char *name;
	enum metrics_type type;
	unsigned programs;            /* who serves it */
	const char *help;
	struct metrics_label labels[METRICS_LABELS];
	const int64_t *bounds;        /* histograms: closed by 0 */
	int64_t per_second;           /* histograms: units in a second */
	bool sparse;                  /* only what is not zero is shown */
};
extern const struct metrics_row metrics_rows[METRICS];

#endif
