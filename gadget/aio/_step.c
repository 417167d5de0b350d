/* What is awaited: one step of an iterator, or only a wakeup. A step that has to wait takes a fraction of what it takes as a
 * coroutine of Python's, and touches a fraction of the memory.
 *
 * What is not common is left to Python: a step that finds anything else goes on as a coroutine. */
#include "_steps.h"

#include <errno.h>

/* NEW: nobody has awaited it; COMMON: it waits for the wakeup; UNCOMMON: the coroutine goes on with it. */
enum state { NEW, COMMON, UNCOMMON, OVER };

typedef struct {
    PyObject_HEAD
    Wakeup *wakeup;
    Steps *steps; /* NULL: it only waits */
    PyObject *coroutine;
    char state;
} Step;

PyObject *new_step(Wakeup *w, Steps *s) {
    Step *step = (Step *)PyType_GenericAlloc(state_of(w)->step, 0);
    if (step) {
        step->wakeup = (Wakeup *)Py_NewRef((PyObject *)w);
        step->steps = (Steps *)Py_XNewRef((PyObject *)s);
    }
    return (PyObject *)step;
}

/* ---- a step ----------------------------------------------------------------------------------------------- */

/* A view of what the stream lends. `places` is ReadStream's own list, of pairs. */
static PyObject *lend(Steps *s, uint32_t piece, Py_ssize_t length) {
    PyObject *place = PyList_GetItem(s->places, (Py_ssize_t)piece), *view = NULL;
    if (!place)
        return NULL;
    Py_ssize_t start = PyLong_AsSsize_t(PyTuple_GetItem(place, 1));
    PyObject *first = PyLong_FromSsize_t(start), *end = PyLong_FromSsize_t(start + length);
    PyObject *slice = first && end ? PySlice_New(first, end, NULL) : NULL;
    if (slice)
        view = PyObject_GetItem(PyTuple_GetItem(place, 0), slice);
    Py_XDECREF(first);
    Py_XDECREF(end);
    Py_XDECREF(slice);
    s->lent = length;
    s->is_whole = 1;
    return view;
}

static PySendResult failed(Step *step, PyObject **value) {
    step->state = OVER;
    *value = NULL;
    return PYGEN_ERROR;
}

static PySendResult wait_for_change(Step *step, PyObject **value) {
    if (wakeup_begin(step->wakeup) < 0)
        return failed(step, value);
    step->state = COMMON;
    *value = Py_NewRef((PyObject *)step->wakeup);
    return PYGEN_NEXT;
}

static PySendResult send_to_coroutine(Step *step, PyObject *argument, PyObject **value) {
    PySendResult sent = PyIter_Send(step->coroutine, argument, value);
    if (sent != PYGEN_NEXT)
        step->state = OVER;
    return sent;
}

static PySendResult become_uncommon(Step *step, int64_t answer, PyObject **value) {
    PyObject *argument = PyLong_FromLongLong(answer);
    if (argument)
        step->coroutine = PyObject_CallFunctionObjArgs(step->steps->uncommon, argument, NULL);
    Py_XDECREF(argument);
    if (!step->coroutine)
        return failed(step, value);
    step->state = UNCOMMON;
    return send_to_coroutine(step, Py_None, value);
}

static PySendResult take_next(Step *step, PyObject **value) {
    Steps *s = step->steps;
    kaio_stream *stream = s->stream;
    uint32_t piece;
    int64_t answer;
    if (!stream)
        return become_uncommon(step, 0, value);
    Py_BEGIN_ALLOW_THREADS
    answer = kaio_reader_next(stream, &piece);
    Py_END_ALLOW_THREADS
    if (s->stream != stream) /* another thread has closed it meanwhile */
        return become_uncommon(step, 0, value);
    if (answer == -EAGAIN)
        return wait_for_change(step, value);
    if (answer < 0)
        return become_uncommon(step, answer, value);
    step->state = OVER;
    *value = lend(s, piece, (Py_ssize_t)answer);
    return *value ? PYGEN_RETURN : PYGEN_ERROR;
}

static PySendResult start(Step *step, PyObject **value) {
    PyObject *task;
    if (!step->steps)
        return wait_for_change(step, value);
    if (!step->steps->task)
        return become_uncommon(step, 0, value);
    if (running_task(state_of(step), step->steps->loop, &task) < 0)
        return failed(step, value);
    return task == step->steps->task ? take_next(step, value) : become_uncommon(step, 0, value);
}

