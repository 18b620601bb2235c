/* Multilinear interpolation of an image at points. The Python twin is geometry/interpolation.py. */
#include "pool.h"
#include "voxel_cells.h"

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
