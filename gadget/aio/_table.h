/* What the parts of the extension know of each other.
 *
 * Locks: submit_lock is held across io_submit, so that two threads cannot reorder one stream's transfers;
 * lock guards everything else and is never held across a system call that may sleep. Order: submit_lock, lock.
 * All functions here want lock held, but submit_queue, which takes both, and ring and notify, which need neither. */
#ifndef GADGET_AIO_TABLE_H
#define GADGET_AIO_TABLE_H
#include "_aio.h"

#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdbool.h>

#define NONE UINT32_MAX

enum slot_state { FREE, RESERVED, QUEUED, IN_FLIGHT, DONE };

struct slot {
    struct iocb iocb;
    int64_t result, result2;
    uint32_t use;      /* how often the slot was submitted: the high half of a ticket */
    uint32_t next;     /* the next free slot */
    uint32_t piece;    /* which buffer of its stream */
    uint32_t epoch;    /* the stream's generation at submission */
    uint64_t sequence; /* the stream's count of transfers at submission */
    bool withdrawn;    /* asked back by its user, so that its end is no error */
    bool called;       /* kaio_call looks for its result, and nobody else */
    kaio_stream *stream;
    uint8_t state;
};

struct kaio_context {
    aio_context_t kernel;
    int eventfd;
    int silent; /* an eventfd that nobody listens to */
    uint32_t capacity, free_head, free_count, in_flight;
    uint32_t splices;     /* whose thread has not ended */
    uint32_t reaps;       /* how often its user has looked */
    uint64_t lingered, linger; /* nanoseconds that streams have lingered since then, and may at most */
    uint64_t newest;      /* the ticket of what kaio_queue has queued last */
    kaio_context_report report;
    uint32_t queue_length, done_head, done_count, stream_room;
    struct slot *slots;
    uint32_t *queue;      /* slots to submit, in order */
    uint32_t *done;       /* a ring of slots whose completion Python has not fetched */
    kaio_completion *completions; /* where kaio_reap tells of them: the user's, with room for each slot */
    uint32_t *changed;    /* likewise, of the numbers of streams */
    struct iocb **batch;  /* what one io_submit takes; guarded by submit_lock */
    kaio_stream **streams; /* by number, NULL where closed */
    pthread_mutex_t submit_lock, lock;
};

enum piece_state { IDLE, ARMED, READY, LENT };

struct kaio_stream {
    kaio_context *context;
    uint32_t number, depth, epoch;
    uint32_t size;        /* room for a transfer, in bytes */
    uint32_t length;      /* bytes of a transfer in this generation, at most size */
    int fd, opcode;
    kaio_gate *gate;      /* NULL for none */
    int error;            /* positive errno that ended this generation, or that a writer's user is still to learn */
    bool running, held;
    bool joins;           /* a reader hands over several transfers at once where they lie side by side */
    bool changed, awaited; /* something has completed; the user wants to hear of it */
    bool spliced;         /* a splice uses it, and its user does not */
    uint32_t splice_epoch; /* the generation that the splice is of */
    uint32_t reaps, steps; /* how many steps were taken since a reap, and which that was */
    bool one_by_one;      /* for now, no transfers are joined */
    bool flows;           /* more is likely to come soon */
    uint64_t full_since;  /* since when a writer waits for room, in nanoseconds; 0 if it does not */
    int bell;             /* what its completions ring: the context's eventfd, or one of its own */
    int eventfd;          /* the same, or that of the splice which uses it */
    char **memory;        /* a reader's buffer for each piece; NULL for a writer */
    uint32_t *blocks;     /* the allocation that each of these is cut from */
    uint32_t turn;        /* the piece whose turn it is */
    uint32_t *slots;      /* the slot of each piece */
    uint8_t *pieces;      /* enum piece_state */
    uint32_t *order;      /* a ring of armed and ready pieces, in the order of submission */
    uint32_t order_head, order_count, idle_count;
    uint32_t lent, lent_count; /* the first of the pieces that are with the user, and how many */
    kaio_stream_state state;
};

/* _context.c */
uint32_t take_slot(kaio_context *c);
void give_slot(kaio_context *c, uint32_t index);
void fill_slot(kaio_context *c, uint32_t index, int opcode, int fd, void *buffer, uint64_t length, int64_t offset,
               int rw_flags, int16_t priority);
void queue_slot(kaio_context *c, uint32_t index);
void ring(int eventfd);
void notify(kaio_context *c);
void drain_ring(kaio_context *c);
void submit_queue(kaio_context *c);
int cancel_slot(kaio_context *c, uint32_t index);

/* _streams.c */
kaio_stream *open_stream(kaio_context *c, int fd, int opcode, char *memory, uint32_t depth, uint32_t size, int *error);
void stream_finished(kaio_stream *s, struct slot *slot, int64_t result, int rung);
void free_stream(kaio_stream *s);
bool ends_generation(int error);
bool is_left_over(const kaio_stream *s);
bool makes_others_wait(kaio_stream *s);
uint32_t idle_piece(kaio_stream *s);
void queue_piece(kaio_stream *s, uint32_t piece, void *data, uint64_t length);

/* _linger.c */
bool may_linger(const kaio_stream *s);
bool linger(kaio_stream *s, bool (*enough)(const kaio_stream *), uint64_t began);

/* _gates.c */
bool gate_closed(kaio_stream *s);

/* _readers.c */
bool can_arm(const kaio_stream *s);
void queue_reads(kaio_stream *s);
struct slot *oldest(kaio_stream *s);
int64_t take_oldest(kaio_stream *s);
void return_lent(kaio_stream *s);

/* _writers.c */
int take_error(kaio_stream *s);

#endif
