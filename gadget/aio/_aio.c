/* Linux AIO: slots, submitting, reaping and streams of transfers.
 *
 * A context owns a fixed number of slots. A slot holds one iocb; the kernel hands the slot's number and its
 * use count back in the event (aio_data), never a pointer, so a completion that nobody waits for any more is
 * recognised and dropped. Slots are counted here because the kernel's own limit is a lax one: io_setup(1)
 * admits over a hundred requests (fs/aio.c, ioctx_alloc).
 *
 * A stream is the part of a USB endpoint that repeats for every transfer, and the reason why this is C: a
 * reader keeps `depth` buffers armed and hands them over in the order in which they were submitted, a writer
 * takes data apart into transfers. Both belong to a generation: what an earlier one left in flight is
 * counted, taken back when the kernel returns it, and never handed over. A gate keeps an old generation from
 * submitting into a new one: while the eventfd of the gate is readable, there is news that nobody has read.
 *
 * Locks: submit_lock is held across io_submit, so that two threads cannot reorder one stream's transfers;
 * lock guards everything else and is never held across a system call that may sleep. Order: submit_lock, lock. */
#define _GNU_SOURCE
#include "_aio.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The head of the completion ring that io_setup maps (fs/aio.c, struct aio_ring). */
struct ring {
    unsigned id, nr, head, tail, magic, compat_features, incompat_features, header_length;
    struct io_event events[];
};
#define RING_MAGIC 0xa10a10a1u
#define NONE UINT32_MAX

enum slot_state { FREE, RESERVED, QUEUED, IN_FLIGHT, DONE };

struct slot {
    struct iocb iocb;
    int64_t result, result2;
    uint32_t use;      /* how often the slot was submitted: the high half of a ticket */
    uint32_t next;     /* the next free slot */
    uint32_t piece;    /* which buffer of its stream */
    uint32_t epoch;    /* the stream's generation at submission */
    uint64_t sequence; /* the stream's count of transfers at submission */
    bool withdrawn;    /* asked back by its user, so that its end is no error */
    kaio_stream *stream;
    uint8_t state;
};

struct kaio_context {
    aio_context_t kernel;
    int eventfd;
    uint32_t capacity, free_head, free_count, in_flight;
    uint32_t queue_length, done_head, done_count, stream_room;
    struct slot *slots;
    uint32_t *queue;      /* slots to submit, in order */
    uint32_t *done;       /* a ring of slots whose completion Python has not fetched */
    struct iocb **batch;  /* what one io_submit takes; guarded by submit_lock */
    kaio_stream **streams; /* by number, NULL where closed */
    pthread_mutex_t submit_lock, lock;
};

enum piece_state { IDLE, ARMED, READY, LENT };

struct kaio_stream {
    kaio_context *context;
    uint32_t number, depth, epoch;
    uint32_t size;        /* bytes from one of a reader's buffers to the next */
    uint32_t length;      /* bytes of a transfer in this generation, at most size */
    int fd, opcode;
    int gate;             /* an eventfd: nothing is submitted while it is readable; -1 for none */
    int error;            /* positive errno that ended this generation, or that a writer's user is still to learn */
    bool running, changed, held;
    char **memory;        /* a reader's buffer for each piece; NULL for a writer */
    uint32_t *slots;      /* the slot of each piece */
    uint8_t *pieces;      /* enum piece_state */
    uint32_t *order;      /* a ring of armed and ready pieces, in the order of submission */
    uint32_t order_head, order_count, idle_count, lent;
    kaio_stream_state state;
};

/* ---- slots ------------------------------------------------------------------------------------------- */

static uint32_t take_slot(kaio_context *c) {
    uint32_t index = c->free_head;
    c->free_head = c->slots[index].next;
    c->free_count--;
    return index;
}

static void give_slot(kaio_context *c, uint32_t index) {
    c->slots[index].state = FREE;
    c->slots[index].stream = NULL;
    c->slots[index].next = c->free_head;
    c->free_head = index;
    c->free_count++;
}

static uint64_t ticket_of(kaio_context *c, uint32_t index) {
    return (uint64_t)c->slots[index].use << 32 | index;
}

