/* Python module definition, so that packaging tools build and ship the libraries; it has no Python functions. NATIVE is
 * the name of the library. */
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

/* Version of the exported functions: a library left by another version of nephi must not be called. */
EXPORT int nephi_interface(void) { return INTERFACE; }

PyMODINIT_FUNC INIT(NATIVE)(void) { return PyModule_Create(&definition); }
