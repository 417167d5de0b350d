/* Slots, submitting and reaping.
 *
 * A context owns a fixed number of slots. A slot holds one iocb; the kernel hands the slot's number and its
 * use count back in the event (aio_data), never a pointer, so a completion that nobody waits for any more is
 * recognised and dropped. Slots are counted here because the kernel's own limit is a lax one: io_setup(1)
 * admits over a hundred requests (fs/aio.c, ioctx_alloc). */
#define _GNU_SOURCE
#include "_ring.h"
#include "_table.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

/* ---- slots ------------------------------------------------------------------------------------------- */

uint32_t take_slot(kaio_context *c) {
    uint32_t index = c->free_head;
    c->free_head = c->slots[index].next;
    c->free_count--;
    return index;
}

void give_slot(kaio_context *c, uint32_t index) {
    c->slots[index].state = FREE;
    c->slots[index].stream = NULL;
    c->slots[index].next = c->free_head;
    c->free_head = index;
    c->free_count++;
}

/* Never 0, and positive as a signed number. */
static uint64_t ticket_of(kaio_context *c, uint32_t index) {
    return (uint64_t)c->slots[index].use << 32 | index;
}

void fill_slot(kaio_context *c, uint32_t index, int opcode, int fd, void *buffer, uint64_t length, int64_t offset,
               int rw_flags, int16_t priority) {
    struct slot *slot = &c->slots[index];
    memset(&slot->iocb, 0, sizeof slot->iocb);
    slot->use = slot->use < INT32_MAX ? slot->use + 1 : 1;
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
        slot->iocb.aio_reqprio = priority;
    }
}

void queue_slot(kaio_context *c, uint32_t index) {
    c->slots[index].state = QUEUED;
    c->queue[c->queue_length++] = index;
}

/* ---- completions -------------------------------------------------------------------------------------- */

/* Rings a user's eventfd for what the kernel has not: by a poll of what is ready, since the kernel refuses a descriptor that
 * is no eventfd, or not any more, and a write would not. Nobody knows its event, which is dropped. */
static void ring_users(kaio_context *c, uint32_t eventfd) {
    struct iocb poll = {.aio_data = NONE, .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)c->silent,
                        .aio_buf = POLLOUT, .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = eventfd};
    struct iocb *only = &poll;
    syscall(SYS_io_submit, c->kernel, 1L, &only);
}

/* `rung` is the eventfd that the kernel has rung for it, -1 where it has not. */
static void finished(kaio_context *c, uint32_t index, int64_t result, int64_t result2, int rung) {
    struct slot *slot = &c->slots[index];
    slot->result = result;
    slot->result2 = result2;
    c->in_flight--;
    if (slot->stream) {
        stream_finished(slot->stream, slot, result, rung);
        return;
    }
    if (result > 0 && slot->iocb.aio_lio_opcode != IOCB_CMD_POLL)
        c->report.bytes += (uint64_t)result;
    c->report.operations++;
    slot->state = DONE; /* the slot stays taken until its completion is fetched: done can't overflow */
    if (rung < 0 && (int)slot->iocb.aio_resfd != c->eventfd)
        ring_users(c, slot->iocb.aio_resfd);
    if (!slot->called)
        c->done[(c->done_head + c->done_count++) % c->capacity] = index;
}

static void take_event(kaio_context *c, const struct io_event *event) {
    uint32_t index = (uint32_t)event->data;
    if (index < c->capacity && c->slots[index].state == IN_FLIGHT && ticket_of(c, index) == event->data)
        finished(c, index, event->res, event->res2, (int)c->slots[index].iocb.aio_resfd);
}

/* Fetches what the kernel has put in the ring, without a system call where the ring is of the known form.
 * Nobody sleeps in io_getevents on this context, so the lock makes this the only reader of the ring. */
void drain_ring(kaio_context *c) {
    struct ring *ring = ring_of(c->kernel);
    if (ring_is_known(ring)) {
        unsigned head = ring->head, tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
        while (head != tail) {
            take_event(c, &ring->events[head]);
            head = head + 1 == ring->nr ? 0 : head + 1;
        }
        __atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
        return;
    }
    struct io_event events[64];
    long count;
    while ((count = get_events(c->kernel, 0, 64, events, 0)) > 0)
        for (long i = 0; i < count; i++)
            take_event(c, &events[i]);
}