static void queue_slot(kaio_context *c, uint32_t index, int opcode, int fd, void *buffer, uint64_t length,
                       int64_t offset, int rw_flags, int priority) {
    struct slot *slot = &c->slots[index];
    memset(&slot->iocb, 0, sizeof slot->iocb);
    slot->use++;
    slot->iocb.aio_data = ticket_of(c, index);
    slot->iocb.aio_lio_opcode = (uint16_t)opcode;
    slot->iocb.aio_fildes = (uint32_t)fd;
    slot->iocb.aio_buf = (uint64_t)(uintptr_t)buffer;
    slot->iocb.aio_nbytes = length;
    slot->iocb.aio_offset = offset;
    slot->iocb.aio_rw_flags = rw_flags;
    slot->iocb.aio_flags = IOCB_FLAG_RESFD;
    slot->iocb.aio_resfd = (uint32_t)c->eventfd;
    if (priority) {
        slot->iocb.aio_flags |= IOCB_FLAG_IOPRIO;
        slot->iocb.aio_reqprio = (int16_t)priority;
    }
    slot->state = QUEUED;
    c->queue[c->queue_length++] = index;
}

/* ---- completions -------------------------------------------------------------------------------------- */

/* What says that the endpoint is gone: nothing of this generation can succeed after it. */
static bool ends_generation(int error) {
    return error == ESHUTDOWN || error == ENODEV || error == ECONNRESET;
}

static void stream_finished(kaio_stream *s, struct slot *slot, int64_t result) {
    bool stale = slot->epoch != s->epoch;
    /* An endpoint that is disabled answers EAGAIN at once (f_fs.c, ffs_epfile_io). Towards the stream's user that
     * means "not yet", so it would wait for what can't come: this is how the generation ends. */
    if (result == -EAGAIN)
        slot->result = result = -ESHUTDOWN;
    slot->state = RESERVED;
    s->state.in_flight--;
    s->changed = true;
    if (result < 0 && slot->withdrawn) {
        s->state.withdrawn++;
    } else if (result < 0) {
        s->state.errors++;
    } else {
        s->state.transfers++;
        s->state.bytes += (uint64_t)result;
    }
    if (s->memory && !stale) {
        s->pieces[slot->piece] = READY; /* the reader takes it, or its error, when its turn comes */
        return;
    }
    s->pieces[slot->piece] = IDLE;
    s->idle_count++;
    if (stale)
        s->state.stale--;
    else if (result < 0 && !slot->withdrawn && !ends_generation(s->error))
        s->error = (int)-result;
}

static void finished(kaio_context *c, uint32_t index, int64_t result, int64_t result2) {
    struct slot *slot = &c->slots[index];
    slot->result = result;
    slot->result2 = result2;
    c->in_flight--;
    if (slot->stream) {
        stream_finished(slot->stream, slot, result);
        return;
    }
    slot->state = DONE; /* the slot stays taken until its completion is fetched: done can't overflow */
    c->done[(c->done_head + c->done_count++) % c->capacity] = index;
}

static void take_event(kaio_context *c, const struct io_event *event) {
    uint32_t index = (uint32_t)event->data;
    if (index < c->capacity && c->slots[index].state == IN_FLIGHT && ticket_of(c, index) == event->data)
        finished(c, index, event->res, event->res2);
}

/* Fetches what the kernel has put in the ring, without a system call where the ring is of the known form.
 * Nobody sleeps in io_getevents on this context, so the lock makes this the only reader of the ring. */
static void drain_ring(kaio_context *c) {
    struct ring *ring = (struct ring *)(uintptr_t)c->kernel;
    if (ring->magic == RING_MAGIC && ring->incompat_features == 0) {
        unsigned head = ring->head, tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
        while (head != tail) {
            take_event(c, &ring->events[head]);
            head = head + 1 == ring->nr ? 0 : head + 1;
        }
        __atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
        return;
    }
    struct io_event events[64];
    struct timespec now = {0, 0};
    long count;
    while ((count = syscall(SYS_io_getevents, c->kernel, 0L, 64L, events, &now)) > 0)
        for (long i = 0; i < count; i++)
            take_event(c, &events[i]);
}

