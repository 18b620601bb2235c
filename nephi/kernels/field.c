/* The neural field and its gradient.
 *
 * Points are worked on in blocks of LANES. `row` 0 of an array holds values, row 1 + j derivatives by unit-cube
 * coordinate j (a jet, as in fields/jets.py), and where the points' gradient is wanted the features have further rows,
 * their mixed second derivatives (by axes 0 1, 0 2, 1 2: within a cell the others are 0). Arrays are laid out [row][feature], each
 * entry a vector of lanes. The Python twin is fields/neural_field.py; tests hold values, Jacobians and all gradients
 * against it.
 */
#include <stdlib.h>
#include <string.h>

#include "field.h"

#define MAX_ROWS (1 + MAX_DIMENSION)
#define MAX_MIXED 3
#define MAX_CORNERS 8

typedef struct {
    lanes unit[MAX_DIMENSION];   /* coordinates, moved into the cube */
    lanes inside[MAX_DIMENSION]; /* 1, or 0 where the point was moved */
} Place;

/* The corners of the cells of one level that hold the lanes' points. Corner c lies on the upper side of axis i where bit
 * i of c is set. Row 0 of its weights interpolates, the others are the weights' derivatives, as for features. */
typedef struct {
    whole_lanes entry[MAX_CORNERS];
    lanes weight[MAX_CORNERS][MAX_ROWS + MAX_MIXED];
} Cells;

/* Memory of one block; rows are 1 + D with derivatives and 1 without. */
typedef struct {
    lanes *features, *hidden; /* [rows + mixed][K]; [rows][H], what goes into the activations */
    lanes *features_gradient; /* [rows][K] */
    lanes *first_gradient;    /* [H][K]: of the first layer, lane by lane */
} Scratch;

INLINE void locate(const Field *f, const int D, const float *points, int64_t count, Place *place) {
    lanes x[MAX_DIMENSION];
    for (int k = 0; k < D; k++) x[k] = column(points + k, D, count);
    for (int i = 0; i < D; i++) {
        lanes raw = filled(f->offset[i]);
        for (int k = 0; k < D; k++) raw += f->to_unit[D * i + k] * x[k];
        place->unit[i] = chosen(raw > 1.0f, filled(1.0f), chosen(raw < 0.0f, filled(0.0f), raw)); /* NaN stays NaN */
        place->inside[i] = chosen(raw == place->unit[i], filled(1.0f), filled(0.0f));
    }
}

/* Fill in entries and `rows` rows of weights. */
INLINE void find_cells(const Field *f, const int D, int64_t level, const Place *place, const int rows, Cells *out) {
    const int64_t *cells = f->cells + D * level;
    lanes side[2][MAX_DIMENSION];
    whole_lanes first = (whole_lanes){0} + (int32_t)f->starts[level];
    int32_t stride[MAX_DIMENSION], step = 1;
    for (int i = D - 1; i >= 0; i--) {
        const lanes position = place->unit[i] * (float)cells[i], last = filled((float)cells[i] - 1.0f);
        const lanes low = chosen(position > 0.0f, chosen(position < last, position, last), filled(0.0f)); /* not NaN */
        const whole_lanes base = __builtin_convertvector(low, whole_lanes);
        side[1][i] = position - __builtin_convertvector(base, lanes);
        side[0][i] = 1.0f - side[1][i];
        first += base * step;
        stride[i] = step;
        step *= (int32_t)cells[i] + 1;
    }
    for (int c = 0; c < 1 << D; c++) {
        const lanes x = side[c & 1][0], y = side[c >> 1 & 1][1], z = D == 3 ? side[c >> 2 & 1][2] : filled(1.0f);
        const float dx = c & 1 ? 1.0f : -1.0f, dy = c & 2 ? 1.0f : -1.0f, dz = c & 4 ? 1.0f : -1.0f;
        lanes *weight = out->weight[c];
        int32_t shift = 0;
        for (int i = 0; i < D; i++) shift += (c >> i & 1) * stride[i];
        out->entry[c] = first + shift;
        weight[0] = x * y * z;
        if (rows > 1) weight[1] = dx * (y * z), weight[2] = dy * (x * z);
        if (rows > 1 && D == 3) weight[3] = dz * (x * y);
        if (rows > 1 + D) weight[1 + D] = dx * dy * z;
        if (rows > 1 + D && D == 3) weight[5] = dx * dz * y, weight[6] = dy * dz * x;
    }
}

