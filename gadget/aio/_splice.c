/* Splices: data from one stream to another, or between a stream and a file, in a thread that never sees Python.
 *
 * While it runs, the completions of its streams ring the splice's own eventfd, so that whoever waits for the context
 * sleeps on. What was in flight before rings the old one: stream_finished tells the user that a stream has now. The
 * thread blocks on nothing but that eventfd and the file. It takes a transfer from its source only when the target has
 * room for it, so that what is not passed on is still to be read.
 *
 * The streams' files must copy data at submission, as FunctionFS does (f_fs.c, ffs_epfile_io): the buffer of a transfer
 * that was passed on is submitted again in the same io_submit, behind the write that empties it. */
#define _GNU_SOURCE
#include "_table.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a splice reads from a file at once, unless a single transfer is larger. */
#define LARGEST_READ (256u << 10)
#define STACK_SIZE (64u << 10)

enum next { OVER, SLEEP, SLEEP_FOR_FILE };

struct kaio_splice {
    kaio_context *context;
    kaio_stream *source, *target; /* one of them is NULL where its side is a file */
    uint32_t source_epoch, target_epoch;
    enum next (*step)(kaio_splice *p);
    int eventfd, file, kind;
    char *buffer; /* what a file is read into */
    uint64_t room;
    char *data; /* what was taken from the source and not passed on, while `pending` */
    uint64_t length, left;
    bool pending, at_end, stop, over;
    int references; /* the thread's and the user's */
    kaio_splice_state state;
};

static void fail(kaio_splice *p, bool at_source, int error) {
    p->over = true;
    p->state.error = error;
    p->state.at_source = at_source;
}

/* Whether the generation that the splice belongs to goes on, on this side of it. */
static bool lives(const kaio_stream *s, uint32_t epoch) {
    return !s || (s->running && s->epoch == epoch);
}

/* Fetches completions, and looks whether it is to end. With lock held. */
static bool is_over(kaio_splice *p) {
    drain_ring(p->context);
    if (!lives(p->source, p->source_epoch))
        fail(p, true, ESHUTDOWN);
    else if (!lives(p->target, p->target_epoch))
        fail(p, false, ESHUTDOWN);
    else if (p->target && p->target->error)
        fail(p, false, take_error(p->target));
    else if (!p->left)
        p->over = true;
    else if (__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE) && (p->source || !p->pending)) /* what a pipe has given cannot go back into it */
        p->over = true;
    return p->over;
}

static bool looks_over(kaio_splice *p) {
    pthread_mutex_lock(&p->context->lock);
    bool over = is_over(p);
    pthread_mutex_unlock(&p->context->lock);
    return over;
}

static void took(kaio_splice *p, uint32_t piece, uint64_t length) {
    p->state.piece = piece;
    p->state.offset = 0;
    p->data = p->source->memory[piece];
    p->length = length;
    p->pending = true;
}

/* So many bytes of what is pending have been passed on. */
static void passed(kaio_splice *p, uint64_t length, uint64_t transfers) {
    p->data += length;
    p->length -= length;
    p->left -= length;
    p->pending = p->length != 0;
    p->state.offset += (uint32_t)length;
    /* Read at any time, and written by this thread only. */
    __atomic_fetch_add(&p->state.bytes, length, __ATOMIC_RELAXED);
    __atomic_fetch_add(&p->state.transfers, transfers, __ATOMIC_RELAXED);
}

static uint64_t least(uint64_t one, uint64_t other) { return one < other ? one : other; }

/* ---- endpoint to endpoint ------------------------------------------------------------------------------ */

static bool any_gate_closed(kaio_splice *p) {
    bool same = p->source->gate == p->target->gate; /* one function's endpoints: ask once */
    return gate_closed(p->source) || (same ? p->target->held : gate_closed(p->target));
}

static bool take(kaio_splice *p) {
    int64_t length = take_oldest(p->source);
    if (length >= 0)
        took(p, p->source->lent, (uint64_t)length);
    else if (length != -EAGAIN)
        fail(p, true, (int)-length);
    return length >= 0;
}

/* Queues what is pending for the target, and gives its buffer back to the source. */
static void put(kaio_splice *p) {
    kaio_stream *target = p->target;
    uint64_t part = least(least(p->length, target->length), p->left);
    queue_piece(target, idle_piece(target), p->data, part);
    passed(p, part, 1);
    if (!p->pending)
        return_lent(p->source);
}

/* Queues all that can be passed on, and behind it the buffers that this sets free. */
static bool pass_on(kaio_splice *p) {
    kaio_stream *source = p->source, *target = p->target;
    if (!p->pending)
        return_lent(source); /* what its user took last, before the splice */
    bool ready = target->idle_count && (p->pending || oldest(source));
    if ((!ready && !can_arm(source)) || any_gate_closed(p))
        return false;
    uint64_t before = target->state.started;
    while (p->left && target->idle_count && (p->pending || take(p)))
        put(p);
    target->state.submits += target->state.started != before;
    if (can_arm(source)) {
        queue_reads(source);
        source->state.submits++;
    }
    return true;
}

