/* What a task of asyncio steps over with `async for`, and the module gadget.aio._steps: it lies in the same file as that of cffi,
 * with what it calls. */
#include "_steps.h"

#include <stdbool.h>
#include <stddef.h>
#include <structmember.h>

static PyObject *steps_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *names[] = {"wakeup", "uncommon", NULL};
    const State *module = PyType_GetModuleState(type);
    PyObject *wakeup, *uncommon;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!O:Steps", names, module->wakeup, &wakeup, &uncommon))
        return NULL;
    Steps *s = (Steps *)PyType_GenericAlloc(type, 0);
    if (s) {
        s->wakeup = (Wakeup *)Py_NewRef(wakeup);
        s->uncommon = Py_NewRef(uncommon);
    }
    return (PyObject *)s;
}

static void forget_stream(Steps *s) {
    s->stream = NULL;
    Py_CLEAR(s->places);
    Py_CLEAR(s->loop);
    Py_CLEAR(s->task);
}

/* open(stream, places, loop): of this stream, given as its address, for tasks of this loop. */
static PyObject *steps_open(Steps *s, PyObject *args) {
    PyObject *stream, *places, *loop;
    if (!PyArg_ParseTuple(args, "OO!O:open", &stream, &PyList_Type, &places, &loop))
        return NULL;
    kaio_stream *pointer = PyLong_AsVoidPtr(stream);
    if (!pointer && PyErr_Occurred())
        return NULL;
    forget_stream(s);
    s->stream = pointer;
    s->places = Py_NewRef(places);
    s->loop = Py_NewRef(loop);
    Py_RETURN_NONE;
}

/* close(stream): this one is gone, and nobody steps over it, if it is still the one that is open. */
static PyObject *steps_close(Steps *s, PyObject *stream) {
    kaio_stream *pointer = PyLong_AsVoidPtr(stream);
    if (!pointer && PyErr_Occurred())
        return NULL;
    if (pointer == s->stream)
        forget_stream(s);
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
    forget_stream(s);
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
    {"close", (PyCFunction)steps_close, METH_O, NULL},
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

static int fill_asyncio(State *state) {
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    if (!asyncio)
        return -1;
    state->current_task = PyObject_GetAttrString(asyncio, "current_task");
    state->get_running_loop = PyObject_GetAttrString(asyncio, "get_running_loop");
    Py_DECREF(asyncio);
    state->name_call_soon = PyUnicode_InternFromString("call_soon");
    state->name_run = PyUnicode_InternFromString("run");
    state->name_context = PyUnicode_InternFromString("context");
    bool all = state->current_task && state->get_running_loop && state->name_call_soon && state->name_run;
    return all && state->name_context ? 0 : -1;
}

static int fill(PyObject *module) {
    State *state = PyModule_GetState(module);
    if (fill_asyncio(state) < 0)
        return -1;
    state->wakeup = (PyTypeObject *)PyType_FromModuleAndSpec(module, &wakeup_spec, NULL);
    state->step = (PyTypeObject *)PyType_FromModuleAndSpec(module, &step_spec, NULL);
    PyObject *steps = PyType_FromModuleAndSpec(module, &steps_spec, NULL);
    int added = -1;
    if (state->wakeup && state->step && steps && PyModule_AddType(module, state->wakeup) == 0)
        added = PyModule_AddType(module, (PyTypeObject *)steps);
    Py_XDECREF(steps);
    return added;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    State *state = PyModule_GetState(module);
    Py_VISIT(state->wakeup);
    Py_VISIT(state->step);
    Py_VISIT(state->current_task);
    Py_VISIT(state->get_running_loop);
    return 0;
}

static int module_clear(PyObject *module) {
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->wakeup);
    Py_CLEAR(state->step);
    Py_CLEAR(state->current_task);
    Py_CLEAR(state->get_running_loop);
    Py_CLEAR(state->name_call_soon);
    Py_CLEAR(state->name_run);
    Py_CLEAR(state->name_context);
    return 0;
}

static void module_free(void *module) { module_clear(module); }

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, fill},
#ifdef Py_GIL_DISABLED
    /* As with endpoints in general, one thread uses one of these at a time. */
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "gadget.aio._steps", NULL, sizeof(State), NULL, module_slots,
    module_traverse, module_clear, module_free,
};

PyMODINIT_FUNC PyInit__steps(void) { return PyModuleDef_Init(&definition); }
