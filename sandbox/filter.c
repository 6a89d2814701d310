/*
 * sandbox/filter.c - the table as a filter of the kernel, by libseccomp.
 *
 * What is not allowed is put before a listener (SECCOMP_RET_USER_NOTIF), deadly calls too: so each has its line in our log, which an action of the
 * kernel alone would not give.  Neither needs the listener to be denied: when it is gone, the kernel answers ENOSYS by itself.  A signal handler
 * (SECCOMP_RET_TRAP) would be no way: libraries block all signals in their threads, and the kernel kills a thread that cannot be signalled.
 *
 * A container that is watched by a listener of its own leaves none for us, and old kernels have none: then the plain actions are taken.
 */
#include "config.h"

#include "sandbox/internal.h"

#ifdef HAVE_SECCOMP

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/sockios.h>
#include <asm/ioctls.h>
#include <unistd.h>

#include <seccomp.h>

#define OP "enter sandbox"
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME)
#ifdef __s390__ /* there the stack comes first */
#define CLONE_FLAGS 1
#else
#define CLONE_FLAGS 0
#endif
#define NAME_MAX_LEN 40

struct plan {
	scmp_filter_ctx filter;
	enum sandbox_role role;
	int rc; /* the first failure */
};

static void rule(struct plan *p, uint32_t action, int call, unsigned n, struct scmp_arg_cmp argument)
{
	int rc;

	if (p->rc != 0)
		return;
	rc = seccomp_rule_add_array(p->filter, action, call, n, &argument);
	/* -EEXIST: the default.  -EDOM: this machine has no such call. */
	if (rc != 0 && rc != -EEXIST && rc != -EDOM)
		p->rc = rc;
}

static void one_of(struct plan *p, int call, unsigned argument, const unsigned long *values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		rule(p, SCMP_ACT_ALLOW, call, 1, (struct scmp_arg_cmp){argument, SCMP_CMP_EQ, values[i], 0});
}

/* The kernel looks at the lower half of it only. */
#define LOWER 0xffffffffUL

static void requests(struct plan *p, int call)
{
	static const unsigned long values[] = {TCGETS, FIONREAD, FIONBIO, FIOCLEX, FIONCLEX, TIOCGWINSZ, TIOCOUTQ, SIOCGIFNAME, SIOCGIFINDEX, SIOCGIFCONF,
		SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFMTU};

	for (size_t i = 0; i < sizeof values / sizeof *values; i++)
		rule(p, SCMP_ACT_ALLOW, call, 1, (struct scmp_arg_cmp){1, SCMP_CMP_MASKED_EQ, LOWER, values[i]});
}

static void conditional(struct plan *p, enum condition condition, int call)
{
	static const unsigned long families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

	switch (condition) {
	case ALWAYS:
		rule(p, SCMP_ACT_ALLOW, call, 0, (struct scmp_arg_cmp){0, SCMP_CMP_EQ, 0, 0});
		return;
	case NEW_THREAD:
		rule(p, SCMP_ACT_ALLOW, call, 1, (struct scmp_arg_cmp){CLONE_FLAGS, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD});
		return;
	case NO_NAMESPACE:
		rule(p, SCMP_ACT_ALLOW, call, 1, (struct scmp_arg_cmp){CLONE_FLAGS, SCMP_CMP_MASKED_EQ, NAMESPACES, 0});
		return;
	case OURSELVES:
		rule(p, SCMP_ACT_ALLOW, call, 1, (struct scmp_arg_cmp){0, SCMP_CMP_MASKED_EQ, LOWER, (scmp_datum_t)getpid()});
		return;
	case COMMON_FAMILY:
		one_of(p, call, 0, families, sizeof families / sizeof *families);
		return;
	case HARMLESS_REQUEST:
		requests(p, call);
		return;
	case NO_TYPING:
		/* Whatever this says no to is put before the listener. */
		rule(p, SCMP_ACT_ALLOW, call, 1, (struct scmp_arg_cmp){1, SCMP_CMP_LT, TIOCSTI, 0});
		rule(p, SCMP_ACT_ALLOW, call, 1, (struct scmp_arg_cmp){1, SCMP_CMP_GT, TIOCLINUX, 0});
		rule(p, SCMP_ACT_ALLOW, call, 1, (struct scmp_arg_cmp){1, SCMP_CMP_EQ, TIOCGWINSZ, 0});
		rule(p, SCMP_ACT_ALLOW, call, 1, (struct scmp_arg_cmp){1, SCMP_CMP_EQ, FIONREAD, 0});
		return;
	}
}

static void group(struct plan *p, const struct call_group *g, bool listener)
{
	const char *at = g->names;
	char name[NAME_MAX_LEN];
	size_t n;

	for (; *at; at += n + strspn(at + n, " ")) {
		int call;

		n = strcspn(at, " ");
		if (n >= sizeof name)
			continue;
		memcpy(name, at, n);
		name[n] = '\0';
		call = seccomp_syscall_resolve_name(name);
		if (call == __NR_SCMP_ERROR)
			continue;
		if (g->verdict == ALLOWED)
			conditional(p, g->condition, call);
		else if (g->verdict == WITHOUT_WORD)
			rule(p, SCMP_ACT_ERRNO(ENOSYS), call, 0, (struct scmp_arg_cmp){0, SCMP_CMP_EQ, 0, 0});
		else if (!listener)
			rule(p, SCMP_ACT_KILL_PROCESS, call, 0, (struct scmp_arg_cmp){0, SCMP_CMP_EQ, 0, 0});
	}
}

/* 0 or a negative errno.  In mode LOG without a listener the kernel writes what it would deny into its audit log. */
static int load(enum sandbox_role role, enum sandbox_mode mode, bool listener, int *fd)
{
	uint32_t otherwise = listener ? SCMP_ACT_NOTIFY : mode == SANDBOX_LOG ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(ENOSYS);
	struct plan p = {.filter = seccomp_init(otherwise), .role = role};

	if (!p.filter)
		return -ENOMEM;
	/* Calls of another architecture (32 bits on 64) are nobody's.  A tree is quicker than a list. */
	p.rc = seccomp_attr_set(p.filter, SCMP_FLTATR_ACT_BADARCH, mode == SANDBOX_LOG ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS);
	seccomp_attr_set(p.filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (const struct call_group *g = sandbox_calls; g->names; g++)
		if (g->roles & ROLE(role))
			group(&p, g, listener || mode == SANDBOX_LOG);
	if (p.rc == 0)
		p.rc = seccomp_load(p.filter);
	if (p.rc == 0 && listener)
		*fd = seccomp_notify_fd(p.filter);
	seccomp_release(p.filter);
	return p.rc;
}

bool sandbox_filter_load(enum sandbox_role role, enum sandbox_mode mode, int *listener, struct err *err)
{
	int rc = -1;

	*listener = -1;
	if (seccomp_api_get() >= 5)
		rc = load(role, mode, true, listener);
	if (rc != 0)
		rc = load(role, mode, false, listener);
	return rc == 0 || err_set(err, ERR_CONFIG, OP, "seccomp",
		"the kernel takes no filter of calls (%s); a container or service manager may forbid it (systemd: SystemCallFilter=seccomp), or write sandbox = \"off\"",
		strerror(rc < 0 ? -rc : rc));
}

#else

bool sandbox_filter_load(enum sandbox_role role, enum sandbox_mode mode, int *listener, struct err *err)
{
	*listener = -1;
	return true;
}

#endif
