/* Comes between a program and the system, for tests: preloaded, it ends the program at the N-th call that changes a file,
 * or has the disk be full from there on, or knows no locks, or has little memory.
 *
 *   INTERPOSE_UNDER   the calls that count are those on paths that begin with this
 *   INTERPOSE_KILL    at this call, counted from 1, the program is killed; a write has then written half
 *   INTERPOSE_FULL    from this call on the disk takes no more than what is removed from it
 *   INTERPOSE_LIST    the file that gets a line for each call: its name and its path
 *   INTERPOSE_UNLOCKED   there are no locks
 *   INTERPOSE_MEMORY  the most bytes that are given at once
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls, room;
static long kill_at, full_at, memory;
static const char *under;
static int list = -1;

__attribute__((constructor)) static void begin(void) {
    const char *text;
    under = getenv("INTERPOSE_UNDER");
    if ((text = getenv("INTERPOSE_LIST")))
        list = syscall(SYS_openat, AT_FDCWD, text, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
    kill_at = (text = getenv("INTERPOSE_KILL")) ? atol(text) : 0;
    full_at = (text = getenv("INTERPOSE_FULL")) ? atol(text) : 0;
    memory = (text = getenv("INTERPOSE_MEMORY")) ? atol(text) : 0;
}

#define REAL(name, type, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int counts(const char *path) { return under && path && strncmp(path, under, strlen(under)) == 0; }

static const char *path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return path;
}

static const char *path_at(int folder, const char *name, char *path) {
    if (name[0] == '/' || folder == AT_FDCWD) return name;
    path_of(folder, path);
    strncat(path, "/", PATH_MAX - 1 - strlen(path));
    strncat(path, name, PATH_MAX - 1 - strlen(path));
    return path;
}

/* Counts a call; whether the program is to be killed at it. */
static int now(const char *name, const char *path) {
    char line[PATH_MAX + 16];
    if (list >= 0) syscall(SYS_write, list, line, snprintf(line, sizeof line, "%s %s\n", name, path));
    return ++calls == kill_at;
}
static void die(void) { raise(SIGKILL); }
static int is_full(void) { return full_at && calls >= full_at; }

static void touch(const char *name, const char *path) {
    if (counts(path) && now(name, path)) die();
}

static void give_back(const char *path) {
    struct stat about;
    if (counts(path) && is_full() && lstat(path, &about) == 0 && S_ISREG(about.st_mode)) room += about.st_size;
}

static int makes(int flags) { return flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR); }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        if (makes(flags)) touch("open", path); \
        return syscall(SYS_openat, AT_FDCWD, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        char whole[PATH_MAX]; \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        if (makes(flags)) touch("open", path_at(folder, path, whole)); \
        return syscall(SYS_openat, folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *bytes, size_t size) {
    char path[PATH_MAX];
    if (fd > 2 && counts(path_of(fd, path))) {
        if (now("write", path)) {
            syscall(SYS_write, fd, bytes, size / 2);
            die();
        }
        if (is_full()) {
            /* What a file has already it may overwrite. */
            struct stat about;
            off_t at = lseek(fd, 0, SEEK_CUR);
            long own = fstat(fd, &about) == 0 && about.st_size > at ? about.st_size - at : 0;
            if (own + room <= 0 && size > 0) {
                errno = ENOSPC;
                return -1;
            }
            if ((long)size > own + room) size = own + room;
            if ((long)size > own) room -= size - own;
        }
    }
    return syscall(SYS_write, fd, bytes, size);
}

/* Bytes that the system would copy by itself are copied by `write`, which counts: the caller goes on with that. */
ssize_t copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t size, unsigned flags) {
    (void)in, (void)in_at, (void)out, (void)out_at, (void)size, (void)flags;
    errno = ENOSYS;
    return -1;
}

ssize_t sendfile64(int out, int in, off_t *at, size_t size) {
    (void)out, (void)in, (void)at, (void)size;
    errno = ENOSYS;
    return -1;
}

int rename(const char *from, const char *to) {
    touch("rename", to);
    give_back(to);
    return syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

int unlink(const char *path) {
    touch("unlink", path);
    give_back(path);
    return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int unlinkat(int folder, const char *path, int flags) {
    char whole[PATH_MAX];
    touch("unlink", path_at(folder, path, whole));
    give_back(path_at(folder, path, whole));
    return syscall(SYS_unlinkat, folder, path, flags);
}

int rmdir(const char *path) {
    touch("rmdir", path);
    return syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdir(const char *path, mode_t mode) {
    touch("mkdir", path);
    return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int fsync(int fd) {
    char path[PATH_MAX];
    touch("fsync", path_of(fd, path));
    return syscall(SYS_fsync, fd);
}

#define FTRUNCATE(name) \
    int name(int fd, off_t size) { \
        char path[PATH_MAX]; \
        touch("truncate", path_of(fd, path)); \
        return syscall(SYS_ftruncate, fd, size); \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

int flock(int fd, int how) {
    if (getenv("INTERPOSE_UNLOCKED")) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return syscall(SYS_flock, fd, how);
}

int posix_memalign(void **at, size_t alignment, size_t size) {
    REAL("posix_memalign", int, void **, size_t, size_t);
    if (memory && (long)size > memory) return ENOMEM;
    return real(at, alignment, size);
}
