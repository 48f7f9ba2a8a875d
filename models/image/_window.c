/* A window of an RGB image resized as Pillow does it, to the bit: the arithmetic of its Resample.c.
 *
 * Only what the window needs is computed, four channels at a time, of an image of Pillow's or of a JPEG, which is decoded
 * no further than that (`_jpeg.c`). `resample.py` has the same in Python, and is what runs where this module was not
 * built. Build without contraction of a*b+c (-ffp-contract=off): Pillow's weights are rounded after each operation. */

#define Py_LIMITED_API 0x030A0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "_jpeg.h"

#define PRECISION_BITS (32 - 8 - 2)
#define HALF (1 << (PRECISION_BITS - 1))

typedef int32_t Four __attribute__((vector_size(16)));
typedef uint8_t FourBytes __attribute__((vector_size(4)));

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__)
#define CLONES __attribute__((target_clones("avx2", "sse4.1", "default")))
#else
#define CLONES
#endif

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#define HAS_AVX2
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
    int32_t *weights; /* `taps` for each pixel; those past its `count` are zero */
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

/* One row of the result from byte `from` on, from `count` rows that lie `stride` bytes apart. */
CLONES static void down(const uint8_t *top, size_t stride, int from, int bytes, const int32_t *weight, int count,
                        int32_t *sums, uint8_t *out) {
    for (int x = from; x < bytes; x++) sums[x] = HALF;
    for (int k = 0; k < count; k++) {
        const uint8_t *row = top + k * stride;
        int32_t w = weight[k];
        for (int x = from; x < bytes; x++) sums[x] += w * row[x];
    }
    for (int x = from; x < bytes; x++) out[x] = clip(sums[x]);
}

#ifdef HAS_AVX2
/* The same two, 32 bytes at a time. A weight is split into high * 2^12 + low, two numbers of 16 bits, so that one
 * instruction multiplies and adds two pixels. The sums are whole numbers modulo 2^32: their order is of no account. */
#define LOW_BITS 12
#define AVX2 __attribute__((target("avx2")))

static inline int in_four(int taps) { return (taps + 3) / 4 * 4; }

static inline int32_t pair(int32_t a, int32_t b) { return (int32_t)((uint32_t)(a & 0xffff) | (uint32_t)b << 16); }

static inline int32_t pair_high(const int32_t *w) { return pair(w[0] >> LOW_BITS, w[1] >> LOW_BITS); }

static inline int32_t pair_low(const int32_t *w) {
    const int32_t mask = (1 << LOW_BITS) - 1;
    return pair(w[0] & mask, w[1] & mask);
}

AVX2 static inline __m256i whole_sum(__m256i high, __m256i low) {
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, LOW_BITS), low);
    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(HALF)), PRECISION_BITS);
}

/* Four taps at a time; the caller sees to it that `taps` is a multiple of four, and that the row has as many pixels
 * from each `first` on. `weights` are pairs: high of 0 1, high of 2 3, low of 0 1, low of 2 3. */
AVX2 static void across_avx2(const uint8_t *row, uint8_t *out, const Axis *axis, const int *first,
                             const int32_t *pairs, int offset) {
    const __m256i spread =
        _mm256_setr_epi8(0, -1, 4, -1, 1, -1, 5, -1, 2, -1, 6, -1, 3, -1, 7, -1, /* pixels 0 and 1 */
                         8, -1, 12, -1, 9, -1, 13, -1, 10, -1, 14, -1, 11, -1, 15, -1);
    const __m256i highs = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), lows = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    for (int i = 0; i < axis->length; i++) {
        const uint8_t *pixel = row + 4 * (size_t)(first[i] - offset);
        const int32_t *pair = pairs + (size_t)i * axis->taps;
        __m256i high = _mm256_setzero_si256(), low = high;
        for (int k = 0; k < axis->taps; k += 4) {
            __m128i four = _mm_loadu_si128((const __m128i *)(pixel + 4 * k));
            __m256i pixels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(four), spread);
            __m256i weights = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(pair + k)));
            __m256i w_high = _mm256_permutevar8x32_epi32(weights, highs);
            __m256i w_low = _mm256_permutevar8x32_epi32(weights, lows);
            high = _mm256_add_epi32(high, _mm256_madd_epi16(pixels, w_high));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(pixels, w_low));
        }
        __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, LOW_BITS), low);
        __m128i total = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        total = _mm_srai_epi32(_mm_add_epi32(total, _mm_set1_epi32(HALF)), PRECISION_BITS);
        total = _mm_packs_epi32(total, total);
        int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(total, total));
        memcpy(out + 4 * i, &bytes, 4);
    }
}

