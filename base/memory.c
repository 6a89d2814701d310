/*
 * base/memory.c - what OpenSSL frees is wiped, and what it takes while a private key is in its hands comes from its secure heap.
 *
 * OpenSSL keeps private keys in that heap (locked, in no core dump), but not all that it makes of them: decoders copy the octets of a key file and
 * free them as they are, a scalar is turned around in ordinary memory, and the primes of an RSA key are kept once more, as moduli, for as long as
 * the key lives.  Its memory functions can be replaced, so all of it is caught in one place.
 *
 * They have to be replaced before OpenSSL takes memory for the first time, and libjose has it do so while the program is being loaded, before main:
 * hence the entry in .preinit_array, which comes before all libraries.  Without one (a C library that does not know it), what such a library took
 * first keeps the rest of that program from being wiped.
 *
 * Globals: none but the thread's depth.
 */
#include "config.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/base.h"

#define HEAP_PIECE 32

static _Thread_local int depth;

#ifdef BUILT_WITH_SANITIZERS
bool memory_guard(size_t heap)
{
	return true;
}
#else

/* Without recursion: a full heap is an error to OpenSSL, which takes memory to say so. */
static void *secret_memory(size_t n, const char *file, int line)
{
	int saved = depth;
	void *p;

	depth = 0;
	p = CRYPTO_secure_malloc(n, file, line);
	depth = saved;
	return p;
}

/* When that heap is full, ordinary memory has to do: a mail that is not signed would be the worse. */
static void *take(size_t n, const char *file, int line)
{
	void *p = NULL;

	if (n == 0)
		return NULL;
	if (depth > 0 && CRYPTO_secure_malloc_initialized())
		p = secret_memory(n, file, line);
	return p ? p : malloc(n);
}

static void give_back(void *p, const char *file, int line)
{
	if (!p)
		return;
	if (CRYPTO_secure_allocated(p)) {
		CRYPTO_secure_free(p, file, line); /* wipes */
		return;
	}
	explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static size_t size_of(const void *p)
{
	return CRYPTO_secure_allocated(p) ? CRYPTO_secure_actual_size((void *)(uintptr_t)p) : malloc_usable_size((void *)(uintptr_t)p);
}

static void *take_more(void *p, size_t n, const char *file, int line)
{
	size_t have;
	void *q;

	if (!p)
		return take(n, file, line);
	if (n == 0) {
		give_back(p, file, line);
		return NULL;
	}
	have = size_of(p);
	if (n <= have && n >= have / 2)
		return p;
	q = take(n, file, line);
	if (q) {
		memcpy(q, p, n < have ? n : have);
		give_back(p, file, line);
	}
	return q;
}

static void guard(void)
{
	(void)CRYPTO_set_mem_functions(take, take_more, give_back);
}

#ifdef __GLIBC__
__attribute__((section(".preinit_array"), used)) static void (*const early)(void) = guard;
#endif

bool memory_guard(size_t heap)
{
	CRYPTO_malloc_fn now;

	guard();
	CRYPTO_get_mem_functions(&now, NULL, NULL);
	/* 2: made, but the system does not let us lock it all. */
	return now == take && (heap == 0 || CRYPTO_secure_malloc_initialized() || CRYPTO_secure_malloc_init(heap, HEAP_PIECE) != 0);
}
#endif

void memory_secret_begin(void)
{
	depth++;
}

void memory_secret_end(void)
{
	depth--;
}

/* ---- one page ---------------------------------------------------------------------------------------------------- */

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

void *memory_page_new(size_t *size, bool *locked)
{
	void *page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*locked = false;
	if (page == MAP_FAILED)
		return NULL;
	*size = page_size();
	*locked = mlock(page, page_size()) == 0;
	madvise(page, page_size(), MADV_DONTDUMP);
	madvise(page, page_size(), MADV_DONTFORK);
	return page;
}

void memory_page_free(void *page)
{
	if (!page)
		return;
	explicit_bzero(page, page_size());
	munmap(page, page_size());
}
