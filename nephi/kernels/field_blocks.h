/* Evaluating a neural field for a block of points: where they lie, their features, the network's outputs.
 *
 * Points are worked on in blocks of LANES. `row` 0 of an array holds values, row 1 + j derivatives by unit-cube
 * coordinate j (a jet, as in fields/jets.py), and where the points' gradient is wanted the features have further rows,
 * their mixed second derivatives (by axes 0 1, 0 2, 1 2: within a cell the others are 0). Arrays are laid out
 * [row][feature], each entry a vector of lanes. */
#ifndef NEPHI_FIELD_BLOCKS_H
#define NEPHI_FIELD_BLOCKS_H

#include <stdlib.h>

#include "field.h"

#define MAX_ROWS (1 + MAX_DIMENSION)
#define MAX_MIXED 3
#define MAX_CORNERS 8
#define MAX_UNITS 4

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
    /* Of the weights, lane by lane, summed up at the very end: [H][K], [H], [D][H]. */
    lanes *first_gradient, *first_bias_gradient, *last_gradient;
} Scratch;

/* Place the points x, world mm. */
INLINE void locate(const Field *f, const int D, const lanes *x, Place *place) {
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

/* What `units` hidden units from the h-th on add to the outputs: side by side, as each sum waits for its own last term. */
INLINE void decode_units(const Field *f, const int D, const int rows, const int units, int64_t h, Scratch scratch,
                         lanes *outputs) {
    const int64_t K = f->levels * f->channels, H = f->hidden;
    lanes sums[MAX_UNITS][MAX_ROWS] = {{{0.0f}}};
    for (int u = 0; u < units; u++) sums[u][0] = filled(f->first_bias[h + u]);
    for (int64_t k = 0; k < K; k++)
        for (int u = 0; u < units; u++)
            for (int row = 0; row < rows; row++)
                sums[u][row] += f->first[(h + u) * K + k] * scratch.features[row * K + k];
    for (int u = 0; u < units; u++) {
        const lanes s = sigmoid(sums[u][0]), active = sums[u][0] * s, slope = s + active * (1.0f - s);
        for (int row = 0; row < rows; row++) {
            scratch.hidden[row * H + h + u] = sums[u][row];
            const lanes out = row ? slope * sums[u][row] : active;
            for (int o = 0; o < D; o++) outputs[row * D + o] += f->last[o * H + h + u] * out;
        }
    }
}

/* The network's outputs, [rows][D]. */
INLINE void decode(const Field *f, const int D, const int rows, Scratch scratch, lanes *outputs) {
    const int units = rows > 1 ? 2 : MAX_UNITS;
    int64_t h = 0;
    for (int i = 0; i < rows * D; i++) outputs[i] = filled(i < D ? f->last_bias[i] : 0.0f);
    for (; h + units <= f->hidden; h += units) decode_units(f, D, rows, units, h, scratch, outputs);
    for (; h < f->hidden; h++) decode_units(f, D, rows, 1, h, scratch, outputs);
}

INLINE int allocate(const Field *f, int rows, int backward, Scratch *scratch) {
    const size_t K = (size_t)(f->levels * f->channels), H = (size_t)f->hidden, R = (size_t)rows;
    const size_t all = backward ? MAX_ROWS + MAX_MIXED : R, weights = H * (K + 1 + (size_t)f->dimension);
    const size_t total = all * K + R * H + (backward ? R * K + weights : 0);
    scratch->features = aligned_alloc(sizeof(lanes), total * sizeof(lanes));
    if (!scratch->features) return 0;
    scratch->hidden = scratch->features + all * K;
    scratch->features_gradient = scratch->hidden + R * H;
    scratch->first_gradient = scratch->features_gradient + R * K;
    scratch->first_bias_gradient = scratch->first_gradient + H * K;
    scratch->last_gradient = scratch->first_bias_gradient + H;
    if (backward) memset(scratch->first_gradient, 0, weights * sizeof(lanes));
    return 1;
}

#endif