/* Bytes in multiples of 16; gives back how many it did. Two rows at a time; an odd last one is paired with itself and
 * a weight of zero. */
AVX2 static int down_avx2(const uint8_t *top, size_t stride, int bytes, const int32_t *weight, int count,
                          uint8_t *out) {
    int x = 0;
    for (; x + 16 <= bytes; x += 16) {
        __m256i high0 = _mm256_setzero_si256(), low0 = high0, high1 = high0, low1 = high0;
        for (int k = 0; k < count; k += 2) {
            const uint8_t *row = top + k * stride + x;
            int32_t w[2] = {weight[k], k + 1 < count ? weight[k + 1] : 0};
            __m128i a = _mm_loadu_si128((const __m128i *)row);
            __m128i b = k + 1 < count ? _mm_loadu_si128((const __m128i *)(row + stride)) : a;
            __m256i left = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
            __m256i right = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
            __m256i w_high = _mm256_set1_epi32(pair_high(w)), w_low = _mm256_set1_epi32(pair_low(w));
            high0 = _mm256_add_epi32(high0, _mm256_madd_epi16(left, w_high));
            low0 = _mm256_add_epi32(low0, _mm256_madd_epi16(left, w_low));
            high1 = _mm256_add_epi32(high1, _mm256_madd_epi16(right, w_high));
            low1 = _mm256_add_epi32(low1, _mm256_madd_epi16(right, w_low));
        }
        __m256i words = _mm256_packs_epi32(whole_sum(high0, low0), whole_sum(high1, low1));
        words = _mm256_permute4x64_epi64(words, 0xd8);
        __m128i result = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(out + x), result);
    }
    return x;
}

/* The axis for `across_avx2`, of pixels up to `end`: those whose taps would reach past it begin earlier, with weights
 * of zero. */
static int *in_fours(const Axis *axis, int end, Axis *wide, int32_t **pairs) {
    *wide = *axis;
    wide->taps = in_four(axis->taps);
    int *first = malloc(axis->length * sizeof(int));
    int32_t *four = malloc(wide->taps * sizeof(int32_t));
    *pairs = malloc((size_t)axis->length * wide->taps * sizeof(int32_t));
    if (!first || !four || !*pairs) {
        free(first);
        free(four);
        free(*pairs);
        return NULL;
    }
    for (int i = 0; i < axis->length; i++) {
        int over = axis->first[i] + wide->taps - end, shift = over > 0 ? over : 0;
        first[i] = axis->first[i] - shift;
        memset(four, 0, wide->taps * sizeof(int32_t));
        memcpy(four + shift, axis->weights + (size_t)i * axis->taps, axis->count[i] * sizeof(int32_t));
        for (int k = 0; k < wide->taps; k += 4) {
            int32_t *pair = *pairs + (size_t)i * wide->taps + k;
            pair[0] = pair_high(four + k);
            pair[1] = pair_high(four + k + 2);
            pair[2] = pair_low(four + k);
            pair[3] = pair_low(four + k + 2);
        }
    }
    free(four);
    return first;
}
#endif

/* The pass across, of rows whose first pixel is `offset`, ready for some of them at a time. */
typedef struct {
    const Axis *axis;
    int offset, *first; /* NULL: one pixel at a time */
    Axis wide;
    int32_t *pairs;
    uint8_t *out;
} Across;

static Across across_of(const Axis *axis, int offset, uint8_t *out) {
    Across made = {.axis = axis, .offset = offset, .out = out};
#ifdef HAS_AVX2
    int last = axis->length - 1, end = axis->first[last] + axis->count[last]; /* a row may have no more */
    if (axis->in_size != axis->out_size && in_four(axis->taps) <= end - offset && __builtin_cpu_supports("avx2"))
        made.first = in_fours(axis, end, &made.wide, &made.pairs);
#endif
    return made;
}

static void drop_across(Across *made) {
    if (!made->first) return;
    free(made->first);
    free(made->pairs);
}

