/* A batch: reads or writes of one file that are prepared once and started again and again.
 *
 * Everything that an operation is, but for its offset, stays in its iocb. One call starts as many as there are offsets,
 * waits and tells which have ended. The batch has a completion ring of its own, so that to wait is one io_getevents, no
 * eventfd has to be rung, and nothing has to be looked up: aio_data is the operation's number.
 *
 * One thread at a time: `busy` is no lock, it is what a second thread is refused by. To cancel is allowed at any time. */
#define _GNU_SOURCE
#include "_aio.h"
#include "_ring.h"

#include <stdlib.h>
#include <string.h>

struct kaio_batch {
    aio_context_t kernel;
    uint32_t count, in_flight, idle_head, idle_count;
    bool busy;
    struct iocb *iocbs;
    struct iocb **queue;     /* what one io_submit takes */
    struct io_event *events; /* what one io_getevents brings */
    uint32_t *idle;          /* a ring of what can be started: what has ended first, first */
    kaio_batch_report *report;
    int64_t *results;        /* by operation; these are the user's memory, as is the report */
    uint32_t *ended;         /* the operations that ended in this turn, in that order */
};

static bool claim(kaio_batch *b) { return !__atomic_exchange_n(&b->busy, true, __ATOMIC_ACQUIRE); }

static void release(kaio_batch *b) { __atomic_store_n(&b->busy, false, __ATOMIC_RELEASE); }

static void make_idle(kaio_batch *b, uint32_t number) {
    uint32_t place = b->idle_head + b->idle_count++;
    b->idle[place < b->count ? place : place - b->count] = number;
}

static void ended(kaio_batch *b, uint32_t number, int64_t result) {
    b->results[number] = result;
    b->ended[b->report->ended++] = number;
    b->in_flight--;
    if (result < 0)
        b->report->failed++;
    else
        b->report->bytes += (uint64_t)result;
    make_idle(b, number);
}

static void start(kaio_batch *b, const int64_t *offsets, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct iocb *iocb = &b->iocbs[b->idle[b->idle_head]];
        b->idle_head = b->idle_head + 1 == b->count ? 0 : b->idle_head + 1;
        iocb->aio_offset = offsets[i];
        b->queue[i] = iocb;
    }
    b->idle_count -= count;
    b->in_flight += count;
}

/* io_submit stops at the first iocb that it refuses; its errno is that iocb's own once everything before it was taken. */
static void submit(kaio_batch *b, uint32_t count) {
    uint32_t first = 0;
    uint64_t began = now();
    while (first < count) {
        long taken = syscall(SYS_io_submit, b->kernel, (long)(count - first), b->queue + first);
        b->report->submits++;
        if (taken > 0)
            first += (uint32_t)taken;
        else if (taken == 0 || errno != EINTR)
            ended(b, (uint32_t)b->queue[first++]->aio_data, taken < 0 ? -errno : -EIO);
    }
    b->report->submitting += now() - began;
}

static void drain(kaio_batch *b) {
    struct ring *ring = ring_of(b->kernel);
    if (!ring_is_known(ring))
        return;
    unsigned head = ring->head, tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
    while (head != tail) {
        ended(b, (uint32_t)ring->events[head].data, ring->events[head].res);
        head = head + 1 == ring->nr ? 0 : head + 1;
    }
    __atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
}

/* Waits until `wanted` have ended in this turn, or nothing is in flight. Returns how many have; -EINTR: ask again. */
static int collect(kaio_batch *b, uint32_t wanted, int64_t nanoseconds) {
    drain(b);
    while (b->report->ended < wanted && b->in_flight) {
        uint32_t missing = wanted - b->report->ended;
        long least = missing < b->in_flight ? missing : b->in_flight;
        long count = get_events(b->kernel, least, b->count, b->events, nanoseconds);
        for (long i = 0; i < count; i++)
            ended(b, (uint32_t)b->events[i].data, b->events[i].res);
        if (count < 0)
            return (int)count;
        if (count < least)
            break; /* the time is over; or a signal came, which the next call will tell */
    }
    return (int)b->report->ended;
}

static int take_turn(kaio_batch *b, const int64_t *offsets, uint32_t starting, uint32_t wanted, int64_t nanoseconds) {
    b->report->ended = b->report->failed = 0;
    start(b, offsets, starting);
    submit(b, starting);
    return collect(b, wanted, nanoseconds);
}

