/*
 * milter/spool.h - a message body on its way through: small ones in memory, larger ones in an unlinked file.  Private to milter/.
 *
 * One writer, then readers; a spool belongs to one message.  Memory stays flat however large the mail.  The file is made with
 * O_TMPFILE (or created 0600 and unlinked at once) in the spool directory, so nothing is left after a crash.
 */
#ifndef ENROLL_MILTER_SPOOL_H
#define ENROLL_MILTER_SPOOL_H
#include "base/base.h"
#define SPOOL_MEMORY (64 * 1024)
struct spool;
struct spool *spool_new(const char *directory, struct err *err);
void spool_free(struct spool *s);                    /* accepts NULL */
bool spool_write(struct spool *s, const void *data, size_t len, struct err *err) BASE_MUST_CHECK; /* ENOSPC: ERR_TEMPORARY */
uint64_t spool_size(const struct spool *s);
/* Read at an offset; *got 0 = end. */
bool spool_read(const struct spool *s, uint64_t offset, void *data, size_t len, size_t *got, struct err *err) BASE_MUST_CHECK;
/* Call `each` with pieces of at most 65,535 octets, in order, until it returns false (then the result is false, err is each's business). */
bool spool_each(const struct spool *s, bool (*each)(void *arg, const void *data, size_t len, struct err *err), void *arg, struct err *err)
	BASE_MUST_CHECK;
/* The descriptor for libraries that want one (GMime): the content is moved to the file if it was in memory. */
int spool_fd(struct spool *s, struct err *err);
#endif
