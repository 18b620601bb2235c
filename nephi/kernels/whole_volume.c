/* Kernels that read a whole volume in one pass: smoothing with downsampling, and foreground profiles. The Python twins
 * are in images/pyramid.py and images/image.py. Axes are those of memory, slowest first.
 *
 * Smoothing sums each slice over the middle axis into a plane, adds the plane to the outputs along the slowest axis
 * whose bands contain it, and sums a completed output along the fastest axis: only as many planes are stored as bands
 * overlap. Threads process ranges of outputs along the slow axis; the slices that two ranges share are read twice.
 */
#include <stdlib.h>

#include "pool.h"
#include "volume.h"

/* `count` outputs along an axis, each the weighted sum of `width` inputs that start at `first`. */
typedef struct {
    int64_t count, width;
    const int64_t *first; /* (count), ascending */
    const float *weights; /* (count, width) */
} Band;

#define DEFINE_ROW(name, type)                                                                                    \
    INLINE void name(const void *voxels, int64_t start, int64_t count, float low, float scale, float *row) {      \
        for (int64_t i = 0; i < count; i++) row[i] = ((float)((const type *)voxels)[start + i] - low) * scale;    \
    }
DEFINE_ROW(row_of_float, float)
DEFINE_ROW(row_of_double, double)
DEFINE_ROW(row_of_uint8, uint8_t)
DEFINE_ROW(row_of_int16, int16_t)
DEFINE_ROW(row_of_int32, int32_t)

INLINE void read_row(const Volume *v, int64_t slow, int64_t middle, float *row) {
    const int64_t start = slow * v->stride[0] + middle * v->stride[1], count = v->shape[2];
    switch (v->type) {
        case 0: row_of_float(v->voxels, start, count, v->low, v->scale, row); break;
        case 1: row_of_double(v->voxels, start, count, v->low, v->scale, row); break;
        case 2: row_of_uint8(v->voxels, start, count, v->low, v->scale, row); break;
        case 3: row_of_int16(v->voxels, start, count, v->low, v->scale, row); break;
        default: row_of_int32(v->voxels, start, count, v->low, v->scale, row);
    }
    for (int64_t i = 0; i < count && v->clamped; i++) row[i] = row[i] < 0.0f ? 0.0f : (row[i] > 1.0f ? 1.0f : row[i]);
}

/* total += weight * values */
INLINE void add(float *restrict total, const float *restrict values, float weight, int64_t count) {
    for (int64_t i = 0; i < count; i++) total[i] += weight * values[i];
}

/* Sum one slice over the middle axis: plane (middle outputs, fast inputs). */
INLINE void smooth_slice(const Volume *v, const Band *band, int64_t slow, float *row, float *plane) {
    const int64_t length = v->shape[2];
    int64_t current = 0; /* outputs before it are complete */
    memset(plane, 0, sizeof(float) * (size_t)(band->count * length));
    for (int64_t middle = 0; middle < v->shape[1]; middle++) {
        while (current < band->count && band->first[current] + band->width <= middle) current++;
        if (current == band->count) break;
        if (band->first[current] > middle) continue;
        read_row(v, slow, middle, row);
        for (int64_t out = current; out < band->count && band->first[out] <= middle; out++)
            add(plane + out * length, row, band->weights[out * band->width + middle - band->first[out]], length);
    }
}

/* Largest number of bands that contain the same input. */
static int64_t overlap(const Band *band) {
    int64_t most = 1, current = 0;
    for (int64_t out = 0; out < band->count; out++) {
        while (band->first[current] + band->width <= band->first[out]) current++;
        most = out - current + 1 > most ? out - current + 1 : most;
    }
    return most;
}

typedef struct {
    const Volume *v;
    const Band *bands;
    float *outputs;
    float *memory; /* of each thread: a row, a slice and the sums of `kept` outputs */
    int64_t kept;
} Smoothing;

INLINE int64_t thread_memory(const Volume *v, const Band *bands, int64_t kept) {
    return v->shape[2] * (1 + (1 + kept) * bands[1].count);
}

/* Sum a completed plane (middle outputs, fast inputs) along the fast axis. */
INLINE void smooth_rows(const Band *middle, const Band *fast, int64_t length, const float *plane, float *outputs) {
    for (int64_t m = 0; m < middle->count; m++)
        for (int64_t f = 0; f < fast->count; f++) {
            const float *from = plane + m * length + fast->first[f];
            float sum = 0.0f;
            for (int64_t t = 0; t < fast->width; t++) sum += fast->weights[f * fast->width + t] * from[t];
            outputs[m * fast->count + f] = sum;
        }
}

