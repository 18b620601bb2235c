/* Multilinear interpolation of an image at points and on patches, with gradients, which are 0 where the window clamps.
 * The Python twin is geometry/interpolation.py. */
#include <stdlib.h>

#include "pool.h"
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

typedef struct {
    const Volume *v;
    const float *points;
    float *values, *gradients;
} Interpolation;

INLINE void interpolate_points(const Interpolation *n, const int D, int64_t begin, int64_t end) {
    for (int64_t start = begin; start < end; start += LANES) {
        const int64_t size = end - start < LANES ? end - start : LANES;
        lanes x[MAX_DIMENSION], gradient[4 * MAX_DIMENSION];
        Cells cells;
        for (int i = 0; i < D; i++) x[i] = load(n->points + start * D + i, D, size);
        find_cells(n->v, D, x, &cells);
        store(n->values + start, 1, size, interpolate_cells(n->v, D, &cells, n->gradients != 0, gradient));
        for (int i = 0; i < D && n->gradients; i++) store(n->gradients + start * D + i, D, size, gradient[i * 4]);
    }
}

static void interpolate_block(const void *job, int64_t begin, int64_t end, int slot) {
    const Interpolation *n = job;
    (void)slot;
    if (n->v->dimension == 3) interpolate_points(n, 3, begin, end);
    else interpolate_points(n, 2, begin, end);
}

/* Values (N) and, unless NULL, gradients (N, D) by voxel coordinates, at voxel points (N, D). */
EXPORT void nephi_interpolate(const Volume *v, int64_t count, const float *points, float *values, float *gradients,
                              int64_t threads) {
    const Interpolation interpolation = {v, points, values, gradients};
    run_blocks(count, 2048, threads, interpolate_block, &interpolation);
}

/* Patches of K samples at centre + matrix @ offset (world mm); without a matrix, the identity. */
typedef struct {
    const float *to_voxel, *origin; /* (D, D), (D): map world mm to voxel coordinates */
    int64_t samples;                /* K */
    const float *offsets;           /* (K, D) */
} Patches;

/* Memory of one thread: sample offsets in blocks of LANES, and the cells of the current and the next patch. */
typedef struct {
    int64_t blocks;
    lanes *offsets; /* [blocks][D], of all threads */
    Cells *cells;   /* [2][blocks] */
} Scratch;

/* Returns 0 when memory is exhausted; otherwise release with free(scratch->offsets). */
INLINE int allocate(const Patches *p, const int D, int threads, Scratch *scratch) {
    const int64_t blocks = (p->samples + LANES - 1) / LANES;
    const size_t shared = (size_t)(blocks * D) * sizeof(lanes), cells = 2 * (size_t)blocks * sizeof(Cells);
    lanes *offsets = aligned_alloc(sizeof(lanes), shared + (size_t)threads * cells);
    if (!offsets) return 0;
    for (int slot = 0; slot < threads; slot++)
        scratch[slot] = (Scratch){blocks, offsets, (Cells *)((char *)offsets + shared + (size_t)slot * cells)};
    for (int64_t block = 0; block < blocks; block++)
        for (int i = 0; i < D; i++) {
            const int64_t start = block * LANES, left = p->samples - start;
            offsets[block * D + i] = load(p->offsets + start * D + i, D, left < LANES ? left : LANES);
        }
    return 1;
}

/* Locate and prefetch the cells of one patch's samples, in blocks of LANES. Returns 1 if the centre lies inside the
 * image (border of half a voxel included), else 0. */
INLINE float prepare_patch(const Volume *v, const Patches *p, const int D, const float *centre, const float *matrix,
                           const Scratch *scratch, Cells *cells) {
    float centre_voxel[MAX_DIMENSION], step[MAX_DIMENSION][MAX_DIMENSION], inside = 1.0f;
    for (int i = 0; i < D; i++) {
        centre_voxel[i] = p->origin[i];
        for (int j = 0; j < D; j++) {
            centre_voxel[i] += p->to_voxel[i * D + j] * centre[j];
            step[i][j] = matrix ? 0.0f : p->to_voxel[i * D + j];
            for (int k = 0; k < D && matrix; k++) step[i][j] += p->to_voxel[i * D + k] * matrix[k * D + j];
        }
        if (!(centre_voxel[i] >= -0.5f && centre_voxel[i] <= (float)v->shape[i] - 0.5f)) inside = 0.0f;
    }
    for (int64_t block = 0; block < scratch->blocks; block++) {
        lanes x[MAX_DIMENSION];
        for (int i = 0; i < D; i++) {
            x[i] = fill(centre_voxel[i]);
            for (int j = 0; j < D; j++) x[i] += step[i][j] * scratch->offsets[block * D + j];
        }
        find_cells(v, D, x, cells + block);
        prefetch(v, D, cells + block);
    }
    return inside;
}

typedef struct {
    const Volume *v;
    const Patches *p;
    const float *centres, *matrices;
    float *values, *gradients, *inside;
    const Scratch *scratch; /* of each thread */
} PatchInterpolation;

