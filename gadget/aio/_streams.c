/* Streams of transfers: the part of a USB endpoint that repeats for every transfer, and the reason why this is C.
 *
 * A reader keeps `depth` buffers armed and hands them over in the order in which they were submitted, a writer
 * takes data apart into transfers. Both belong to a generation: what an earlier one left in flight is
 * counted, taken back when the kernel returns it, and never handed over. A gate keeps an old generation from
 * submitting into a new one: while the eventfd of the gate is readable, there is news that nobody has read. Gates are
 * read without a lock: what closes one closes it before it looks at the news. */
#include "_table.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* What says that the endpoint is gone: nothing of this generation can succeed after it. */
static bool ends_generation(int error) {
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

static kaio_stream *open_stream(kaio_context *c, int fd, int opcode, char *memory, uint32_t depth, uint32_t size,
                               int *error) {
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

kaio_stream *kaio_reader_open(kaio_context *c, int fd, void *memory, uint32_t depth, uint32_t size, int *error) {
    return open_stream(c, fd, IOCB_CMD_PREAD, memory, depth, size, error);
}

kaio_stream *kaio_writer_open(kaio_context *c, int fd, uint32_t depth, uint32_t size, int *error) {
    return open_stream(c, fd, IOCB_CMD_PWRITE, NULL, depth, size, error);
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

void queue_reads(kaio_stream *s) {
    while (s->idle_count) {
        uint32_t piece = idle_piece(s);
        s->order[(s->order_head + s->order_count++) % s->depth] = piece;
        queue_piece(s, piece, s->memory[piece], s->length);
    }
}

/* The eventfd first: what silences it has held the gate before. */
static bool is_closed(kaio_gate *gate) {
    struct pollfd news = {.fd = gate->eventfd, .events = POLLIN};
    return poll(&news, 1, 0) > 0 || __atomic_load_n(&gate->held, __ATOMIC_SEQ_CST);
}

/* Whether it is closed; then whoever releases it is told that it has kept somebody from something. It may have been
 * released just before that is noted, so it is looked at once more. */
int kaio_gate_closed(kaio_gate *gate) {
    if (!is_closed(gate))
        return false;
    __atomic_store_n(&gate->refused, 1, __ATOMIC_SEQ_CST);
    return is_closed(gate);
}

void kaio_gate_hold(kaio_gate *gate) { __atomic_store_n(&gate->held, 1, __ATOMIC_SEQ_CST); }

/* Returns whether it has kept somebody from something since the last time. */
int kaio_gate_release(kaio_gate *gate) {
    __atomic_store_n(&gate->held, 0, __ATOMIC_SEQ_CST);
    return __atomic_exchange_n(&gate->refused, 0, __ATOMIC_SEQ_CST);
}

/* Whether a submission might land in a generation that its user does not know of yet. What rings between this and
 * io_submit is too late to be seen: user space cannot do better, since FunctionFS numbers no generations. */
bool gate_closed(kaio_stream *s) { return s->held || (s->gate && kaio_gate_closed(s->gate)); }

/* A splice that outlives its generation is none of the next one. */
static bool is_left_over(const kaio_stream *s) { return s->spliced && s->epoch != s->splice_epoch; }

/* Whether the user has taken so many steps without a look at the context that everything else waits for him: if completions
 * are fetched elsewhere, a fast host never lets him wait for one. He is told to, and is woken at once. */
static bool makes_others_wait(kaio_stream *s) {
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

bool can_arm(const kaio_stream *s) {
    return s->running && !s->error && s->idle_count;
}

void return_lent(kaio_stream *s) {
    for (; s->lent_count; s->lent_count--)
        s->pieces[s->lent + s->lent_count - 1] = IDLE, s->idle_count++;
}

struct slot *oldest(kaio_stream *s) {
    if (!s->order_count || s->pieces[s->order[s->order_head]] != READY)
        return NULL;
    return &s->context->slots[s->slots[s->order[s->order_head]]];
}

/* Lends the oldest piece, behind those that are lent already. */
static void lend_oldest(kaio_stream *s) {
    uint32_t piece = s->order[s->order_head];
    s->order_head = (s->order_head + 1) % s->depth;
    s->order_count--;
    s->pieces[piece] = LENT;
    if (!s->lent_count++)
        s->lent = piece;
}

/* Whether a transfer can be handed over together with those that are lent: its data follows theirs in memory. */
static bool joins_lent(const kaio_stream *s, const struct slot *slot) {
    uint32_t last = s->lent + s->lent_count - 1, piece = slot->piece;
    return s->joins && !s->one_by_one && s->lent_count < s->depth / 2 && slot->result > 0 && piece == last + 1 &&
           s->blocks[piece] == s->blocks[last] && s->memory[piece] == s->memory[last] + s->length;
}

/* Takes the oldest transfer if it is there, and full ones together with what follows them, at most half of what is
 * kept in flight: returns the bytes, or the negative errno that it ended with. One that failed is told once, at its
 * place in the sequence; if the endpoint is gone, that is told for ever. */
int64_t take_oldest(kaio_stream *s) {
    struct slot *slot;
    if (s->error)
        return -s->error;
    while ((slot = oldest(s)) && slot->withdrawn && slot->result < 0) {
        lend_oldest(s);
        return_lent(s);
    }
    if (!slot)
        return -EAGAIN;
    lend_oldest(s);
    int64_t bytes = slot->result;
    if (bytes < 0) {
        return_lent(s);
        if (ends_generation((int)-bytes))
            s->error = (int)-bytes; /* stop arming */
        return bytes;
    }
    while (slot->result == s->length && (slot = oldest(s)) && joins_lent(s, slot)) {
        lend_oldest(s);
        bytes += slot->result;
    }
    return bytes;
}

/* Gives what was lent last back and lends what has arrived: returns its length and sets *piece to the first of its
 * pieces. -EAGAIN: nothing has arrived, wait for the stream to change. Any other negative value is the errno this
 * generation ended with. Buffers are re-armed in batches: when half of them are idle, or when there is nothing to hand over. */
int64_t kaio_reader_next(kaio_stream *s, uint32_t *piece) {
    kaio_context *c = s->context;
    bool submit = false;
    pthread_mutex_lock(&c->lock);
    if (is_left_over(s)) {
        pthread_mutex_unlock(&c->lock);
        return -ESHUTDOWN;
    }
    return_lent(s);
    int64_t result = !s->running ? -ESHUTDOWN : makes_others_wait(s) ? -EAGAIN : take_oldest(s);
    *piece = s->lent;
    s->awaited = result == -EAGAIN;
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

/* The first of the pieces that are lent, and how many there are. */
uint32_t kaio_reader_lent(kaio_stream *s, uint32_t *first) {
    pthread_mutex_lock(&s->context->lock);
    uint32_t count = s->lent_count;
    *first = s->lent;
    pthread_mutex_unlock(&s->context->lock);
    return count;
}

/* Gives the pieces that are lent to their user for good: `memory`, with room for as many, takes their place. `block` is
 * no other allocation's number: two of them may be neighbours in memory, and are two all the same. */
void kaio_reader_replace(kaio_stream *s, void *memory, uint32_t block) {
    pthread_mutex_lock(&s->context->lock);
    for (uint32_t i = 0; i < s->lent_count; i++) {
        s->memory[s->lent + i] = (char *)memory + (size_t)i * s->size;
        s->blocks[s->lent + i] = block;
    }
    return_lent(s);
    pthread_mutex_unlock(&s->context->lock);
}

int take_error(kaio_stream *s) {
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

/* A writer is woken for the last transfer of each call, and on the way whenever half of its room is free again; what
 * completes in between rings where nobody listens. (For a transfer without any eventfd, FunctionFS rings that of ep0: f_fs.c,
 * ffs_user_copy_worker.) What waits for a transfer's end waits for all that were started before, too. */
static void queue_write(kaio_stream *s, char *data, uint64_t length, bool is_last) {
    uint32_t half = s->depth / 2 ? s->depth / 2 : 1, piece = idle_piece(s);
    queue_piece(s, piece, data, length);
    if (!is_last && s->idle_count && s->state.started % half)
        s->context->slots[s->slots[piece]].iocb.aio_resfd = (uint32_t)s->context->silent;
}

/* Submits as much of the data as there are free transfers for, in transfers of at most the generation's length: returns
 * the bytes that are left, 0 when all are taken. -EAGAIN: there is room for none, wait for the stream to change. Length 0
 * submits one zero-length transfer. The file's driver must copy at submission, as FunctionFS does (f_fs.c,
 * ffs_epfile_io): the data belongs to the caller again at once. */
int64_t kaio_writer_put(kaio_stream *s, void *data, uint64_t length) {
    kaio_context *c = s->context;
    uint64_t taken = 0;
    int64_t result;
    pthread_mutex_lock(&c->lock);
    s->awaited = false;
    bool runs = s->running && !is_left_over(s);
    if (!runs || s->error || !s->idle_count || makes_others_wait(s) || gate_closed(s)) {
        result = !runs ? -ESHUTDOWN : s->error ? -take_error(s) : -EAGAIN;
        s->awaited = result == -EAGAIN;
        pthread_mutex_unlock(&c->lock);
        return result;
    }
    do {
        uint64_t part = length - taken < s->length ? length - taken : s->length;
        queue_write(s, (char *)data + taken, part, taken + part == length);
        taken += part;
    } while (taken < length && s->idle_count);
    s->state.submits++;
    pthread_mutex_unlock(&c->lock);
    submit_queue(c);
    return (int64_t)(length - taken);
}

uint32_t kaio_stream_number(kaio_stream *s) { return s->number; }

/* How often the eventfd of a gate has rung; it is silent then. */
uint64_t kaio_gate_silence(kaio_gate *gate) {
    uint64_t rings;
    return read(gate->eventfd, &rings, sizeof rings) == sizeof rings ? rings : 0;
}

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
 * to come in that order (see queue_write); returns for how many that was agreed to. The stream goes on: they are counted
 * as withdrawn unless the host was quicker. */
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