static PySendResult go_on(Step *step, PyObject **value) {
    wakeup_end(step->wakeup);
    if (step->steps)
        return take_next(step, value);
    step->state = OVER;
    *value = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PySendResult step_am_send(Step *step, PyObject *argument, PyObject **value) {
    switch (step->state) {
    case NEW:
        return start(step, value);
    case COMMON:
        return go_on(step, value);
    case UNCOMMON:
        return send_to_coroutine(step, argument, value);
    default:
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited step");
        return failed(step, value);
    }
}

/* One task awaits it, once. */
static PyObject *step_am_await(Step *step) {
    if (step->state == NEW || step->state == OVER)
        return Py_NewRef((PyObject *)step);
    PyErr_SetString(PyExc_RuntimeError, "step is being awaited already");
    return NULL;
}

/* ---- the same as a generator has it ------------------------------------------------------------------------- */

static PyObject *step_send(Step *step, PyObject *argument) {
    PyObject *value;
    if (step_am_send(step, argument, &value) != PYGEN_RETURN)
        return value;
    PyObject *stop = PyObject_CallFunctionObjArgs(PyExc_StopIteration, value, NULL);
    if (stop)
        PyErr_SetObject(PyExc_StopIteration, stop);
    Py_XDECREF(stop);
    Py_DECREF(value);
    return NULL;
}

static PyObject *step_iternext(Step *step) { return step_send(step, Py_None); }

static void stop_waiting(Step *step) {
    if (step->state == COMMON)
        wakeup_end(step->wakeup);
    step->state = OVER;
}

static PyObject *throw_into_coroutine(Step *step, PyObject *args) {
    PyObject *throw = PyObject_GetAttrString(step->coroutine, "throw");
    PyObject *thrown = throw ? PyObject_CallObject(throw, args) : NULL;
    Py_XDECREF(throw);
    if (!thrown)
        step->state = OVER;
    return thrown;
}

static PyObject *step_throw(Step *step, PyObject *args) {
    PyObject *kind, *value = NULL, *trace = NULL;
    if (step->state == UNCOMMON)
        return throw_into_coroutine(step, args);
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &kind, &value, &trace))
        return NULL;
    stop_waiting(step);
    if (PyExceptionInstance_Check(kind)) /* it has its traceback itself */
        PyErr_SetObject((PyObject *)Py_TYPE(kind), kind);
    else if (PyExceptionClass_Check(kind))
        PyErr_SetObject(kind, value == Py_None ? NULL : value);
    else
        PyErr_SetString(PyExc_TypeError, "what is thrown into a step has to be an exception");
    return NULL;
}

static PyObject *step_close(Step *step, PyObject *unused) {
    (void)unused;
    PyObject *closed = step->state == UNCOMMON ? PyObject_CallMethod(step->coroutine, "close", NULL) : Py_NewRef(Py_None);
    stop_waiting(step);
    return closed;
}

static int step_traverse(Step *step, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)step));
    Py_VISIT(step->wakeup);
    Py_VISIT(step->steps);
    Py_VISIT(step->coroutine);
    return 0;
}

static int step_clear(Step *step) {
    stop_waiting(step);
    Py_CLEAR(step->wakeup);
    Py_CLEAR(step->steps);
    Py_CLEAR(step->coroutine);
    return 0;
}

static void step_dealloc(PyObject *object) { dispose(object, (inquiry)step_clear); }

static PyMethodDef step_methods[] = {
    {"send", (PyCFunction)step_send, METH_O, NULL},
    {"throw", (PyCFunction)step_throw, METH_VARARGS, NULL},
    {"close", (PyCFunction)step_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot step_slots[] = {
    {Py_tp_dealloc, step_dealloc},   {Py_tp_traverse, step_traverse},  {Py_tp_clear, step_clear},
    {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, step_iternext},  {Py_am_await, step_am_await},
    {Py_am_send, step_am_send},      {Py_tp_methods, step_methods},    {0, NULL},
};

PyType_Spec step_spec = {
    "gadget.aio._steps.Step", sizeof(Step), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, step_slots,
};
