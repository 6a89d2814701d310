/*
 * tests/bench/noop_milter.c - a milter that asks Postfix for what the outbound instance asks for, and does nothing with it.
 *
 *     noop_milter SOCKET
 */
#include "config.h"

#include "tests/bench/bench.h"
#include "tests/bench/milter_common.h"

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3, unsigned long *pf0,
	unsigned long *pf1, unsigned long *pf2, unsigned long *pf3)
{
	(void)f0, (void)f2, (void)f3;
	*pf2 = *pf3 = 0;
	return milter_negotiate(ctx, f1, pf0, pf1);
}

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
	(void)ctx, (void)host, (void)address;
	return SMFIS_CONTINUE;
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
	(void)ctx, (void)argv;
	return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
	(void)ctx, (void)name, (void)value;
	return SMFIS_NOREPLY;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *data, size_t len)
{
	(void)ctx, (void)data, (void)len;
	return SMFIS_CONTINUE;
}

static sfsistat on_nothing(SMFICTX *ctx)
{
	(void)ctx;
	return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
	struct smfiDesc callbacks = {
		.xxfi_name = (char *)(uintptr_t) "noop",
		.xxfi_version = SMFI_VERSION,
		.xxfi_flags = SMFIF_CHGHDRS | SMFIF_ADDHDRS | SMFIF_CHGBODY,
		.xxfi_connect = on_connect,
		.xxfi_envfrom = on_mail,
		.xxfi_header = on_header,
		.xxfi_eoh = on_nothing,
		.xxfi_body = on_body,
		.xxfi_eom = on_nothing,
		.xxfi_abort = on_nothing,
		.xxfi_close = on_nothing,
		.xxfi_data = on_nothing,
		.xxfi_negotiate = on_negotiate,
	};

	if (argc != 2)
		bench_die("noop_milter SOCKET");
	return milter_run(&callbacks, argv[1]);
}
