/*
 * tests/bench/milter_common.c - socket and negotiation of the milters to compare with (milter_common.h).
 */
#include "config.h"

#include "tests/bench/milter_common.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/bench/bench.h"

#define HIGHEST 64 /* descriptors, so early */

static void no_delay(void)
{
	int on = 1;

	for (int fd = 3; fd < HIGHEST; fd++) {
		int listens = 0;
		socklen_t len = sizeof listens;

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	}
}

sfsistat milter_negotiate(SMFICTX *ctx, unsigned long offered, unsigned long *actions, unsigned long *steps)
{
	smfi_setsymlist(ctx, SMFIM_CONNECT, (char *)"j {daemon_name} {client_addr}");
	smfi_setsymlist(ctx, SMFIM_ENVFROM, (char *)"i {auth_authen} {auth_type}");
	smfi_setsymlist(ctx, SMFIM_EOM, (char *)"i");
	*actions = SMFIF_CHGHDRS | SMFIF_ADDHDRS | SMFIF_CHGBODY;
	*steps = (SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_NORCPT | SMFIP_HDR_LEADSPC | SMFIP_SKIP | SMFIP_NR_HDR) & offered;
	if (!(*steps & SMFIP_NR_HDR))
		bench_die("an MTA that wants an answer to each header is not what is compared");
	return SMFIS_CONTINUE;
}

int milter_run(struct smfiDesc *callbacks, const char *where)
{
	signal(SIGPIPE, SIG_IGN);
	umask(0);
	if (smfi_register(*callbacks) != MI_SUCCESS || smfi_setconn((char *)(uintptr_t)where) != MI_SUCCESS || smfi_opensocket(true) != MI_SUCCESS)
		bench_die("%s: no milter socket", where);
	no_delay();
	return smfi_main() == MI_SUCCESS ? 0 : 1;
}
