/* The extension's face. build_aio.py hands this file to cffi as it stands, less the lines that begin with '#',
 * so these declarations exist once. _aio.pyi is the same for the type checker.
 *
 * The prefix is kaio because libc has POSIX AIO functions of the shorter names (aio_cancel), and they would win.
 *
 * Every function returns 0 or a count, or a negative errno. None of them touches Python: cffi releases the GIL
 * around each call, and any thread may call any of them. */
#ifndef GADGET_AIO_H
#define GADGET_AIO_H
#include <stddef.h>
#include <stdint.h>

typedef struct kaio_context kaio_context;
typedef struct kaio_stream kaio_stream;
typedef struct kaio_caller kaio_caller;
typedef struct kaio_batch kaio_batch;

/* Keeps streams from submitting: while its eventfd is readable, or while it is held. */
typedef struct {
    int eventfd;
    int held;
    int refused; /* set when a stream was kept from something since this was cleared */
} kaio_gate;
typedef struct kaio_splice kaio_splice;

/* struct iovec of readv(2). */
typedef struct {
    void *base;
    size_t length;
} kaio_iovec;

/* A finished operation, three numbers of 64 bits. result and result2 are the kernel's res and res2, untouched; an operation that
 * io_submit refused has the negative errno of its own refusal in result. */
typedef struct {
    uint64_t ticket;
    int64_t result;
    int64_t result2;
} kaio_completion;

/* What a context has done since it was opened; bytes and operations are not those of streams. */
typedef struct {
    uint64_t bytes;      /* moved */
    uint64_t operations; /* ended */
    uint64_t submits;    /* calls of io_submit */
    uint64_t submitting; /* nanoseconds spent in them */
} kaio_context_report;

/* What a stream has done since it was opened. */
typedef struct {
    uint64_t transfers; /* completed with success */
    uint64_t bytes;     /* moved by those */
    uint64_t errors;    /* ended otherwise, those of an ended generation included */
    uint64_t withdrawn; /* taken back by kaio_stream_withdraw, and not among the errors */
    uint64_t started;   /* given to the kernel */
    uint64_t submits;   /* calls of io_submit made for this stream */
    uint32_t in_flight; /* with the kernel right now */
    uint32_t stale;     /* of these, how many belong to a generation that has ended */
    int32_t error;      /* the errno that ended this generation, or the last one of a writer; 0 for none */
} kaio_stream_state;

/* What a batch tells of itself. */
typedef struct {
    uint64_t bytes;      /* moved since it was opened */
    uint64_t submits;    /* calls of io_submit since then */
    uint64_t submitting; /* nanoseconds spent in them */
    uint32_t ended;      /* operations that ended in this turn */
    uint32_t failed;     /* of these, how many with an error */
} kaio_batch_report;

/* How a splice moves data to or from the file that is its other side. */
enum { KAIO_FILE, KAIO_NONBLOCKING, KAIO_SOCKET };

/* How far a splice has come. */
typedef struct {
    uint64_t bytes;     /* passed on */
    uint64_t transfers; /* of the endpoint, the source's if both are one; a part of one, too */
    uint64_t rest;      /* of the bytes taken from the source, how many were not passed on; known at the end */
    uint32_t piece;     /* the source's piece that they are in, if they are not what the splice was given first */
    uint32_t offset;    /* of the rest in that piece */
    int32_t error;      /* the positive errno that ended it; 0 for none */
    int32_t at_source;  /* whether that error is the source's */
    int32_t ended;
} kaio_splice_state;

kaio_context *kaio_open(uint32_t slots, kaio_completion *completions, uint32_t *changed, int *error);
int kaio_fileno(kaio_context *context);
uint32_t kaio_in_flight(kaio_context *context);
uint32_t kaio_free_slots(kaio_context *context);
int64_t kaio_queue(kaio_context *context, int opcode, int fd, void *buffer, uint64_t length, int64_t offset,
                  int rw_flags, int16_t priority, int eventfd);
int64_t kaio_call(kaio_context *context, int opcode, int fd, void *buffer, uint64_t length, int64_t offset, int rw_flags,
                 int16_t priority, int eventfd, uint64_t *ticket);
