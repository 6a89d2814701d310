/*
 * enroll/measure.h - what enrolld tells monitoring: numbers of the store, its own liveness, whether it is ready.  Private to enroll/.
 *
 * The socket lives as long as the process and outlasts reloads; what is served changes with the parts that are attached.
 */
#ifndef ENROLL_ENROLL_MEASURE_H
#define ENROLL_ENROLL_MEASURE_H

#include "enroll/enrollment.h"

/* Once, at the start: opens metrics.enrolld if there is one.  That it cannot be opened is logged, and no reason not to run. */
void measure_open(const struct config *config);
void measure_close(void);
/* From now on these are asked; NULL: none, they are about to go.  A metrics group that is another one than at the start is logged. */
void measure_attach(struct enroll_parts *p);
/* The scheduler has turned. */
void measure_turned(void);

#endif