void ring(int eventfd) {
    uint64_t one = 1;
    ssize_t ignored = write(eventfd, &one, sizeof one); /* EAGAIN: it is readable already */
    (void)ignored;
}

void notify(kaio_context *c) { ring(c->eventfd); }

/* ---- submitting --------------------------------------------------------------------------------------- */

/* Hands iocbs to the kernel; submit_lock is held. io_submit stops at the first one that it refuses; its errno is that
 * iocb's own once everything before it was taken, so each operation gets its exact result and none suffers for another. */
static void submit_batch(kaio_context *c, struct iocb **batch, uint32_t count) {
    uint32_t first = 0, calls = 0;
    uint64_t began = now();
    while (first < count) {
        long taken = syscall(SYS_io_submit, c->kernel, (long)(count - first), batch + first);
        calls++;
        if (taken > 0) {
            first += (uint32_t)taken;
            continue;
        }
        if (taken < 0 && errno == EINTR)
            continue;
        int64_t result = taken < 0 ? -errno : -EIO;
        uint32_t index = (uint32_t)batch[first++]->aio_data;
        pthread_mutex_lock(&c->lock);
        finished(c, index, result, 0, -1);
        if (!c->slots[index].called)
            notify(c); /* a refusal makes no event, so it wakes the loop by itself */
        pthread_mutex_unlock(&c->lock);
    }
    c->report.submits += calls;
    c->report.submitting += now() - began;
}

/* Whether all that was just submitted has ended already: then its data was there, and the kernel has not waited for it. That
 * others have ended meanwhile says nothing. */
static bool all_ended(kaio_context *c, uint32_t count) {
    bool ended = true;
    pthread_mutex_lock(&c->lock);
    drain_ring(c);
    for (uint32_t i = count; i-- > 0 && ended;) /* the last first: that of a device is in flight still */
        ended = c->slots[(uint32_t)c->batch[i]->aio_data].state != IN_FLIGHT;
    pthread_mutex_unlock(&c->lock);
    return ended;
}

/* Submits the queue; returns whether all of it has ended, if that is to be looked for. */
static bool submit_and_look(kaio_context *c, bool look) {
    pthread_mutex_lock(&c->submit_lock);
    pthread_mutex_lock(&c->lock);
    uint32_t count = c->queue_length;
    for (uint32_t i = 0; i < count; i++) {
        struct slot *slot = &c->slots[c->queue[i]];
        slot->state = IN_FLIGHT;
        c->batch[i] = &slot->iocb;
    }
    c->in_flight += count;
    c->queue_length = 0;
    pthread_mutex_unlock(&c->lock);
    if (count)
        submit_batch(c, c->batch, count);
    bool ended = look && count && all_ended(c, count);
    pthread_mutex_unlock(&c->submit_lock);
    return ended;
}

void submit_queue(kaio_context *c) { submit_and_look(c, false); }

/* Takes a slot for an operation that goes to the kernel at once: NONE if there is none. */
static uint32_t take_slot_for_call(kaio_context *c, int opcode, int fd, void *buffer, uint64_t length, int64_t offset,
                                   int rw_flags, int16_t priority, int eventfd) {
    uint32_t index = NONE;
    pthread_mutex_lock(&c->lock);
    if (c->free_count) {
        index = take_slot(c);
        fill_slot(c, index, opcode, fd, buffer, length, offset, rw_flags, priority);
        if (eventfd >= 0)
            c->slots[index].iocb.aio_resfd = (uint32_t)eventfd;
        c->slots[index].state = IN_FLIGHT;
        c->slots[index].called = true;
        c->in_flight++;
    }
    pthread_mutex_unlock(&c->lock);
    return index;
}

/* Starts an operation at once, and looks whether it has ended already, as one on cached data has: returns its result then,
 * and *ticket is 0. Otherwise -EINPROGRESS, and *ticket is what kaio_reap will tell of it. -EAGAIN with a *ticket that is
 * no operation's: all slots are taken. */
