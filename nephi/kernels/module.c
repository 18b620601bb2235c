/* Makes the kernels' libraries something that packaging tools know how to build and ship; they have no Python functions.
 * NATIVE is the name of the one that is built. */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "common.h"

#define JOINED(a, b) a##b
#define INIT(name) JOINED(PyInit_, name)
#define TEXT(name) #name
#define QUOTED(name) TEXT(name)

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, QUOTED(NATIVE), "Compiled kernels, called through ctypes.", 0, 0, 0, 0, 0, 0,
};

/* Which version of the functions this is: a library that an older nephi left behind must not be called. */
EXPORT int nephi_interface(void) { return INTERFACE; }

PyMODINIT_FUNC INIT(NATIVE)(void) { return PyModule_Create(&definition); }