/* `count` rows, of which the first becomes row `first` of the result: a `Sink`. */
static void some_across(void *to, const uint8_t *source, size_t stride, int first, int count) {
    const Across *made = to;
    const Axis *axis = made->axis;
    size_t width = 4 * (size_t)axis->length;
    for (int y = 0; y < count; y++) {
        const uint8_t *row = source + y * stride;
        uint8_t *out = made->out + (size_t)(first + y) * width;
        if (axis->in_size == axis->out_size)
            memcpy(out, row + 4 * (size_t)(axis->start - made->offset), width);
#ifdef HAS_AVX2
        else if (made->first)
            across_avx2(row, out, &made->wide, made->first, made->pairs, made->offset);
#endif
        else
            across(row, out, axis, made->offset);
    }
}

static void all_down(const uint8_t *source, size_t stride, int bytes, const Axis *axis, int offset,
                     int32_t *sums, uint8_t *out) {
#ifdef HAS_AVX2
    int avx2 = __builtin_cpu_supports("avx2");
#endif
    for (int y = 0; y < axis->length; y++) {
        const uint8_t *top = source + (size_t)(axis->first[y] - offset) * stride;
        if (axis->in_size == axis->out_size)
            memcpy(out + (size_t)y * bytes, top, bytes);
        else {
            const int32_t *weights = axis->weights + (size_t)y * axis->taps;
            int done = 0;
#ifdef HAS_AVX2
            if (avx2) done = down_avx2(top, stride, bytes, weights, axis->count[y], out + (size_t)y * bytes);
#endif
            down(top, stride, done, bytes, weights, axis->count[y], sums, out + (size_t)y * bytes);
        }
    }
}

/* Pixels of four bytes to pixels of three. */
static void without_fourth(const uint8_t *pixels, size_t count, uint8_t *out) {
    for (size_t i = 0; i < count; i++) {
        out[3 * i] = pixels[4 * i];
        out[3 * i + 1] = pixels[4 * i + 1];
        out[3 * i + 2] = pixels[4 * i + 2];
    }
}

/* Pixels of four bytes to three planes of numbers, from a table of 256 for each. */
static void look_up(const uint8_t *pixels, size_t count, const float *table, float *out) {
    for (size_t i = 0; i < count; i++) {
        out[i] = table[pixels[4 * i]];
        out[count + i] = table[256 + pixels[4 * i + 1]];
        out[2 * count + i] = table[512 + pixels[4 * i + 2]];
    }
}

/* What a window is made of: a whole image of Pillow's, or a JPEG and its EXIF orientation, 1 to 8. */
typedef struct {
    const uint8_t *pixels;
    const uint8_t *jpeg;
    size_t jpeg_bytes;
    int orientation;
} Source;

/* Where the rows of a box of a JPEG go, to lie upright: `first` is the place of its first pixel, and `right` and `below`
 * are how many bytes further those beside and below it lie. */
typedef struct {
    uint8_t *first;
    ptrdiff_t right, below;
    int columns;
} Upright;

static void lay_upright(void *to, const uint8_t *rows, size_t stride, int first, int count) {
    const Upright *upright = to;
    for (int y = 0; y < count; y++) {
        uint8_t *out = upright->first + (first + y) * upright->below;
        if (upright->right == 4)
            memcpy(out, rows + y * stride, 4 * (size_t)upright->columns);
        else
            for (int x = 0; x < upright->columns; x++, out += upright->right)
                memcpy(out, rows + y * stride + 4 * (size_t)x, 4);
    }
}

/* The pixels of a box, turned upright, into `pixels`, as `jpeg_decode`. The box and `width` x `height` are those of the
 * upright image. */
static int decode_upright(const Source *source, int width, int height, Box box, uint8_t *pixels) {
    /* Pixel (x, y) of the upright image is (x, y) of the file, with x and y swapped, then counted from the other edge. */
    int o = source->orientation, swapped = o >= 5, from_right = o == 2 || o == 3 || o == 7 || o == 8,
        from_bottom = o == 3 || o == 4 || o == 6 || o == 7;
    Box inner = swapped ? (Box){box.top, box.left, box.bottom, box.right} : box;
    int in_width = swapped ? height : width, in_height = swapped ? width : height;
    if (from_right) inner = (Box){in_width - inner.right, inner.top, in_width - inner.left, inner.bottom};
    if (from_bottom) inner = (Box){inner.left, in_height - inner.bottom, inner.right, in_height - inner.top};
    int columns = inner.right - inner.left, rows = inner.bottom - inner.top;
    ptrdiff_t row = 4 * (ptrdiff_t)(box.right - box.left);
    Upright upright = {pixels, swapped ? row : 4, swapped ? 4 : row, columns};
    if (from_right) {
        upright.first += upright.right * (columns - 1);
        upright.right = -upright.right;
    }
    if (from_bottom) {
        upright.first += upright.below * (rows - 1);
        upright.below = -upright.below;
    }
    return jpeg_decode(source->jpeg, source->jpeg_bytes, in_width, in_height, inner, lay_upright, &upright);
}

