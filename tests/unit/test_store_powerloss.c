/*
 * tests/unit/test_store_powerloss.c - the machine loses power while the store is written: what had returned is there, nothing is half.
 *
 * A child works on the store through a VFS of SQLite that knows, for each file, what a disk would have for certain: the content at its last
 * xSync, and each write, truncation and removal since.  At a random one of these calls the power goes: of the writes since then any sectors
 * are on the disk and any others are not, whatever their order was, an unsynced file may be missing and a removed one may be back.  The child
 * leaves the files so and ends.  The log's index (-shm) is memory, and gone.
 *
 * While a store is made, what is done to names counts, too: a folder that was made and a file that was renamed are where they are for certain
 * when the folder around them was synced.
 */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "store/maintenance.h"
#include "tests/unit/test_store.h"

#define SECTOR 512
#define DARK 42 /* how a child ends whose power went */
#define FILES 8
#define ROUNDS 25
#define ROWS 4096

/* ---- what the child had been told, shared with the parent --------------------------------------------------------- */

static struct ledger {
	atomic_uint orders[ROWS]; /* by the row's id: whose commit returned */
	atomic_uint requested, flag;
	size_t lost, kept;	     /* sectors, when the power went */
	size_t in_log, in_checkpoint; /* how often something of that file was under way */
} *told;

/* ---- the disk ----------------------------------------------------------------------------------------------------- */

struct image {
	unsigned char *data;
	size_t size;
};

struct change {
	size_t at, len;	     /* a write; or the size it is cut to */
	unsigned char *data; /* NULL: cut */
};

struct disk {
	char *path;
	bool live;	     /* not removed */
	bool there;	     /* its name is on the disk for certain */
	struct image synced; /* for certain */
	struct image removed; /* what was there under this name before, if its removal is not certain */
	struct change *changes;
	size_t n;
};

static struct disk disks[FILES];
static pthread_mutex_t power = PTHREAD_MUTEX_INITIALIZER;
static unsigned calls_left;
static bool log_counts; /* else only what moves the log into the file */

static void image_resize(struct image *image, size_t size)
{
	image->data = realloc(image->data, size + 1);
	if (size > image->size)
		memset(image->data + image->size, 0, size - image->size);
	image->size = size;
}

static void image_read(struct image *image, int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		abort();
	image_resize(image, (size_t)st.st_size);
	if (pread(fd, image->data, image->size, 0) != (ssize_t)image->size)
		abort();
}

static void image_change(struct image *image, const struct change *c)
{
	if (c->data == NULL) {
		image_resize(image, c->at);
		return;
	}
	if (c->at + c->len > image->size)
		image_resize(image, c->at + c->len);
	memcpy(image->data + c->at, c->data, c->len);
}

/* In order: all of them, or each with that probability. */
static void disk_settle(struct disk *d, unsigned percent)
{
	for (size_t i = 0; i < d->n; i++) {
		bool kept = percent >= 100 || random_below(100) < percent;

		if (kept)
			image_change(&d->synced, &d->changes[i]);
		told->kept += kept && percent < 100;
		told->lost += !kept;
		free(d->changes[i].data);
	}
	d->n = 0;
}

static void disk_add(struct disk *d, size_t at, const void *data, size_t len)
{
	struct change c = {.at = at, .len = len, .data = data != NULL ? malloc(len) : NULL};

	if (data != NULL)
		memcpy(c.data, data, len);
	d->changes = realloc(d->changes, (d->n + 1) * sizeof(c));
	d->changes[d->n++] = c;
}

static struct disk *disk_of(const char *path)
{
	size_t i = 0;
	int fd;

	while (i < FILES && disks[i].path != NULL && strcmp(disks[i].path, path) != 0)
		i++;
	if (i == FILES)
		abort();
	if (disks[i].path == NULL) {
		disks[i].path = strdup(path);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		disks[i].live = disks[i].there = fd >= 0;
		if (fd >= 0) {
			image_read(&disks[i].synced, fd);
			close(fd);
		}
	}
	return &disks[i];
}

