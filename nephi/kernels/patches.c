/* Interpolation of patches, and its gradients with respect to their centres and matrices. The Python twin is
 * images/sampler.py. */
#include "patches.h"

#include <stdlib.h>

#include "pool.h"
#include "voxel_cells.h"

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

EXPORT void nephi_patches_gradient(const Patches *p, int64_t dimension, int64_t count, const float *gradients,
                                   const float *by_values, float *by_centres, float *by_matrices, int64_t threads) {
    const PatchBackward backward = {p, dimension, gradients, by_values, by_centres, by_matrices};
    run_blocks(count, patches_of_block(p), threads, patches_backward_block, &backward);
}