void kaio_get_report(kaio_context *context, kaio_context_report *report);
uint64_t kaio_unfetched(kaio_context *context, uint64_t ticket);
int kaio_unqueue(kaio_context *context, uint64_t ticket);
int kaio_submit(kaio_context *context);
int64_t kaio_reap(kaio_context *context, int eventfd);
void kaio_set_linger(kaio_context *context, uint64_t nanoseconds);
int kaio_cancel(kaio_context *context, uint64_t ticket);
int kaio_cancel_all(kaio_context *context);
int kaio_destroy(kaio_context *context);

kaio_stream *kaio_reader_open(kaio_context *context, int fd, void *memory, uint32_t depth, uint32_t size, int *error);
void kaio_reader_arm(kaio_stream *stream);
int64_t kaio_reader_next(kaio_stream *stream, uint32_t *piece);
int64_t kaio_reader_copy(kaio_stream *stream, void *buffer, uint64_t room);
uint32_t kaio_reader_lent(kaio_stream *stream, uint32_t *first);
void kaio_reader_replace(kaio_stream *stream, void *memory, uint32_t block);
kaio_stream *kaio_writer_open(kaio_context *context, int fd, uint32_t depth, uint32_t size, int *error);
int64_t kaio_writer_put(kaio_stream *stream, void *data, uint64_t length);
int kaio_writer_error(kaio_stream *stream);
uint32_t kaio_stream_number(kaio_stream *stream);
void kaio_stream_start(kaio_stream *stream, uint32_t length, int joins);
void kaio_stream_stop(kaio_stream *stream);
uint64_t kaio_gate_silence(kaio_gate *gate);
int kaio_gate_closed(kaio_gate *gate);
void kaio_gate_hold(kaio_gate *gate);
int kaio_gate_release(kaio_gate *gate);
int kaio_eventfd_in_use(kaio_context *context, int eventfd);
void kaio_stream_set_eventfd(kaio_stream *stream, int eventfd);
void kaio_stream_set_gate(kaio_stream *stream, kaio_gate *gate);
void kaio_stream_hold(kaio_stream *stream, int held);
void kaio_stream_resume(kaio_stream *stream);
void kaio_stream_await(kaio_stream *stream);
int kaio_stream_withdraw(kaio_stream *stream, uint64_t since);
void kaio_stream_collect(kaio_stream *stream);
void kaio_stream_get_state(kaio_stream *stream, kaio_stream_state *state);
int kaio_stream_close(kaio_stream *stream);

kaio_caller *kaio_caller_open(uint64_t room, int *error);
int kaio_caller_fileno(kaio_caller *caller);
int kaio_caller_start(kaio_caller *caller, int fd, int writing, const void *data, uint64_t length);
int kaio_caller_try(kaio_caller *caller, int fd, int writing, const void *data, uint64_t length, int64_t nanoseconds,
                   int64_t *result);
int kaio_caller_take(kaio_caller *caller, int64_t *result);
void *kaio_caller_data(kaio_caller *caller);
void kaio_caller_close(kaio_caller *caller);
kaio_splice *kaio_splice_start(kaio_stream *source, kaio_stream *target, int file, int kind, int eventfd, void *first,
                              uint64_t first_length, uint64_t count, int *error);
void kaio_splice_stop(kaio_splice *splice);
void kaio_splice_get_state(kaio_splice *splice, kaio_splice_state *state);
void kaio_splice_close(kaio_splice *splice);

kaio_batch *kaio_batch_open(uint32_t count, kaio_batch_report *report, int64_t *results, uint32_t *ended_numbers,
                            int *error);
void kaio_batch_prepare(kaio_batch *batch, uint32_t number, int opcode, int fd, void *buffer, uint64_t length,
                        int rw_flags, int16_t priority);
int kaio_batch_turn(kaio_batch *batch, const int64_t *offsets, uint32_t starting, uint32_t wanted, int64_t nanoseconds);
int64_t kaio_batch_run(kaio_batch *batch, int64_t offset, int *turn);
int kaio_batch_resume(kaio_batch *batch, uint32_t wanted, int64_t nanoseconds);
uint32_t kaio_batch_in_flight(kaio_batch *batch);
int kaio_batch_cancel(kaio_batch *batch);
int kaio_batch_close(kaio_batch *batch);

int kaio_direct_alignment(int fd, uint32_t *memory, uint32_t *offset);
int kaio_lock(void *memory, uint64_t length);

#endif