static void put_back(const char *path, const struct image *image)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0660);

	if (fd < 0 || write(fd, image->data, image->size) != (ssize_t)image->size)
		abort();
	close(fd);
}

/* A store that is being made. */
static struct {
	bool on;
	char folder[300], parent[300];
	bool made, made_for_certain;	 /* the folder */
	struct disk *renamed;		 /* the file that has its last name now */
	bool renamed_for_certain;
	bool over; /* it has returned: the worst that can be */
} birth;

static void lose(struct disk *d)
{
	static const unsigned percents[] = {0, 10, 50, 90, 99};

	if (d->n > 0 && strstr(d->path, "-wal") != NULL)
		told->in_log++;
	else if (d->n > 0)
		told->in_checkpoint++;
	disk_settle(d, birth.over ? 0 : percents[random_below(5)]);
	if (d->there || (d->live && random_below(2) == 0))
		put_back(d->path, &d->synced);
	else if (d->removed.data != NULL && random_below(2) == 0)
		put_back(d->path, &d->removed);
	else
		unlink(d->path);
}

static void lose_names(void)
{
	if (birth.renamed != NULL) {
		unlink(f.settings.path);
		if (birth.renamed_for_certain || (!birth.over && random_below(2) == 0)) {
			put_back(f.settings.path, &birth.renamed->synced);
			unlink(birth.renamed->path);
		}
	}
	if (birth.made && !birth.made_for_certain && (birth.over || random_below(2) == 0))
		store_fixture_remove(birth.folder);
}

/* With the lock, which nobody gets any more when it was the last call. */
static void one_call_less(const struct disk *d, bool removal)
{
	char shm[500];

	if ((!log_counts && !removal && strcmp(d->path, f.settings.path) != 0) || --calls_left > 0)
		return;
	for (size_t i = 0; i < FILES && disks[i].path != NULL; i++)
		lose(&disks[i]);
	lose_names();
	snprintf(shm, sizeof(shm), "%s-shm", f.settings.path);
	unlink(shm);
	_exit(DARK);
}