static void notify(kaio_context *c) {
    uint64_t one = 1;
    ssize_t ignored = write(c->eventfd, &one, sizeof one); /* EAGAIN: it is readable already */
    (void)ignored;
}

/* ---- submitting --------------------------------------------------------------------------------------- */

/* Submits the queue. io_submit stops at the first iocb that it refuses; its errno is that iocb's own once
 * everything before it was taken, so each operation gets its exact result and none suffers for another. */
static int submit_queue(kaio_context *c) {
    pthread_mutex_lock(&c->submit_lock);
    pthread_mutex_lock(&c->lock);
    uint32_t count = c->queue_length, first = 0;
    int calls = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct slot *slot = &c->slots[c->queue[i]];
        slot->state = IN_FLIGHT;
        c->batch[i] = &slot->iocb;
    }
    c->in_flight += count;
    c->queue_length = 0;
    pthread_mutex_unlock(&c->lock);
    while (first < count) {
        long taken = syscall(SYS_io_submit, c->kernel, (long)(count - first), c->batch + first);
        calls++;
        if (taken > 0) {
            first += (uint32_t)taken;
            continue;
        }
        if (taken < 0 && errno == EINTR)
            continue;
        pthread_mutex_lock(&c->lock);
        finished(c, (uint32_t)c->batch[first++]->aio_data, taken < 0 ? -errno : -EIO, 0);
        pthread_mutex_unlock(&c->lock);
        notify(c); /* a refusal makes no event, so it wakes the loop by itself */
    }
    pthread_mutex_unlock(&c->submit_lock);
    return calls;
}

/* ---- context ------------------------------------------------------------------------------------------ */

static void free_context(kaio_context *c) {
    if (c->eventfd >= 0)
        close(c->eventfd);
    pthread_mutex_destroy(&c->submit_lock);
    pthread_mutex_destroy(&c->lock);
    free(c->slots), free(c->queue), free(c->done), free(c->batch), free(c->streams), free(c);
}

/* A forked child shares the ring's pages: it must not see, let alone move, the parent's ring. */
static void keep_ring_from_children(kaio_context *c) {
    struct ring *ring = (struct ring *)(uintptr_t)c->kernel;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t length = sizeof *ring + ring->nr * sizeof ring->events[0];
    madvise(ring, (length + page - 1) / page * page, MADV_DONTFORK);
}

