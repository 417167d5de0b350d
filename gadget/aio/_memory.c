/* What O_DIRECT wants of memory, and memory that stays where it is. */
#define _GNU_SOURCE
#include "_aio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* struct statx, of which only three fields are looked at (linux/stat.h; since Linux 6.1). Its size is 256 bytes for ever. */
#define DIRECT_ALIGNMENT 0x2000u
struct known_statx {
    uint32_t mask;
    uint8_t other[148];
    uint32_t memory_alignment, offset_alignment;
    uint8_t rest[96];
};

/* Returns whether the file says what O_DIRECT wants; zeros, if it is not to be had. */
int kaio_direct_alignment(int fd, uint32_t *memory, uint32_t *offset) {
    struct known_statx status;
    memset(&status, 0, sizeof status);
    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, DIRECT_ALIGNMENT, &status) < 0 || !(status.mask & DIRECT_ALIGNMENT))
        return 0;
    *memory = status.memory_alignment;
    *offset = status.offset_alignment;
    return 1;
}

int kaio_lock(void *memory, uint64_t length) { return mlock(memory, length) < 0 ? -errno : 0; }