/* Ours instead of the C library's, for the store's sources. */
int mkdir(const char *path, mode_t mode)
{
	int rc;

	pthread_mutex_lock(&power);
	rc = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
	if (birth.on && rc == 0) {
		birth.made = true;
		one_call_less(NULL, true);
	}
	pthread_mutex_unlock(&power);
	return rc;
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
	struct disk *d;
	int rc;

	pthread_mutex_lock(&power);
	d = birth.on ? disk_of(from) : NULL;
	rc = (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
	if (birth.on && rc == 0) {
		birth.renamed = d;
		one_call_less(d, true);
	}
	pthread_mutex_unlock(&power);
	return rc;
}

static void sync_names_of(const char *path)
{
	if (strcmp(path, birth.parent) == 0)
		birth.made_for_certain = true;
	else if (strcmp(path, birth.folder) == 0)
		birth.renamed_for_certain = birth.renamed != NULL;
	else
		disk_settle(disk_of(path), 100);
}

int fsync(int fd)
{
	char link[40], path[400];
	ssize_t len;

	if (!birth.on)
		return (int)syscall(SYS_fsync, fd);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		abort();
	path[len] = '\0';
	pthread_mutex_lock(&power);
	one_call_less(NULL, true);
	sync_names_of(path);
	pthread_mutex_unlock(&power);
	return 0;
}

/* ---- the VFS ------------------------------------------------------------------------------------------------------ */

struct shim {
	sqlite3_file base;
	struct disk *disk; /* NULL: temporary, or somebody else's */
	sqlite3_file *real;
};

static sqlite3_vfs *plain, shim_vfs;

static struct shim *shim_of(sqlite3_file *file)
{
	return (struct shim *)(void *)file;
}

#define REAL(file) shim_of(file)->real
#define PASS(name, call, ...)                                 \
	static int name(sqlite3_file *file, ##__VA_ARGS__)    \
	{                                                     \
		return REAL(file)->pMethods->call;            \
	}

PASS(shim_lock, xLock(REAL(file), level), int level)
PASS(shim_unlock, xUnlock(REAL(file), level), int level)
PASS(shim_reserved, xCheckReservedLock(REAL(file), out), int *out)
PASS(shim_control, xFileControl(REAL(file), op, arg), int op, void *arg)
PASS(shim_sector, xSectorSize(REAL(file)))
PASS(shim_traits, xDeviceCharacteristics(REAL(file)))
PASS(shim_map, xShmMap(REAL(file), region, size, extend, out), int region, int size, int extend, void volatile **out)
PASS(shim_shm_lock, xShmLock(REAL(file), offset, n, flags), int offset, int n, int flags)
PASS(shim_unmap, xShmUnmap(REAL(file), flag), int flag)

/* Nobody sees what is left behind. */
static int shim_read(sqlite3_file *file, void *to, int len, sqlite3_int64 at)
{
	int rc;

	pthread_mutex_lock(&power);
	rc = REAL(file)->pMethods->xRead(REAL(file), to, len, at);
	pthread_mutex_unlock(&power);
	return rc;
}

static int shim_size(sqlite3_file *file, sqlite3_int64 *size)
{
	int rc;

	pthread_mutex_lock(&power);
	rc = REAL(file)->pMethods->xFileSize(REAL(file), size);
	pthread_mutex_unlock(&power);
	return rc;
}

static void shim_barrier(sqlite3_file *file)
{
	REAL(file)->pMethods->xShmBarrier(REAL(file));
}

static int shim_close(sqlite3_file *file)
{
	return REAL(file)->pMethods != NULL ? REAL(file)->pMethods->xClose(REAL(file)) : SQLITE_OK;
}

static int shim_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 at)
{
	struct disk *d = shim_of(file)->disk;
	size_t from = (size_t)at, end = from + (size_t)len;
	int rc;

	if (d == NULL)
		return REAL(file)->pMethods->xWrite(REAL(file), data, len, at);
	pthread_mutex_lock(&power);
	rc = REAL(file)->pMethods->xWrite(REAL(file), data, len, at);
	for (size_t next; from < end; from = next) {
		next = (from / SECTOR + 1) * SECTOR < end ? (from / SECTOR + 1) * SECTOR : end;
		disk_add(d, from, (const unsigned char *)data + (from - (size_t)at), next - from);
	}
	one_call_less(d, false);
	pthread_mutex_unlock(&power);
	return rc;
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	struct disk *d = shim_of(file)->disk;
	int rc;

	pthread_mutex_lock(&power);
	rc = REAL(file)->pMethods->xTruncate(REAL(file), size);
	if (d != NULL) {
		disk_add(d, (size_t)size, NULL, 0);
		one_call_less(d, false);
	}
	pthread_mutex_unlock(&power);
	return rc;
}

/* Ours is the disk: the real one need not be waited for. */
static int shim_sync(sqlite3_file *file, int flags)
{
	struct disk *d = shim_of(file)->disk;

	if (d == NULL)
		return REAL(file)->pMethods->xSync(REAL(file), flags);
	pthread_mutex_lock(&power);
	one_call_less(d, false);
	disk_settle(d, 100);
	d->there = true; /* SQLite syncs the folder, too */
	free(d->removed.data);
	d->removed = (struct image){.data = NULL};
	pthread_mutex_unlock(&power);
	return SQLITE_OK;
}

/* Without memory maps of the file (version 3), whose writes nobody would see. */
static const sqlite3_io_methods shim_methods = {
	.iVersion = 2,
	.xClose = shim_close,
	.xRead = shim_read,
	.xWrite = shim_write,
	.xTruncate = shim_truncate,
	.xSync = shim_sync,
	.xFileSize = shim_size,
	.xLock = shim_lock,
	.xUnlock = shim_unlock,
	.xCheckReservedLock = shim_reserved,
	.xFileControl = shim_control,
	.xSectorSize = shim_sector,
	.xDeviceCharacteristics = shim_traits,
	.xShmMap = shim_map,
	.xShmLock = shim_shm_lock,
	.xShmBarrier = shim_barrier,
	.xShmUnmap = shim_unmap,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	struct shim *shim = shim_of(file);
	int rc;

	(void)vfs;
	shim->real = (sqlite3_file *)(void *)(shim + 1);
	shim->disk = NULL;
	pthread_mutex_lock(&power);
	if (name != NULL && (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0)
		shim->disk = disk_of(name);
	rc = plain->xOpen(plain, name, shim->real, flags, out);
	if (rc == SQLITE_OK && shim->disk != NULL)
		shim->disk->live = true;
	pthread_mutex_unlock(&power);
	shim->base.pMethods = rc == SQLITE_OK ? &shim_methods : NULL;
	return rc;
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
	struct disk *d;
	int rc;

	(void)vfs;
	pthread_mutex_lock(&power);
	d = disk_of(name);
	one_call_less(d, true);
	rc = plain->xDelete(plain, name, 0);
	if (d->there && !sync_folder) {
		free(d->removed.data);
		d->removed = d->synced;
		d->synced = (struct image){.data = NULL};
	}
	d->synced.size = 0;
	while (d->n > 0)
		free(d->changes[--d->n].data);
	d->live = d->there = false;
	pthread_mutex_unlock(&power);
	return rc;
}

static void shim_register(void)
{
	plain = sqlite3_vfs_find(NULL);
	shim_vfs = *plain;
	shim_vfs.zName = "powerloss";
	shim_vfs.pNext = NULL;
	shim_vfs.szOsFile = (int)sizeof(struct shim) + plain->szOsFile;
	shim_vfs.xOpen = shim_open;
	shim_vfs.xDelete = shim_delete;
	if (sqlite3_vfs_register(&shim_vfs, 1) != SQLITE_OK)
		abort();
}

/* ---- the child: works until it is dark ---------------------------------------------------------------------------- */

static unsigned round_now, steps;
static time_t far;

static void give_up(const char *what, const struct err *e)
{
	fprintf(stderr, "%s: %s\n", what, e->text);
	_exit(3);
}

/* Each step is an order in the row, in the order book and as an event. */
static void *order(void *store)
{
	struct err e = ERR_INIT;

	for (unsigned i = 0; i < steps; i++) {
		struct enrollment row = {0};
		struct store_step step = {.row = &row, .actor = "child", .event = "newOrder", .count_order = true};
		bool found, stale;

		if (!store_enrollment_claim(store, "child", far, 1, &row, &found, &e))
			give_up("claim", &e);
		if (!found)
			continue;
		row.orders++;
		row.next_at = time(NULL);
		if (!store_step_commit(store, &step, &stale, &e) || stale)
			give_up("commit", &e);
		atomic_store(&told->orders[row.id % ROWS], (unsigned)row.orders);
		enrollment_clear(&row);
	}
	return NULL;
}

static void *request_and_flag(void *store)
{
	struct err e = ERR_INIT;

	for (unsigned i = 0; i < steps; i++) {
		unsigned n = atomic_load(&told->requested), flag = atomic_load(&told->flag) + 1;
		char text[64];
		bool created;

		snprintf(text, sizeof(text), "user%u@example.org", n);
		if (i % 16 == 0 && !store_enrollment_request(store, text, "p", "sign", "x", &created, NULL, &e))
			give_up("request", &e);
		if (i % 16 == 0)
			atomic_store(&told->requested, n + 1);
		snprintf(text, sizeof(text), "%u", flag);
		if (!store_flag_set(store, "flag", text, "child", &e))
			give_up("flag", &e);
		atomic_store(&told->flag, flag);
	}
	return NULL;
}

/* The last one to close moves the log into the file and removes it. */
static void work(void)
{
	struct err e = ERR_INIT;

	shim_register();
	for (;;) {
		struct store *one = store_open(&f.settings, STORE_ROLE_ENROLLD, &e), *other = store_open(&f.settings, STORE_ROLE_ENROLLD, &e);
		pthread_t threads[2];

		if (one == NULL || other == NULL)
			give_up("open", &e);
		steps = 1U << random_below(9);
		far = time(NULL) + 10000 + round_now * 10;
		if (pthread_create(&threads[0], NULL, order, one) != 0 || pthread_create(&threads[1], NULL, request_and_flag, other) != 0)
			abort();
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		store_close(one);
		store_close(other);
	}
}

/* ---- and the parent: looks at what there is ----------------------------------------------------------------------- */

static size_t orders_as_events(struct store *store, int64_t id)
{
	struct event_list l = {0};
	size_t n = 0;

	OK(store_events(store, id, 0, 100000, &l, &err));
	for (size_t i = 0; i < l.n; i++)
		n += strcmp(l.v[i].name, "newOrder") == 0;
	event_list_clear(&l);
	return n;
}

/* What was told is there; of what was under way when it became dark, all or nothing. */
static void compare_rows(struct store *store)
{
	struct enrollment_list l = {0};
	size_t book, sum = 0, more = 0, requested = atomic_load(&told->requested);

	OK(store_enrollment_list(store, -1, NULL, 1000, &l, &err));
	ck_assert_msg(l.n == requested || l.n == requested + 1, "%zu rows, %zu requests had returned", l.n, requested);
	atomic_store(&told->requested, (unsigned)l.n);
	for (size_t i = 0; i < l.n; i++) {
		atomic_uint *known = &told->orders[l.v[i].id % ROWS];

		ck_assert_msg((unsigned)l.v[i].orders >= atomic_load(known), "row %lld: %u orders, %u steps had returned", (long long)l.v[i].id,
			(unsigned)l.v[i].orders, atomic_load(known));
		more += (size_t)l.v[i].orders - atomic_load(known);
		sum += (size_t)l.v[i].orders;
		ck_assert_uint_eq(orders_as_events(store, l.v[i].id), l.v[i].orders);
		atomic_store(known, (unsigned)l.v[i].orders);
	}
	enrollment_list_clear(&l);
	ck_assert_uint_le(more, 1);
	OK(store_orders_since(store, 0, NULL, &book, &err));
	ck_assert_uint_eq(book, sum);
}

static void compare_flag(struct store *store)
{
	unsigned known = atomic_load(&told->flag), there;
	char *value = NULL;

	OK(store_flag_get(store, "flag", &value, &err));
	there = value != NULL ? (unsigned)strtoul(value, NULL, 10) : 0;
	ck_assert_msg(there == known || there == known + 1, "%u, and %u had returned", there, known);
	atomic_store(&told->flag, there);
	free(value);
}

static void look(void)
{
	struct store *store = store_open(&f.settings, STORE_ROLE_ADMIN, &err);
	struct store_sound sound = {.n = 0};

	ck_assert_msg(store != NULL, "%s", err.text);
	OK(store_check(store, &err));
	OK(store_sound(store, &sound, &err));
	ck_assert_msg(sound.n == 0, "%s: %s", sound.v[0].name, sound.v[0].examples);
	compare_rows(store);
	compare_flag(store);
	store_close(store);
}

static void child_goes_dark(void (*does)(void))
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0)
		does();
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == DARK, "the child ended otherwise: %d", status);
}

