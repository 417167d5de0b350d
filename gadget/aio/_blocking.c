/* One blocking read or write at a time, in a thread that needs nothing of Python.
 *
 * For files that have no asynchronous form, as FunctionFS's ep0, whose data stage blocks even with O_NONBLOCK (f_fs.c,
 * __ffs_ep0_queue_wait). A thread of Python's would cost the GIL twice for each call, and the event loop a wake-up that
 * it may have no use for: here the eventfd rings only if somebody has asked for it.
 *
 * Most such calls end at once, and a hop to another thread costs more than they do. So a call can be tried in the user's
 * own thread. This one watches over that meanwhile: a signal interrupts a call that takes too long, and it is made anew
 * here. A timer of the kernel's would cost two system calls for each. */
#define _GNU_SOURCE
#include "_aio.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum call_state { RESTING, ASKED, CALLING, ENDED };

struct kaio_caller {
    pthread_mutex_t lock;
    pthread_cond_t asked;
    enum call_state state;
    bool awaited, rang, closing;
    int eventfd, fd, writing, cpu;
    pthread_t thread;
    uint64_t length, room;
    int64_t result;
    char *buffer;
    /* What is tried elsewhere: by whom, whether it is under way, how often it was, and whether it is watched. */
    pthread_t user;
    bool can_interrupt, trying, watching;
    uint64_t tries;
    int64_t patience; /* nanoseconds */
};

/* Nothing but a signal ends a call that waits in the kernel. This one has a handler that does nothing, and no SA_RESTART. */
#define INTERRUPT (SIGRTMAX - 3)

static void interrupted(int number) { (void)number; }

/* Whether calls can be tried in this thread: the signal gets through, which was looked at when it came first. */
static bool can_interrupt(kaio_caller *c) {
    if (!c->can_interrupt || !pthread_equal(c->user, pthread_self())) {
        struct sigaction action = {.sa_handler = interrupted};
        sigset_t blocked;
        c->user = pthread_self();
        c->can_interrupt = pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0 && !sigismember(&blocked, INTERRUPT) &&
                           sigaction(INTERRUPT, &action, NULL) == 0;
    }
    return c->can_interrupt;
}

static void free_caller(kaio_caller *c) {
    if (c->eventfd >= 0)
        close(c->eventfd);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->asked);
    free(c->buffer), free(c);
}

static void ring_caller(kaio_caller *c) {
    uint64_t one = 1;
    ssize_t ignored = write(c->eventfd, &one, sizeof one);
    (void)ignored;
    c->awaited = false;
    c->rang = true;
}

static void sleep_for(kaio_caller *c, int64_t nanoseconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    nanoseconds += until.tv_nsec;
    until.tv_sec += nanoseconds / 1000000000, until.tv_nsec = nanoseconds % 1000000000;
    pthread_cond_timedwait(&c->asked, &c->lock, &until);
}

/* Until there is a call to make. What is tried elsewhere and seen twice is interrupted, again and again, since the first
 * signal may come just before the call; when nothing is tried any more, this sleeps on. */
static void await_call(kaio_caller *c) {
    uint64_t seen = 0;
    while (c->state != ASKED && !c->closing) {
        if (!c->watching) {
            pthread_cond_wait(&c->asked, &c->lock);
            continue;
        }
        sleep_for(c, c->patience);
        if (c->tries == seen && c->trying)
            pthread_kill(c->user, INTERRUPT);
        else if (c->tries == seen)
            c->watching = false;
        seen = c->tries;
    }
}

static void *serve_caller(void *argument) {
    kaio_caller *c = argument;
    pthread_mutex_lock(&c->lock);
    while (true) {
        await_call(c);
        if (c->closing)
            break;
        c->state = CALLING;
        pthread_mutex_unlock(&c->lock);
        ssize_t result = c->writing ? write(c->fd, c->buffer, c->length) : read(c->fd, c->buffer, c->length);
        int error = errno;
        pthread_mutex_lock(&c->lock);
        c->result = result < 0 ? -error : result;
        c->state = ENDED;
        if (c->awaited)
            ring_caller(c);
    }
    pthread_mutex_unlock(&c->lock);
    free_caller(c);
    return NULL;
}

/* The thread takes no signal: they are for the threads that have handlers, and a call that one ends is a call lost. */
static int start_thread(kaio_caller *c) {
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&c->thread, &attributes, serve_caller, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (!error)
        pthread_setname_np(c->thread, "gadget-caller");
    return error;
}