int64_t kaio_call(kaio_context *c, int opcode, int fd, void *buffer, uint64_t length, int64_t offset, int rw_flags,
                  int16_t priority, int eventfd, uint64_t *ticket) {
    uint32_t index = take_slot_for_call(c, opcode, fd, buffer, length, offset, rw_flags, priority, eventfd);
    *ticket = UINT64_MAX;
    if (index == NONE)
        return -EAGAIN;
    struct slot *slot = &c->slots[index];
    struct iocb *iocb = &slot->iocb;
    pthread_mutex_lock(&c->submit_lock);
    submit_batch(c, &iocb, 1);
    pthread_mutex_unlock(&c->submit_lock);
    pthread_mutex_lock(&c->lock);
    drain_ring(c);
    slot->called = false;
    int64_t result = slot->result;
    *ticket = 0;
    if (slot->state == DONE) {
        give_slot(c, index);
    } else {
        *ticket = ticket_of(c, index);
        result = -EINPROGRESS;
    }
    pthread_mutex_unlock(&c->lock);
    return result;
}

/* ---- context ------------------------------------------------------------------------------------------ */

static void free_context(kaio_context *c) {
    if (c->eventfd >= 0)
        close(c->eventfd);
    if (c->silent >= 0)
        close(c->silent);
    pthread_mutex_destroy(&c->submit_lock);
    pthread_mutex_destroy(&c->lock);
    free(c->slots), free(c->queue), free(c->done), free(c->batch), free(c->streams), free(c);
}