static enum next endpoint_to_endpoint(kaio_splice *p) {
    kaio_context *c = p->context;
    pthread_mutex_lock(&c->lock);
    bool queued = !is_over(p) && pass_on(p);
    bool over = p->over || !p->left;
    pthread_mutex_unlock(&c->lock);
    if (queued)
        submit_queue(c);
    return over ? OVER : SLEEP;
}

/* ---- endpoint to file ---------------------------------------------------------------------------------- */

static int64_t write_some(const kaio_splice *p) {
    uint64_t length = least(p->length, p->left);
    ssize_t result = p->kind == KAIO_SOCKET ? send(p->file, p->data, length, MSG_DONTWAIT | MSG_NOSIGNAL)
                                            : write(p->file, p->data, length);
    return result < 0 ? -errno : result;
}

static enum next endpoint_to_file(kaio_splice *p) {
    while (!looks_over(p)) {
        uint32_t piece;
        int64_t result = p->pending ? 0 : kaio_reader_next(p->source, &piece);
        if (result == -EAGAIN)
            return SLEEP;
        if (result < 0) {
            fail(p, true, (int)-result);
            break;
        }
        if (!p->pending) {
            took(p, piece, (uint64_t)result);
            __atomic_fetch_add(&p->state.transfers, p->source->lent_count, __ATOMIC_RELAXED);
        }
        result = p->length ? write_some(p) : 0; /* a zero-length packet has no bytes for a file */
        if (result == -EAGAIN)
            return SLEEP_FOR_FILE;
        if (result >= 0)
            passed(p, (uint64_t)result, 0);
        else if (result != -EINTR)
            fail(p, false, (int)-result);
    }
    return OVER;
}

/* ---- file to endpoint ---------------------------------------------------------------------------------- */

/* Whole transfers, as many as the endpoint and the buffer have room for. */
static uint64_t room_for_reading(const kaio_splice *p) {
    uint64_t length = p->target->length, fitting = p->room / length;
    pthread_mutex_lock(&p->context->lock);
    uint64_t idle = p->target->idle_count;
    pthread_mutex_unlock(&p->context->lock);
    return least(idle, fitting) * length;
}

/* Reads what the file has and the endpoint has room for. A pipe or socket that has less right now is not waited for. */
static int64_t read_some(kaio_splice *p) {
    uint64_t room = least(room_for_reading(p), p->left);
    if (!room)
        return 0;
    ssize_t result = p->kind == KAIO_SOCKET ? recv(p->file, p->buffer, room, MSG_DONTWAIT)
                                            : read(p->file, p->buffer, room);
    if (result < 0)
        return -errno;
    p->data = p->buffer;
    p->length = (uint64_t)result;
    p->pending = result > 0;
    p->at_end = result == 0;
    return result;
}

static void put_some(kaio_splice *p, uint64_t length) {
    passed(p, length, (length + p->target->length - 1) / p->target->length);
}

static enum next submit_pending(kaio_splice *p) {
    int64_t result = kaio_writer_put(p->target, p->data, p->length);
    if (result == -EAGAIN)
        return SLEEP; /* the gate is closed; it rings when it opens */
    if (result < 0)
        fail(p, false, (int)-result);
    else
        put_some(p, p->length - (uint64_t)result);
    return OVER;
}

