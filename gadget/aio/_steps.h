/* What the types of Python know of each other: the module gadget.aio._steps. All functions want the GIL. */
#ifndef GADGET_AIO_STEPS_H
#define GADGET_AIO_STEPS_H
#include <pyconfig.h>
#ifndef Py_GIL_DISABLED
#define Py_LIMITED_API 0x030b0000 /* of the oldest Python that is supported: one file for all of them */
#endif
#include <Python.h>

#include "_aio.h"

/* What belongs to the module, one for each interpreter that has it. */
typedef struct {
    PyTypeObject *wakeup, *step;
    PyObject *current_task, *get_running_loop;             /* asyncio's */
    PyObject *name_call_soon, *name_run, *name_context;
} State;

/* No type of ours has subtypes, so that of the object is the one that knows the module. */
static inline State *state_of(void *object) { return PyType_GetModuleState(Py_TYPE((PyObject *)object)); }

/* The part of a future that a task needs (asyncio.isfuture). It lets one task wait, again and again, until it is notified. */
typedef struct {
    PyObject_HEAD
    PyObject *what;      /* what it is called in an error */
    PyObject *loop;      /* that of the task which waits */
    PyObject *step;      /* how that task goes on: to be called with this, in these variables */
    PyObject *variables;
    PyObject *message;   /* of its cancelling */
    char waiting;        /* a task waits */
    char blocking;       /* and has just come to do so: asyncio's mark of a future */
    char cancelled;      /* and will be told so in the next round of the loop */
} Wakeup;

/* The iterator of an endpoint that is iterated over: what its reader lends, step by step. */
typedef struct {
    PyObject_HEAD
    kaio_stream *stream; /* NULL: it is closed */
    PyObject *places;    /* where each piece of its memory is: a list of views, each with an offset */
    PyObject *loop;
    PyObject *task;      /* the one that may step here, as long as nothing is uncommon */
    PyObject *uncommon;  /* makes the coroutine of any other step, of the errno that the stream has answered with, or 0 */
    Wakeup *wakeup;      /* is notified when asking again makes sense */
    Py_ssize_t lent;     /* bytes that were handed over last */
    char is_whole;       /* and nobody has taken a part of them */
} Steps;

/* _wakeup.c */
extern PyType_Spec wakeup_spec;
int wakeup_begin(Wakeup *w);
void wakeup_end(Wakeup *w);
int running_task(const State *state, PyObject *loop, PyObject **task);
void dispose(PyObject *object, inquiry clear);

/* _step.c */
extern PyType_Spec step_spec;
PyObject *new_step(Wakeup *w, Steps *s);

#endif
