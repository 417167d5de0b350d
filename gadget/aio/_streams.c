/* Streams of transfers: the part of a USB endpoint that repeats for every transfer, and the reason why this is C.
 *
 * Here is what readers and writers have in common. Both belong to a generation: what an earlier one left in flight is
 * counted, taken back when the kernel returns it, and never handed over. */
#include "_table.h"

#include <errno.h>
#include <stdlib.h>

/* What says that the endpoint is gone: nothing of this generation can succeed after it. */
bool ends_generation(int error) {
    return error == ESHUTDOWN || error == ENODEV || error == ECONNRESET;
}

/* Tells the user of the stream, unless the kernel has just rung its eventfd. While a splice uses it, only who waits for
 * transfers to come back is told as well. */
static void tell(kaio_stream *s, bool returned, int rung) {
    if (rung != s->eventfd && rung != s->context->silent)
        ring(s->eventfd);
    if (s->spliced && returned)
        notify(s->context);
    s->changed = s->changed || returned || !s->spliced;
}

void stream_finished(kaio_stream *s, struct slot *slot, int64_t result, int rung) {
    bool stale = slot->epoch != s->epoch;
    /* An endpoint that is disabled answers EAGAIN at once (f_fs.c, ffs_epfile_io). Towards the stream's user that
     * means "not yet", so it would wait for what can't come: this is how the generation ends. */
    if (result == -EAGAIN)
        slot->result = result = -ESHUTDOWN;
    slot->state = RESERVED;
    s->state.in_flight--;
    tell(s, stale || slot->withdrawn || s->held, rung);
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

void free_stream(kaio_stream *s) {
    free(s->slots), free(s->pieces), free(s->order), free(s->memory), free(s->blocks), free(s);
}

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

kaio_stream *open_stream(kaio_context *c, int fd, int opcode, char *memory, uint32_t depth, uint32_t size, int *error) {
    kaio_stream *s = calloc(1, sizeof *s);
    *error = ENOMEM;
    if (!s)
        return NULL;
    *s = (kaio_stream){.context = c, .fd = fd, .opcode = opcode, .depth = depth, .size = size,
                      .idle_count = depth, .bell = c->eventfd, .eventfd = c->eventfd};
    s->slots = calloc(depth, sizeof *s->slots);
    s->pieces = calloc(depth, sizeof *s->pieces);
    s->order = calloc(depth, sizeof *s->order);
    s->memory = memory ? calloc(depth, sizeof *s->memory) : NULL;
    s->blocks = calloc(depth, sizeof *s->blocks);
    if (s->slots && s->pieces && s->order && s->blocks && (s->memory || !memory)) {
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

/* One that is idle: the one behind that taken last, if it is. In turn, so that transfers which follow each other lie side
 * by side. */
uint32_t idle_piece(kaio_stream *s) {
    while (s->pieces[s->turn] != IDLE)
        s->turn = (s->turn + 1) % s->depth;
    return s->turn;
}

void queue_piece(kaio_stream *s, uint32_t piece, void *data, uint64_t length) {
    s->pieces[piece] = ARMED;
    s->idle_count--;
    s->state.in_flight++;
    struct slot *slot = &s->context->slots[s->slots[piece]];
    slot->epoch = s->epoch;
    slot->sequence = s->state.started++;
    slot->withdrawn = false;
    fill_slot(s->context, s->slots[piece], s->opcode, s->fd, data, length, 0, 0, 0);
    queue_slot(s->context, s->slots[piece]);
    slot->iocb.aio_resfd = (uint32_t)s->eventfd;
}

/* A splice that outlives its generation is none of the next one. */
bool is_left_over(const kaio_stream *s) { return s->spliced && s->epoch != s->splice_epoch; }

/* Whether the user has taken so many steps without a look at the context that everything else waits for him: if completions
 * are fetched elsewhere, a fast host never lets him wait for one. He is told to, and is woken at once. */
bool makes_others_wait(kaio_stream *s) {
    if (s->spliced)
        return false;
    if (s->reaps != s->context->reaps) {
        s->reaps = s->context->reaps;
        s->steps = 0;
    }
    if (s->steps++ < 2 * s->depth)
        return false;
    s->changed = s->awaited = true;
    ring(s->eventfd);
    return true;
}

uint32_t kaio_stream_number(kaio_stream *s) { return s->number; }

/* Its completions ring this one instead of the context's. It outlives the stream. */
void kaio_stream_set_eventfd(kaio_stream *s, int eventfd) {
    pthread_mutex_lock(&s->context->lock);
    s->bell = s->eventfd = eventfd;
    pthread_mutex_unlock(&s->context->lock);
}

/* The gate outlives the stream, and may be shared. */
void kaio_stream_set_gate(kaio_stream *s, kaio_gate *gate) {
    pthread_mutex_lock(&s->context->lock);
    s->gate = gate;
    pthread_mutex_unlock(&s->context->lock);
}

/* Keeps this stream from submitting, whatever its gate says. */
void kaio_stream_hold(kaio_stream *s, int held) {
    pthread_mutex_lock(&s->context->lock);
    s->held = held;
    bool spliced = s->spliced;
    pthread_mutex_unlock(&s->context->lock);
    if (held && spliced)
        submit_queue(s->context); /* what the splice is just submitting is with the kernel when this returns */
    kaio_stream_resume(s);
}

/* What kept this stream from submitting may do so no longer: a splice does not hear of that by itself. */
void kaio_stream_resume(kaio_stream *s) {
    pthread_mutex_lock(&s->context->lock);
    if (s->spliced)
        ring(s->eventfd);
    pthread_mutex_unlock(&s->context->lock);
}

/* The slot of the transfer with the kernel, or on its way there, that was started first, as the `since`th or later. */
static uint32_t first_started(const kaio_stream *s, uint64_t since) {
    uint32_t first = NONE;
    for (uint32_t i = 0; i < s->depth; i++) {
        struct slot *slot = &s->context->slots[s->slots[i]];
        if ((slot->state == QUEUED || slot->state == IN_FLIGHT) && slot->sequence >= since &&
            (first == NONE || slot->sequence < s->context->slots[first].sequence))
            first = s->slots[i];
    }
    return first;
}

/* Asks for the transfers back that were started as the `since`th or later, the oldest first, since their completions are
 * to come in that order (_writers.c, queue_write); returns for how many that was agreed to. The stream goes on: they are
 * counted as withdrawn unless the host was quicker. */
int kaio_stream_withdraw(kaio_stream *s, uint64_t since) {
    kaio_context *c = s->context;
    int agreed = 0;
    pthread_mutex_lock(&c->lock);
    for (uint32_t index; (index = first_started(s, since)) != NONE; since = c->slots[index].sequence + 1) {
        struct slot *slot = &c->slots[index];
        if (slot->epoch != s->epoch)
            continue;
        slot->withdrawn = true;
        if (cancel_slot(c, index) == 0)
            agreed++;
        else
            slot->withdrawn = false; /* it is complete already, and on its way */
    }
    pthread_mutex_unlock(&c->lock);
    return agreed;
}

/* Begins a generation: what is still in flight of the last one is stale from here on. With `joins`, a reader hands
 * transfers over together. */
void kaio_stream_start(kaio_stream *s, uint32_t length, int joins) {
    pthread_mutex_lock(&s->context->lock);
    s->joins = joins;
    s->length = length < s->size ? length : s->size;
    if (!s->spliced) /* a splice of the generation before may still be looking at it */
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
    s->flows = false;
    s->full_since = 0;
    s->running = true;
    pthread_mutex_unlock(&s->context->lock);
}

static void cancel_all_started(kaio_stream *s) {
    uint64_t since = 0;
    for (uint32_t index; (index = first_started(s, since)) != NONE; since = s->context->slots[index].sequence + 1)
        cancel_slot(s->context, index);
}

/* Ends the generation: nothing more is armed, and what is in flight is asked back. */
void kaio_stream_stop(kaio_stream *s) {
    kaio_context *c = s->context;
    pthread_mutex_lock(&c->lock);
    s->running = false;
    s->changed = true;
    cancel_all_started(s);
    if (s->spliced) {
        ring(s->eventfd);
        pthread_mutex_unlock(&c->lock);
        submit_queue(c); /* what the splice was just submitting could not be cancelled yet */
        pthread_mutex_lock(&c->lock);
        cancel_all_started(s);
    }
    pthread_mutex_unlock(&c->lock);
    notify(c);
}

/* The next completion is to be reported by kaio_reap. One that comes after -EAGAIN is anyway. */
void kaio_stream_await(kaio_stream *s) {
    pthread_mutex_lock(&s->context->lock);
    s->awaited = true;
    pthread_mutex_unlock(&s->context->lock);
}

/* Fetches completions that nobody was woken for. Whoever waits for one is told by the next kaio_reap, as always. */
void kaio_stream_collect(kaio_stream *s) {
    pthread_mutex_lock(&s->context->lock);
    drain_ring(s->context);
    pthread_mutex_unlock(&s->context->lock);
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
    bool busy = s->state.in_flight || s->spliced;
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
