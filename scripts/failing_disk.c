/* A disk that fails, or a machine that loses power, under the files of one store.

   Preloaded into a process (LD_PRELOAD). Calls that change files called *NAME* in the folder FOLDER are counted. At the
   n-th of them the call fails, once or from then on; or the process dies by SIGKILL; or it dies after all that was not
   yet synced has been taken back, wholly or in part: bytes written to a file since its last fsync, and names made,
   changed and removed since the last fsync of the folder. Of names a first part is kept, in order, as file systems
   with a journal do; of writes any part, and of one write perhaps its first sectors only.

   Set up by failing_disk() in the process itself, or by the variable FAILING_DISK="folder|name|keep|mode|what|at|error|
   lose|seed" in its environment. KEEP is another folder of the same file system for what was unlinked. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COUNT, FAIL_ONCE, FAIL_ON, DIE };     /* mode */
enum { ANY_CHANGE, SYNCS };                  /* what is counted */
enum { NOTHING, ALL, SOME };                 /* what is lost with the power */
enum { CREATE, UNLINK, LINK, RENAME };       /* what was done to names */
enum { FILES = 512, NAMES = 4096, SECTOR = 512 };

typedef struct change { struct change *next; off_t at; size_t size; char *bytes; } change; /* no bytes: a truncation */
typedef struct { dev_t device; ino_t inode; int fd; char *synced; size_t size; change *first, *last; } file;
typedef struct { int kind; char path[4096], other[4096], kept[4096]; } name;

static char folder[2048], pattern[256], keep[2048];
static int mode = -1, what, error_number, lose;
static long at, counted;
static unsigned seed;
static file files[FILES];
static name names[NAMES];
static int file_count, name_count, kept_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(result, call, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, call)

static int raw_open(const char *path, int flags)
{
    REAL(int, "open", const char *, int, ...);
    return real(path, flags);
}

static ssize_t raw_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return real(fd, bytes, size, offset);
}

static int raw_truncate(int fd, off_t size)
{
    REAL(int, "ftruncate", int, off_t);
    return real(fd, size);
}

static int raw_unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    return real(path);
}

static int raw_link(const char *from, const char *to)
{
    REAL(int, "link", const char *, const char *);
    return real(from, to);
}

static int raw_rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    return real(from, to);
}

static int raw_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Whose call it is */

static int ours(const char *path)
{
    size_t size = strlen(folder);
    if (mode < 0 || strncmp(path, folder, size) || path[size] != '/') return 0;
    return !strchr(path + size + 1, '/') && strstr(path + size + 1, pattern);
}

