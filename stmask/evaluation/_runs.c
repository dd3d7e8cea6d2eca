/* Areas and intersections of run-length encoded masks, straight from the compressed text.
 *
 * Optional: without this module `overlap.py` does the same with arrays and pycocotools, several times slower.
 * A track is a list or tuple with one {"size": [height, width], "counts": str} or None per frame.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

enum { FIRST = '0', MORE = 32, SIGN = 16, BITS = 5, MOST_BITS = 35 };

static PyObject *COUNTS, *SIZE;

/* The position after each run: foreground lies between edges[0] and edges[1], edges[2] and edges[3], ... */
typedef struct {
    int64_t *edges;
    Py_ssize_t count, room;
} Outline;

/* Reads one number and moves `*at` behind it; 0 if there is none. */
static inline int read_number(const unsigned char **at, const unsigned char *end, int64_t *value)
{
    unsigned digit = (unsigned)*(*at)++ - FIRST;
    if (digit < MORE) { /* nearly always: neighbouring columns differ little */
        *value = (int64_t)(digit ^ SIGN) - SIGN;
        return 1;
    }
    int bits = BITS;
    *value = digit & (MORE - 1);
    while (digit & MORE) {
        if (*at == end || bits == MOST_BITS || digit >= 2 * MORE) return 0;
        digit = (unsigned)*(*at)++ - FIRST;
        *value |= (int64_t)(digit & (MORE - 1)) << bits;
        bits += BITS;
    }
    if (digit & SIGN) *value -= (int64_t)1 << bits;
    return digit < 2 * MORE;
}

/* The area of a mask, or -1 if its runs cannot be decoded, are negative, or don't cover `pixels` (if not negative).
 * Writes the position after each run to `edges` if there is one; there are at most `length`. */
static int64_t decode(const unsigned char *text, Py_ssize_t length, int64_t pixels, int64_t *edges, Py_ssize_t *count)
{
    const unsigned char *end = text + length;
    int64_t background = 0, foreground = 0; /* the last run of either colour */
    int64_t covered = 0, area = 0, signs = 0, value;
    Py_ssize_t run = 0;
    while (text < end) {
        if (!read_number(&text, end, &value)) return -1;
        background = run > 2 ? background + value : value;
        signs |= background;
        covered += background;
        if (edges) edges[run] = covered;
        run++;
        if (text == end) break;
        if (!read_number(&text, end, &value)) return -1;
        foreground += value; /* the first is added to nothing */
        signs |= foreground;
        covered += foreground;
        area += foreground;
        if (edges) edges[run] = covered;
        run++;
    }
    if (count) *count = run;
    return length && signs >= 0 && (pixels < 0 || covered == pixels) ? area : -1;
}

/* The first foreground stretch of `from` to `end` that ends behind `position`. */
static const int64_t *first_behind(const int64_t *from, const int64_t *end, int64_t position)
{
    Py_ssize_t stretches = (end - from) / 2;
    while (stretches > 0) {
        Py_ssize_t half = stretches / 2;
        if (from[2 * half + 1] <= position) {
            from += 2 * (half + 1);
            stretches -= half + 1;
        } else {
            stretches = half;
        }
    }
    return from;
}

/* Pixels in both: walks the foreground stretches that the two may share. */
static int64_t shared_pixels(const Outline *a, const Outline *b)
{
    const int64_t *x = a->edges, *y = b->edges;
    const int64_t *x_end = x + (a->count & ~(Py_ssize_t)1), *y_end = y + (b->count & ~(Py_ssize_t)1);
    int64_t shared = 0;
    if (x == x_end || y == y_end) return 0;
    x = first_behind(x, x_end, y[0]);
    if (x == x_end) return 0;
    y = first_behind(y, y_end, x[0]);
    if (y == y_end) return 0;
    for (;;) { /* two branches that mostly alternate are foreseen; one without a branch would wait for each step */
        if (x[1] < y[1]) {
            int64_t overlap = x[1] - (x[0] > y[0] ? x[0] : y[0]);
            shared += overlap > 0 ? overlap : 0;
            if ((x += 2) == x_end) return shared;
        } else {
            int64_t overlap = y[1] - (x[0] > y[0] ? x[0] : y[0]);
            shared += overlap > 0 ? overlap : 0;
            if ((y += 2) == y_end) return shared;
        }
    }
}

/* The text of a mask (borrowed), or NULL where there is none; sets an error where it is no mask. */
static const char *counts_of(PyObject *mask, Py_ssize_t *length)
{
    PyObject *counts = PyDict_Check(mask) ? PyDict_GetItemWithError(mask, COUNTS) : NULL;
    if (counts && PyUnicode_Check(counts)) return PyUnicode_AsUTF8AndSize(counts, length);
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "expected None or a mask with counts of type str");
    return NULL;
}

static int has_size(PyObject *mask, int64_t height, int64_t width)
{
    PyObject *size = PyDict_Check(mask) ? PyDict_GetItemWithError(mask, SIZE) : NULL;
    return size && PyList_Check(size) && PyList_GET_SIZE(size) == 2 &&
           PyLong_AsLongLong(PyList_GET_ITEM(size, 0)) == height && PyLong_AsLongLong(PyList_GET_ITEM(size, 1)) == width;
}

static int64_t checked_area(PyObject *mask, int64_t height, int64_t width)
{
    Py_ssize_t length;
    const char *text = has_size(mask, height, width) ? counts_of(mask, &length) : NULL;
    if (!text) PyErr_Clear(); /* the caller finds out and says what is wrong */
    return text ? decode((const unsigned char *)text, length, height * width, NULL, NULL) : -1;
}

