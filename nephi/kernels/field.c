/* Displacement and Jacobian of a neural field at points, and their gradients.
 *
 * The Python twin is fields/neural_field.py; tests compare values, Jacobians and all gradients with it. */
#include "field_network.h"

/* Locate the points of a block, if it exists, and prefetch its features: they arrive from main memory while the
 * previous block is computed. */
INLINE void prepare_block(const Field *f, const int D, const float *points, int64_t count, int64_t block,
                          const Scratch *scratch) {
    const int64_t start = block * LANES, size = count - start < LANES ? count - start : LANES;
    UnitPoints *points_unit = scratch->points_unit + block % 2;
    Cells *cells = scratch->cells + block % 2 * f->levels;
    lanes x[MAX_DIMENSION];
    if (size <= 0) return;
    for (int k = 0; k < D; k++) x[k] = load(points + start * D + k, D, size);
    to_unit_cube(f, D, x, points_unit);
    for (int64_t level = 0; level < f->levels; level++) {
        find_cells(f, D, level, points_unit, cells + level);
        prefetch(f, D, cells + level, f->table, 0);
    }
}

INLINE void evaluate(const Field *f, const int D, const int rows, int64_t count, const float *points,
                     float *displacement, float *jacobian, Scratch scratch) {
    prepare_block(f, D, points, count, 0, &scratch);
    for (int64_t block = 0; block * LANES < count; block++) {
        const int64_t start = block * LANES, size = count - start < LANES ? count - start : LANES;
        prepare_block(f, D, points, count, block + 1, &scratch);
        lanes outputs[MAX_ROWS * MAX_DIMENSION];
        encode(f, D, rows, scratch.points_unit + block % 2, scratch.cells + block % 2 * f->levels, scratch.features);
        decode(f, D, rows, scratch, outputs);
        for (int i = 0; i < D; i++) {
            lanes world[MAX_ROWS] = {{0.0f}}; /* displacement along axis i, and its derivatives in the unit cube */
            for (int row = 0; row < rows; row++)
                for (int o = 0; o < D; o++) world[row] += f->amplitude[i * D + o] * outputs[row * D + o];
            store(displacement + start * D + i, D, size, world[0]);
            for (int k = 0; k < D && rows > 1; k++) {
                lanes by = fill(i == k ? 1.0f : 0.0f);
                for (int j = 0; j < D; j++) by += f->to_unit[j * D + k] * world[1 + j];
                store(jacobian + (start * D + i) * D + k, D * D, size, by);
            }
        }
    }
}

/* Gradients with respect to the network's outputs, [rows][D], from those of displacement and Jacobian; 0 in idle
 * lanes. */
INLINE void output_gradients(const Field *f, const int D, const int rows, int64_t count, const float *by_displacement,
                             const float *by_jacobian, lanes *outputs) {
    for (int i = 0; i < rows * D; i++) outputs[i] = fill(0.0f);
    for (int i = 0; i < D; i++) {
        lanes world[MAX_ROWS] = {{0.0f}};
        if (by_displacement) world[0] = load(by_displacement + i, D, count);
        for (int k = 0; k < D && rows > 1; k++) {
            const lanes by = load(by_jacobian + i * D + k, D * D, count);
            for (int j = 0; j < D; j++) world[1 + j] += f->to_unit[j * D + k] * by;
        }
        for (int row = 0; row < rows; row++)
            for (int o = 0; o < D; o++) outputs[row * D + o] += f->amplitude[i * D + o] * world[row];
    }
}

/* Gradients with respect to the points, (count, D) in world mm, from the features' gradients and derivatives. */
INLINE void point_gradients(const Field *f, const int D, const int rows, int64_t count, Scratch scratch,
                            float *by_points) {
    const int64_t K = f->levels * f->channels;
    lanes by_unit[MAX_DIMENSION] = {{0.0f}};
    for (int64_t k = 0; k < K; k++)
        for (int i = 0; i < D; i++) {
            by_unit[i] += scratch.features_gradient[k] * scratch.features[(1 + i) * K + k];
            for (int j = 0; j < D && rows > 1; j++)
                if (j != i)
                    by_unit[i] += scratch.features_gradient[(1 + j) * K + k] * scratch.features[(D + i + j) * K + k];
        }
    for (int k = 0; k < D; k++) {
        lanes sum = {0.0f};
        for (int i = 0; i < D; i++) sum += f->to_unit[i * D + k] * by_unit[i];
        store(by_points + k, D, count, sum);
    }
}