static int ours_fd(int fd, int *is_folder)
{
    char link[64], path[4096];
    ssize_t size;
    if (mode < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if ((size = readlink(link, path, sizeof path - 1)) < 0) return 0;
    path[size] = 0;
    *is_folder = !strcmp(path, folder);
    return *is_folder || ours(path);
}

/* What is not synced */

static file *tracked(int fd)
{
    struct stat about;
    char path[64];
    if (lose == NOTHING || fstat(fd, &about)) return NULL;
    for (int i = 0; i < file_count; i++)
        if (files[i].device == about.st_dev && files[i].inode == about.st_ino) return &files[i];
    if (file_count == FILES) abort();
    file *found = &files[file_count++];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    *found = (file){about.st_dev, about.st_ino, raw_open(path, O_RDWR | O_CLOEXEC), NULL, 0, NULL, NULL};
    if (found->fd < 0) abort(); /* never closed: that would give up the locks that SQLite has on the file */
    return found;
}

static void forget(file *one)
{
    for (change *c = one->first, *next; c; c = next) {
        next = c->next;
        free(c->bytes);
        free(c);
    }
    free(one->synced);
    one->first = one->last = NULL;
    one->synced = NULL;
}

static void changed(int fd, const void *bytes, size_t size, off_t offset)
{
    file *one = tracked(fd);
    struct stat about;
    if (!one) return;
    if (!one->first) {
        fstat(one->fd, &about);
        one->size = about.st_size;
        one->synced = malloc(one->size + 1);
        if (pread(one->fd, one->synced, one->size, 0) != (ssize_t)one->size) abort();
    }
    change *c = calloc(1, sizeof *c);
    c->at = offset;
    c->size = size;
    if (bytes) memcpy(c->bytes = malloc(size + 1), bytes, size);
    *(one->last ? &one->last->next : &one->first) = c;
    one->last = c;
}

static void named(int kind, const char *path, const char *other)
{
    if (lose == NOTHING) return;
    if (name_count == NAMES) abort();
    name *n = &names[name_count++];
    n->kind = kind;
    snprintf(n->path, sizeof n->path, "%s", path);
    snprintf(n->other, sizeof n->other, "%s", other ? other : "");
    n->kept[0] = 0;
    const char *lost = kind == UNLINK ? path : kind == RENAME ? other : NULL;
    if (lost && raw_exists(lost)) {
        snprintf(n->kept, sizeof n->kept, "%s/%d.%d", keep, getpid(), kept_count++);
        if (raw_link(lost, n->kept)) abort();
    }
}

static void synced(int fd, int is_folder)
{
    if (lose == NOTHING) return;
    if (!is_folder) {
        forget(tracked(fd));
        return;
    }
    for (int i = 0; i < name_count; i++)
        if (names[i].kept[0]) raw_unlink(names[i].kept);
    name_count = 0;
}

/* The power cut */

static unsigned chance(unsigned below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static void restore(file *one)
{
    if (!one->first) return;
    if (raw_truncate(one->fd, 0) || raw_pwrite(one->fd, one->synced, one->size, 0) != (ssize_t)one->size) abort();
    for (change *c = one->first; lose == SOME && c; c = c->next) {
        unsigned fate = chance(3); /* lost, kept, torn */
        if (!fate) continue;
        if (!c->bytes) {
            if (raw_truncate(one->fd, c->at)) abort();
            continue;
        }
        size_t sectors = c->size / SECTOR, size = c->size;
        if (fate == 2 && sectors) size = SECTOR * chance((unsigned)sectors);
        if (raw_pwrite(one->fd, c->bytes, size, c->at) != (ssize_t)size) abort();
    }
}

static void lose_power(void)
{
    int kept = lose == SOME ? (int)chance((unsigned)name_count + 1) : 0;
    for (int i = 0; i < file_count; i++) restore(&files[i]);
    for (int i = name_count - 1; i >= kept; i--) {
        name *n = &names[i];
        if (n->kind == CREATE) raw_unlink(n->path);
        if (n->kind == LINK) raw_unlink(n->other);
        if (n->kind == RENAME) raw_rename(n->other, n->path);
        if (n->kept[0]) raw_rename(n->kept, n->kind == UNLINK ? n->path : n->other);
    }
    for (int i = 0; i < kept; i++)
        if (names[i].kept[0]) raw_unlink(names[i].kept);
}

/* Counts one call; whether it must fail. */
static int fails(int is_sync)
{
    if (what == SYNCS && !is_sync) return 0;
    counted++;
    if (mode == DIE && counted == at) {
        if (lose != NOTHING) lose_power();
        kill(getpid(), SIGKILL);
        pause();
    }
    if ((mode == FAIL_ONCE && counted == at) || (mode == FAIL_ON && counted >= at)) {
        errno = error_number;
        return 1;
    }
    return 0;
}

/* Setting up */

void failing_disk(const char *in, const char *like, const char *kept_in, int how, int which, long number, int error,
                  int lost, unsigned random)
{
    snprintf(folder, sizeof folder, "%s", in);
    snprintf(pattern, sizeof pattern, "%s", like);
    snprintf(keep, sizeof keep, "%s", kept_in);
    what = which, at = number, error_number = error, lose = lost, seed = random;
    counted = 0;
    mode = how;
}

long failing_disk_counted(void)
{
    return counted;
}

__attribute__((constructor)) static void from_environment(void)
{
    const char *told = getenv("FAILING_DISK");
    char *copy = told ? strdup(told) : NULL, *parts[9], *rest = copy;
    int found = 0;
    while (rest && found < 9) parts[found++] = strsep(&rest, "|");
    if (found == 9)
        failing_disk(parts[0], parts[1], parts[2], atoi(parts[3]), atoi(parts[4]), atol(parts[5]), atoi(parts[6]),
                     atoi(parts[7]), (unsigned)atoi(parts[8]));
    free(copy);
}

/* The calls */

static int opened(const char *call, const char *path, int flags, mode_t permissions)
{
    REAL(int, call, const char *, int, ...);
    int (*open_)(const char *, int, ...) = real;
    if (!(flags & O_CREAT) || !ours(path) || raw_exists(path)) return open_(path, flags, permissions);
    pthread_mutex_lock(&lock);
    int fd = -1;
    if (!fails(0) && (fd = open_(path, flags, permissions)) >= 0) named(CREATE, path, NULL);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(function) \
    int function(const char *path, int flags, ...) \
    { \
        va_list more; \
        va_start(more, flags); \
        mode_t permissions = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return opened("open", path, flags | (sizeof(off_t) == 8 ? O_LARGEFILE : 0), permissions); \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t size)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    int is_folder;
    if (mode < 0 || !ours_fd(fd, &is_folder)) return real(fd, bytes, size);
    pthread_mutex_lock(&lock);
    ssize_t done = -1;
    if (!fails(0)) {
        changed(fd, bytes, size, lseek(fd, 0, SEEK_CUR));
        done = real(fd, bytes, size);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

#define PWRITE(function) \
    ssize_t function(int fd, const void *bytes, size_t size, off_t offset) \
    { \
        int is_folder; \
        if (mode < 0 || !ours_fd(fd, &is_folder)) return raw_pwrite(fd, bytes, size, offset); \
        pthread_mutex_lock(&lock); \
        ssize_t done = -1; \
        if (!fails(0)) { \
            changed(fd, bytes, size, offset); \
            done = raw_pwrite(fd, bytes, size, offset); \
        } \
        pthread_mutex_unlock(&lock); \
        return done; \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define TRUNCATE(function) \
    int function(int fd, off_t size) \
    { \
        int is_folder; \
        if (mode < 0 || !ours_fd(fd, &is_folder)) return raw_truncate(fd, size); \
        pthread_mutex_lock(&lock); \
        int done = -1; \
        if (!fails(0)) { \
            changed(fd, NULL, 0, size); \
            done = raw_truncate(fd, size); \
        } \
        pthread_mutex_unlock(&lock); \
        return done; \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define SYNC(function) \
    int function(int fd) \
    { \
        REAL(int, #function, int); \
        int is_folder; \
        if (mode < 0 || !ours_fd(fd, &is_folder)) return real(fd); \
        pthread_mutex_lock(&lock); \
        int done = -1; \
        if (!fails(1)) { \
            synced(fd, is_folder); \
            done = real(fd); \
        } \
        pthread_mutex_unlock(&lock); \
        return done; \
    }
SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *path)
{
    if (!ours(path) || !raw_exists(path)) return raw_unlink(path);
    pthread_mutex_lock(&lock);
    int done = -1;
    if (!fails(0)) {
        named(UNLINK, path, NULL);
        done = raw_unlink(path);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

#define TWO_NAMES(function, kind) \
    int function(const char *from, const char *to) \
    { \
        if (!ours(from) && !ours(to)) return raw_##function(from, to); \
        pthread_mutex_lock(&lock); \
        int done = -1; \
        if (!fails(0)) { \
            named(kind, from, to); \
            done = raw_##function(from, to); \
        } \
        pthread_mutex_unlock(&lock); \
        return done; \
    }
TWO_NAMES(link, LINK)
TWO_NAMES(rename, RENAME)
