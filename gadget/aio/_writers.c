/* Writers: data taken apart into transfers, as many as there is room for. */
#include "_ring.h"
#include "_table.h"

#include <errno.h>

kaio_stream *kaio_writer_open(kaio_context *c, int fd, uint32_t depth, uint32_t size, int *error) {
    return open_stream(c, fd, IOCB_CMD_PWRITE, NULL, depth, size, error);
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

static bool half_is_free(const kaio_stream *s) { return s->error || s->idle_count * 2 >= s->depth; }

/* Whether there is room again, after a wait within the call where the last one was no long one. If somebody else has looked
 * at the context since the call began, so that it says nothing of how long that is, it ends. */
static bool lingers(kaio_stream *s, uint64_t began, uint32_t reaps) {
    bool goes_on = s->flows && s->context->reaps == reaps && may_linger(s) && linger(s, half_is_free, began);
    return goes_on && s->idle_count && !s->error && !gate_closed(s);
}

/* Submits as much of the data as there are free transfers for, in transfers of at most the generation's length: returns
 * the bytes that are left, 0 when all are taken. If some are left, or with -EAGAIN all, wait for the stream to change.
 * Length 0 submits one zero-length transfer. The file's driver must copy at submission, as FunctionFS does (f_fs.c,
 * ffs_epfile_io): the data belongs to the caller again at once. */
int64_t kaio_writer_put(kaio_stream *s, void *data, uint64_t length) {
    kaio_context *c = s->context;
    uint64_t taken = 0;
    int64_t result;
    pthread_mutex_lock(&c->lock);
    s->awaited = s->awaited && s->changed; /* somebody who waits beside its user may be still to be told */
    bool runs = s->running && !is_left_over(s);
    if (!runs || s->error || !s->idle_count || makes_others_wait(s) || gate_closed(s)) {
        result = !runs ? -ESHUTDOWN : s->error ? -take_error(s) : -EAGAIN;
        s->awaited = s->awaited || result == -EAGAIN;
        pthread_mutex_unlock(&c->lock);
        return result;
    }
    if (s->full_since)
        s->flows = now() - s->full_since < 2 * c->linger; /* a task was woken, too */
    s->full_since = 0;
    uint32_t reaps = c->reaps;
    while (true) {
        uint64_t began = s->flows ? now() : 0;
        do {
            uint64_t part = length - taken < s->length ? length - taken : s->length;
            queue_write(s, (char *)data + taken, part, taken + part == length);
            taken += part;
        } while (taken < length && s->idle_count);
        s->state.submits++;
        pthread_mutex_unlock(&c->lock);
        submit_queue(c);
        if (taken == length)
            return 0;
        pthread_mutex_lock(&c->lock);
        if (!lingers(s, began, reaps))
            break;
    }
    s->awaited = true;
    s->full_since = now();
    if (s->idle_count || s->error) {
        s->changed = true; /* what would tell was heard while it lingered */
        ring(s->eventfd);
    }
    pthread_mutex_unlock(&c->lock);
    return (int64_t)(length - taken);
}
