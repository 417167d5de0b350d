/* What a slot's ticket is after it was used some two thousand million times: never 0, which means that there is none. */
#include "_context.c"

#include <poll.h>
#include <stdio.h>

/* Of streams, which have no part in it. */
void stream_finished(kaio_stream *s, struct slot *slot, int64_t result, int rung) {
    (void)s, (void)slot, (void)result, (void)rung;
}
void free_stream(kaio_stream *s) { (void)s; }

static int wrong(kaio_context *c, uint32_t use, int reader) {
    uint64_t called;
    c->slots[0].use = use;
    int64_t result = kaio_call(c, IOCB_CMD_POLL, reader, (void *)POLLIN, 0, 0, 0, 0, -1, &called);
    int64_t queued = kaio_queue(c, IOCB_CMD_POLL, reader, (void *)POLLIN, 0, 0, 0, 0, -1);
    kaio_submit(c);
    int found = result != -EINPROGRESS || !called || called > INT64_MAX || queued <= 0;
    found |= kaio_cancel(c, called) || kaio_cancel(c, (uint64_t)queued);
    for (int64_t count = 0; count < 2;)
        count += kaio_reap(c, c->eventfd);
    if (found)
        printf("after %u uses: result %ld, tickets %lx and %lx\n", use, (long)result, (long)called, (long)queued);
    return found;
}

int main(void) {
    int error, pipes[2];
    kaio_completion completions[2];
    uint32_t changed[2];
    kaio_context *c = kaio_open(2, completions, changed, &error);
    if (!c || pipe(pipes))
        return 2;
    int found = 0;
    for (uint32_t before = 0; before < 3; before++)
        found += wrong(c, (uint32_t)INT32_MAX - before, pipes[0]) + wrong(c, before, pipes[0]);
    return kaio_destroy(c) ? 2 : found != 0;
}