static enum next file_to_endpoint(kaio_splice *p) {
    while (!looks_over(p) && !p->at_end) {
        int64_t result = p->pending ? 1 : read_some(p);
        if (result == -EAGAIN)
            return SLEEP_FOR_FILE;
        if (result == -EINTR)
            continue;
        if (result < 0)
            fail(p, true, (int)-result);
        else if (!p->pending && !p->at_end)
            return SLEEP; /* for room */
        else if (p->pending && submit_pending(p) == SLEEP)
            return SLEEP;
    }
    return OVER;
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static void sleep_until_rung(kaio_splice *p, bool file_too) {
    struct pollfd either[] = {{.fd = p->eventfd, .events = POLLIN},
                              {.fd = p->file, .events = p->source ? POLLOUT : POLLIN}};
    if (file_too && (poll(either, 2, -1) < 0 || !either[0].revents))
        return;
    uint64_t rings;
    ssize_t ignored = read(p->eventfd, &rings, sizeof rings);
    (void)ignored;
}

static void close_file(kaio_splice *p) {
    /* A file that can be positioned is where the data that was passed on ends. */
    if (!p->source && p->pending && p->kind == KAIO_FILE)
        lseek(p->file, -(off_t)p->length, SEEK_CUR);
    if (p->file >= 0)
        close(p->file);
    p->file = -1;
}

static void free_splice(kaio_splice *p) {
    close_file(p);
    free(p->buffer);
    free(p);
}

static void give_back(kaio_stream *s) {
    if (!s)
        return;
    if (s->epoch != s->splice_epoch)
        return_lent(s); /* of a generation that is over */
    s->spliced = s->one_by_one = s->flows = false;
    s->eventfd = s->bell;
    s->changed = s->awaited = true; /* whoever has started the splice waits for its end */
}

/* From unlocking on, neither the context nor the streams need exist. */
static void finish(kaio_splice *p) {
    kaio_context *c = p->context;
    close_file(p);
    pthread_mutex_lock(&c->lock);
    give_back(p->source);
    give_back(p->target);
    p->state.rest = p->source && p->pending ? p->length : 0;
    __atomic_store_n(&p->state.ended, 1, __ATOMIC_RELEASE);
    c->splices--;
    notify(c);
    pthread_mutex_unlock(&c->lock);
    kaio_splice_close(p);
}

static void *run(void *argument) {
    kaio_splice *p = argument;
    enum next next;
    pthread_setname_np(pthread_self(), "gadget-splice"); /* as top and ps show it */
    while ((next = p->step(p)) != OVER)
        sleep_until_rung(p, next == SLEEP_FOR_FILE);
    finish(p);
    return NULL;
}

/* Signals are for Python's threads; SIGPIPE is for nobody. */
static int start_thread(kaio_splice *p) {
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE > PTHREAD_STACK_MIN ? STACK_SIZE : PTHREAD_STACK_MIN);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, &attributes, run, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

static int claim(kaio_splice *p, kaio_stream *s, uint32_t *epoch) {
    if (s->spliced)
        return EBUSY;
    *epoch = s->splice_epoch = s->epoch;
    s->spliced = true;
    s->one_by_one = p->step == endpoint_to_endpoint; /* each is passed on as the one that it is */
    s->eventfd = p->eventfd;
    return 0;
}

static int claim_both(kaio_splice *p) {
    kaio_context *c = p->context;
    pthread_mutex_lock(&c->lock);
    int error = p->source ? claim(p, p->source, &p->source_epoch) : 0;
    if (!error && p->target && (error = claim(p, p->target, &p->target_epoch)) && p->source)
        give_back(p->source);
    if (!error)
        c->splices++;
    pthread_mutex_unlock(&c->lock);
    return error;
}

static int make_buffer(kaio_splice *p) {
    uint64_t all = (uint64_t)p->target->depth * p->target->size;
    p->room = p->target->size > LARGEST_READ ? p->target->size : least(all, LARGEST_READ);
    return posix_memalign((void **)&p->buffer, (size_t)sysconf(_SC_PAGESIZE), p->room);
}

/* Begins to move data from one stream to another, or between a stream and a file where the other stream is NULL. The
 * `first` bytes come before those of the source; they must live until the end. The splice closes the file, once it was
 * started. `eventfd` is a blocking one that nobody else reads meanwhile. */
kaio_splice *kaio_splice_start(kaio_stream *source, kaio_stream *target, int file, int kind, int eventfd, void *first,
                              uint64_t first_length, uint64_t count, int *error) {
    kaio_splice *p = calloc(1, sizeof *p);
    *error = ENOMEM;
    if (!p)
        return NULL;
    *p = (kaio_splice){.context = (source ? source : target)->context, .source = source, .target = target,
                      .step = !source ? file_to_endpoint : !target ? endpoint_to_file : endpoint_to_endpoint,
                      .eventfd = eventfd, .file = -1, .kind = kind, .data = first, .length = first_length,
                      .left = count, .pending = first_length != 0, .references = 2};
    *error = source ? 0 : make_buffer(p);
    if (!*error && !(*error = claim_both(p))) {
        p->file = file;
        if (!(*error = start_thread(p)))
            return p;
        p->file = -1;
        pthread_mutex_lock(&p->context->lock);
        give_back(source), give_back(target);
        p->context->splices--;
        pthread_mutex_unlock(&p->context->lock);
    }
    free_splice(p);
    return NULL;
}

/* Asks it to end: soon, and without what it has not taken from its source yet. */
void kaio_splice_stop(kaio_splice *p) {
    if (__atomic_load_n(&p->state.ended, __ATOMIC_ACQUIRE))
        return;
    __atomic_store_n(&p->stop, true, __ATOMIC_RELEASE);
    ring(p->eventfd);
}

/* Valid at any time; all but the counters once it has ended. */
void kaio_splice_get_state(kaio_splice *p, kaio_splice_state *state) {
    int ended = __atomic_load_n(&p->state.ended, __ATOMIC_ACQUIRE);
    *state = (kaio_splice_state){.bytes = __atomic_load_n(&p->state.bytes, __ATOMIC_RELAXED),
                                 .transfers = __atomic_load_n(&p->state.transfers, __ATOMIC_RELAXED)};
    if (ended)
        *state = p->state;
}

/* The user has no more use for it. A thread that still runs goes on, and frees it. */
void kaio_splice_close(kaio_splice *p) {
    if (__atomic_sub_fetch(&p->references, 1, __ATOMIC_ACQ_REL) == 0)
        free_splice(p);
}