START_TEST(what_had_returned_is_there_and_nothing_is_half)
{
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(told != MAP_FAILED);
	teardown_handles();
	f.settings.busy_ms = 120000; /* the two never rest, and valgrind lets one at a time run */
	for (round_now = 0; round_now < ROUNDS; round_now++) {
		/* Many early moments, and some after a log that was full. */
		log_counts = random_below(2) == 0;
		calls_left = 1 + (unsigned)random_below(1U << (log_counts ? 4 + random_below(10) : 1 + random_below(7)));
		child_goes_dark(work);
		look();
	}
	printf("dark %d times in %u steps: %zu sectors lost, %zu kept; the log was written %zu times, the file %zu times\n", ROUNDS,
		atomic_load(&told->flag), told->lost, told->kept, told->in_log, told->in_checkpoint);
	ck_assert_msg(told->lost > 0 && told->kept > 0, "the moments were badly chosen");
	munmap(told, sizeof(*told));
}
END_TEST

/* ---- a new store -------------------------------------------------------------------------------------------------- */

/* Without the links in it, as the kernel names files. */
static void birth_start(void)
{
	char *folder = realpath(f.dir, NULL);

	if (folder == NULL)
		abort();
	snprintf(birth.parent, sizeof(birth.parent), "%s", folder);
	snprintf(birth.folder, sizeof(birth.folder), "%s/new", folder);
	free(f.settings.path);
	if (asprintf(&f.settings.path, "%s/store.db", birth.folder) < 0)
		abort();
	free(folder);
	log_counts = true;
}

