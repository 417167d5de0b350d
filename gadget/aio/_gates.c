/* Gates keep an old generation from submitting into a new one: while the eventfd of a gate is readable, there is news that
 * nobody has read. They are read without a lock: what closes one closes it before it looks at the news. */
#include "_table.h"

#include <poll.h>
#include <unistd.h>

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

/* How often the eventfd of a gate has rung; it is silent then. */
uint64_t kaio_gate_silence(kaio_gate *gate) {
    uint64_t rings;
    return read(gate->eventfd, &rings, sizeof rings) == sizeof rings ? rings : 0;
}

/* Whether a submission might land in a generation that its user does not know of yet. What rings between this and
 * io_submit is too late to be seen: user space cannot do better, since FunctionFS numbers no generations. */
bool gate_closed(kaio_stream *s) { return s->held || (s->gate && kaio_gate_closed(s->gate)); }
