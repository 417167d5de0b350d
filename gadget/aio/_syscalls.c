/* The six system calls of Linux AIO, one to one (linux/aio_abi.h). Each returns what the call returns, or a negative errno. */
#define _GNU_SOURCE
#include "_abi.h"
#include "_ring.h"

#include <signal.h>
#include <string.h>

static long returned(long result) { return result < 0 ? -errno : result; }

long kaio_io_setup(unsigned count, uint64_t *context) {
    aio_context_t kernel = (aio_context_t)*context;
    long result = returned(syscall(SYS_io_setup, count, &kernel));
    *context = kernel;
    return result;
}

long kaio_io_destroy(uint64_t context) { return returned(syscall(SYS_io_destroy, (aio_context_t)context)); }

long kaio_io_submit(uint64_t context, long count, struct iocb **iocbs) {
    return returned(syscall(SYS_io_submit, (aio_context_t)context, count, iocbs));
}

long kaio_io_cancel(uint64_t context, struct iocb *iocb, struct io_event *event) {
    return returned(syscall(SYS_io_cancel, (aio_context_t)context, iocb, event));
}

/* Where there is no such call, -ENOSYS: this is the call and nothing like it. */
long kaio_io_getevents(uint64_t context, long least, long most, struct io_event *events, int64_t nanoseconds) {
#ifdef SYS_io_getevents
    struct { long seconds, nanoseconds; } time = {(long)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
    return returned(syscall(SYS_io_getevents, (aio_context_t)context, least, most, events,
                            nanoseconds < 0 ? NULL : &time));
#else
    (void)context, (void)least, (void)most, (void)events, (void)nanoseconds;
    return -ENOSYS;
#endif
}

/* `signals` are the numbers of those that are blocked meanwhile. The kernel's set is of longs, one bit a signal. -EINVAL: one
 * is the number of none. */
long kaio_io_pgetevents(uint64_t context, long least, long most, struct io_event *events, int64_t nanoseconds,
                        const int *signals, int signal_count) {
    unsigned long words[(_NSIG - 1) / (8 * sizeof(long)) + 1];
    struct { const void *set; size_t size; } mask = {words, (_NSIG - 1) / 8};
    memset(words, 0, sizeof words);
    for (int i = 0; i < signal_count; i++) {
        if (signals[i] < 1 || signals[i] >= _NSIG)
            return -EINVAL;
        words[(size_t)(signals[i] - 1) / (8 * sizeof(long))] |= 1ul << ((size_t)(signals[i] - 1) % (8 * sizeof(long)));
    }
    return get_events_by_mask((aio_context_t)context, least, most, events, nanoseconds, signals ? &mask : NULL);
}
