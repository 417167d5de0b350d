/* What a task of asyncio steps over with `async for`, as types of Python: a step that has to wait takes a fraction of what it
 * takes as a coroutine of Python's, and touches a fraction of the memory.
 *
 * What is not common is left to Python: a step that finds anything else goes on as a coroutine. The module gadget.aio._steps
 * lies in the same file as that of cffi, with what it calls. */
#include "_aio.h"
#include "_steps.h"

#include <errno.h>
#include <stddef.h>
#include <structmember.h>

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

/* NEW: nobody has awaited it; COMMON: it waits for the wakeup; UNCOMMON: the coroutine goes on with it. */
enum state { NEW, COMMON, UNCOMMON, OVER };

/* What is awaited: one step, or only the wakeup. */
typedef struct {
    PyObject_HEAD
    Wakeup *wakeup;
    Steps *steps; /* NULL: it only waits */
    PyObject *coroutine;
    char state;
} Step;

static PyTypeObject *step_type;

static PyObject *new_step(Wakeup *w, Steps *s) {
    Step *step = (Step *)PyType_GenericAlloc(step_type, 0);
    if (step) {
        step->wakeup = (Wakeup *)Py_NewRef((PyObject *)w);
        step->steps = (Steps *)Py_XNewRef((PyObject *)s);
    }
    return (PyObject *)step;
}

PyObject *new_step_for(Wakeup *w) { return new_step(w, NULL); }

/* ---- a step ----------------------------------------------------------------------------------------------- */

/* A view of what the stream lends. */
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
    if (running_task(step->steps->loop, &task) < 0)
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

/* ---- the same as a generator has it ------------------------------------------------------------------------- */

static PyObject *step_send(Step *step, PyObject *argument) {
    PyObject *value;
    if (step_am_send(step, argument, &value) != PYGEN_RETURN)
        return value;
    PyErr_SetObject(PyExc_StopIteration, value == Py_None ? NULL : value);
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
    if (PyExceptionInstance_Check(kind))
        PyErr_SetObject((PyObject *)Py_TYPE(kind), kind);
    else
        PyErr_SetObject(kind, value == Py_None ? NULL : value);
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
    {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, step_iternext},  {Py_am_await, PyObject_SelfIter},
    {Py_am_send, step_am_send},      {Py_tp_methods, step_methods},    {0, NULL},
};

static PyType_Spec step_spec = {
    "gadget.aio._steps.Step", sizeof(Step), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, step_slots,
};

/* ---- the iterator ------------------------------------------------------------------------------------------- */

static PyObject *steps_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *names[] = {"wakeup", "uncommon", NULL};
    PyObject *wakeup, *uncommon;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!O:Steps", names, wakeup_type, &wakeup, &uncommon))
        return NULL;
    Steps *s = (Steps *)PyType_GenericAlloc(type, 0);
    if (s) {
        s->wakeup = (Wakeup *)Py_NewRef(wakeup);
        s->uncommon = Py_NewRef(uncommon);
    }
    return (PyObject *)s;
}

/* open(stream, places, loop): of this stream, given as its address, for tasks of this loop. */
static PyObject *steps_open(Steps *s, PyObject *args) {
    PyObject *stream, *places, *loop, *before[] = {s->places, s->loop};
    if (!PyArg_ParseTuple(args, "OO!O:open", &stream, &PyList_Type, &places, &loop))
        return NULL;
    kaio_stream *pointer = PyLong_AsVoidPtr(stream);
    if (!pointer && PyErr_Occurred())
        return NULL;
    s->stream = pointer;
    s->places = Py_NewRef(places);
    s->loop = Py_NewRef(loop);
    Py_XDECREF(before[0]);
    Py_XDECREF(before[1]);
    Py_RETURN_NONE;
}

static PyObject *steps_close(Steps *s, PyObject *unused) {
    (void)unused;
    s->stream = NULL;
    Py_CLEAR(s->places);
    Py_CLEAR(s->loop);
    Py_CLEAR(s->task);
    Py_RETURN_NONE;
}

static PyObject *steps_next(Steps *s) { return new_step(s->wakeup, s); }

static int steps_traverse(Steps *s, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)s));
    Py_VISIT(s->places);
    Py_VISIT(s->loop);
    Py_VISIT(s->task);
    Py_VISIT(s->uncommon);
    Py_VISIT(s->wakeup);
    return 0;
}

static int steps_clear(Steps *s) {
    Py_XDECREF(steps_close(s, NULL));
    Py_CLEAR(s->uncommon);
    Py_CLEAR(s->wakeup);
    return 0;
}

static void steps_dealloc(PyObject *object) { dispose(object, (inquiry)steps_clear); }

static PyMemberDef steps_members[] = {
    {"task", T_OBJECT, offsetof(Steps, task), 0, NULL},
    {"lent", T_PYSSIZET, offsetof(Steps, lent), 0, NULL},
    {"is_whole", T_BOOL, offsetof(Steps, is_whole), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef steps_methods[] = {
    {"open", (PyCFunction)steps_open, METH_VARARGS, NULL},
    {"close", (PyCFunction)steps_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot steps_slots[] = {
    {Py_tp_new, steps_new},          {Py_tp_dealloc, steps_dealloc}, {Py_tp_traverse, steps_traverse},
    {Py_tp_clear, steps_clear},      {Py_am_anext, steps_next},      {Py_am_aiter, PyObject_SelfIter},
    {Py_tp_members, steps_members},  {Py_tp_methods, steps_methods}, {0, NULL},
};

static PyType_Spec steps_spec = {
    "gadget.aio._steps.Steps", sizeof(Steps), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, steps_slots,
};

/* ---- the module --------------------------------------------------------------------------------------------- */

static int fill(PyObject *module) {
    PyObject *steps = PyType_FromModuleAndSpec(module, &steps_spec, NULL);
    step_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &step_spec, NULL);
    int added = steps && step_type ? PyModule_AddType(module, (PyTypeObject *)steps) : -1;
    Py_XDECREF(steps);
    return added < 0 ? -1 : wakeup_add_to(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, fill},
#ifdef Py_GIL_DISABLED
    /* As with endpoints in general, one thread uses one of these at a time. */
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "gadget.aio._steps", NULL, 0, NULL, module_slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__steps(void) { return PyModuleDef_Init(&definition); }