kaio_context *kaio_open(uint32_t slots, int *error) {
    kaio_context *c = calloc(1, sizeof *c);
    if (!c) {
        *error = ENOMEM;
        return NULL;
    }
    c->eventfd = -1;
    c->capacity = slots;
    pthread_mutex_init(&c->submit_lock, NULL);
    pthread_mutex_init(&c->lock, NULL);
    c->slots = calloc(slots, sizeof *c->slots);
    c->queue = calloc(slots, sizeof *c->queue);
    c->done = calloc(slots, sizeof *c->done);
    c->batch = calloc(slots, sizeof *c->batch);
    c->streams = calloc(slots, sizeof *c->streams); /* a stream has at least one slot */
    if (!c->slots || !c->queue || !c->done || !c->batch || !c->streams) {
        *error = ENOMEM;
    } else if ((c->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0 ||
               syscall(SYS_io_setup, (long)slots, &c->kernel) < 0) {
        *error = errno;
    } else {
        keep_ring_from_children(c);
        c->free_head = NONE;
        for (uint32_t i = slots; i-- > 0;)
            give_slot(c, i);
        return c;
    }
    free_context(c);
    return NULL;
}

int kaio_fileno(kaio_context *c) { return c->eventfd; }

uint32_t kaio_in_flight(kaio_context *c) {
    pthread_mutex_lock(&c->lock);
    uint32_t count = c->in_flight + c->queue_length;
    pthread_mutex_unlock(&c->lock);
    return count;
}

uint32_t kaio_free_slots(kaio_context *c) {
    pthread_mutex_lock(&c->lock);
    uint32_t count = c->free_count;
    pthread_mutex_unlock(&c->lock);
    return count;
}

int64_t kaio_queue(kaio_context *c, int opcode, int fd, void *buffer, uint64_t length, int64_t offset,
                  int rw_flags, int priority) {
    int64_t ticket = -EAGAIN;
    pthread_mutex_lock(&c->lock);
    if (c->free_count) {
        uint32_t index = take_slot(c);
        queue_slot(c, index, opcode, fd, buffer, length, offset, rw_flags, priority);
        ticket = (int64_t)(ticket_of(c, index) & INT64_MAX);
    }
    pthread_mutex_unlock(&c->lock);
    return ticket;
}

int kaio_submit(kaio_context *c) { return submit_queue(c); }

int kaio_reap(kaio_context *c, kaio_completion *completions, uint32_t room, uint32_t *changed,
             uint32_t changed_room, uint32_t *changed_count) {
    uint64_t wakeups;
    uint32_t count = 0, streams = 0;
    /* The eventfd before the ring: what completes in between rings again. */
    ssize_t ignored = read(c->eventfd, &wakeups, sizeof wakeups);
    (void)ignored;
    pthread_mutex_lock(&c->lock);
    drain_ring(c);
    for (; c->done_count && count < room; count++, c->done_count--) {
        uint32_t index = c->done[c->done_head];
        struct slot *slot = &c->slots[index];
        completions[count] = (kaio_completion){ticket_of(c, index) & INT64_MAX, slot->result, slot->result2};
        c->done_head = (c->done_head + 1) % c->capacity;
        give_slot(c, index);
    }
    for (uint32_t i = 0; i < c->stream_room && streams < changed_room; i++)
        if (c->streams[i] && c->streams[i]->changed) {
            c->streams[i]->changed = false;
            changed[streams++] = i;
        }
    if (c->done_count)
        notify(c);
    pthread_mutex_unlock(&c->lock);
    *changed_count = streams;
    return (int)count;
}

/* What is queued completes with ECANCELED, unseen by the kernel. */
static void withdraw(kaio_context *c, uint32_t index) {
    uint32_t place = 0;
    while (c->queue[place] != index)
        place++;
    memmove(c->queue + place, c->queue + place + 1, (--c->queue_length - place) * sizeof *c->queue);
    c->in_flight++;
    finished(c, index, -ECANCELED, 0);
}

static int cancel_slot(kaio_context *c, uint32_t index) {
    struct io_event unused;
    if (c->slots[index].state == QUEUED) {
        withdraw(c, index);
        return 0;
    }
    if (c->slots[index].state != IN_FLIGHT)
        return -EINVAL;
    if (syscall(SYS_io_cancel, c->kernel, &c->slots[index].iocb, &unused) == 0)
        return 0;
    return errno == EINPROGRESS ? 0 : -errno;
}

int kaio_cancel(kaio_context *c, uint64_t ticket) {
    uint32_t index = (uint32_t)ticket;
    int result = -EINVAL;
    pthread_mutex_lock(&c->lock);
    if (index < c->capacity && (ticket_of(c, index) & INT64_MAX) == ticket)
        result = cancel_slot(c, index);
    if (c->done_count)
        notify(c);
    pthread_mutex_unlock(&c->lock);
    return result;
}

/* Asks for everything back; returns for how many that was agreed to. Their completions still arrive. It does not
 * wait for a thread that sleeps in io_submit. */
int kaio_cancel_all(kaio_context *c) {
    int agreed = 0;
    pthread_mutex_lock(&c->lock);
    while (c->queue_length) {
        withdraw(c, c->queue[c->queue_length - 1]);
        agreed++;
    }
    for (uint32_t i = 0; i < c->capacity; i++)
        if (cancel_slot(c, i) == 0)
            agreed++;
    notify(c);
    pthread_mutex_unlock(&c->lock);
    return agreed;
}

static void free_stream(kaio_stream *s) {
    free(s->slots), free(s->pieces), free(s->order), free(s->memory), free(s);
}

/* io_destroy would wait uninterruptibly for what is in flight, so it is refused until nothing is. */
int kaio_destroy(kaio_context *c) {
    if (kaio_in_flight(c))
        return -EBUSY;
    syscall(SYS_io_destroy, c->kernel);
    for (uint32_t i = 0; i < c->stream_room; i++)
        if (c->streams[i])
            free_stream(c->streams[i]);
    free_context(c);
    return 0;
}

/* ---- streams ------------------------------------------------------------------------------------------ */

static int register_stream(kaio_context *c, kaio_stream *s) {
    if (c->free_count < s->depth)
        return EAGAIN;
    while (s->number < c->capacity && c->streams[s->number])
        s->number++;
    c->streams[s->number] = s;
    if (s->number >= c->stream_room)
        c->stream_room = s->number + 1;
    for (uint32_t i = 0; i < s->depth; i++) {
        s->slots[i] = take_slot(c);
        c->slots[s->slots[i]].stream = s;
        c->slots[s->slots[i]].piece = i;
        c->slots[s->slots[i]].state = RESERVED;
    }
    return 0;
}

static kaio_stream *open_stream(kaio_context *c, int fd, int opcode, char *memory, uint32_t depth, uint32_t size,
                               int *error) {
    kaio_stream *s = calloc(1, sizeof *s);
    *error = ENOMEM;
    if (!s)
        return NULL;
    *s = (kaio_stream){.context = c, .fd = fd, .opcode = opcode, .gate = -1, .depth = depth, .size = size,
                      .idle_count = depth, .lent = NONE};
    s->slots = calloc(depth, sizeof *s->slots);
    s->pieces = calloc(depth, sizeof *s->pieces);
    s->order = calloc(depth, sizeof *s->order);
    s->memory = memory ? calloc(depth, sizeof *s->memory) : NULL;
    if (s->slots && s->pieces && s->order && (s->memory || !memory)) {
        for (uint32_t i = 0; memory && i < depth; i++)
            s->memory[i] = memory + (size_t)i * size;
        pthread_mutex_lock(&c->lock);
        *error = register_stream(c, s);
        pthread_mutex_unlock(&c->lock);
    }
    if (!*error)
        return s;
    free_stream(s);
    return NULL;
}

kaio_stream *kaio_reader_open(kaio_context *c, int fd, void *memory, uint32_t depth, uint32_t size, int *error) {
    return open_stream(c, fd, IOCB_CMD_PREAD, memory, depth, size, error);
}

kaio_stream *kaio_writer_open(kaio_context *c, int fd, uint32_t depth, uint32_t size, int *error) {
    return open_stream(c, fd, IOCB_CMD_PWRITE, NULL, depth, size, error);
}

static uint32_t idle_piece(kaio_stream *s) {
    uint32_t piece = 0;
    while (s->pieces[piece] != IDLE)
        piece++;
    return piece;
}

static void queue_piece(kaio_stream *s, uint32_t piece, void *data, uint64_t length) {
    s->pieces[piece] = ARMED;
    s->idle_count--;
    s->state.in_flight++;
    struct slot *slot = &s->context->slots[s->slots[piece]];
    slot->epoch = s->epoch;
    slot->sequence = s->state.started++;
    slot->withdrawn = false;
    queue_slot(s->context, s->slots[piece], s->opcode, s->fd, data, length, 0, 0, 0);
}

static void queue_reads(kaio_stream *s) {
    while (s->idle_count) {
        uint32_t piece = idle_piece(s);
        s->order[(s->order_head + s->order_count++) % s->depth] = piece;
        queue_piece(s, piece, s->memory[piece], s->length);
    }
}

/* Whether a submission might land in a generation that its user does not know of yet. What rings between this and
 * io_submit is too late to be seen: user space cannot do better, since FunctionFS numbers no generations. */
static bool gate_closed(const kaio_stream *s) {
    struct pollfd news = {.fd = s->gate, .events = POLLIN};
    return s->held || (s->gate >= 0 && poll(&news, 1, 0) > 0);
}

static bool can_arm(const kaio_stream *s) {
    return s->running && !s->error && s->idle_count;
}

static void return_lent(kaio_stream *s) {
    if (s->lent == NONE)
        return;
    s->pieces[s->lent] = IDLE;
    s->idle_count++;
    s->lent = NONE;
}

static struct slot *oldest(kaio_stream *s) {
    if (!s->order_count || s->pieces[s->order[s->order_head]] != READY)
        return NULL;
    return &s->context->slots[s->slots[s->order[s->order_head]]];
}

static uint32_t pop_oldest(kaio_stream *s) {
    uint32_t piece = s->order[s->order_head];
    s->order_head = (s->order_head + 1) % s->depth;
    s->order_count--;
    s->pieces[piece] = LENT;
    s->lent = piece;
    return piece;
}

/* Takes the oldest transfer if it is there: its length, or the negative errno that it ended with. One that failed
 * is told once, at its place in the sequence; if the endpoint is gone, that is told for ever. */
static int64_t take_oldest(kaio_stream *s, uint32_t *piece) {
    struct slot *slot;
    if (s->error)
        return -s->error;
    while ((slot = oldest(s)) && slot->withdrawn && slot->result < 0) {
        pop_oldest(s);
        return_lent(s);
    }
    if (!slot)
        return -EAGAIN;
    *piece = pop_oldest(s);
    if (slot->result < 0) {
        return_lent(s);
        if (ends_generation((int)-slot->result))
            s->error = (int)-slot->result; /* stop arming */
    }
    return slot->result;
}

/* Gives the piece lent last back and lends the next one: returns its length and sets *piece. -EAGAIN: nothing
 * has arrived, wait for the stream to change. Any other negative value is the errno this generation ended with.
 * Buffers are re-armed in batches: when half of them are idle, or when there is nothing to hand over. */
int64_t kaio_reader_next(kaio_stream *s, uint32_t *piece) {
    kaio_context *c = s->context;
    bool submit = false;
    pthread_mutex_lock(&c->lock);
    return_lent(s);
    int64_t result = s->running ? take_oldest(s, piece) : -ESHUTDOWN;
    if (can_arm(s) && (result == -EAGAIN || s->idle_count * 2 >= s->depth) && !gate_closed(s)) {
        queue_reads(s);
        s->state.submits++;
        submit = true;
    }
    pthread_mutex_unlock(&c->lock);
    if (submit)
        submit_queue(c);
    return result;
}

/* Submits every idle buffer now, so that data finds a place before anybody has asked for it. */
void kaio_reader_arm(kaio_stream *s) {
    kaio_context *c = s->context;
    pthread_mutex_lock(&c->lock);
    bool submit = can_arm(s) && !gate_closed(s);
    if (submit) {
        queue_reads(s);
        s->state.submits++;
    }
    pthread_mutex_unlock(&c->lock);
    if (submit)
        submit_queue(c);
}

/* Gives a piece that is lent to its user for good: `memory`, of the stream's size, takes its place. */
int kaio_reader_replace(kaio_stream *s, uint32_t piece, void *memory) {
    kaio_context *c = s->context;
    pthread_mutex_lock(&c->lock);
    bool lent = piece < s->depth && s->lent == piece;
    if (lent) {
        s->memory[piece] = memory;
        return_lent(s);
    }
    pthread_mutex_unlock(&c->lock);
    return lent ? 0 : -EINVAL;
}

static int take_error(kaio_stream *s) {
    int error = s->error;
    if (!ends_generation(error))
        s->error = 0;
    return error;
}

/* Why a transfer that completed meanwhile failed: 0 if none did. Told once, unless the endpoint is gone. */
int kaio_writer_error(kaio_stream *s) {
    pthread_mutex_lock(&s->context->lock);
    int error = take_error(s);
    pthread_mutex_unlock(&s->context->lock);
    return error;
}

/* Submits as much of the data as there are free transfers for, in transfers of at most the generation's length: returns
 * the bytes taken, or -EAGAIN for none. Length 0 submits one zero-length transfer. The file's driver must copy
 * at submission, as FunctionFS does (f_fs.c, ffs_epfile_io): the data belongs to the caller again at once. */
int64_t kaio_writer_put(kaio_stream *s, void *data, uint64_t length) {
    kaio_context *c = s->context;
    uint64_t taken = 0;
    int64_t result;
    pthread_mutex_lock(&c->lock);
    if (!s->running || s->error || !s->idle_count || gate_closed(s)) {
        result = s->error ? -take_error(s) : s->running ? -EAGAIN : -ESHUTDOWN;
        pthread_mutex_unlock(&c->lock);
        return result;
    }
    do {
        uint64_t part = length - taken < s->length ? length - taken : s->length;
        queue_piece(s, idle_piece(s), (char *)data + taken, part);
        taken += part;
    } while (taken < length && s->idle_count);
    s->state.submits++;
    pthread_mutex_unlock(&c->lock);
    submit_queue(c);
    return (int64_t)taken;
}

uint32_t kaio_stream_number(kaio_stream *s) { return s->number; }

/* Nothing is submitted while this eventfd is readable. */
void kaio_stream_set_gate(kaio_stream *s, int eventfd) {
    pthread_mutex_lock(&s->context->lock);
    s->gate = eventfd;
    pthread_mutex_unlock(&s->context->lock);
}

/* Closes the gate by hand, while what its eventfd rang for is being looked at. */
void kaio_stream_hold(kaio_stream *s, int held) {
    pthread_mutex_lock(&s->context->lock);
    s->held = held;
    pthread_mutex_unlock(&s->context->lock);
}

/* Asks for the transfers back that were started as the `since`th or later; returns for how many that was agreed to.
 * The stream goes on: their completions arrive, and are counted as withdrawn unless the host was quicker. */
int kaio_stream_withdraw(kaio_stream *s, uint64_t since) {
    kaio_context *c = s->context;
    int agreed = 0;
    pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < s->depth; i++) {
        struct slot *slot = &c->slots[s->slots[i]];
        bool started = slot->state == QUEUED || slot->state == IN_FLIGHT;
        if (!started || slot->epoch != s->epoch || slot->sequence < since)
            continue;
        slot->withdrawn = true;
        if (cancel_slot(c, s->slots[i]) == 0)
            agreed++;
        else
            slot->withdrawn = false; /* it is complete already, and on its way */
    }
    pthread_mutex_unlock(&c->lock);
    return agreed;
}

