/*
 * sandbox/calls.c - which calls of the kernel each role makes, and why.
 *
 * Names are those of libseccomp, which knows all architectures: of several generations of one call (stat, fstatat64, newfstatat, statx; futex_time64)
 * all are here, since which one is made depends on the machine, the C library and the kernel.  Where the clock is read without the kernel (vdso),
 * its calls are what is left when that does not work.
 *
 * What is in no group gets ENOSYS and a log line.  To add a call: find out who makes it (`sandbox = "log"` names it), and write it into the group
 * with that reason.  Whether it may end the process is another question: only if nobody but an intruder ever makes it.
 */
#include "config.h"

#include <string.h>

#include "sandbox/internal.h"

#define MILTERS (ROLE(SANDBOX_OUTBOUND) | ROLE(SANDBOX_INBOUND))
#define EXEC ROLE(SANDBOX_ENROLLD_EXEC)
#define WITHOUT_EXEC (MILTERS | ROLE(SANDBOX_ENROLLD))
#define ALL (WITHOUT_EXEC | EXEC)

const struct call_group sandbox_calls[] = {
	/* ---- what every program with threads does ---- */
	{"memory; mlock: pages with keys; membarrier: the C library and OpenSSL; map_shadow_stack: threads, where returns are guarded", ALL, ALLOWED, ALWAYS,
		"brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 munlock membarrier map_shadow_stack"},
	{"begin and end of threads, and of the process", ALL, ALLOWED, ALWAYS,
		"set_robust_list get_robust_list set_tid_address rseq arch_prctl set_thread_area get_thread_area set_tls exit exit_group restart_syscall prctl"},
	{"threads, but no processes: nothing is started here", WITHOUT_EXEC, ALLOWED, NEW_THREAD, "clone"},
	{"the kernel cannot look into what clone3 asks for; the C library then takes clone", ALL, WITHOUT_WORD, ALWAYS, "clone3"},
	{"locks and conditions", ALL, ALLOWED, ALWAYS,
		"futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue sched_yield"},
	{"how many processors: OpenSSL, GLib, malloc", ALL, ALLOWED, ALWAYS,
		"sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getcpu get_mempolicy"},
	{"limits: libraries ask how many descriptors there may be", ALL, ALLOWED, ALWAYS, "getrlimit ugetrlimit setrlimit prlimit64 getrusage"},
	{"signals: they are waited for by one thread", ALL, ALLOWED, ALWAYS,
		"rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait rt_sigtimedwait_time64 rt_sigpending rt_sigsuspend sigaltstack sigaction "
		"sigprocmask sigreturn signal sigpending sigsuspend signalfd signalfd4 pause alarm setitimer getitimer"},
	{"wake our own threads, abort", WITHOUT_EXEC, ALLOWED, OURSELVES, "kill tgkill"},
	{"time and sleep", ALL, ALLOWED, ALWAYS,
		"clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep clock_nanosleep_time64 nanosleep gettimeofday time times "
		"timerfd_create timerfd_settime timerfd_settime64 timerfd_gettime timerfd_gettime64"},
	{"randomness", ALL, ALLOWED, ALWAYS, "getrandom"},
	{"who and where we are: for owners of files, peers of sockets, and the log", ALL, ALLOWED, ALWAYS,
		"getpid gettid getppid getpgrp getpgid getsid getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getgroups getgroups32 "
		"getresuid getresuid32 getresgid getresgid32 capget uname sysinfo getcwd"},

	/* ---- files: configuration, store, spool, logs; the file system's permissions say which ---- */
	{"open and close", ALL, ALLOWED, ALWAYS,
		"open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 flock pipe pipe2 memfd_create"},
	{"read and write", ALL, ALLOWED, ALWAYS,
		"read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek sendfile sendfile64 copy_file_range readahead "
		"ftruncate ftruncate64 truncate truncate64 fallocate fadvise64 fadvise64_64 arm_fadvise64_64 fsync fdatasync sync_file_range sync_file_range2"},
	{"look at files and file systems", ALL, ALLOWED, ALWAYS,
		"stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx access faccessat faccessat2 readlink readlinkat getdents getdents64 "
		"statfs statfs64 fstatfs fstatfs64 oldstat oldfstat oldlstat"},
	{"make, rename, remove; modes and groups: sockets, SQLite's side files, the account's files", ALL, ALLOWED, ALWAYS,
		"mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat umask chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 "
		"lchown lchown32 fchownat utime utimes utimensat utimensat_time64 futimesat"},

	/* ---- network: Postfix, DNS, the directory, the CA, the log, enrollctl ---- */
	{"wait for several", ALL, ALLOWED, ALWAYS,
		"poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait "
		"epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2"},
	{"a socket: Unix, IP, and netlink, by which the C library sees which addresses this host has", ALL, ALLOWED, COMMON_FAMILY, "socket"},
	{"connections", ALL, ALLOWED, ALWAYS,
		"socketpair bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom "
		"recvmsg recvmmsg recvmmsg_time64 shutdown"},
	{"questions about a descriptor: is it a terminal, how much is there, which interface is it", WITHOUT_EXEC, ALLOWED, HARMLESS_REQUEST, "ioctl"},

	/* ---- enrolld with a program for the CA: the program lives under the same filter, so this is what programs may do ---- */
	{"start the program, end its group, wait for it", EXEC, ALLOWED, ALWAYS,
		"execve execveat fork vfork kill tkill tgkill pidfd_open pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo wait4 waitid waitpid setsid "
		"setpgid chdir fchdir"},
	{"processes and threads, in the namespaces that are there", EXEC, ALLOWED, NO_NAMESPACE, "clone"},
	{"ca.exec.user, when enrolld is root's", EXEC, ALLOWED, ALWAYS,
		"setgroups setgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32 "
		"setfsuid setfsuid32 setfsgid setfsgid32 capset"},
	{"what shells, interpreters and their libraries do besides", EXEC, ALLOWED, ALWAYS,
		"symlink symlinkat mknod mknodat splice tee vmsplice sync syncfs getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr lsetxattr "
		"fsetxattr removexattr lremovexattr fremovexattr inotify_init inotify_init1 inotify_add_watch inotify_rm_watch getpriority setpriority nice "
		"sched_setaffinity sched_setscheduler sched_setparam sched_setattr sched_getattr sched_rr_get_interval ioprio_get ioprio_set timer_create "
		"timer_settime timer_settime64 timer_gettime timer_gettime64 timer_getoverrun timer_delete shmget shmat shmdt shmctl semget semop semtimedop "
		"semtimedop_time64 semctl msgget msgsnd msgrcv msgctl ipc mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr mlockall "
		"munlockall mbind set_mempolicy pkey_alloc pkey_free pkey_mprotect process_mrelease landlock_create_ruleset landlock_add_rule "
		"landlock_restrict_self seccomp personality io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents name_to_handle_at"},
	{"all but putting words into a terminal", EXEC, ALLOWED, NO_TYPING, "ioctl"},

	/* ---- what ends the process: nobody here makes these, so it is not ours any more ---- */
	{"start another program: nothing here does", WITHOUT_EXEC, DEADLY, ALWAYS, "execve execveat"},
	{"reach into other processes", ALL, DEADLY, ALWAYS, "ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd"},
	{"the large doors into the kernel, each with a history of holes", ALL, DEADLY, ALWAYS, "bpf perf_event_open userfaultfd"},
	/* A program for the CA may try these and do without: there they are denied, as whatever is in no group. */
	{"another one of these doors", WITHOUT_EXEC, DEADLY, ALWAYS, "io_uring_setup io_uring_enter io_uring_register"},
	{"keys that the kernel keeps for others", WITHOUT_EXEC, DEADLY, ALWAYS, "keyctl add_key request_key"},
	{"other namespaces", WITHOUT_EXEC, DEADLY, ALWAYS, "unshare setns"},
	{"its modules, another kernel, the next start", ALL, DEADLY, ALWAYS,
		"init_module finit_module delete_module create_module kexec_load kexec_file_load reboot"},
	{"another tree of files", ALL, DEADLY, ALWAYS,
		"mount umount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen fsconfig fsmount fspick mount_setattr open_by_handle_at swapon "
		"swapoff quotactl quotactl_fd"},
	{"the host's clock, name, ports and books", ALL, DEADLY, ALWAYS,
		"settimeofday clock_settime clock_settime64 adjtimex clock_adjtime clock_adjtime64 stime sethostname setdomainname iopl ioperm acct vhangup "
		"nfsservctl _sysctl syslog lookup_dcookie"},
	{.names = NULL},
};

static bool is_among(const char *name, const char *names)
{
	size_t len = strlen(name), n;

	for (; *names; names += n + strspn(names + n, " ")) {
		n = strcspn(names, " ");
		if (n == len && memcmp(names, name, n) == 0)
			return true;
	}
	return false;
}

bool sandbox_call_is_deadly(const char *name, enum sandbox_role role)
{
	for (const struct call_group *g = sandbox_calls; g->names; g++)
		if (g->verdict == DEADLY && (g->roles & ROLE(role)) && is_among(name, g->names))
			return true;
	return false;
}
