/* What the types of Python know of each other: the module gadget.aio._steps. All functions want the GIL. */
#ifndef GADGET_AIO_STEPS_H
#define GADGET_AIO_STEPS_H
#include <pyconfig.h>
#ifndef Py_GIL_DISABLED
#define Py_LIMITED_API 0x030b0000 /* of the oldest Python that is supported: one file for all of them */
#endif
#include <Python.h>

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

/* _wakeup.c */
extern PyTypeObject *wakeup_type;
int wakeup_begin(Wakeup *w);
void wakeup_end(Wakeup *w);
int running_task(PyObject *loop, PyObject **task);
void dispose(PyObject *object, inquiry clear);
int wakeup_add_to(PyObject *module);

/* _steps.c */
PyObject *new_step_for(Wakeup *w);

#endif
