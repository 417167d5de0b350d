/* What one task of asyncio waits for, without a round of the event loop when it comes.
 *
 * A future of asyncio's would have the loop go round once more, system call included, before the task goes on; this has it go
 * on within the callback that notifies. */
#include "_steps.h"

#include <stdbool.h>
#include <stddef.h>
#include <structmember.h>

static int refuse_second(const Wakeup *w) {
    PyObject *errors = PyImport_ImportModule("gadget.errors");
    PyObject *busy = errors ? PyObject_GetAttrString(errors, "EndpointBusyError") : NULL;
    if (busy)
        PyErr_Format(busy, "%S: another task is already waiting for it", w->what);
    Py_XDECREF(busy);
    Py_XDECREF(errors);
    return -1;
}

/* A task comes to wait; a second one is an error, not a queue. */
int wakeup_begin(Wakeup *w) {
    if (w->waiting)
        return refuse_second(w);
    PyObject *loop = PyObject_CallNoArgs(state_of(w)->get_running_loop), *before = w->loop;
    if (!loop)
        return -1;
    w->loop = loop;
    Py_XDECREF(before);
    w->waiting = w->blocking = 1;
    return 0;
}

/* It waits no more, for whatever reason. What is let go of may run anything, and finds this as it is to be. */
void wakeup_end(Wakeup *w) {
    PyObject *step = w->step, *variables = w->variables, *message = w->message;
    w->waiting = w->cancelled = 0;
    w->step = w->variables = w->message = NULL;
    Py_XDECREF(step);
    Py_XDECREF(variables);
    Py_XDECREF(message);
}

/* The task that runs in this loop (borrowed from the loop), NULL for none. */
int running_task(const State *state, PyObject *loop, PyObject **task) {
    *task = PyObject_CallFunctionObjArgs(state->current_task, loop, NULL);
    if (!*task)
        return -1;
    Py_DECREF(*task);
    if (*task == Py_None)
        *task = NULL;
    return 0;
}

/* The task goes on in the next round of the loop. */
static PyObject *go_on_later(Wakeup *w, PyObject *step, PyObject *variables) {
    const State *state = state_of(w);
    PyObject *call_soon = PyObject_GetAttr(w->loop, state->name_call_soon), *handle = NULL;
    PyObject *arguments = PyTuple_Pack(2, step, (PyObject *)w), *keywords = PyDict_New();
    if (call_soon && arguments && keywords && PyDict_SetItem(keywords, state->name_context, variables) == 0)
        handle = PyObject_Call(call_soon, arguments, keywords);
    Py_XDECREF(call_soon);
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    return handle;
}

/* Wakes the task that waits, if one does: at once, where no other task is running. */
static PyObject *notify_waiting(Wakeup *w, PyObject *unused) {
    const State *state = state_of(w);
    PyObject *task, *done = NULL, *step = w->step, *variables = w->variables;
    (void)unused;
    if (!step || w->cancelled)
        Py_RETURN_NONE;
    w->step = w->variables = NULL;
    if (running_task(state, w->loop, &task) == 0)
        done = task || variables == Py_None
                   ? go_on_later(w, step, variables)
                   : PyObject_CallMethodObjArgs(variables, state->name_run, step, (PyObject *)w, NULL);
    Py_DECREF(step);
    Py_DECREF(variables);
    if (!done)
        return NULL;
    Py_DECREF(done);
    Py_RETURN_NONE;
}

/* Called by the task that waits, as add_done_callback(step, context=variables): this is how it goes on. */
static PyObject *add_done_callback(Wakeup *w, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    PyObject *before[] = {w->step, w->variables}, *name = named ? PyTuple_GetItem(names, 0) : NULL;
    bool is_known = !named || PyUnicode_Compare(name, state_of(w)->name_context) == 0;
    if (count != 1 || named > 1 || !is_known) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback(callback, *, context=None)");
        return NULL;
    }
    if (!w->waiting) {
        PyErr_SetString(PyExc_RuntimeError, "a Wakeup is to be awaited: no task waits for it that could be called back");
        return NULL;
    }
    w->step = Py_NewRef(args[0]);
    w->variables = Py_NewRef(named ? args[1] : Py_None);
    Py_XDECREF(before[0]);
    Py_XDECREF(before[1]);
    Py_RETURN_NONE;
}

