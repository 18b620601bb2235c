/* Makes the kernels' library something that packaging tools know how to build and ship; it has no Python functions. */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Compiled kernels, called through ctypes.", 0, 0, 0, 0, 0, 0,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&definition); }
