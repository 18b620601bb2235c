/* The neural field and its gradient at many points.
 *
 * The Python twin is fields/neural_field.py; tests hold values, Jacobians and all gradients against it. */
#include "field_blocks.h"

#define UNITS 4

INLINE void locate_block(const Field *f, const int D, const float *points, int64_t count, Place *place) {
    lanes x[MAX_DIMENSION];
    for (int k = 0; k < D; k++) x[k] = column(points + k, D, count);
    locate(f, D, x, place);
}

INLINE void evaluate(const Field *f, const int D, const int rows, int64_t count, const float *points,
                     float *displacement, float *jacobian, Scratch scratch) {
    for (int64_t start = 0; start < count; start += LANES) {
        const int64_t size = count - start < LANES ? count - start : LANES;
        Place place;
        lanes outputs[MAX_ROWS * MAX_DIMENSION];
        locate_block(f, D, points + start * D, size, &place);
        encode(f, D, rows, &place, scratch.features);
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

/* Back through the activation of hidden unit h: the gradients `down` of what goes into it; adds up those of the weights
 * behind it and of its bias. */
INLINE void pull_unit(const Field *f, const int D, const int rows, int64_t h, const lanes *outputs, Scratch scratch,
                      lanes *down) {
    const int64_t H = f->hidden;
    const lanes x = scratch.hidden[h], s = sigmoid(x), active = x * s, slope = s + active * (1.0f - s);
    const lanes bend = s * (1.0f - s) * (2.0f + x * (1.0f - 2.0f * s)); /* second derivative of x sigmoid(x) */
    lanes read[MAX_ROWS] = {{0.0f}};
    for (int o = 0; o < D; o++) {
        lanes product = active * outputs[o];
        for (int row = 0; row < rows; row++) {
            read[row] += f->last[o * H + h] * outputs[row * D + o];
            if (row) product += slope * scratch.hidden[row * H + h] * outputs[row * D + o];
        }
        scratch.last_gradient[o * H + h] += product;
    }
    down[0] = read[0] * slope;
    for (int row = 1; row < rows; row++) {
        down[0] += read[row] * scratch.hidden[row * H + h] * bend;
        down[row] = read[row] * slope;
    }
    scratch.first_bias_gradient[h] += down[0];
}

/* Back through both layers: from the outputs' gradients to those of the features, adding up the weights'. `units` hidden
 * units are worked on side by side, so that features and their gradients are fetched once for all of them. */
INLINE void pull_units(const Field *f, const int D, const int rows, const int units, int64_t h, const lanes *outputs,
                       Scratch scratch) {
    const int64_t K = f->levels * f->channels;
    lanes down[MAX_UNITS][MAX_ROWS];
    for (int u = 0; u < units; u++) pull_unit(f, D, rows, h + u, outputs, scratch, down[u]);
    for (int64_t k = 0; k < K; k++) {
        lanes sums[MAX_UNITS];
        for (int u = 0; u < units; u++) sums[u] = scratch.first_gradient[(h + u) * K + k];
        for (int row = 0; row < rows; row++) {
            const lanes feature = scratch.features[row * K + k];
            lanes back = scratch.features_gradient[row * K + k];
            for (int u = 0; u < units; u++) {
                sums[u] += down[u][row] * feature;
                back += f->first[(h + u) * K + k] * down[u][row];
            }
            scratch.features_gradient[row * K + k] = back;
        }
        for (int u = 0; u < units; u++) scratch.first_gradient[(h + u) * K + k] = sums[u];
    }
}

INLINE void pull_network(const Field *f, const FieldGradient *g, const int D, const int rows, const lanes *outputs,
                         Scratch scratch) {
    int64_t h = 0;
    memset(scratch.features_gradient, 0, sizeof(lanes) * (size_t)(rows * f->levels * f->channels));
    for (int o = 0; o < D; o++) g->last_bias[o] += sum_of(outputs[o]);
    for (; h + UNITS <= f->hidden; h += UNITS) pull_units(f, D, rows, UNITS, h, outputs, scratch);
    for (; h < f->hidden; h++) pull_units(f, D, rows, 1, h, outputs, scratch);
}

/* Back through the grids into their table. */
INLINE void pull_table(const Field *f, const FieldGradient *g, const int D, const int rows, int64_t count,
                       const Place *place, lanes *features_gradient) {
    const int64_t Q = f->channels / 4, K = f->levels * f->channels;
    for (int64_t level = 0; level < f->levels; level++) {
        Cells found;
        find_cells(f, D, level, place, rows, &found);
        for (int64_t q = 0; q < Q; q++) {
            quad up[MAX_ROWS][LANES];
            for (int row = 0; row < rows; row++) {
                lanes *channels = features_gradient + row * K + (level * Q + q) * 4;
                if (row) rescale(f, D, level, place, row, channels);
                for (int lane = 0; lane < LANES; lane++)
                    up[row][lane] = (quad){channels[0][lane], channels[1][lane], channels[2][lane], channels[3][lane]};
            }
            for (int64_t lane = 0; lane < count; lane++)
                for (int c = 0; c < 1 << D; c++) {
                    quad sum = found.weight[c][0][lane] * up[0][lane];
                    for (int row = 1; row < rows; row++) sum += found.weight[c][row][lane] * up[row][lane];
                    ((quad *)g->table)[(int64_t)found.entry[c][lane] * Q + q] += sum;
                }
        }
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
    for (int64_t start = 0; start < count; start += LANES) {
        const int64_t size = count - start < LANES ? count - start : LANES;
        Place place;
        lanes outputs[MAX_ROWS * MAX_DIMENSION];
        locate_block(f, D, points + start * D, size, &place);
        encode(f, D, by_points ? 1 + D + D * (D - 1) / 2 : rows, &place, scratch.features);
        decode(f, D, rows, scratch, outputs); /* again: cheaper than keeping it */
        pull_outputs(f, D, rows, size, by_displacement ? by_displacement + start * D : 0,
                     rows > 1 ? by_jacobian + start * D * D : 0, outputs);
        pull_network(f, g, D, rows, outputs, scratch);
        if (by_points) pull_points(f, D, rows, size, scratch, by_points + start * D);
        pull_table(f, g, D, rows, size, &place, scratch.features_gradient);
    }
}

/* Each dimension gets code of its own, with all short loops unrolled. */
/* Displacement (N, D) and, unless NULL, Jacobian (N, D, D) of x + displacement, at world points (N, D). */
EXPORT int nephi_field(const Field *f, int64_t count, const float *points, float *displacement,
                                       float *jacobian) {
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
EXPORT int nephi_field_gradient(const Field *f, const FieldGradient *g, int64_t count,
                                                const float *points, const float *by_displacement,
                                                const float *by_jacobian, float *by_points) {
    Scratch scratch;
    if (!allocate(f, by_jacobian ? 1 + (int)f->dimension : 1, 1, &scratch)) return 1;
    if (f->dimension == 3 && by_jacobian)
        pull(f, g, 3, 4, count, points, by_displacement, by_jacobian, by_points, scratch);
    else if (f->dimension == 3) pull(f, g, 3, 1, count, points, by_displacement, by_jacobian, by_points, scratch);
    else if (by_jacobian) pull(f, g, 2, 3, count, points, by_displacement, by_jacobian, by_points, scratch);
    else pull(f, g, 2, 1, count, points, by_displacement, by_jacobian, by_points, scratch);
    const int64_t H = f->hidden;
    for (int64_t i = 0; i < H * f->levels * f->channels; i++) g->first[i] += sum_of(scratch.first_gradient[i]);
    for (int64_t h = 0; h < H; h++) g->first_bias[h] += sum_of(scratch.first_bias_gradient[h]);
    for (int64_t i = 0; i < H * f->dimension; i++) g->last[i] += sum_of(scratch.last_gradient[i]);
    free(scratch.features);
    return 0;
}