static void create_until_dark(void)
{
	struct err e = ERR_INIT;

	shim_register();
	birth.on = true;
	if (!store_create(&f.settings, &e))
		give_up("create", &e);
	atomic_store(&told->requested, 1);
	pthread_mutex_lock(&power);
	birth.over = true;
	calls_left = 1;
	one_call_less(NULL, true);
}

/* Was it there? */
static bool look_at_what_came(void)
{
	struct store_sound sound = {.n = 0};
	bool there = access(f.settings.path, F_OK) == 0, created;
	struct store *store;

	if (!there)
		OK(store_create(&f.settings, &err));
	store = store_open(&f.settings, STORE_ROLE_ENROLLD, &err);
	ck_assert_msg(store != NULL, "%s", err.text);
	OK(store_check(store, &err));
	OK(store_enrollment_request(store, "user@example.org", "p", "sign", "x", &created, NULL, &err));
	store_close(store);
	store = store_open(&f.settings, STORE_ROLE_ADMIN, &err);
	ck_assert_msg(store != NULL, "%s", err.text);
	OK(store_sound(store, &sound, &err));
	ck_assert_msg(sound.n == 0, "%s: %s", sound.v[0].name, sound.v[0].examples);
	store_close(store);
	store_fixture_remove(birth.folder);
	return there;
}