/* Starts as many operations as there are offsets, those that ended first first, and waits until `wanted` have ended; for
 * ever where nanoseconds is negative. Returns how many have ended in this turn: their numbers are in `ended`, and they are
 * idle. -EAGAIN: fewer are idle, and nothing was started. -EBUSY: another thread uses it. */
int kaio_batch_turn(kaio_batch *b, const int64_t *offsets, uint32_t starting, uint32_t wanted, int64_t nanoseconds) {
    if (!claim(b))
        return -EBUSY;
    int result = starting > b->idle_count ? -EAGAIN : take_turn(b, offsets, starting, wanted, nanoseconds);
    release(b);
    return result;
}

/* A turn of one operation, while nothing is in flight: returns its result. Where that is negative, *turn is what
 * kaio_batch_turn would have returned: 1 if the result is the operation's own. */
int64_t kaio_batch_run(kaio_batch *b, int64_t offset, int *turn) {
    if (!claim(b))
        return *turn = -EBUSY;
    *turn = b->in_flight ? -EAGAIN : take_turn(b, &offset, 1, 1, -1);
    int64_t result = *turn == 1 ? b->results[b->ended[0]] : *turn;
    release(b);
    return result;
}

/* Goes on with a turn that a signal has interrupted. */
int kaio_batch_resume(kaio_batch *b, uint32_t wanted, int64_t nanoseconds) {
    if (!claim(b))
        return -EBUSY;
    int result = collect(b, wanted, nanoseconds);
    release(b);
    return result;
}

uint32_t kaio_batch_in_flight(kaio_batch *b) { return b->in_flight; }

/* Asks for everything back; returns for how many that was agreed to. */
int kaio_batch_cancel(kaio_batch *b) {
    struct io_event unused;
    int agreed = 0;
    for (uint32_t i = 0; i < b->count; i++)
        if (syscall(SYS_io_cancel, b->kernel, &b->iocbs[i], &unused) == 0 || errno == EINPROGRESS)
            agreed++;
    return agreed;
}

/* Prepares an operation. Not while it is in flight. */
void kaio_batch_prepare(kaio_batch *b, uint32_t number, int opcode, int fd, void *buffer, uint64_t length, int rw_flags,
                        int16_t priority) {
    struct iocb *iocb = &b->iocbs[number];
    memset(iocb, 0, sizeof *iocb);
    iocb->aio_data = number;
    iocb->aio_lio_opcode = (uint16_t)opcode;
    iocb->aio_fildes = (uint32_t)fd;
    iocb->aio_buf = (uint64_t)(uintptr_t)buffer;
    iocb->aio_nbytes = length;
    iocb->aio_rw_flags = rw_flags;
    iocb->aio_flags = priority ? IOCB_FLAG_IOPRIO : 0;
    iocb->aio_reqprio = priority;
}

static void free_batch(kaio_batch *b) {
    free(b->iocbs), free(b->queue), free(b->events), free(b->idle), free(b);
}

kaio_batch *kaio_batch_open(uint32_t count, kaio_batch_report *report, int64_t *results, uint32_t *ended_numbers,
                            int *error) {
    kaio_batch *b = calloc(1, sizeof *b);
    *error = ENOMEM;
    if (!b)
        return NULL;
    *b = (kaio_batch){.count = count, .report = report, .results = results, .ended = ended_numbers};
    b->iocbs = calloc(count, sizeof *b->iocbs);
    b->queue = calloc(count, sizeof *b->queue);
    b->events = calloc(count, sizeof *b->events);
    b->idle = calloc(count, sizeof *b->idle);
    if (b->iocbs && b->queue && b->events && b->idle)
        *error = syscall(SYS_io_setup, (long)count, &b->kernel) < 0 ? errno : 0;
    if (*error) {
        free_batch(b);
        return NULL;
    }
    keep_ring_from_children(b->kernel);
    for (uint32_t i = 0; i < count; i++)
        make_idle(b, i);
    return b;
}

/* io_destroy would wait uninterruptibly for what is in flight, so it is refused until nothing is. */
int kaio_batch_close(kaio_batch *b) {
    if (!claim(b))
        return -EBUSY;
    if (b->in_flight) {
        b->report->ended = b->report->failed = 0;
        collect(b, b->in_flight, 0);
    }
    if (b->in_flight) {
        release(b);
        return -EBUSY;
    }
    syscall(SYS_io_destroy, b->kernel);
    free_batch(b);
    return 0;
}