/* Turn the quads of all lanes into four vectors of lanes, one a channel. */
INLINE void transpose(const quad *from, lanes *to) {
    for (int lane = 0; lane < LANES; lane++)
        for (int channel = 0; channel < 4; channel++) to[channel][lane] = from[lane][channel];
}

/* Turn derivatives by cell into those by the unit cube's coordinates: multiply, for all four channels. */
INLINE void rescale(const Field *f, const int D, int64_t level, const Place *place, int row, lanes *channels) {
    static const int pairs[MAX_MIXED][2] = {{0, 1}, {0, 2}, {1, 2}};
    const int first = row <= D ? row - 1 : pairs[row - 1 - D][0], second = row <= D ? -1 : pairs[row - 1 - D][1];
    const int64_t *cells = f->cells + D * level;
    lanes scale = (float)cells[first] * place->inside[first];
    if (second >= 0) scale *= (float)cells[second] * place->inside[second];
    for (int channel = 0; channel < 4; channel++) channels[channel] *= scale;
}

INLINE void encode(const Field *f, const int D, const int rows, const Place *place, lanes *features) {
    const int64_t Q = f->channels / 4, K = f->levels * f->channels;
    for (int64_t level = 0; level < f->levels; level++) {
        Cells found;
        find_cells(f, D, level, place, rows, &found);
        for (int64_t q = 0; q < Q; q++) {
            quad sums[MAX_ROWS + MAX_MIXED][LANES];
            for (int lane = 0; lane < LANES; lane++) {
                quad sum[MAX_ROWS + MAX_MIXED] = {{0.0f}};
                for (int c = 0; c < 1 << D; c++) {
                    const quad entry = ((const quad *)f->table)[(int64_t)found.entry[c][lane] * Q + q];
                    for (int row = 0; row < rows; row++) sum[row] += found.weight[c][row][lane] * entry;
                }
                for (int row = 0; row < rows; row++) sums[row][lane] = sum[row];
            }
            for (int row = 0; row < rows; row++) {
                lanes *out = features + row * K + (level * Q + q) * 4;
                transpose(sums[row], out);
                if (row) rescale(f, D, level, place, row, out);
            }
        }
    }
}

/* The network's outputs, [rows][D]. */
INLINE void decode(const Field *f, const int D, const int rows, Scratch scratch, lanes *outputs) {
    const int64_t K = f->levels * f->channels, H = f->hidden;
    for (int i = 0; i < rows * D; i++) outputs[i] = filled(i < D ? f->last_bias[i] : 0.0f);
    for (int64_t h = 0; h < H; h++) {
        lanes sums[MAX_ROWS] = {filled(f->first_bias[h])};
        for (int64_t k = 0; k < K; k++)
            for (int row = 0; row < rows; row++) sums[row] += f->first[h * K + k] * scratch.features[row * K + k];
        const lanes s = sigmoid(sums[0]), active = sums[0] * s, slope = s + active * (1.0f - s);
        for (int row = 0; row < rows; row++) {
            scratch.hidden[row * H + h] = sums[row];
            const lanes out = row ? slope * sums[row] : active;
            for (int o = 0; o < D; o++) outputs[row * D + o] += f->last[o * H + h] * out;
        }
    }
}