/* completions, changed: with room for as many as there are slots, and alive as long as the context. */
kaio_context *kaio_open(uint32_t slots, kaio_completion *completions, uint32_t *changed, int *error) {
    kaio_context *c = calloc(1, sizeof *c);
    if (!c) {
        *error = ENOMEM;
        return NULL;
    }
    c->eventfd = c->silent = -1;
    c->capacity = slots;
    c->completions = completions;
    c->changed = changed;
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
               (c->silent = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0 ||
               syscall(SYS_io_setup, (long)slots, &c->kernel) < 0) {
        *error = errno;
    } else {
        keep_ring_from_children(c->kernel);
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
    uint32_t count = c->in_flight + c->queue_length + c->splices;
    pthread_mutex_unlock(&c->lock);
    return count;
}

void kaio_get_report(kaio_context *c, kaio_context_report *report) {
    pthread_mutex_lock(&c->lock);
    *report = c->report;
    pthread_mutex_unlock(&c->lock);
}

uint32_t kaio_free_slots(kaio_context *c) {
    pthread_mutex_lock(&c->lock);
    uint32_t count = c->free_count;
    pthread_mutex_unlock(&c->lock);
    return count;
}

/* `eventfd` rings when it has ended; -1 for the context's. */
int64_t kaio_queue(kaio_context *c, int opcode, int fd, void *buffer, uint64_t length, int64_t offset,
                  int rw_flags, int16_t priority, int eventfd) {
    int64_t ticket = -EAGAIN;
    pthread_mutex_lock(&c->lock);
    if (c->free_count) {
        uint32_t index = take_slot(c);
        fill_slot(c, index, opcode, fd, buffer, length, offset, rw_flags, priority);
        if (eventfd >= 0)
            c->slots[index].iocb.aio_resfd = (uint32_t)eventfd;
        queue_slot(c, index);
        c->newest = ticket_of(c, index);
        ticket = (int64_t)c->newest;
    }
    pthread_mutex_unlock(&c->lock);
    return ticket;
}

/* For whoever has lost what a call returned: the ticket, or that of what was queued last where it is 0, if its completion
 * was not fetched yet; else 0. */
uint64_t kaio_unfetched(kaio_context *c, uint64_t ticket) {
    pthread_mutex_lock(&c->lock);
    if (!ticket)
        ticket = c->newest;
    uint32_t index = (uint32_t)ticket;
    bool taken = index < c->capacity && c->slots[index].state != FREE && ticket_of(c, index) == ticket;
    pthread_mutex_unlock(&c->lock);
    return taken ? ticket : 0;
}

/* Whether something that the kernel has will ring this eventfd. */
int kaio_eventfd_in_use(kaio_context *c, int eventfd) {
    bool in_use = false;
    pthread_mutex_lock(&c->lock);
    drain_ring(c);
    for (uint32_t i = 0; i < c->capacity && !in_use; i++)
        in_use = (c->slots[i].state == IN_FLIGHT || c->slots[i].state == QUEUED) &&
                 (int)c->slots[i].iocb.aio_resfd == eventfd;
    pthread_mutex_unlock(&c->lock);
    return in_use;
}

/* Submits what is queued; returns whether all of it has ended already. */
int kaio_submit(kaio_context *c) { return submit_and_look(c, true); }

/* What has happened: `eventfd` is the one that has rung, the context's or that of a stream or splice. Most times that is one
 * stream and nothing else, which takes neither array: -1 less its number is returned then. Otherwise how many completions
 * there are, and in the upper half how many streams have changed. */
int64_t kaio_reap(kaio_context *c, int eventfd) {
    uint64_t wakeups;
    uint32_t count = 0, streams = 0, number = 0;
    /* The eventfd before the ring: what completes in between rings again. */
    ssize_t ignored = read(eventfd, &wakeups, sizeof wakeups);
    (void)ignored;
    pthread_mutex_lock(&c->lock);
    c->reaps++;
    c->lingered = 0;
    drain_ring(c);
    for (; c->done_count; count++, c->done_count--) {
        uint32_t index = c->done[c->done_head];
        struct slot *slot = &c->slots[index];
        c->completions[count] = (kaio_completion){ticket_of(c, index), slot->result, slot->result2};
        c->done_head = (c->done_head + 1) % c->capacity;
        give_slot(c, index);
    }
    for (uint32_t i = 0; i < c->stream_room; i++)
        if (c->streams[i] && c->streams[i]->changed && c->streams[i]->awaited) {
            c->streams[i]->changed = c->streams[i]->awaited = false;
            c->changed[streams++] = number = i;
        }
    if (streams + count > 1)
        c->lingered = c->linger; /* whoever is told first must not keep the others waiting */
    pthread_mutex_unlock(&c->lock);
    return streams == 1 && !count ? -1 - (int64_t)number : (int64_t)streams << 32 | count;
}

static void take_from_queue(kaio_context *c, uint32_t index) {
    uint32_t place = 0;
    while (c->queue[place] != index)
        place++;
    memmove(c->queue + place, c->queue + place + 1, (--c->queue_length - place) * sizeof *c->queue);
}

/* Undoes kaio_queue, as if it had not been: there is no completion. -EINVAL: it was submitted already. */
int kaio_unqueue(kaio_context *c, uint64_t ticket) {
    uint32_t index = (uint32_t)ticket;
    int result = -EINVAL;
    pthread_mutex_lock(&c->lock);
    if (c->slots[index].state == QUEUED && ticket_of(c, index) == ticket) {
        take_from_queue(c, index);
        give_slot(c, index);
        result = 0;
    }
    pthread_mutex_unlock(&c->lock);
    return result;
}

/* What is queued completes with ECANCELED, unseen by the kernel. */
static void withdraw(kaio_context *c, uint32_t index) {
    take_from_queue(c, index);
    c->in_flight++;
    finished(c, index, -ECANCELED, 0, -1);
}

int cancel_slot(kaio_context *c, uint32_t index) {
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
    if (index < c->capacity && ticket_of(c, index) == ticket)
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

/* io_destroy would wait uninterruptibly for what is in flight, so it is refused until nothing is. */
int kaio_destroy(kaio_context *c) {
    pthread_mutex_lock(&c->lock);
    drain_ring(c);
    pthread_mutex_unlock(&c->lock);
    if (kaio_in_flight(c))
        return -EBUSY;
    syscall(SYS_io_destroy, c->kernel);
    for (uint32_t i = 0; i < c->stream_room; i++)
        if (c->streams[i])
            free_stream(c->streams[i]);
    free_context(c);
    return 0;
}