/* Begins a generation: what is still in flight of the last one is stale from here on. */
void kaio_stream_start(kaio_stream *s, uint32_t length) {
    pthread_mutex_lock(&s->context->lock);
    s->length = length < s->size ? length : s->size;
    return_lent(s);
    s->epoch++;
    for (uint32_t i = 0; i < s->depth; i++)
        if (s->pieces[i] == READY) {
            s->pieces[i] = IDLE;
            s->idle_count++;
        }
    s->order_count = 0;
    s->state.stale = s->state.in_flight;
    s->error = 0;
    s->running = true;
    pthread_mutex_unlock(&s->context->lock);
}

/* Ends the generation: nothing more is armed, and what is in flight is asked back. */
void kaio_stream_stop(kaio_stream *s) {
    kaio_context *c = s->context;
    pthread_mutex_lock(&c->lock);
    s->running = false;
    s->changed = true;
    for (uint32_t i = 0; i < s->depth; i++)
        cancel_slot(c, s->slots[i]);
    pthread_mutex_unlock(&c->lock);
    notify(c);
}

void kaio_stream_get_state(kaio_stream *s, kaio_stream_state *state) {
    pthread_mutex_lock(&s->context->lock);
    *state = s->state;
    state->error = s->error;
    pthread_mutex_unlock(&s->context->lock);
}

int kaio_stream_close(kaio_stream *s) {
    kaio_context *c = s->context;
    pthread_mutex_lock(&c->lock);
    bool busy = s->state.in_flight != 0;
    if (!busy) {
        c->streams[s->number] = NULL;
        for (uint32_t i = 0; i < s->depth; i++)
            give_slot(c, s->slots[i]);
    }
    pthread_mutex_unlock(&c->lock);
    if (busy)
        return -EBUSY;
    free_stream(s);
    return 0;
}
