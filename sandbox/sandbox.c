/*
 * sandbox/sandbox.c - enter it: limits, what is loaded on first use, no new privileges, the filter.
 */
#include "config.h"

#include "sandbox/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <iconv.h>
#include <netdb.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "sandbox/internal.h"

#define DESCRIPTORS 65536

/* Written once, before threads. */
static bool no_programs;

/* The soft limit up to the hard one, but no further than `most`. */
static void raise_limit(int what, rlim_t most)
{
	struct rlimit now;

	if (getrlimit(what, &now) != 0 || now.rlim_cur >= most)
		return;
	now.rlim_cur = now.rlim_max < most ? now.rlim_max : most;
	setrlimit(what, &now);
}

/* A milter has a descriptor or more for each session; enrolld's libraries may know select(), which ends at 1024.  Locked memory: what the hard limit
 * gives.  The number of processes is left alone: it is counted for the user, and is that of the threads, of which libmilter has one a session. */
static void limits(enum sandbox_role role)
{
	process_harden();
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
	if (role == SANDBOX_OUTBOUND || role == SANDBOX_INBOUND)
		raise_limit(RLIMIT_NOFILE, DESCRIPTORS);
}

/* ---- what libraries load on first use ------------------------------------------------------------------------------------------------------------
 *
 * Modules for names, charsets and algorithms come from files, and may do odd things as they begin.  libldap and its SASL have begun already: the
 * configuration's filters were tried with them. */

static void touch_names(void)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *found = NULL;
	struct passwd pw, *user;
	struct group gr, *group;
	char room[4096];

	if (getaddrinfo("localhost", "smtp", &hints, &found) == 0)
		freeaddrinfo(found);
	(void)getpwuid_r(geteuid(), &pw, room, sizeof room, &user);
	(void)getgrgid_r(getegid(), &gr, room, sizeof room, &group);
}

static void touch_charsets(void)
{
	static const char *const names[] = {"ISO-8859-1", "ISO-8859-15", "WINDOWS-1252", "KOI8-R", "ISO-2022-JP", "SHIFT_JIS", "EUC-KR", "GB18030", "BIG5",
		"UTF-7", "UTF-16"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		iconv_t c = iconv_open("UTF-8", names[i]);

		if (c != (iconv_t)-1)
			iconv_close(c);
	}
}

static void touch_openssl(void)
{
	unsigned char octet;
	EVP_MD *md = EVP_MD_fetch(NULL, "SHA2-256", NULL);

	EVP_MD_free(md);
	(void)OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG, NULL);
	(void)RAND_bytes(&octet, 1);
	SSL_CTX_free(SSL_CTX_new(TLS_method()));
}

/* ------------------------------------------------------------------------------------------------------------------------------------------------- */

bool sandbox_may_execute(void)
{
	return !no_programs;
}

#if defined(HAVE_SECCOMP) && !defined(BUILT_WITH_SANITIZERS)
static bool filter(enum sandbox_role role, enum sandbox_mode mode, struct err *err)
{
	int to = sandbox_watcher_start(role, mode, err), listener = -1;
	bool ok = to >= 0 && sandbox_filter_load(role, mode, &listener, err);

	if (to >= 0)
		sandbox_watcher_give(to, listener);
	no_programs = ok && mode == SANDBOX_ON && role != SANDBOX_ENROLLD_EXEC;
	if (ok)
		log_event(LOG_LEVEL_DEBUG, "sandbox", "mode", mode == SANDBOX_LOG ? "log" : "on", "denied", listener >= 0 ? "log" : "audit", NULL);
	return ok;
}
#else
static bool filter(enum sandbox_role role, enum sandbox_mode mode, struct err *err)
{
	return true;
}
#endif

bool sandbox_enter(enum sandbox_role role, enum sandbox_mode mode, struct err *err)
{
	limits(role);
	touch_names();
	touch_charsets();
	touch_openssl();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return err_errno(err, errno, "enter sandbox", "no_new_privs");
	return mode == SANDBOX_OFF || filter(role, mode, err);
}
