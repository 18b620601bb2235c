/* The neural field and its gradient at many points.
 *
 * The Python twin is fields/neural_field.py; tests hold values, Jacobians and all gradients against it. */
#include "field_network.h"

/* Find where block `block` of the points lies, if there is one, and ask for the memory of its features: as long as the
 * block before is worked on, scattered points' features are on their way from main memory. */
INLINE void find_block(const Field *f, const int D, const float *points, int64_t count, int64_t block,
                       const Scratch *scratch) {
    const int64_t start = block * LANES, size = count - start < LANES ? count - start : LANES;
    Place *place = scratch->places + block % 2;
    Cells *cells = scratch->cells + block % 2 * f->levels;
    lanes x[MAX_DIMENSION];
    if (size <= 0) return;
    for (int k = 0; k < D; k++) x[k] = column(points + start * D + k, D, size);
    locate(f, D, x, place);
    for (int64_t level = 0; level < f->levels; level++) {
        find_cells(f, D, level, place, cells + level);
        fetch(f, D, cells + level, f->table, 0);
    }
}

INLINE void evaluate(const Field *f, const int D, const int rows, int64_t count, const float *points,
                     float *displacement, float *jacobian, Scratch scratch) {
    find_block(f, D, points, count, 0, &scratch);
    for (int64_t block = 0; block * LANES < count; block++) {
        const int64_t start = block * LANES, size = count - start < LANES ? count - start : LANES;
        find_block(f, D, points, count, block + 1, &scratch);
        lanes outputs[MAX_ROWS * MAX_DIMENSION];
        encode(f, D, rows, scratch.places + block % 2, scratch.cells + block % 2 * f->levels, scratch.features);
        decode(f, D, rows, scratch, outputs);
        for (int i = 0; i < D; i++) {
            lanes world[MAX_ROWS] = {{0.0f}}; /* coordinate i of the displacement, its derivatives by the unit cube's */
            for (int row = 0; row < rows; row++)
                for (int o = 0; o < D; o++) world[row] += f->amplitude[i * D + o] * outputs[row * D + o];
            put_column(displacement + start * D + i, D, size, world[0]);
            for (int k = 0; k < D && rows > 1; k++) {
                lanes by = filled(i == k ? 1.0f : 0.0f);
                for (int j = 0; j < D; j++) by += f->to_unit[j * D + k] * world[1 + j];
                put_column(jacobian + (start * D + i) * D + k, D * D, size, by);
            }
        }
    }
}

/* Gradients of the network's outputs, [rows][D], from those of displacement and Jacobian; 0 in idle lanes. */
INLINE void pull_outputs(const Field *f, const int D, const int rows, int64_t count, const float *by_displacement,
                         const float *by_jacobian, lanes *outputs) {
    for (int i = 0; i < rows * D; i++) outputs[i] = filled(0.0f);
    for (int i = 0; i < D; i++) {
        lanes world[MAX_ROWS] = {{0.0f}};
        if (by_displacement) world[0] = column(by_displacement + i, D, count);
        for (int k = 0; k < D && rows > 1; k++) {
            const lanes by = column(by_jacobian + i * D + k, D * D, count);
            for (int j = 0; j < D; j++) world[1 + j] += f->to_unit[j * D + k] * by;
        }
        for (int row = 0; row < rows; row++)
            for (int o = 0; o < D; o++) outputs[row * D + o] += f->amplitude[i * D + o] * world[row];
    }
}

/* Back to the points, (count, D) in world mm: the features' derivatives are known. */
INLINE void pull_points(const Field *f, const int D, const int rows, int64_t count, Scratch scratch, float *by_points) {
    const int64_t K = f->levels * f->channels;
    lanes by_unit[MAX_DIMENSION] = {{0.0f}};
    for (int64_t k = 0; k < K; k++)
        for (int i = 0; i < D; i++) {
            by_unit[i] += scratch.features_gradient[k] * scratch.features[(1 + i) * K + k];
            for (int j = 0; j < D && rows > 1; j++)
                if (j != i) by_unit[i] += scratch.features_gradient[(1 + j) * K + k] * scratch.features[(D + i + j) * K + k];
        }
    for (int k = 0; k < D; k++) {
        lanes sum = {0.0f};
        for (int i = 0; i < D; i++) sum += f->to_unit[i * D + k] * by_unit[i];
        put_column(by_points + k, D, count, sum);
    }
}

INLINE void pull(const Field *f, const FieldGradient *g, const int D, const int rows, int64_t count,
                 const float *points, const float *by_displacement, const float *by_jacobian, float *by_points,
                 Scratch scratch) {
    find_block(f, D, points, count, 0, &scratch);
    for (int64_t block = 0; block * LANES < count; block++) {
        const int64_t start = block * LANES, size = count - start < LANES ? count - start : LANES;
        const Place *place = scratch.places + block % 2;
        const Cells *cells = scratch.cells + block % 2 * f->levels;
        lanes outputs[MAX_ROWS * MAX_DIMENSION];
        for (int64_t level = 0; level < f->levels; level++) fetch(f, D, cells + level, g->table, 1);
        find_block(f, D, points, count, block + 1, &scratch);
        encode(f, D, by_points ? 1 + D + D * (D - 1) / 2 : rows, place, cells, scratch.features);
        decode(f, D, rows, scratch, outputs); /* again: cheaper than keeping it */
        pull_outputs(f, D, rows, size, by_displacement ? by_displacement + start * D : 0,
                     rows > 1 ? by_jacobian + start * D * D : 0, outputs);
        pull_network(f, g, D, rows, outputs, scratch);
        if (by_points) pull_points(f, D, rows, size, scratch, by_points + start * D);
        pull_table(f, g, D, rows, size, place, cells, scratch.features_gradient);
    }
}

/* Each dimension gets code of its own, with all short loops unrolled. */
/* Displacement (N, D) and, unless NULL, Jacobian (N, D, D) of x + displacement, at world points (N, D). */
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

/* The gradient of nephi_field, added to `g`; `by_displacement`, `by_jacobian` and `by_points` may be NULL. */
EXPORT int nephi_field_gradient(const Field *f, const FieldGradient *g, int64_t count, const float *points,
                                const float *by_displacement, const float *by_jacobian, float *by_points) {
    Scratch scratch;
    if (!allocate(f, by_jacobian ? 1 + (int)f->dimension : 1, 1, &scratch)) return 1;
    if (f->dimension == 3 && by_jacobian)
        pull(f, g, 3, 4, count, points, by_displacement, by_jacobian, by_points, scratch);
    else if (f->dimension == 3) pull(f, g, 3, 1, count, points, by_displacement, by_jacobian, by_points, scratch);
    else if (by_jacobian) pull(f, g, 2, 3, count, points, by_displacement, by_jacobian, by_points, scratch);
    else pull(f, g, 2, 1, count, points, by_displacement, by_jacobian, by_points, scratch);
    add_up(f, g, scratch);
    free(scratch.features);
    return 0;
}