/* Called when the task that waits is cancelled; it is told in the next round of the loop, as by any future. */
static PyObject *cancel(Wakeup *w, PyObject *args, PyObject *keywords) {
    static char *names[] = {"msg", NULL};
    PyObject *message = Py_None, *handle;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:cancel", names, &message))
        return NULL;
    if (!w->step || w->cancelled)
        Py_RETURN_FALSE;
    handle = go_on_later(w, w->step, w->variables);
    if (!handle)
        return NULL;
    Py_DECREF(handle);
    w->cancelled = 1;
    w->message = message == Py_None ? NULL : Py_NewRef(message);
    Py_RETURN_TRUE;
}

/* Called by the task when it goes on. */
static PyObject *result(Wakeup *w, PyObject *unused) {
    (void)unused;
    if (!w->cancelled)
        Py_RETURN_NONE;
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    PyObject *type = asyncio ? PyObject_GetAttrString(asyncio, "CancelledError") : NULL;
    PyObject *error = type ? PyObject_CallFunctionObjArgs(type, w->message, NULL) : NULL; /* without one, of nothing */
    if (error)
        PyErr_SetObject(type, error);
    Py_XDECREF(error);
    Py_XDECREF(type);
    Py_XDECREF(asyncio);
    return NULL;
}

static PyObject *wakeup_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *names[] = {"what", NULL};
    PyObject *what;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "U:Wakeup", names, &what))
        return NULL;
    Wakeup *w = (Wakeup *)PyType_GenericAlloc(type, 0);
    if (w)
        w->what = Py_NewRef(what);
    return (PyObject *)w;
}

static PyObject *wakeup_await(Wakeup *w) { return new_step(w, NULL); }

static int wakeup_traverse(Wakeup *w, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)w));
    Py_VISIT(w->loop);
    Py_VISIT(w->step);
    Py_VISIT(w->variables);
    Py_VISIT(w->message);
    return 0;
}

static int wakeup_clear(Wakeup *w) {
    wakeup_end(w);
    Py_CLEAR(w->what);
    Py_CLEAR(w->loop);
    return 0;
}

/* How an object of a type of ours ends, which holds a reference to its type. */
void dispose(PyObject *object, inquiry clear) {
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    clear(object);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static void wakeup_dealloc(PyObject *object) { dispose(object, (inquiry)wakeup_clear); }

static PyMemberDef members[] = {
    {"waiting", T_BOOL, offsetof(Wakeup, waiting), READONLY, "Whether a task waits for it."},
    {"_asyncio_future_blocking", T_BOOL, offsetof(Wakeup, blocking), 0, NULL},
    /* Where there is no get_loop(), a task finds its loop here (asyncio's futures._get_loop). */
    {"_loop", T_OBJECT_EX, offsetof(Wakeup, loop), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef methods[] = {
    {"notify", (PyCFunction)notify_waiting, METH_NOARGS,
     "notify($self, /)\n--\n\nWakes the task that waits, if one does: at once, where no other task is running."},
    {"add_done_callback", (PyCFunction)(void (*)(void))add_done_callback, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"cancel", (PyCFunction)(void (*)(void))cancel, METH_VARARGS | METH_KEYWORDS, NULL},
    {"result", (PyCFunction)result, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static const char doc[] = "Wakeup(what)\n--\n\n"
                          "To be awaited: lets one task wait until :meth:`notify` is called; a second task is an error, not "
                          "a queue.\n\n"
                          "It can be waited for again and again.\n\n"
                          "Args:\n    what: What it is called in that error (:class:`~gadget.errors.EndpointBusyError`).";

static PyType_Slot type_slots[] = {
    {Py_tp_doc, (void *)doc},           {Py_tp_new, wakeup_new},     {Py_tp_dealloc, wakeup_dealloc},
    {Py_tp_traverse, wakeup_traverse},  {Py_tp_clear, wakeup_clear}, {Py_am_await, wakeup_await},
    {Py_tp_members, members},           {Py_tp_methods, methods},    {0, NULL},
};

PyType_Spec wakeup_spec = {
    "gadget.aio.Wakeup", sizeof(Wakeup), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, type_slots,
};