/* Compute the outputs `begin` to `end` along the slow axis. */
static void smooth_block(const void *job, int64_t begin, int64_t end, int slot) {
    const Smoothing *s = job;
    const Band *slow = s->bands, *middle = s->bands + 1, *fast = s->bands + 2;
    const int64_t length = s->v->shape[2], plane = middle->count * length;
    float *row = s->memory + slot * thread_memory(s->v, s->bands, s->kept), *slice = row + length, *sums = slice + plane;
    int64_t current = begin;
    for (int64_t i = slow->first[begin]; i < s->v->shape[0] && current < end; i++) {
        if (slow->first[current] > i) continue;
        smooth_slice(s->v, middle, i, row, slice);
        for (int64_t out = current; out < end && slow->first[out] <= i; out++) {
            float *sum = sums + out % s->kept * plane;
            if (slow->first[out] == i) memset(sum, 0, sizeof(float) * (size_t)plane);
            add(sum, slice, slow->weights[out * slow->width + i - slow->first[out]], plane);
        }
        for (; current < end && slow->first[current] + slow->width <= i + 1; current++)
            smooth_rows(middle, fast, length, sums + current % s->kept * plane,
                        s->outputs + current * middle->count * fast->count);
    }
}

/* Smooth a volume whose axes are given slowest first, the last one without gaps, to contiguous outputs (slow, middle,
 * fast); bands in the same order. Returns 1 when memory is exhausted. An output does not depend on the range in which it
 * is computed, so that there are only as many ranges as threads. */
EXPORT int nephi_smooth(const Volume *v, const Band *bands, float *outputs, int64_t threads) {
    const int64_t count = bands->count, used = slots(count, 8, threads), size = count / used + 1;
    const int64_t kept = overlap(bands);
    float *memory = malloc(sizeof(float) * (size_t)(used * thread_memory(v, bands, kept)));
    if (!memory) return 1;
    const Smoothing smoothing = {v, bands, outputs, memory, kept};
    run_blocks(count, size, used, smooth_block, &smoothing);
    free(memory);
    return 0;
}

/* Return the number of voxels above 0 in a row, and add 1 to `columns` at each of them. */
#define DEFINE_COUNT(name, type)                                                                                  \
    INLINE int64_t name(const void *voxels, int64_t start, int64_t count, int32_t *columns) {                     \
        const type *row = (const type *)voxels + start;                                                           \
        int32_t found = 0;                                                                                        \
        for (int64_t i = 0; i < count; i++) {                                                                     \
            const int32_t inside = row[i] > 0;                                                                    \
            found += inside;                                                                                      \
            columns[i] += inside;                                                                                 \
        }                                                                                                         \
        return found;                                                                                             \
    }
DEFINE_COUNT(count_float, float)
DEFINE_COUNT(count_double, double)
DEFINE_COUNT(count_uint8, uint8_t)
DEFINE_COUNT(count_int16, int16_t)
DEFINE_COUNT(count_int32, int32_t)

INLINE int64_t count_row(const Volume *v, int64_t start, int32_t *columns) {
    switch (v->type) {
        case 0: return count_float(v->voxels, start, v->shape[2], columns);
        case 1: return count_double(v->voxels, start, v->shape[2], columns);
        case 2: return count_uint8(v->voxels, start, v->shape[2], columns);
        case 3: return count_int16(v->voxels, start, v->shape[2], columns);
        default: return count_int32(v->voxels, start, v->shape[2], columns);
    }
}

typedef struct {
    const Volume *v;
    int64_t *slow;    /* of every slice across the slow axis */
    int64_t *others;  /* [slots][middle + fast]: of slices across the other axes, each thread's part */
    int32_t *columns; /* [slots][fast]: of one slow slice */
} Counting;

static void count_block(const void *job, int64_t begin, int64_t end, int slot) {
    const Counting *c = job;
    const Volume *v = c->v;
    int32_t *columns = c->columns + slot * v->shape[2];
    int64_t *middle = c->others + slot * (v->shape[1] + v->shape[2]), *fast = middle + v->shape[1];
    for (int64_t i = begin; i < end; i++) {
        memset(columns, 0, sizeof(int32_t) * (size_t)v->shape[2]);
        for (int64_t j = 0; j < v->shape[1]; j++) {
            const int64_t found = count_row(v, i * v->stride[0] + j * v->stride[1], columns);
            c->slow[i] += found;
            middle[j] += found;
        }
        for (int64_t k = 0; k < v->shape[2]; k++) fast[k] += columns[k];
    }
}

/* Add the number of voxels above 0 in every slice to `counts`, which starts with zeros: slices of the slowest axis,
 * then of the middle, then of the fastest. Columns of a slice are summed in 32 bits. Returns 1 when memory is
 * exhausted. */
EXPORT int nephi_foreground_profiles(const Volume *v, int64_t *counts, int64_t threads) {
    const int64_t block = 4, used = slots(v->shape[0], block, threads), others = v->shape[1] + v->shape[2];
    const size_t size = (size_t)used * ((size_t)others * sizeof(int64_t) + (size_t)v->shape[2] * sizeof(int32_t));
    int64_t *memory = calloc(size, 1);
    if (!memory) return 1;
    const Counting counting = {v, counts, memory, (int32_t *)(memory + used * others)};
    run_blocks(v->shape[0], block, threads, count_block, &counting);
    for (int64_t slot = 0; slot < used; slot++)
        for (int64_t i = 0; i < others; i++) counts[v->shape[0] + i] += memory[slot * others + i];
    free(memory);
    return 0;
}
