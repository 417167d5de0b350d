/* Readers: `depth` buffers armed, and handed over in the order in which they were submitted. */
#include "_ring.h"
#include "_table.h"

#include <errno.h>
#include <string.h>

kaio_stream *kaio_reader_open(kaio_context *c, int fd, void *memory, uint32_t depth, uint32_t size, int *error) {
    return open_stream(c, fd, IOCB_CMD_PREAD, memory, depth, size, error);
}

void queue_reads(kaio_stream *s) {
    while (s->idle_count) {
        uint32_t piece = idle_piece(s);
        s->order[(s->order_head + s->order_count++) % s->depth] = piece;
        queue_piece(s, piece, s->memory[piece], s->length);
    }
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

/* Submits every idle buffer, if that is wanted now; gives the lock up. */
static void arm_and_unlock(kaio_stream *s, bool wanted) {
    kaio_context *c = s->context;
    bool submit = wanted && can_arm(s) && !gate_closed(s);
    if (submit) {
        queue_reads(s);
        s->state.submits++;
    }
    pthread_mutex_unlock(&c->lock);
    if (submit)
        submit_queue(c);
}

/* The most that take_oldest takes at once. */
static uint64_t most_at_once(const kaio_stream *s) {
    return (uint64_t)s->length * (s->joins && s->depth / 2 > 1 ? s->depth / 2 : 1);
}

/* Copies transfer after transfer, as long as there is room for the next: returns the bytes, or what take_oldest says where
 * there are none. What has failed behind them is told the next time. */
static int64_t copy_arrived(kaio_stream *s, char *buffer, uint64_t room) {
    uint64_t copied = 0;
    int64_t taken = 0;
    while (taken >= 0 && copied + most_at_once(s) <= room) {
        struct slot *slot = oldest(s);
        if (copied && (!slot || slot->result < 0))
            break;
        taken = take_oldest(s);
        if (taken > 0) {
            memcpy(buffer + copied, s->memory[s->lent], (size_t)taken);
            copied += (uint64_t)taken;
        }
        return_lent(s);
    }
    return copied ? (int64_t)copied : taken;
}

/* Whether half of what is kept in flight has arrived, or what ends a message, or an error. */
static bool half_has_arrived(const kaio_stream *s) {
    for (uint32_t i = 0; i * 2 < s->depth; i++) {
        uint32_t piece = s->order[(s->order_head + i) % s->depth];
        if (i == s->order_count || s->pieces[piece] != READY)
            return false;
        if (s->context->slots[s->slots[piece]].result != s->length)
            return true;
    }
    return true;
}

/* Takes what has arrived. Several full transfers: more is on its way. One that is not full ends a message, and perhaps
 * somebody has to answer. */
static int64_t take(kaio_stream *s, char *buffer, uint64_t room) {
    uint32_t before = s->order_count;
    int64_t result = buffer ? copy_arrived(s, buffer, room) : take_oldest(s);
    uint32_t taken = before - s->order_count;
    if (result != -EAGAIN)
        s->flows = result == (int64_t)taken * s->length && (s->flows || taken > 1);
    return result;
}

/* A step of the reader's user: what was lent last goes back, and what has arrived is lent, or copied where there is a
 * buffer. Buffers are re-armed in batches: when half of them are idle, or when nothing has arrived. */
static int64_t step(kaio_stream *s, uint32_t *piece, char *buffer, uint64_t room) {
    kaio_context *c = s->context;
    pthread_mutex_lock(&c->lock);
    if (is_left_over(s)) {
        pthread_mutex_unlock(&c->lock);
        return -ESHUTDOWN;
    }
    return_lent(s);
    int64_t result = -ESHUTDOWN;
    bool flows = s->flows && s->order_count && may_linger(s);
    if (s->running && makes_others_wait(s))
        result = -EAGAIN, flows = false;
    else if (s->running)
        result = take(s, buffer, room);
    if (result == -EAGAIN && flows) {
        arm_and_unlock(s, true);
        pthread_mutex_lock(&c->lock);
        result = linger(s, half_has_arrived, now()) ? take(s, buffer, room) : -ESHUTDOWN;
        s->flows = s->flows && result != -EAGAIN;
    }
    *piece = s->lent;
    s->awaited = result == -EAGAIN || (s->awaited && s->changed);
    arm_and_unlock(s, result == -EAGAIN || s->idle_count * 2 >= s->depth);
    return result;
}

/* Lends what has arrived until the next step: returns its length and sets *piece to the first of its pieces. -EAGAIN:
 * nothing has arrived, wait for the stream to change. Any other negative value is the errno this generation ended with. */
int64_t kaio_reader_next(kaio_stream *s, uint32_t *piece) { return step(s, piece, NULL, 0); }

/* Copies what has arrived, for who wants bytes and no ends of transfers: returns how many, one at least; otherwise as
 * kaio_reader_next. There is room for half of what is kept in flight, and for one transfer. */
int64_t kaio_reader_copy(kaio_stream *s, void *buffer, uint64_t room) {
    uint32_t piece;
    return step(s, &piece, buffer, room);
}

/* Submits every idle buffer now, so that data finds a place before anybody has asked for it. */
void kaio_reader_arm(kaio_stream *s) {
    pthread_mutex_lock(&s->context->lock);
    arm_and_unlock(s, true);
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
