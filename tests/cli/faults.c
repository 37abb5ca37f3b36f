// Makes the file system calls of a program fail or end it, below all of the program's own code.
// Preloaded by tests/cli/faults.rs.
//
// Only calls on paths that contain FAULT_IN matter. Each moves a counter: a write by 8, any other
// change by 4. At FAULT_AT the program is killed (FAULT=kill), half-way through a write if the
// counter says so, or is sent SIGTERM once (FAULT=term); or else writes and new files fail with the
// errno FAULT, so many of them as FAULT_TIMES says. The counter's end is written to the file
// FAULT_TOTAL. With FAULT=slow, folders are only created after a while. Nothing is synced: no fault here takes the machine's power.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 8, CALL = 4 };

static atomic_long counter, faults;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 1L << 60;
}

static int matters(const char *path) {
    const char *part = getenv("FAULT_IN");
    return part && path && strstr(path, part);
}

static int descriptor_matters(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return matters(path);
}

static int at_matters(int folder, const char *path) {
    return matters(path) || (path[0] != '/' && folder != AT_FDCWD && descriptor_matters(folder));
}

static int is_fault(const char *name) {
    const char *fault = getenv("FAULT");
    return fault && !strcmp(fault, name);
}

static int kills(void) { return is_fault("kill"); }

// Sends the signal where the counter comes to FAULT_AT within these units.
static void terminate(long before, long units) {
    long at = number("FAULT_AT");
    if (is_fault("term") && before <= at && at < before + units) kill(getpid(), SIGTERM);
}

static int fails(void) {
    if (kills() || is_fault("term") || !getenv("FAULT") || atomic_fetch_add(&faults, 1) >= number("FAULT_TIMES")) return 0;
    errno = atoi(getenv("FAULT"));
    return 1;
}

// A change that takes no room; whether one that does must fail.
static int change(int matters, int takes_room) {
    if (!matters) return 0;
    long before = atomic_fetch_add(&counter, CALL);
    terminate(before, CALL);
    if (before < number("FAULT_AT")) return 0;
    if (kills()) raise(SIGKILL);
    return takes_room && fails();
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int descriptor, const void *bytes, size_t length) {
    REAL(write);
    if (!descriptor_matters(descriptor)) return real(descriptor, bytes, length);
    long before = atomic_fetch_add(&counter, WRITE);
    terminate(before, WRITE);
    if (is_fault("term")) return real(descriptor, bytes, length);
    long left = number("FAULT_AT") - before;
    if (left >= WRITE) return real(descriptor, bytes, length);
    size_t part = left > 0 ? length * left / WRITE : 0;
    if (kills()) {
        if (part) real(descriptor, bytes, part);
        raise(SIGKILL);
    }
    if (part) return real(descriptor, bytes, part);
    return fails() ? -1 : real(descriptor, bytes, length);
}

static int open_real(const char *name, int folder, const char *path, int flags, mode_t mode) {
    int (*real)(int, const char *, int, ...) =
        (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, name);
    if (flags & O_CREAT && change(at_matters(folder, path), 1)) return -1;
    return real(folder, path, flags, mode);
}

#define MODE                                   \
    mode_t mode = 0;                           \
    if (flags & O_CREAT) {                     \
        va_list rest;                          \
        va_start(rest, flags);                 \
        mode = va_arg(rest, mode_t);           \
        va_end(rest);                          \
    }

int open(const char *path, int flags, ...) { MODE return open_real("openat", AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return open_real("openat64", AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return open_real("openat", folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return open_real("openat64", folder, path, flags, mode); }

int mkdir(const char *path, mode_t mode) { REAL(mkdir); if (is_fault("slow") && matters(path)) usleep(300000); return change(matters(path), 1) ? -1 : real(path, mode); }
int rmdir(const char *path) { REAL(rmdir); return change(matters(path), 0) ? -1 : real(path); }
int unlink(const char *path) { REAL(unlink); return change(matters(path), 0) ? -1 : real(path); }
int unlinkat(int folder, const char *path, int flags) { REAL(unlinkat); return change(at_matters(folder, path), 0) ? -1 : real(folder, path, flags); }
int rename(const char *from, const char *to) { REAL(rename); return change(matters(to), 0) ? -1 : real(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) { REAL(linkat); return change(at_matters(b, to), 1) ? -1 : real(a, from, b, to, flags); }
int ftruncate64(int descriptor, off_t length) { REAL(ftruncate64); return change(descriptor_matters(descriptor), 0) ? -1 : real(descriptor, length); }
int fsync(int descriptor) { return change(descriptor_matters(descriptor), 0) ? -1 : 0; }

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("FAULT_TOTAL");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld", atomic_load(&counter));
    fclose(file);
}
