/* Makes the disk under a run's journal fail: preloaded into the program, which links to libc dynamically.
 * FAIL_CALL is "sync" or "write"; the first FAIL_AFTER of those calls on run.db and its log (or on the file with
 * FAIL_FILE in its path) succeed, all later ones fail with the number FAIL_ERRNO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int calls;

static int fails(const char *call, int fd) {
    const char *which = getenv("FAIL_CALL"), *after = getenv("FAIL_AFTER"), *number = getenv("FAIL_ERRNO");
    if (!which || !after || !number || strcmp(which, call)) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    const char *file = getenv("FAIL_FILE");
    if (!strstr(path, file ? file : "run.db") || atomic_fetch_add(&calls, 1) < atoi(after)) return 0;
    errno = atoi(number);
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define SYNC(name) \
    int name(int fd) { \
        if (fails("sync", fd)) return -1; \
        return REAL(name)(fd); \
    }
#define PWRITE(name, offset_t) \
    ssize_t name(int fd, const void *bytes, size_t size, offset_t at) { \
        if (fails("write", fd)) return -1; \
        return REAL(name)(fd, bytes, size, at); \
    }

SYNC(fsync)
SYNC(fdatasync)
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *bytes, size_t size) {
    if (fails("write", fd)) return -1;
    return REAL(write)(fd, bytes, size);
}
