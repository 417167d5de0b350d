/* Where data flows, what comes next is there sooner than an event loop has gone round and a task has been woken, and to wait for
 * it right here costs a fraction of that. So a step that finds nothing lingers: it sleeps in poll(2), until half of what is
 * kept in flight is there, so that the step is worth its price.
 *
 * The event loop stands still meanwhile, so it does not do so for long: the context says for how long between two looks at it.
 * It ends with anything that rings for another stream, and with an event of any ep0; then nobody lingers until the next look. */
#define _GNU_SOURCE
#include "_ring.h"
#include "_table.h"

#include <poll.h>
#include <unistd.h>

/* Whether the context has something to tell that is not this stream's. */
static bool others_have_news(const kaio_stream *s) {
    const kaio_context *c = s->context;
    for (uint32_t i = 0; i < c->stream_room; i++)
        if (c->streams[i] && c->streams[i] != s && c->streams[i]->changed && c->streams[i]->awaited)
            return true;
    return c->done_count;
}

/* As many eventfds are watched at most: of 15 pairs of endpoints each may have one, and each function has an ep0. */
#define MOST_RINGS 64

static nfds_t add_ring(struct pollfd *rings, nfds_t count, int eventfd) {
    for (nfds_t i = 0; i < count; i++)
        if (rings[i].fd == eventfd)
            return count;
    if (count < MOST_RINGS)
        rings[count++] = (struct pollfd){.fd = eventfd, .events = POLLIN};
    return count;
}

/* What rings for it, first, and what rings for others; returns how many there are. */
static nfds_t rings_of(const kaio_stream *s, struct pollfd *rings) {
    const kaio_context *c = s->context;
    nfds_t count = add_ring(rings, add_ring(rings, 0, s->eventfd), c->eventfd);
    for (uint32_t i = 0; i < c->stream_room; i++) {
        if (c->streams[i] && c->streams[i]->gate)
            count = add_ring(rings, count, c->streams[i]->gate->eventfd);
        if (c->streams[i] && c->streams[i]->awaited)
            count = add_ring(rings, count, c->streams[i]->eventfd);
    }
    return count;
}

/* Sleeps until something rings, for so long at most; gives the lock up meanwhile. Returns whether a transfer of this stream
 * has completed, and nothing else has rung. */
static bool sleep_for_one(kaio_stream *s, uint64_t nanoseconds) {
    struct pollfd rings[MOST_RINGS];
    struct timespec limit = {(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
    uint64_t times;
    nfds_t count = rings_of(s, rings);
    pthread_mutex_unlock(&s->context->lock);
    int rang = ppoll(rings, count, &limit, NULL);
    /* As kaio_reap: the eventfd before the ring. What others have to hear is theirs to read. */
    ssize_t ignored = rang > 0 && rings[0].revents ? read(rings[0].fd, &times, sizeof times) : 0;
    (void)ignored;
    pthread_mutex_lock(&s->context->lock);
    drain_ring(s->context);
    return rang == 1 && rings[0].revents;
}

/* A splice has a thread that nobody waits for, and sleeps by itself. */
bool may_linger(const kaio_stream *s) { return !s->spliced && s->context->lingered < s->context->linger; }

void kaio_set_linger(kaio_context *c, uint64_t nanoseconds) {
    pthread_mutex_lock(&c->lock);
    c->linger = nanoseconds;
    pthread_mutex_unlock(&c->lock);
}

/* Lingers until there is enough; returns whether it is worth while to look again. The lock is given up meanwhile.
 *
 * `began` is since when the loop has stood still for this, in nanoseconds. */
bool linger(kaio_stream *s, bool (*enough)(const kaio_stream *), uint64_t began) {
    kaio_context *c = s->context;
    uint32_t epoch = s->epoch, reaps = c->reaps;
    uint64_t before = c->lingered, spent = now() - began;
    bool more = true;
    if (c->queue_length) {
        pthread_mutex_unlock(&c->lock);
        submit_queue(c); /* of others, who would wait for as long */
        pthread_mutex_lock(&c->lock);
    }
    while (more && before + spent < c->linger && !enough(s)) {
        more = sleep_for_one(s, c->linger - before - spent) && !others_have_news(s) && s->running && s->epoch == epoch;
        spent = now() - began;
    }
    if (c->reaps == reaps)
        c->lingered = more ? before + spent : c->linger;
    /* What has completed is for who is here, unless somebody waits beside him. */
    s->changed = s->changed && s->awaited;
    if (s->changed || others_have_news(s))
        notify(c); /* its ring may be one of those that were read */
    return s->running && s->epoch == epoch;
}
