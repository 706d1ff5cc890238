/* A disk that can be told to forget and to be full, for the programs that preload this library.
 *
 * DISK_STATE is the folder whose files it is about, DISK_CONTROL the benchmark's own.
 * Each fsync or fdatasync of such a file copies it to DISK_CONTROL/kept/<inode>: that is what a power cut leaves.
 * While DISK_CONTROL/drop exists, a sync says that it is done, and nothing is kept: the disk lies.
 * While DISK_CONTROL/full exists, writes to such files fail with ENOSPC.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int there(const char *name) {
    char path[PATH_MAX];
    const char *control = getenv("DISK_CONTROL");
    if (!control) return 0;
    snprintf(path, sizeof path, "%s/%s", control, name);
    return access(path, F_OK) == 0;
}

static int ours(int fd, struct stat *st) {
    char link[64], path[PATH_MAX];
    const char *state = getenv("DISK_STATE");
    if (!state || fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    return strncmp(path, state, strlen(state)) == 0;
}

static void keep(int fd) {
    struct stat st;
    char link[64], part[PATH_MAX], kept[PATH_MAX], block[65536];
    int saved = errno;
    if (!ours(fd, &st) || there("drop")) { errno = saved; return; }
    const char *control = getenv("DISK_CONTROL");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    snprintf(kept, sizeof kept, "%s/kept/%lu", control, (unsigned long)st.st_ino);
    snprintf(part, sizeof part, "%s.%d.%ld", kept, getpid(), (long)syscall(SYS_gettid));
    int in = open(link, O_RDONLY | O_CLOEXEC), out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (in >= 0 && out >= 0) {
        ssize_t size;
        while ((size = syscall(SYS_read, in, block, sizeof block)) > 0)
            if (syscall(SYS_write, out, block, size) != size) break;
        rename(part, kept);
    }
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    errno = saved;
}

static int full(int fd) {
    struct stat st;
    int saved = errno, is = there("full") && ours(fd, &st);
    errno = is ? ENOSPC : saved;
    return is;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

int fsync(int fd) { REAL(int, "fsync", int); int rc = real(fd); if (rc == 0) keep(fd); return rc; }
int fdatasync(int fd) { REAL(int, "fdatasync", int); int rc = real(fd); if (rc == 0) keep(fd); return rc; }

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return full(fd) ? -1 : real(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return full(fd) ? -1 : real(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return full(fd) ? -1 : real(fd, data, size, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return full(fd) ? -1 : real(fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
    return full(fd) ? -1 : real(fd, parts, count, at);
}
int fallocate(int fd, int mode, off_t at, off_t size) {
    REAL(int, "fallocate", int, int, off_t, off_t);
    return full(fd) ? -1 : real(fd, mode, at, size);
}
int posix_fallocate(int fd, off_t at, off_t size) {
    REAL(int, "posix_fallocate", int, off_t, off_t);
    return full(fd) ? ENOSPC : real(fd, at, size);
}
