/* How many voxels of a mask lie in each slice across each axis. The Python twin is images/image.py. */
#include <stdlib.h>

#include "volume.h"

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
