/*
 * enroll/people_guard.c - how many people may leave in a day, and the alarm when the directory says that more did.
 */
#include "config.h"

#include "enroll/people.h"

#include <stdlib.h>
#include <string.h>

size_t people_allowed(const struct departures_config *c, size_t known)
{
	size_t share = known * c->guard_percent / 100;

	return share > c->guard_people ? share : c->guard_people;
}

static const char calm[] = "nobody is held back any more";

bool people_forget_held(struct enroll_parts *p, struct err *err)
{
	return people_alarm(p, NULL, err) && store_departures_hold(p->store, NULL, 0, err);
}

bool people_alarm(struct enroll_parts *p, const char *words, struct err *err)
{
	char *before = NULL;
	bool ok = store_flag_get(p->store, PEOPLE_GUARD_FLAG, &before, err), news = ok && (words ? !before || strcmp(before, words) != 0 : before != NULL);

	if (ok && words)
		log_event(LOG_LEVEL_ERROR, "directory_guard", "text", words, NULL);
	else if (ok && news)
		log_event(LOG_LEVEL_INFO, "directory_guard_over", "text", calm, NULL);
	if (news)
		ok = store_event_add(p->store, 0, words ? "directory_guard" : "directory_guard_over", "enrolld", words ? ERR_POLICY : ERR_NONE,
			words ? words : calm, err) &&
			store_flag_set(p->store, PEOPLE_GUARD_FLAG, words, "enrolld", err);
	free(before);
	return ok;
}
