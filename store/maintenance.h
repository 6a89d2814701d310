/*
 * store/maintenance.h - a store as a whole: copied to another place, looked through, rid of what is old; part of store.h, which includes it.
 *
 * As in store.h, false comes with an error; role ADMIN unless it is said otherwise, or the call opens the store itself.
 */
#ifndef ENROLL_STORE_MAINTENANCE_H
#define ENROLL_STORE_MAINTENANCE_H

#include "base/base.h"

struct store;
struct store_settings;

/* ---- moved to another place (copy.c, marks.c) ----------------------------------------------------------------------- */

/* A store is copied whole, from one engine to the other or the same, with its ids, keys wrapped as they are.  The source keeps its writers out until all is
 * there and compared; then it is marked as moved, so that whoever opens it, or has it open, gets ERR_CONFIG with the new place, until the move is undone.
 * What is being filled is marked from before the first row until after the source's mark, and nobody takes it for a store.  So there is one store at
 * every instant, whenever the copy is killed; called again it goes on with what is there, if that is what the source has, and else begins anew. */
struct store_copied { const char *table; int64_t rows; char digest[65]; }; /* SHA-256 over every value, the same on both sides */
#define STORE_TABLES_MAX 32
struct store_copy_job {
	/* to be set */
	bool dry_run;            /* look at both, write nothing */
	bool (*create)(void *arg, const struct store_settings *s, struct err *err); /* makes the new store; NULL = store_create */
	void (*progress)(void *arg, const char *what, int64_t done, int64_t of);    /* NULL = nobody looks */
	void *arg;
	/* what came of it */
	struct store_copied tables[STORE_TABLES_MAX];
	size_t n;
	int64_t rows, there;     /* all rows; those that were there from a copy that was cut short */
	bool made, anew;         /* the new store was made; what a copy had left there was not what the source has, and was removed */
};
/* ERR_CONFIG when the target has a store with rows, or either is marked; ERR_TEMPORARY when somebody writes into the source. */
bool store_copy(const struct store_settings *from, const struct store_settings *to, struct store_copy_job *job, struct err *err) BASE_MUST_CHECK;

/* What a store says of its being moved. */
struct store_moved {
	bool moved, copying;     /* away from here; half copied to here */
	bool final;              /* store_move_confirm was called */
	char place[400];         /* to where, or from where; without a password */
	char origin[400];        /* where it was before it was copied to here, as it said; "" = it was made here */
	time_t at;
	char id[40];             /* the same on both sides */
};
bool store_moved_look(const struct store_settings *s, struct store_moved *out, struct err *err) BASE_MUST_CHECK;
/* The old place is the store again, and the new one a half copied one.  `now` is compared first: ERR_POLICY when it has changed since, but with `lose`;
 * NULL = it is gone.  ERR_CONFIG when nothing was moved, or for good. */
bool store_move_undo(const struct store_settings *old, const struct store_settings *now, bool lose, struct err *err) BASE_MUST_CHECK;
bool store_move_confirm(const struct store_settings *old, struct err *err) BASE_MUST_CHECK;
/* For people: the file, or the connection string without what is secret in it. */
void store_place(const struct store_settings *s, char *out, size_t size);

/* ---- is it whole, and what is old (sound.c, retention.c) ------------------------------------------------------------- */

/* What does not fit together, beyond what the database itself sees (store_check): nothing in a healthy store.  Role ADMIN; reads everything once. */
#define STORE_FINDINGS_MAX 24
#define STORE_EXAMPLES 3
struct store_finding { const char *name, *text, *advice; int64_t n; char examples[300]; }; /* addresses or serial numbers */
struct store_sound {
	struct store_finding v[STORE_FINDINGS_MAX];
	size_t n;
	struct store_copied tables[STORE_TABLES_MAX]; /* their rows; no digests */
	size_t n_tables;
	int64_t octets;          /* of the file, or of the tables with their indexes */
};
bool store_sound(struct store *store, struct store_sound *out, struct err *err) BASE_MUST_CHECK;
/* One more of a kind, to be called for all of them in a row. */
void store_finding_add(struct store_sound *out, const char *name, const char *text, const char *advice, const char *example);
bool store_size(struct store *store, int64_t *octets, struct err *err) BASE_MUST_CHECK;

/* History from before a time: of rows that were closed before it, of mail, and of the installation.  Never enrollments, keys or certificates, and nothing of
 * a row that is open.  `most` rows of each kind in one transaction; *more: there may be others.  `counts` are added to. */
enum store_old { STORE_OLD_EVENTS, STORE_OLD_MAIL, STORE_OLD_REPORTS, STORE_OLD_CHALLENGES, STORE_OLD_ORDERS, STORE_OLD_KINDS };
const char *store_old_name(enum store_old kind); /* the table */
bool store_old_count(struct store *store, time_t before, int64_t counts[STORE_OLD_KINDS], struct err *err) BASE_MUST_CHECK;
bool store_old_remove(struct store *store, time_t before, size_t most, int64_t counts[STORE_OLD_KINDS], bool *more, struct err *err) BASE_MUST_CHECK;
/* Rows that went give their room back.  SQLite: the file is written anew, writers wait meanwhile (ERR_TEMPORARY for those who cannot for so long).
 * PostgreSQL: VACUUM, beside everybody. */
bool store_compact(const struct store_settings *s, struct err *err) BASE_MUST_CHECK;

#endif