INLINE void field_backward(const Field *f, const FieldGradient *g, const int D, const int rows, int64_t count,
                           const float *points, const float *by_displacement, const float *by_jacobian,
                           float *by_points, Scratch scratch) {
    prepare_block(f, D, points, count, 0, &scratch);
    for (int64_t block = 0; block * LANES < count; block++) {
        const int64_t start = block * LANES, size = count - start < LANES ? count - start : LANES;
        const UnitPoints *points_unit = scratch.points_unit + block % 2;
        const Cells *cells = scratch.cells + block % 2 * f->levels;
        lanes outputs[MAX_ROWS * MAX_DIMENSION];
        for (int64_t level = 0; level < f->levels; level++) prefetch(f, D, cells + level, g->table, 1);
        prepare_block(f, D, points, count, block + 1, &scratch);
        encode(f, D, by_points ? 1 + D + D * (D - 1) / 2 : rows, points_unit, cells, scratch.features);
        decode(f, D, rows, scratch, outputs); /* recomputed: cheaper than storing it in the forward pass */
        output_gradients(f, D, rows, size, by_displacement ? by_displacement + start * D : 0,
                     rows > 1 ? by_jacobian + start * D * D : 0, outputs);
        network_backward(f, g, D, rows, outputs, scratch);
        if (by_points) point_gradients(f, D, rows, size, scratch, by_points + start * D);
        table_backward(f, g, D, rows, size, points_unit, cells, scratch.features_gradient);
    }
}

/* Displacement (N, D) and, unless NULL, Jacobian (N, D, D) of x + displacement, at world points (N, D). Returns 1 when
 * memory is exhausted. Constant dimensions and rows let the compiler unroll all short loops. */
EXPORT int nephi_field(const Field *f, int64_t count, const float *points, float *displacement, float *jacobian) {
    Scratch scratch;
    if (!allocate(f, jacobian ? 1 + (int)f->dimension : 1, 0, &scratch)) return 1;
    if (f->dimension == 3 && jacobian) evaluate(f, 3, 4, count, points, displacement, jacobian, scratch);
    else if (f->dimension == 3) evaluate(f, 3, 1, count, points, displacement, jacobian, scratch);
    else if (jacobian) evaluate(f, 2, 3, count, points, displacement, jacobian, scratch);
    else evaluate(f, 2, 1, count, points, displacement, jacobian, scratch);
    free(scratch.features);
    return 0;
}

/* Add the gradients of nephi_field's parameters to `g`, and compute those of the points; `by_displacement`,
 * `by_jacobian` and `by_points` may be NULL. Returns 1 when memory is exhausted. */
EXPORT int nephi_field_gradient(const Field *f, const FieldGradient *g, int64_t count, const float *points,
                                const float *by_displacement, const float *by_jacobian, float *by_points) {
    Scratch scratch;
    if (!allocate(f, by_jacobian ? 1 + (int)f->dimension : 1, 1, &scratch)) return 1;
    if (f->dimension == 3 && by_jacobian)
        field_backward(f, g, 3, 4, count, points, by_displacement, by_jacobian, by_points, scratch);
    else if (f->dimension == 3)
        field_backward(f, g, 3, 1, count, points, by_displacement, by_jacobian, by_points, scratch);
    else if (by_jacobian) field_backward(f, g, 2, 3, count, points, by_displacement, by_jacobian, by_points, scratch);
    else field_backward(f, g, 2, 1, count, points, by_displacement, by_jacobian, by_points, scratch);
    reduce_gradients(f, g, scratch);
    free(scratch.features);
    return 0;
}