static PyObject *track_areas(PyObject *module, PyObject *arguments)
{
    PyObject *tracks;
    Py_buffer sizes;
    if (!PyArg_ParseTuple(arguments, "O!y*", &PyList_Type, &tracks, &sizes)) return NULL;
    Py_ssize_t count = PyList_GET_SIZE(tracks), frames = 0;
    PyObject *result = NULL;
    if (sizes.len != 2 * count * (Py_ssize_t)sizeof(int64_t)) {
        PyErr_SetString(PyExc_ValueError, "sizes must hold a height and a width (int64) for each track");
        goto done;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *track = PyList_GET_ITEM(tracks, i);
        if (!PyList_Check(track) && !PyTuple_Check(track)) {
            PyErr_SetString(PyExc_TypeError, "a track must be a list or a tuple");
            goto done;
        }
        frames += PySequence_Fast_GET_SIZE(track);
    }
    result = PyByteArray_FromStringAndSize(NULL, frames * (Py_ssize_t)sizeof(int64_t));
    if (!result) goto done;
    int64_t *area = (int64_t *)PyByteArray_AS_STRING(result);
    for (Py_ssize_t i = 0; i < count; i++) {
        const int64_t *size = (const int64_t *)sizes.buf + 2 * i;
        PyObject *track = PyList_GET_ITEM(tracks, i);
        for (Py_ssize_t t = 0; t < PySequence_Fast_GET_SIZE(track); t++) {
            PyObject *mask = PySequence_Fast_GET_ITEM(track, t);
            *area++ = mask == Py_None ? 0 : checked_area(mask, size[0], size[1]);
        }
    }
done:
    PyBuffer_Release(&sizes);
    return result;
}

/* Reads the mask of a track in a frame into `outline`, empty where the track is absent; 0, or -1 with an error. */
static int read_outline(PyObject *tracks, Py_ssize_t index, Py_ssize_t frame, Outline *outline)
{
    PyObject *mask = PySequence_Fast_GET_ITEM(PyList_GET_ITEM(tracks, index), frame);
    Py_ssize_t length;
    outline->count = 0;
    if (mask == Py_None) return 0;
    const char *text = counts_of(mask, &length);
    if (!text) return -1;
    if (length > outline->room) {
        int64_t *edges = PyMem_Realloc(outline->edges, 2 * (size_t)length * sizeof(int64_t));
        if (!edges) return PyErr_NoMemory(), -1;
        outline->edges = edges;
        outline->room = 2 * length;
    }
    if (decode((const unsigned char *)text, length, -1, outline->edges, &outline->count) >= 0) return 0;
    PyErr_SetString(PyExc_ValueError, "a mask cannot be decoded");
    return -1;
}

static int same_length(PyObject *tracks, Py_ssize_t *length)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(tracks); i++) {
        PyObject *track = PyList_GET_ITEM(tracks, i);
        if (!PyList_Check(track) && !PyTuple_Check(track)) return 0;
        if (*length < 0) *length = PySequence_Fast_GET_SIZE(track);
        if (PySequence_Fast_GET_SIZE(track) != *length) return 0;
    }
    return 1;
}

static PyObject *intersections(PyObject *module, PyObject *arguments)
{
    PyObject *first, *second, *result = NULL;
    if (!PyArg_ParseTuple(arguments, "O!O!", &PyList_Type, &first, &PyList_Type, &second)) return NULL;
    Py_ssize_t frames = -1, d = PyList_GET_SIZE(first), g = PyList_GET_SIZE(second);
    if (!same_length(first, &frames) || !same_length(second, &frames) || frames < 0)
        return PyErr_SetString(PyExc_ValueError, "expected lists of tracks of one length"), NULL;
    Outline own = {NULL, 0, 0}, *others = PyMem_Calloc(g ? (size_t)g : 1, sizeof(Outline));
    if (!others) return PyErr_NoMemory();
    result = PyByteArray_FromStringAndSize(NULL, frames * d * g * (Py_ssize_t)sizeof(int64_t));
    int64_t *shared = result ? (int64_t *)PyByteArray_AS_STRING(result) : NULL;
    for (Py_ssize_t t = 0; result && t < frames; t++) {
        for (Py_ssize_t j = 0; result && j < g; j++)
            if (read_outline(second, j, t, others + j) < 0) Py_CLEAR(result);
        for (Py_ssize_t i = 0; result && i < d; i++) {
            if (read_outline(first, i, t, &own) < 0) Py_CLEAR(result);
            for (Py_ssize_t j = 0; result && j < g; j++) *shared++ = shared_pixels(&own, others + j);
        }
    }
    PyMem_Free(own.edges);
    for (Py_ssize_t j = 0; j < g; j++) PyMem_Free(others[j].edges);
    PyMem_Free(others);
    return result;
}

static PyMethodDef methods[] = {
    {"track_areas", track_areas, METH_VARARGS,
     "track_areas(tracks, sizes) -> int64 areas of every frame of N tracks as a bytearray, 0 where absent and -1 for a\n"
     "mask that is none, has another size than its track's (N, 2 in int64) or doesn't cover it."},
    {"intersections", intersections, METH_VARARGS,
     "intersections(first, second) -> int64 pixels shared by D and G tracks in each of T frames, (T, D, G) as a bytearray."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_runs", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__runs(void)
{
    COUNTS = PyUnicode_InternFromString("counts");
    SIZE = PyUnicode_InternFromString("size");
    return COUNTS && SIZE ? PyModule_Create(&definition) : NULL;
}
