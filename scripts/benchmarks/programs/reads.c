/* Random reads of 4 KiB with Linux AIO in C: what everything else that scripts/bench aio measures is compared with.
 *
 *   reads libaio|raw FILE cached|direct DEPTH OFFSETS
 *
 * "libaio" is written as its manual pages do it: io_prep_pread for each read, io_submit, io_getevents. "raw" makes the
 * system calls itself, prepares each iocb once, and reaps from the completion ring in user space. Both keep DEPTH reads
 * in flight, and hand over with one io_submit all that follows what one look at the completions has found.
 *
 * OFFSETS is a file of 64-bit numbers, the places to read, in turn and over again. Commands come on stdin, as to the
 * programs in Python (programs/reads/__main__.py): "run COUNT" reads so many blocks; "check COUNT" does so and then looks
 * whether the buffers have what the last reads asked for. The answer is a line "ok", or the program ends, saying why. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096
#define WORDS (BLOCK / sizeof(uint64_t))

/* The head of the completion ring that io_setup maps (fs/aio.c, struct aio_ring). */
struct ring {
    unsigned id, nr, head, tail, magic, compat_features, incompat_features, header_length;
    struct io_event events[];
};

static int fd;
static unsigned depth;
static io_context_t context;
static struct iocb *blocks, **batch;
static struct io_event *events;
static char *buffers;
static uint64_t *offsets, offset_count, turn;

static void fail(const char *what, int error) {
    fprintf(stderr, "%s: %s\n", what, strerror(error));
    exit(1);
}

static uint64_t next_offset(void) {
    uint64_t offset = offsets[turn];
    turn = turn + 1 == offset_count ? 0 : turn + 1;
    return offset;
}

static char *buffer_of(const struct iocb *block) { return buffers + (size_t)(block - blocks) * BLOCK; }

/* ---- the two ways ------------------------------------------------------------------------------------- */

static void arm_libaio(struct iocb *block) { io_prep_pread(block, fd, buffer_of(block), BLOCK, (long long)next_offset()); }

static unsigned submit_libaio(unsigned count) {
    int taken = io_submit(context, count, batch);
    if (taken < 0)
        fail("io_submit", -taken);
    return (unsigned)taken;
}

static unsigned reap_libaio(void) {
    int count = io_getevents(context, 1, depth, events, NULL);
    if (count < 0)
        fail("io_getevents", -count);
    return (unsigned)count;
}

static void arm_raw(struct iocb *block) { block->u.c.offset = (long long)next_offset(); }

static unsigned submit_raw(unsigned count) {
    long taken = syscall(SYS_io_submit, context, (long)count, batch);
    if (taken < 0)
        fail("io_submit", errno);
    return (unsigned)taken;
}

static unsigned reap_raw(void) {
    struct ring *ring = (struct ring *)context;
    unsigned head = ring->head, tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE), count = 0;
    for (; head != tail && count < depth; head = head + 1 == ring->nr ? 0 : head + 1)
        events[count++] = ring->events[head];
    if (count) {
        __atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
        return count;
    }
    long waited = syscall(SYS_io_getevents, context, 1L, (long)depth, events, NULL);
    if (waited < 0)
        fail("io_getevents", errno);
    return (unsigned)waited;
}

/* ---- reading ------------------------------------------------------------------------------------------ */

#define DEFINE_RUN(WAY)                                                                                                \
    static void run_##WAY(uint64_t count) {                                                                            \
        uint64_t armed = 0, done = 0;                                                                                  \
        unsigned ready = 0;                                                                                            \
        for (; ready < depth && armed < count; ready++, armed++)                                                       \
            arm_##WAY(batch[ready] = &blocks[ready]);                                                                  \
        while (done < count) {                                                                                         \
            unsigned taken = ready ? submit_##WAY(ready) : 0;                                                          \
            if (taken != ready)                                                                                        \
                fail("io_submit took a part only", EAGAIN);                                                            \
            unsigned got = reap_##WAY();                                                                               \
            ready = 0;                                                                                                 \
            for (unsigned i = 0; i < got; i++) {                                                                       \
                if ((long)events[i].res != BLOCK)                                                                      \
                    fail("a read", (long)events[i].res < 0 ? (int)-(long)events[i].res : EIO);                         \
                if (armed < count) {                                                                                   \
                    arm_##WAY(batch[ready++] = events[i].obj);                                                         \
                    armed++;                                                                                           \
                }                                                                                                      \
            }                                                                                                          \
            done += got;                                                                                               \
        }                                                                                                              \
    }