/* At each moment in turn, until it is done before it becomes dark. */
START_TEST(a_new_store_is_whole_or_none)
{
	unsigned moments = 0, whole = 0;

	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(told != MAP_FAILED);
	teardown_handles();
	birth_start();
	while (atomic_load(&told->requested) == 0) {
		bool there;

		calls_left = ++moments;
		child_goes_dark(create_until_dark);
		there = look_at_what_came();
		ck_assert_msg(there || atomic_load(&told->requested) == 0, "it was made, and then there was none");
		whole += there;
	}
	printf("dark at %u moments: %u times a whole store; %zu sectors lost, %zu kept\n", moments, whole, told->lost, told->kept);
	ck_assert_uint_gt(moments, 20);
	munmap(told, sizeof(*told));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_powerloss");
	TCase *tc = tcase_create("store_powerloss"), *birth_tc = tcase_create("birth");
	const char *longer = getenv("ENROLL_TEST_LONG");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, setup, teardown);
	/* Every one on a store of its own. */
	add_sqlite_loop_test(tc, what_had_returned_is_there_and_nothing_is_half, 0, longer != NULL && *longer != '\0' ? 100 : 8,
		"what SQLite itself syncs");
	suite_add_tcase(suite, tc);
	tcase_set_timeout(birth_tc, 300);
	tcase_add_checked_fixture(birth_tc, setup, teardown);
	add_sqlite_loop_test(birth_tc, a_new_store_is_whole_or_none, 0, longer != NULL && *longer != '\0' ? 20 : 1, "what SQLite itself syncs");
	suite_add_tcase(suite, birth_tc);
	return run_suite(suite);
}
