/* Smoothing and thinning of a volume along all axes in one pass over its voxels. The Python twin is images/pyramid.py.
 *
 * Axes are those of memory, slowest first. Each slice is summed over the middle axis into a thinned plane, each plane
 * into the outputs along the slowest axis whose bands hold it, and an output that is complete is thinned along the
 * fastest axis: only as many planes are kept as bands overlap.
 */
#include <stdlib.h>

#include "volume.h"

/* `count` outputs along an axis, each the weighted sum of `width` inputs from `first` on. */
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

/* One slice, summed over the middle axis: plane (middle outputs, fast inputs). */
INLINE void thin_slice(const Volume *v, const Band *band, int64_t slow, float *row, float *plane) {
    const int64_t length = v->shape[2];
    int64_t begun = 0; /* outputs before it are complete */
    memset(plane, 0, sizeof(float) * (size_t)(band->count * length));
    for (int64_t middle = 0; middle < v->shape[1]; middle++) {
        while (begun < band->count && band->first[begun] + band->width <= middle) begun++;
        if (begun == band->count) break;
        if (band->first[begun] > middle) continue;
        read_row(v, slow, middle, row);
        for (int64_t out = begun; out < band->count && band->first[out] <= middle; out++)
            add(plane + out * length, row, band->weights[out * band->width + middle - band->first[out]], length);
    }
}

/* Most bands that any one input lies in. */
static int64_t overlap(const Band *band) {
    int64_t most = 1, begun = 0;
    for (int64_t out = 0; out < band->count; out++) {
        while (band->first[begun] + band->width <= band->first[out]) begun++;
        most = out - begun + 1 > most ? out - begun + 1 : most;
    }
    return most;
}

/* A volume whose axes are given slowest first, the last one without gaps, to outputs (slow, middle, fast), contiguous;
 * bands in the same order. Returns 1 when memory runs out. */
EXPORT int nephi_smooth(const Volume *v, const Band *bands, float *outputs) {
    const Band *slow = bands, *middle = bands + 1, *fast = bands + 2;
    const int64_t length = v->shape[2], plane = middle->count * length, kept = overlap(slow);
    float *memory = malloc(sizeof(float) * (size_t)(length + (1 + kept) * plane));
    if (!memory) return 1;
    float *row = memory, *slice = memory + length, *sums = slice + plane;
    int64_t begun = 0;
    for (int64_t i = 0; i < v->shape[0] && begun < slow->count; i++) {
        if (slow->first[begun] > i) continue;
        thin_slice(v, middle, i, row, slice);
        for (int64_t out = begun; out < slow->count && slow->first[out] <= i; out++) {
            float *sum = sums + out % kept * plane;
            if (slow->first[out] == i) memset(sum, 0, sizeof(float) * (size_t)plane);
            add(sum, slice, slow->weights[out * slow->width + i - slow->first[out]], plane);
        }
        for (; begun < slow->count && slow->first[begun] + slow->width <= i + 1; begun++)
            for (int64_t m = 0; m < middle->count; m++) {
                const float *from = sums + begun % kept * plane + m * length;
                float *to = outputs + (begun * middle->count + m) * fast->count;
                for (int64_t f = 0; f < fast->count; f++) {
                    float sum = 0.0f;
                    for (int64_t t = 0; t < fast->width; t++)
                        sum += fast->weights[f * fast->width + t] * from[fast->first[f] + t];
                    to[f] = sum;
                }
            }
    }
    free(memory);
    return 0;
}

/* ---- Foreground profiles. The Python twin is images/image.py. ---- */

/* Voxels above 0 of one row, and the same added up for each place in the row. */
#define DEFINE_COUNT(name, type)                                                                                  \
    INLINE int64_t name(const void *voxels, int64_t start, int64_t count, int32_t *places) {                      \
        const type *row = (const type *)voxels + start;                                                           \
        int32_t found = 0;                                                                                        \
        for (int64_t i = 0; i < count; i++) {                                                                     \
            const int32_t inside = row[i] > 0;                                                                    \
            found += inside;                                                                                      \
            places[i] += inside;                                                                                  \
        }                                                                                                         \
        return found;                                                                                             \
    }
DEFINE_COUNT(count_float, float)
DEFINE_COUNT(count_double, double)
DEFINE_COUNT(count_uint8, uint8_t)
DEFINE_COUNT(count_int16, int16_t)
DEFINE_COUNT(count_int32, int32_t)

INLINE int64_t count_row(const Volume *v, int64_t start, int32_t *places) {
    switch (v->type) {
        case 0: return count_float(v->voxels, start, v->shape[2], places);
        case 1: return count_double(v->voxels, start, v->shape[2], places);
        case 2: return count_uint8(v->voxels, start, v->shape[2], places);
        case 3: return count_int16(v->voxels, start, v->shape[2], places);
        default: return count_int32(v->voxels, start, v->shape[2], places);
    }
}

/* `counts` holds the slices of the slowest axis, of the middle one, of the fastest one, one after the other; it comes
 * filled with zeros. A slice is added up in 32 bits before it joins. Returns 1 when memory runs out. */
EXPORT int nephi_survey(const Volume *v, int64_t *counts) {
    int64_t *slow = counts, *middle = slow + v->shape[0], *fast = middle + v->shape[1];
    int32_t *places = malloc(sizeof(int32_t) * (size_t)v->shape[2]);
    if (!places) return 1;
    for (int64_t i = 0; i < v->shape[0]; i++) {
        memset(places, 0, sizeof(int32_t) * (size_t)v->shape[2]);
        for (int64_t j = 0; j < v->shape[1]; j++) {
            const int64_t found = count_row(v, i * v->stride[0] + j * v->stride[1], places);
            slow[i] += found;
            middle[j] += found;
        }
        for (int64_t k = 0; k < v->shape[2]; k++) fast[k] += places[k];
    }
    free(places);
    return 0;
}
