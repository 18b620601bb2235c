/* Multilinear interpolation within the cells of an image, with gradients, which are 0 where the window clamps. */
#ifndef NEPHI_VOXEL_CELLS_H
#define NEPHI_VOXEL_CELLS_H

#include "volume.h"

/* The cells that contain the lanes' points: index of the first voxel, position within the cell, and 0 where the point
 * was clamped to the image, else 1. */
typedef struct {
    int_lanes first; /* 32 bits: volumes must span fewer than 2^31 voxels */
    lanes fraction[MAX_DIMENSION], inside[MAX_DIMENSION];
} Cells;

INLINE void find_cells(const Volume *v, const int D, const lanes *points, Cells *cells) {
    cells->first = (int_lanes){0};
    for (int i = 0; i < D; i++) {
        const lanes x = points[i], last = fill((float)(v->shape[i] - 1));
        const lanes bounded = blend(x < 0.0f, fill(0.0f), blend(x > last, last, x)); /* NaN stays NaN */
        const lanes low = blend(bounded > 0.0f, bounded, fill(0.0f));
        int_lanes base = __builtin_convertvector(low, int_lanes);
        const int_lanes last_base = (int_lanes){0} + (int32_t)(v->shape[i] > 1 ? v->shape[i] - 2 : 0);
        base = (base & (base < last_base)) | (last_base & ~(base < last_base));
        cells->fraction[i] = bounded - __builtin_convertvector(base, lanes);
        cells->inside[i] = blend(bounded == x, fill(1.0f), fill(0.0f));
        cells->first += base * (int32_t)v->stride[i];
    }
}

/* Offset in voxels from a cell's first voxel to corner c; bit i of c: upper side of axis i. */
INLINE int64_t corner_shift(const Volume *v, const int D, int c) {
    int64_t shift = 0;
    for (int i = 0; i < D; i++) shift += (c >> i & 1) && v->shape[i] > 1 ? v->stride[i] : 0;
    return shift;
}

#define DEFINE_READ(name, type)                                                                              \
    INLINE void name(const Volume *v, const int D, const Cells *cells, lanes *corners) {                     \
        for (int c = 0; c < 1 << D; c++) {                                                                   \
            const type *voxels = (const type *)v->voxels + corner_shift(v, D, c);                            \
            for (int lane = 0; lane < LANES; lane++) corners[c][lane] = (float)voxels[cells->first[lane]];   \
        }                                                                                                    \
    }
DEFINE_READ(read_float, float)
DEFINE_READ(read_double, double)
DEFINE_READ(read_uint8, uint8_t)
DEFINE_READ(read_int16, int16_t)
DEFINE_READ(read_int32, int32_t)

/* Load the voxels at the corners of the cells; idle lanes read valid voxels as well. */
INLINE void read(const Volume *v, const int D, const Cells *cells, lanes *corners) {
    switch (v->type) {
        case 0: read_float(v, D, cells, corners); break;
        case 1: read_double(v, D, cells, corners); break;
        case 2: read_uint8(v, D, cells, corners); break;
        case 3: read_int16(v, D, cells, corners); break;
        default: read_int32(v, D, cells, corners);
    }
}

/* Prefetch the voxels of the cells. */
INLINE void prefetch(const Volume *v, const int D, const Cells *cells) {
    static const int64_t bytes[] = {4, 8, 1, 2, 4};
    const int64_t size = bytes[v->type];
    const int fast = v->stride[0] == 1 ? 0 : D - 1; /* neighbours along the axis of stride 1 share a cache line */
    for (int c = 0; c < 1 << D; c++) {
        const char *voxels = (const char *)v->voxels + size * corner_shift(v, D, c);
        if (c >> fast & 1) continue;
        for (int lane = 0; lane < LANES; lane++) __builtin_prefetch(voxels + size * cells->first[lane]);
    }
}

/* Values in the cells and, with `slopes`, the gradient: element 4 * i of `gradient` is the derivative along axis i. */
INLINE lanes interpolate_cells(const Volume *v, const int D, const Cells *cells, const int slopes, lanes *gradient) {
    lanes corners[8];
    read(v, D, cells, corners);
    for (int i = 0; i < D; i++) { /* contract axis i, carrying the slopes of earlier axes along */
        const int half = 1 << (D - 1 - i);
        for (int j = 0; j < i && slopes; j++)
            for (int c = 0; c < half; c++)
                gradient[j * 4 + c] = gradient[j * 4 + 2 * c] +
                                      (gradient[j * 4 + 2 * c + 1] - gradient[j * 4 + 2 * c]) * cells->fraction[i];
        for (int c = 0; c < half; c++) {
            const lanes difference = corners[2 * c + 1] - corners[2 * c];
            if (slopes) gradient[i * 4 + c] = difference;
            corners[c] = corners[2 * c] + difference * cells->fraction[i];
        }
    }
    const lanes raw = (corners[0] - v->low) * v->scale;
    lanes value = raw;
    if (v->clamped) value = blend(raw < 0.0f, fill(0.0f), blend(raw > 1.0f, fill(1.0f), raw));
    for (int i = 0; i < D && slopes; i++)
        gradient[i * 4] *= v->scale * cells->inside[i] * blend(raw == value, fill(1.0f), fill(0.0f));
    return value;
}

#endif