INLINE void evaluate(const Field *f, const int D, const int rows, int64_t count, const float *points,
                     float *displacement, float *jacobian, Scratch scratch) {
    for (int64_t start = 0; start < count; start += LANES) {
        const int64_t size = count - start < LANES ? count - start : LANES;
        Place place;
        lanes outputs[MAX_ROWS * MAX_DIMENSION];
        locate(f, D, points + start * D, size, &place);
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

/* Back through both layers: from the outputs' gradients to those of the features, adding up the weights'. */
INLINE void pull_network(const Field *f, const FieldGradient *g, const int D, const int rows, const lanes *outputs,
                         Scratch scratch) {
    const int64_t K = f->levels * f->channels, H = f->hidden;
    memset(scratch.features_gradient, 0, sizeof(lanes) * (size_t)(rows * K));
    for (int o = 0; o < D; o++) g->last_bias[o] += sum_of(outputs[o]);
    for (int64_t h = 0; h < H; h++) {
        const lanes x = scratch.hidden[h], s = sigmoid(x), active = x * s, slope = s + active * (1.0f - s);
        const lanes bend = s * (1.0f - s) * (2.0f + x * (1.0f - 2.0f * s)); /* second derivative of x sigmoid(x) */
        lanes read[MAX_ROWS] = {{0.0f}}, down[MAX_ROWS];
        for (int o = 0; o < D; o++) {
            lanes product = active * outputs[o];
            for (int row = 0; row < rows; row++) {
                read[row] += f->last[o * H + h] * outputs[row * D + o];
                if (row) product += slope * scratch.hidden[row * H + h] * outputs[row * D + o];
            }
            g->last[o * H + h] += sum_of(product);
        }
        down[0] = read[0] * slope;
        for (int row = 1; row < rows; row++) {
            down[0] += read[row] * scratch.hidden[row * H + h] * bend;
            down[row] = read[row] * slope;
        }
        g->first_bias[h] += sum_of(down[0]);
        for (int64_t k = 0; k < K; k++)
            for (int row = 0; row < rows; row++) {
                scratch.first_gradient[h * K + k] += down[row] * scratch.features[row * K + k];
                scratch.features_gradient[row * K + k] += f->first[h * K + k] * down[row];
            }
    }
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
        locate(f, D, points + start * D, size, &place);
        encode(f, D, by_points ? 1 + D + D * (D - 1) / 2 : rows, &place, scratch.features);
        decode(f, D, rows, scratch, outputs); /* again: cheaper than keeping it */
        pull_outputs(f, D, rows, size, by_displacement ? by_displacement + start * D : 0,
                     rows > 1 ? by_jacobian + start * D * D : 0, outputs);
        pull_network(f, g, D, rows, outputs, scratch);
        if (by_points) pull_points(f, D, rows, size, scratch, by_points + start * D);
        pull_table(f, g, D, rows, size, &place, scratch.features_gradient);
    }
}

static int allocate(const Field *f, int rows, int backward, Scratch *scratch) {
    const size_t K = (size_t)(f->levels * f->channels), H = (size_t)f->hidden, R = (size_t)rows;
    const size_t all = backward ? MAX_ROWS + MAX_MIXED : R, total = all * K + R * H + (backward ? R * K + H * K : 0);
    scratch->features = aligned_alloc(sizeof(lanes), total * sizeof(lanes));
    if (!scratch->features) return 0;
    scratch->hidden = scratch->features + all * K;
    scratch->features_gradient = scratch->hidden + R * H;
    scratch->first_gradient = scratch->features_gradient + R * K;
    if (backward) memset(scratch->first_gradient, 0, H * K * sizeof(lanes));
    return 1;
}

/* Each dimension gets code of its own, with all short loops unrolled. */
/* Displacement (N, D) and, unless NULL, Jacobian (N, D, D) of x + displacement, at world points (N, D). */
EXPORT EVERY_PROCESSOR int nephi_field(const Field *f, int64_t count, const float *points, float *displacement,
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
EXPORT EVERY_PROCESSOR int nephi_field_gradient(const Field *f, const FieldGradient *g, int64_t count,
                                                const float *points, const float *by_displacement,
                                                const float *by_jacobian, float *by_points) {
    Scratch scratch;
    if (!allocate(f, by_jacobian ? 1 + (int)f->dimension : 1, 1, &scratch)) return 1;
    if (f->dimension == 3 && by_jacobian)
        pull(f, g, 3, 4, count, points, by_displacement, by_jacobian, by_points, scratch);
    else if (f->dimension == 3) pull(f, g, 3, 1, count, points, by_displacement, by_jacobian, by_points, scratch);
    else if (by_jacobian) pull(f, g, 2, 3, count, points, by_displacement, by_jacobian, by_points, scratch);
    else pull(f, g, 2, 1, count, points, by_displacement, by_jacobian, by_points, scratch);
    for (int64_t i = 0; i < f->hidden * f->levels * f->channels; i++) g->first[i] += sum_of(scratch.first_gradient[i]);
    free(scratch.features);
    return 0;
}
