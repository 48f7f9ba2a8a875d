/* A window of an RGB image resized as Pillow does it, to the bit: the arithmetic of its Resample.c.
 *
 * Only what the window needs is computed, four channels at a time. `resample.py` has the same in Python, and is
 * what runs where this module was not built. Build without contraction of a*b+c (-ffp-contract=off): Pillow's
 * weights are rounded after each operation. */

#define Py_LIMITED_API 0x030A0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PRECISION_BITS (32 - 8 - 2)
#define HALF (1 << (PRECISION_BITS - 1))

typedef int32_t Four __attribute__((vector_size(16)));
typedef uint8_t FourBytes __attribute__((vector_size(4)));

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__)
#define CLONES __attribute__((target_clones("avx2", "sse4.1", "default")))
#else
#define CLONES
#endif

/* https://arrow.apache.org/docs/format/CDataInterface.html */
struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

/* Pixels `start` .. `start + length` of an axis that is resized, and where each of them comes from. */
typedef struct {
    int in_size, out_size, start, length, taps;
    int *first, *count;
    int32_t *weights;
} Axis;

static double bilinear(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double bicubic(double x) {
    x = fabs(x);
    if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * -0.5;
    return 0.0;
}

static int fill(Axis *axis, int cubic) {
    double scale = (double)(float)axis->in_size / axis->out_size;
    double stretch = scale < 1.0 ? 1.0 : scale;
    double support = (cubic ? 2.0 : 1.0) * stretch;
    double inverse = 1.0 / stretch;
    axis->taps = (int)ceil(support) * 2 + 1;
    axis->first = malloc(axis->length * sizeof(int));
    axis->count = malloc(axis->length * sizeof(int));
    axis->weights = calloc((size_t)axis->length * axis->taps, sizeof(int32_t));
    double *weights = malloc(axis->taps * sizeof(double));
    int good = axis->first && axis->count && axis->weights && weights;
    for (int i = 0; good && i < axis->length; i++) {
        int32_t *fixed = axis->weights + (size_t)i * axis->taps;
        if (axis->in_size == axis->out_size) {
            axis->first[i] = axis->start + i;
            axis->count[i] = 1;
            continue;
        }
        double center = (axis->start + i + 0.5) * scale, total = 0.0;
        int low = (int)(center - support + 0.5), high = (int)(center + support + 0.5);
        if (low < 0) low = 0;
        if (high > axis->in_size) high = axis->in_size;
        axis->first[i] = low;
        axis->count[i] = high - low;
        for (int k = 0; k < high - low; k++) {
            double at = (k + low - center + 0.5) * inverse;
            weights[k] = cubic ? bicubic(at) : bilinear(at);
            total += weights[k];
        }
        for (int k = 0; k < high - low; k++) {
            double weight = total != 0.0 ? weights[k] / total : weights[k];
            fixed[k] = (int32_t)((weight < 0 ? -0.5 : 0.5) + weight * (1 << PRECISION_BITS));
        }
    }
    free(weights);
    return good;
}

static void drop(Axis *axis) {
    free(axis->first);
    free(axis->count);
    free(axis->weights);
}

static inline uint8_t clip(int32_t sum) {
    int32_t value = sum >> PRECISION_BITS;
    return value < 0 ? 0 : value > 255 ? 255 : (uint8_t)value;
}

/* One row: `length` pixels of four bytes. */
CLONES static void across(const uint8_t *row, uint8_t *out, const Axis *axis, int offset) {
    for (int i = 0; i < axis->length; i++) {
        const uint8_t *pixel = row + 4 * (size_t)(axis->first[i] - offset);
        const int32_t *weight = axis->weights + (size_t)i * axis->taps;
        Four sum = {HALF, HALF, HALF, HALF};
        for (int k = 0; k < axis->count[i]; k++) {
            FourBytes bytes;
            memcpy(&bytes, pixel + 4 * k, 4);
            sum += __builtin_convertvector(bytes, Four) * weight[k];
        }
        sum >>= PRECISION_BITS;
        sum &= ~(sum < 0);
        sum = (sum & (sum <= 255)) | (255 & (sum > 255));
        FourBytes bytes = __builtin_convertvector(sum, FourBytes);
        memcpy(out + 4 * i, &bytes, 4);
    }
}

/* One row of the result, from `count` rows that lie `stride` bytes apart. */
CLONES static void down(const uint8_t *top, size_t stride, int bytes, const int32_t *weight, int count,
                        int32_t *sums, uint8_t *out) {
    for (int x = 0; x < bytes; x++) sums[x] = HALF;
    for (int k = 0; k < count; k++) {
        const uint8_t *row = top + k * stride;
        int32_t w = weight[k];
        for (int x = 0; x < bytes; x++) sums[x] += w * row[x];
    }
    for (int x = 0; x < bytes; x++) out[x] = clip(sums[x]);
}

static void all_across(const uint8_t *source, size_t stride, int rows, const Axis *axis, int offset,
                       uint8_t *out) {
    size_t width = 4 * (size_t)axis->length;
    for (int y = 0; y < rows; y++) {
        if (axis->in_size == axis->out_size)
            memcpy(out + y * width, source + y * stride + 4 * (size_t)(axis->start - offset), width);
        else
            across(source + y * stride, out + y * width, axis, offset);
    }
}

static void all_down(const uint8_t *source, size_t stride, int bytes, const Axis *axis, int offset,
                     int32_t *sums, uint8_t *out) {
    for (int y = 0; y < axis->length; y++) {
        const uint8_t *top = source + (size_t)(axis->first[y] - offset) * stride;
        if (axis->in_size == axis->out_size)
            memcpy(out + (size_t)y * bytes, top, bytes);
        else
            down(top, stride, bytes, axis->weights + (size_t)y * axis->taps, axis->count[y], sums,
                 out + (size_t)y * bytes);
    }
}

static int compute(const uint8_t *source, Axis *rows, Axis *columns, int cubic, int vertical_first,
                   uint8_t *result) {
    int good = fill(rows, cubic) && fill(columns, cubic);
    uint8_t *between = NULL, *pixels = NULL;
    int32_t *sums = NULL;
    if (good) {
        size_t stride = 4 * (size_t)columns->in_size, height = rows->length, width = columns->length;
        int top = rows->first[0], bottom = rows->first[height - 1] + rows->count[height - 1];
        int left = columns->first[0], right = columns->first[width - 1] + columns->count[width - 1];
        size_t middle = vertical_first ? height * (right - left) : (bottom - top) * width;
        int bytes = 4 * (vertical_first ? right - left : (int)width);
        const uint8_t *corner = source + top * stride + 4 * (size_t)left;
        between = malloc(4 * middle);
        pixels = malloc(4 * height * width);
        sums = malloc(bytes * sizeof(int32_t));
        good = between && pixels && sums;
        if (good && vertical_first) {
            all_down(corner, stride, bytes, rows, top, sums, between);
            all_across(between, bytes, (int)height, columns, left, pixels);
        } else if (good) {
            all_across(corner, stride, bottom - top, columns, left, between);
            all_down(between, bytes, bytes, rows, top, sums, pixels);
        }
        for (size_t i = 0; good && i < height * width; i++) {
            result[3 * i] = pixels[4 * i];
            result[3 * i + 1] = pixels[4 * i + 1];
            result[3 * i + 2] = pixels[4 * i + 2];
        }
    }
    free(between);
    free(pixels);
    free(sums);
    drop(rows);
    drop(columns);
    return good;
}

static int within(const Axis *axis) {
    return axis->in_size > 0 && axis->out_size > 0 && axis->length > 0 && axis->start >= 0 &&
           axis->start <= axis->out_size - axis->length;
}

static PyObject *resize(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule;
    Axis rows = {0}, columns = {0};
    int cubic, vertical_first;
    if (!PyArg_ParseTuple(arguments, "O(ii)(ii)(iiii)pp", &capsule, &rows.in_size, &columns.in_size,
                          &rows.out_size, &columns.out_size, &rows.start, &columns.start, &rows.length,
                          &columns.length, &cubic, &vertical_first))
        return NULL;
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, "arrow_array");
    if (array == NULL) return NULL;
    if (!within(&rows) || !within(&columns) || array->n_children != 1 || array->offset ||
        array->children[0]->offset || array->children[0]->n_buffers != 2 ||
        array->length != (int64_t)rows.in_size * columns.in_size ||
        array->children[0]->length != 4 * array->length) {
        PyErr_SetString(PyExc_ValueError, "no RGB image of this size, or no window of it");
        return NULL;
    }
    PyObject *result = PyByteArray_FromStringAndSize(NULL, 3 * (Py_ssize_t)rows.length * columns.length);
    if (result == NULL) return NULL;
    const uint8_t *source = array->children[0]->buffers[1];
    uint8_t *out = (uint8_t *)PyByteArray_AsString(result);
    int good;
    Py_BEGIN_ALLOW_THREADS
    good = compute(source, &rows, &columns, cubic, vertical_first, out);
    Py_END_ALLOW_THREADS
    if (!good) {
        Py_DECREF(result);
        return PyErr_NoMemory();
    }
    return result;
}

static PyMethodDef methods[] = {
    {"resize", resize, METH_VARARGS,
     "resize(arrow_array, in_size, out_size, window, bicubic, vertical_first) -> bytearray\n\n"
     "Sizes are (height, width), the window is (top, left, height, width) of the resized image."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_window", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__window(void) { return PyModule_Create(&module); }
