/* The completion ring that io_setup maps into the process (fs/aio.c, struct aio_ring), and how to sleep for it.
 *
 * Reading it costs no system call. It has one reader at a time, and none while a thread is in io_getevents, which reads it
 * as well: who includes this sees to that with a lock of his own. */
#ifndef GADGET_AIO_RING_H
#define GADGET_AIO_RING_H
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct ring {
    unsigned id, nr, head, tail, magic, compat_features, incompat_features, header_length;
    struct io_event events[];
};
#define RING_MAGIC 0xa10a10a1u

static inline struct ring *ring_of(aio_context_t kernel) { return (struct ring *)(uintptr_t)kernel; }

/* Whether the ring is of the form that is known here. */
static inline bool ring_is_known(const struct ring *ring) {
    return ring->magic == RING_MAGIC && ring->incompat_features == 0;
}

/* A forked child shares the ring's pages: it must not see, let alone move, the parent's ring. */
static inline void keep_ring_from_children(aio_context_t kernel) {
    struct ring *ring = ring_of(kernel);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t length = sizeof *ring + ring->nr * sizeof ring->events[0];
    madvise(ring, (length + page - 1) / page * page, MADV_DONTFORK);
}

/* io_pgetevents without a signal mask, which is io_getevents. The kernel's timespec is two longs where the architecture had
 * the call before 2038 was looked at, whatever the C library's is. A negative time is no limit. */
static inline long get_events_by_mask(aio_context_t kernel, long least, long most, struct io_event *events,
                                      int64_t nanoseconds, const void *mask) {
#ifdef SYS_io_pgetevents
    struct { long seconds, nanoseconds; } time = {(long)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
    long number = SYS_io_pgetevents;
#else
    struct { int64_t seconds, nanoseconds; } time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    long number = SYS_io_pgetevents_time64;
#endif
    long count = syscall(number, kernel, least, most, events, nanoseconds < 0 ? NULL : &time, mask);
    return count < 0 ? -errno : count;
}

/* io_getevents; where a container refuses it, or a young architecture has it no more, the other call does the same. Returns
 * a count or a negative errno. */
static inline long get_events(aio_context_t kernel, long least, long most, struct io_event *events,
                              int64_t nanoseconds) {
#ifdef SYS_io_getevents
    struct { long seconds, nanoseconds; } time = {(long)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
    long count = syscall(SYS_io_getevents, kernel, least, most, events, nanoseconds < 0 ? NULL : &time);
    if (count >= 0 || (errno != ENOSYS && errno != EPERM))
        return count < 0 ? -errno : count;
#endif
    return get_events_by_mask(kernel, least, most, events, nanoseconds, NULL);
}

/* Nanoseconds of a clock that only goes forward. What io_submit takes is counted, since it may block on buffered files. */
static inline uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

#endif
