/*
 * store/copy.h - what copy.c and marks.c share.  Private to store/.
 */
#ifndef ENROLL_STORE_COPY_H
#define ENROLL_STORE_COPY_H

#include "store/db.h"

/* Have both the same rows?  `table` gets the name of the first that differs, or stays as it was when it could not be read. */
bool copy_is_same(struct tx *a, struct tx *b, char *table, size_t size);

/* db_ops.settle of the engine that these settings name. */
bool engine_settle(const struct store_settings *s, struct err *err);

/* Opened whatever marks it has; role ADMIN. */
struct store *marks_open(const struct store_settings *s, struct err *err);
bool marks_read(struct tx *tx, struct store_moved *out);
bool marks_set(struct tx *tx, const char *mark, const char *id, const char *place);
bool marks_remove(struct tx *tx);
/* No mark: it changes nothing, and tells store_moved_look where this store was before. */
bool marks_note_origin(struct tx *tx, const char *id, const char *place);

#endif