/* 1: it is in `result`. 0: the JPEG is not one for this. -1: no memory. */
static int compute(const Source *source, Axis *rows, Axis *columns, int cubic, int vertical_first, const float *table,
                   void *result) {
    int good = fill(rows, cubic) && fill(columns, cubic) ? 1 : -1;
    uint8_t *between = NULL, *pixels = NULL, *decoded = NULL;
    int32_t *sums = NULL;
    Across pass = {0};
    if (good == 1) {
        size_t stride = 4 * (size_t)columns->in_size, height = rows->length, width = columns->length;
        int top = rows->first[0], bottom = rows->first[height - 1] + rows->count[height - 1];
        int left = columns->first[0], right = columns->first[width - 1] + columns->count[width - 1];
        size_t middle = vertical_first ? height * (right - left) : (bottom - top) * width;
        int bytes = 4 * (vertical_first ? right - left : (int)width);
        Box box = {left, top, right, bottom};
        const uint8_t *corner = source->pixels ? source->pixels + top * stride + 4 * (size_t)left : NULL;
        int as_it_comes = !corner && !vertical_first && source->orientation == 1;
        between = malloc(4 * middle);
        pixels = malloc(4 * height * width);
        sums = malloc(bytes * sizeof(int32_t));
        if (!between || !pixels || !sums) good = -1;
        if (good == 1 && !corner && !as_it_comes) {
            stride = 4 * (size_t)(right - left);
            corner = decoded = malloc(stride * (bottom - top));
            good = decoded ? decode_upright(source, columns->in_size, rows->in_size, box, decoded) : -1;
        }
        if (good == 1) pass = across_of(columns, left, vertical_first ? pixels : between);
        if (good == 1 && vertical_first) {
            all_down(corner, stride, bytes, rows, top, sums, between);
            some_across(&pass, between, bytes, 0, (int)height);
        } else if (good == 1) {
            if (as_it_comes)
                good = jpeg_decode(source->jpeg, source->jpeg_bytes, columns->in_size, rows->in_size, box, some_across,
                                   &pass);
            else
                some_across(&pass, corner, stride, 0, bottom - top);
            if (good == 1) all_down(between, bytes, bytes, rows, top, sums, pixels);
        }
        if (good == 1 && table)
            look_up(pixels, height * width, table, result);
        else if (good == 1)
            without_fourth(pixels, height * width, result);
    }
    drop_across(&pass);
    free(decoded);
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

typedef struct {
    Axis rows, columns;
    int cubic, vertical_first;
    const char *table;
    Py_ssize_t table_bytes;
} Arguments;

#define SIZES "(ii)(ii)(iiii)pp|y#"
#define PLACES(a)                                                                                                      \
    &(a).rows.in_size, &(a).columns.in_size, &(a).rows.out_size, &(a).columns.out_size, &(a).rows.start,               \
        &(a).columns.start, &(a).rows.length, &(a).columns.length, &(a).cubic, &(a).vertical_first, &(a).table,        \
        &(a).table_bytes

static PyObject *made_of(const Source *source, Arguments *given) {
    Py_ssize_t each = 3 * (given->table ? sizeof(float) : 1);
    PyObject *result = PyByteArray_FromStringAndSize(NULL, each * given->rows.length * given->columns.length);
    if (result == NULL) return NULL;
    void *out = PyByteArray_AsString(result);
    int good;
    Py_BEGIN_ALLOW_THREADS
    good = compute(source, &given->rows, &given->columns, given->cubic, given->vertical_first,
                   (const float *)given->table, out);
    Py_END_ALLOW_THREADS
    if (good == 1) return result;
    Py_DECREF(result);
    if (good == 0) Py_RETURN_NONE;
    return PyErr_NoMemory();
}

static int is_sound(const Arguments *given) {
    if (given->table && given->table_bytes != 3 * 256 * sizeof(float)) {
        PyErr_SetString(PyExc_ValueError, "a table has 3 x 256 numbers");
        return 0;
    }
    if (!within(&given->rows) || !within(&given->columns)) {
        PyErr_SetString(PyExc_ValueError, "no RGB image of this size, or no window of it");
        return 0;
    }
    return 1;
}

static PyObject *resize(PyObject *self, PyObject *arguments) {
    (void)self;
    PyObject *capsule;
    Arguments given = {0};
    if (!PyArg_ParseTuple(arguments, "O" SIZES, &capsule, PLACES(given)) || !is_sound(&given)) return NULL;
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, "arrow_array");
    if (array == NULL) return NULL;
    if (array->n_children != 1 || array->offset || array->children[0]->offset || array->children[0]->n_buffers != 2 ||
        array->length != (int64_t)given.rows.in_size * given.columns.in_size ||
        array->children[0]->length != 4 * array->length) {
        PyErr_SetString(PyExc_ValueError, "no RGB image of this size, or no window of it");
        return NULL;
    }
    Source source = {.pixels = array->children[0]->buffers[1]};
    return made_of(&source, &given);
}

