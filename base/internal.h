/* base/internal.h - what the files of base/ share among themselves.  Private to base/. */
#ifndef ENROLL_BASE_INTERNAL_H
#define ENROLL_BASE_INTERNAL_H

#include "base/base.h"

/* The first character of s[0..len), len > 0: its length in octets and its code point, or 0 when it is not well-formed UTF-8
 * (overlong forms, surrogates and anything above U+10FFFF are not). */
size_t utf8_next(const char *s, size_t len, uint32_t *cp);

/* Characters that could fake another line or hide text on a screen: C0 and C1 controls, DEL, line and paragraph separators, and
 * the bidirectional overrides. */
bool codepoint_is_hostile(uint32_t cp);

/* The largest length <= len that does not cut a UTF-8 character of s in two. */
size_t utf8_cut(const char *s, size_t len);

/* Copy with truncation at a character. */
void text_copy(char *out, size_t size, const char *s);

/* log_limit.c: may a line of this event (a literal) go out now?  If not, it is counted. */
bool limit_take(const char *event);

/* Where the journal listens; tests have their own. */
extern const char *log_journal_socket;

#endif
