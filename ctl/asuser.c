/*
 * ctl/asuser.c - act as a service user.  SQLite makes its side files with the owner of the process that first needs them: root opening the store
 * would lock the services out of it.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

bool user_ids(const char *user, const char *group, unsigned *uid, unsigned *gid, struct err *err)
{
	const struct passwd *p = getpwnam(user);
	const struct group *g = getgrnam(group);

	if (!p)
		return err_set(err, ERR_CONFIG, "find user", user, "no such user; systemd-sysusers makes it (sysusers.d/enroll-milter.conf)");
	if (!g)
		return err_set(err, ERR_CONFIG, "find group", group, "no such group; systemd-sysusers makes it (sysusers.d/enroll-milter.conf)");
	*uid = p->pw_uid;
	*gid = g->gr_gid;
	return true;
}

/* What act_as does in the child. */
struct service_act {
	bool (*act)(void *arg, struct err *err);
	void *arg;
};

static bool for_the_group(void *arg, struct err *err)
{
	const struct service_act *a = arg;

	umask(0007); /* the group owns the store, its side files too */
	return a->act(a->arg, err);
}

bool as_user(const char *user, const char *group, bool (*act)(void *arg, struct err *err), void *arg, struct err *err)
{
	struct service_act a = {act, arg};
	unsigned uid, gid;

	if (geteuid() != 0)
		return act(arg, err);
	return user_ids(user, group, &uid, &gid, err) && act_as(uid, gid, for_the_group, &a, 0, err);
}

/* ---- the store, too ---------------------------------------------------------------------------------------------------- */

static struct store *opened;

bool admin_store_ready(const struct config *c, struct err *err)
{
	if (store_is_file(&c->store) || geteuid() != 0 || opened)
		return true;
	opened = store_open(&c->store, STORE_ROLE_ADMIN, err);
	return opened != NULL;
}

struct store *admin_store_open(const struct config *c, struct err *err)
{
	struct store *s = opened;

	opened = NULL;
	return s ? s : store_open(&c->store, STORE_ROLE_ADMIN, err);
}

void admin_store_done(void)
{
	store_close(opened);
	opened = NULL;
}

bool as_store_user(const struct config *c, const char *user, bool (*act)(void *arg, struct err *err), void *arg, struct err *err)
{
	bool ok = admin_store_ready(c, err) && as_user(user, c->users.group, act, arg, err);

	admin_store_done();
	return ok;
}