/* Each patch is interpolated while the voxels of the next one are prefetched: scattered patches are rarely in the
 * cache. */
INLINE void interpolate_patches(const PatchInterpolation *n, const int D, int64_t begin, int64_t end,
                                const Scratch *scratch) {
    const int64_t K = n->p->samples;
    for (int64_t patch = begin; patch <= end; patch++) {
        if (patch < end) {
            const float *matrix = n->matrices ? n->matrices + patch * D * D : 0;
            Cells *cells = scratch->cells + patch % 2 * scratch->blocks;
            const float inside = prepare_patch(n->v, n->p, D, n->centres + patch * D, matrix, scratch, cells);
            if (n->inside) n->inside[patch] = inside;
        }
        const int64_t previous = patch - 1;
        for (int64_t start = 0; start < K && previous >= begin; start += LANES) {
            const int64_t size = K - start < LANES ? K - start : LANES;
            lanes gradient[4 * MAX_DIMENSION];
            const Cells *cells = scratch->cells + previous % 2 * scratch->blocks + start / LANES;
            const lanes values = interpolate_cells(n->v, D, cells, n->gradients != 0, gradient);
            store(n->values + previous * K + start, 1, size, values);
            for (int i = 0; i < D && n->gradients; i++)
                store(n->gradients + (previous * D + i) * K + start, 1, size, gradient[i * 4]);
        }
    }
}

static void interpolate_patches_block(const void *job, int64_t begin, int64_t end, int slot) {
    const PatchInterpolation *n = job;
    if (n->v->dimension == 3) interpolate_patches(n, 3, begin, end, n->scratch + slot);
    else interpolate_patches(n, 2, begin, end, n->scratch + slot);
}

/* Patches of a block: about 1,000 samples. */
INLINE int64_t patches_of_block(const Patches *p) { return p->samples < 1000 ? 1000 / p->samples : 1; }

/* Values (P, K) and, unless NULL, gradients (P, D, K) by voxel coordinates, and 1 or 0 for centres inside or outside of
 * the image (P). Returns 1 when memory is exhausted. */
EXPORT int nephi_interpolate_patches(const Volume *v, const Patches *p, int64_t count, const float *centres,
                                     const float *matrices, float *values, float *gradients, float *inside,
                                     int64_t threads) {
    const int64_t block = patches_of_block(p);
    Scratch scratch[MAX_THREADS];
    if (!allocate(p, (int)v->dimension, slots(count, block, threads), scratch)) return 1;
    const PatchInterpolation job = {v, p, centres, matrices, values, gradients, inside, scratch};
    run_blocks(count, block, threads, interpolate_patches_block, &job);
    free(scratch->offsets);
    return 0;
}

typedef struct {
    const Patches *p;
    int64_t dimension;
    const float *gradients, *by_values;
    float *by_centres, *by_matrices;
} PatchBackward;

INLINE void patches_backward(const PatchBackward *b, const int D, int64_t begin, int64_t end) {
    const Patches *p = b->p;
    const int64_t K = p->samples;
    for (int64_t patch = begin; patch < end; patch++) {
        float sum[MAX_DIMENSION] = {0.0f}, moment[MAX_DIMENSION][MAX_DIMENSION] = {{0.0f}};
        for (int64_t k = 0; k < K; k++)
            for (int i = 0; i < D; i++) {
                const float product = b->by_values[patch * K + k] * b->gradients[(patch * D + i) * K + k];
                sum[i] += product;
                for (int j = 0; j < D; j++) moment[i][j] += product * p->offsets[k * D + j];
            }
        for (int i = 0; i < D; i++) {
            float centre = 0.0f;
            for (int k = 0; k < D; k++) centre += p->to_voxel[k * D + i] * sum[k];
            b->by_centres[patch * D + i] = centre;
            for (int j = 0; j < D && b->by_matrices; j++) {
                float entry = 0.0f;
                for (int k = 0; k < D; k++) entry += p->to_voxel[k * D + i] * moment[k][j];
                b->by_matrices[(patch * D + i) * D + j] = entry;
            }
        }
    }
}

static void patches_backward_block(const void *job, int64_t begin, int64_t end, int slot) {
    const PatchBackward *b = job;
    (void)slot;
    if (b->dimension == 3) patches_backward(b, 3, begin, end);
    else patches_backward(b, 2, begin, end);
}

/* Gradients with respect to centres (P, D) and, unless NULL, matrices (P, D, D), from those with respect to the values
 * and the gradients that nephi_interpolate_patches computed. */
EXPORT void nephi_patches_gradient(const Patches *p, int64_t dimension, int64_t count, const float *gradients,
                                   const float *by_values, float *by_centres, float *by_matrices, int64_t threads) {
    const PatchBackward backward = {p, dimension, gradients, by_values, by_centres, by_matrices};
    run_blocks(count, patches_of_block(p), threads, patches_backward_block, &backward);
}