static PyObject *resize_jpeg(PyObject *self, PyObject *arguments) {
    (void)self;
    Arguments given = {0};
    const char *jpeg;
    Py_ssize_t bytes;
    int orientation;
    if (!PyArg_ParseTuple(arguments, "y#i" SIZES, &jpeg, &bytes, &orientation, PLACES(given)) || !is_sound(&given))
        return NULL;
    if (orientation < 1 || orientation > 8) {
        PyErr_SetString(PyExc_ValueError, "an orientation is 1 to 8");
        return NULL;
    }
    Source source = {.jpeg = (const uint8_t *)jpeg, .jpeg_bytes = bytes, .orientation = orientation};
    return made_of(&source, &given);
}

static PyObject *bind(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *path;
    if (!PyArg_ParseTuple(arguments, "s", &path)) return NULL;
    return PyBool_FromLong(jpeg_bind(path));
}

/* A few microseconds, so the interpreter is kept: whoever waits for it would take it for far longer. */
static PyObject *count_scans(PyObject *self, PyObject *jpeg) {
    (void)self;
    char *at;
    Py_ssize_t bytes, count = 0;
    if (PyBytes_AsStringAndSize(jpeg, &at, &bytes)) return NULL;
    for (char *end = at + bytes; end - at > 1 && (at = memchr(at, 0xff, (size_t)(end - at - 1))); at++)
        count += (uint8_t)at[1] == 0xda;
    return PyLong_FromSsize_t(count);
}

static PyMethodDef methods[] = {
    {"count_scans", count_scans, METH_O,
     "count_scans(bytes) -> int\n\n"
     "How many markers of a start of scan there are in the file of a JPEG."},
    {"resize", resize, METH_VARARGS,
     "resize(arrow_array, in_size, out_size, window, bicubic, vertical_first, table=...) -> bytearray\n\n"
     "Sizes are (height, width), the window is (top, left, height, width) of the resized image. The result has\n"
     "uint8 of shape (height, width, 3). With a table of float32, shape (3, 256), it has what stands there for\n"
     "each value: float32 of shape (3, height, width)."},
    {"resize_jpeg", resize_jpeg, METH_VARARGS,
     "resize_jpeg(bytes, orientation, in_size, out_size, window, bicubic, vertical_first, table=...)\n"
     "-> bytearray | None\n\n"
     "As `resize`, of the file of a JPEG turned upright from its EXIF orientation, 1 to 8; `in_size` is the upright\n"
     "one. None where Pillow has to decode it: it is damaged, of another size, or of a kind that is rare."},
    {"bind", bind, METH_VARARGS,
     "bind(path) -> bool\n\n"
     "Whether `resize_jpeg` can be called from now on: by the libjpeg-turbo that a loaded library is linked with."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_window", NULL, -1, methods, NULL, NULL, NULL, NULL};

/* What `resample.py` asks for: a module that was built before `resize` took its arguments as now has another. */
#define REVISION 3

PyMODINIT_FUNC PyInit__window(void) {
    PyObject *made = PyModule_Create(&module);
    if (made && PyModule_AddIntConstant(made, "REVISION", REVISION)) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}
