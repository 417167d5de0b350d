/* linux/aio_abi.h and what belongs to it, from this machine's headers; what they are too old to name has the kernel's own
 * number, which never changes. build_aio.py gives the names to cffi. */
#ifndef GADGET_AIO_ABI_H
#define GADGET_AIO_ABI_H
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>

#if __has_include(<linux/ioprio.h>)
#include <linux/ioprio.h>
#else
#define IOPRIO_CLASS_SHIFT 13
#define IOPRIO_CLASS_NONE 0
#define IOPRIO_CLASS_RT 1
#define IOPRIO_CLASS_BE 2
#define IOPRIO_CLASS_IDLE 3
#endif

/* Of an enum, which the preprocessor cannot be asked about. */
#define IOCB_CMD_POLL 5
#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x00000020
#endif
#ifndef RWF_ATOMIC
#define RWF_ATOMIC 0x00000040
#endif
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080
#endif
#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100
#endif

long kaio_io_setup(unsigned count, uint64_t *context);
long kaio_io_destroy(uint64_t context);
long kaio_io_submit(uint64_t context, long count, struct iocb **iocbs);
long kaio_io_cancel(uint64_t context, struct iocb *iocb, struct io_event *event);
long kaio_io_getevents(uint64_t context, long least, long most, struct io_event *events, int64_t nanoseconds);
long kaio_io_pgetevents(uint64_t context, long least, long most, struct io_event *events, int64_t nanoseconds,
                        const int *signals, int signal_count);

#endif
