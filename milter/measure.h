/*
 * milter/measure.h - what a milter instance tells monitoring.  Private to milter/.
 */
#ifndef ENROLL_MILTER_MEASURE_H
#define ENROLL_MILTER_MEASURE_H

#include "milter/service.h"

/* Once, at the start: opens metrics.outbound or metrics.inbound if there is one.  That it cannot be opened is logged: mail goes on. */
void measure_start(struct service *s);
/* A reload: another mode; a metrics group that is another one than at the start is logged. */
void measure_reloaded(const struct config *c);
/* The socket is gone, and nothing is asked of the service any more. */
void measure_stop(void);

#endif