DEFINE_RUN(libaio)
DEFINE_RUN(raw)

/* ---- checking ----------------------------------------------------------------------------------------- */

static uint64_t number_in(const char *buffer) {
    uint64_t words[WORDS];
    memcpy(words, buffer, BLOCK);
    for (size_t i = 1; i < WORDS; i++)
        if (words[i] != words[0])
            fail("a buffer has parts of two blocks", EIO);
    return words[0];
}

static int compare(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

/* With as many reads as buffers, each buffer has been read into once: together they have just what was asked for. */
static void check(void (*run)(uint64_t)) {
    uint64_t *asked = calloc(depth, sizeof *asked), *found = calloc(depth, sizeof *found);
    memset(buffers, 0xFF, (size_t)depth * BLOCK);
    for (unsigned i = 0; i < depth; i++)
        asked[i] = offsets[(turn + i) % offset_count] / BLOCK;
    run(depth);
    for (unsigned i = 0; i < depth; i++)
        found[i] = number_in(buffers + (size_t)i * BLOCK);
    qsort(asked, depth, sizeof *asked, compare);
    qsort(found, depth, sizeof *found, compare);
    if (memcmp(asked, found, depth * sizeof *asked))
        fail("the buffers have other blocks than those that were asked for", EIO);
    free(asked), free(found);
}

/* ---- the program -------------------------------------------------------------------------------------- */

static void read_offsets(const char *path) {
    struct stat state;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &state) < 0)
        fail(path, errno);
    offset_count = (uint64_t)state.st_size / sizeof *offsets;
    offsets = malloc((size_t)state.st_size);
    if (!offsets || read(file, offsets, (size_t)state.st_size) != state.st_size)
        fail(path, EIO);
    close(file);
}

static void set_up(const char *path, bool direct) {
    fd = open(path, O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0));
    if (fd < 0)
        fail(path, errno);
    long failed = syscall(SYS_io_setup, (long)depth, &context);
    if (failed)
        fail("io_setup", errno);
    struct ring *ring = (struct ring *)context;
    if (ring->magic != 0xa10a10a1u || ring->incompat_features)
        fail("the completion ring", ENOTSUP);
    blocks = calloc(depth, sizeof *blocks);
    batch = calloc(depth, sizeof *batch);
    events = calloc(depth, sizeof *events);
    buffers = mmap(NULL, (size_t)depth * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!blocks || !batch || !events || buffers == MAP_FAILED)
        fail("memory", ENOMEM);
    for (unsigned i = 0; i < depth; i++)
        io_prep_pread(&blocks[i], fd, buffers + (size_t)i * BLOCK, BLOCK, 0);
}

int main(int argc, char **argv) {
    if (argc != 6)
        fail("usage: reads libaio|raw FILE cached|direct DEPTH OFFSETS", EINVAL);
    void (*run)(uint64_t) = strcmp(argv[1], "raw") ? run_libaio : run_raw;
    depth = (unsigned)atoi(argv[4]);
    read_offsets(argv[5]);
    set_up(argv[2], !strcmp(argv[3], "direct"));
    char line[64], command[16];
    uint64_t count;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%15s %lu", command, &count) != 2)
            fail(line, EINVAL);
        run(count);
        if (!strcmp(command, "check"))
            check(run);
        puts("ok");
        fflush(stdout);
    }
    return 0;
}