/* room: the most bytes of a call. */
kaio_caller *kaio_caller_open(uint64_t room, int *error) {
    kaio_caller *c = calloc(1, sizeof *c);
    *error = ENOMEM;
    if (!c)
        return NULL;
    c->room = room;
    c->cpu = -1;
    c->buffer = malloc(room ? room : 1);
    c->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->asked, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *error = c->eventfd < 0 ? errno : c->buffer ? start_thread(c) : ENOMEM;
    if (!*error)
        return c;
    free_caller(c);
    return NULL;
}

int kaio_caller_fileno(kaio_caller *c) { return c->eventfd; }

/* The thread is to run where its user does: while it does, the user sleeps, or soon will, and to wake another CPU costs more
 * than to wait for this one. */
static void stay_near(kaio_caller *c) {
    int cpu = sched_getcpu();
    cpu_set_t near;
    if (cpu < 0 || cpu == c->cpu || cpu >= CPU_SETSIZE)
        return;
    CPU_ZERO(&near);
    CPU_SET(cpu, &near);
    if (pthread_setaffinity_np(c->thread, sizeof near, &near) == 0)
        c->cpu = cpu;
}

/* Starts a call; data is copied. -EBUSY: one is under way, or its result was not taken. */
int kaio_caller_start(kaio_caller *c, int fd, int writing, const void *data, uint64_t length) {
    int result = -EBUSY;
    pthread_mutex_lock(&c->lock);
    if (length > c->room) {
        result = -EMSGSIZE;
    } else if (c->state == RESTING) {
        c->fd = fd;
        c->writing = writing;
        c->length = length;
        if (writing)
            memcpy(c->buffer, data, length);
        stay_near(c);
        c->state = ASKED;
        result = 0;
    }
    pthread_mutex_unlock(&c->lock);
    if (!result)
        pthread_cond_signal(&c->asked); /* now that it need not wait for the lock */
    return result;
}

static void begin_trying(kaio_caller *c, int64_t patience) {
    pthread_mutex_lock(&c->lock);
    bool watched = c->watching;
    c->watching = c->trying = true;
    c->patience = patience;
    c->tries++;
    pthread_mutex_unlock(&c->lock);
    if (!watched)
        pthread_cond_signal(&c->asked);
}

static void end_trying(kaio_caller *c) {
    pthread_mutex_lock(&c->lock);
    c->trying = false;
    pthread_mutex_unlock(&c->lock);
}

/* Makes a call in this thread, if it ends within about so many nanoseconds (one to two times as many): returns 1, and sets
 * *result as kaio_caller_take does. 0: it was interrupted, or cannot be tried, and has to be started. Not while a call is
 * under way. */
int kaio_caller_try(kaio_caller *c, int fd, int writing, const void *data, uint64_t length, int64_t nanoseconds,
                   int64_t *result) {
    if (length > c->room)
        return -EMSGSIZE;
    if (!can_interrupt(c))
        return 0;
    begin_trying(c, nanoseconds);
    ssize_t returned = writing ? write(fd, data, length) : read(fd, c->buffer, length);
    int error = errno;
    end_trying(c);
    *result = returned < 0 ? -error : returned;
    return *result != -EINTR;
}

/* Takes the result of the call: 1, and what it returned in *result, or its negative errno. 0: it has not ended, and the
 * eventfd will ring when it has. -EBADF: there is none. */
int kaio_caller_take(kaio_caller *c, int64_t *result) {
    pthread_mutex_lock(&c->lock);
    int taken = c->state == RESTING ? -EBADF : c->state == ENDED;
    if (taken == 1) {
        uint64_t rings;
        ssize_t ignored = c->rang ? read(c->eventfd, &rings, sizeof rings) : 0;
        (void)ignored;
        *result = c->result;
        c->state = RESTING;
        c->rang = false;
    }
    c->awaited = taken == 0;
    pthread_mutex_unlock(&c->lock);
    return taken;
}

/* What the call has read, until the next one is started. */
void *kaio_caller_data(kaio_caller *c) { return c->buffer; }

/* Ends the thread, after the call that is under way: the caller is gone for its user at once. */
void kaio_caller_close(kaio_caller *c) {
    pthread_mutex_lock(&c->lock);
    c->closing = true;
    pthread_cond_signal(&c->asked);
    pthread_mutex_unlock(&c->lock);
}
