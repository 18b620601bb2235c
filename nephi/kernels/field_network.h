/* The network of a neural field at a batch of points: one hidden SiLU layer, a linear output layer. */
#ifndef NEPHI_FIELD_NETWORK_H
#define NEPHI_FIELD_NETWORK_H

#include <stdlib.h>

#include "field_grids.h"

/* Weights of hidden units are stored in groups; the last group is padded with units of weight 0. */
#define GROUP 8
/* Units processed in parallel, as many as fit in registers: for values, for jets, and in the backward pass. */
#define VALUE_UNITS GROUP
#if LANES == 16
#define JET_UNITS 4
#define BACK_UNITS 4
#else
#define JET_UNITS 2
#define BACK_UNITS 2
#endif

/* Memory of one thread. Rows: 1 + D with derivatives, else 1. H: number of hidden units with padding. */
typedef struct {
    int64_t hidden;             /* H */
    float *first, *bias, *last; /* the network's weights, of all threads: [H / GROUP][K][GROUP], [H], [H][D] */
    UnitPoints *points_unit;    /* [2]: of this batch of points and the next */
    Cells *cells;               /* [2][levels] */
    lanes *features;            /* [rows + second derivatives][K] */
    lanes *sums;                /* [H][rows]: inputs of the activations */
    lanes *sigmoids;            /* [H]: of the sums' row 0 */
    lanes *features_gradient;   /* [rows][K]: of this batch */
    /* Gradients of the weights for each lane, of this block of batches: [H / GROUP][K][GROUP], [H], [H][D], [D]. */
    lanes *first_gradient, *bias_gradient, *last_gradient, *last_bias_gradient;
} Scratch;

/* Offset of the weights of hidden unit h, which are GROUP apart. */
INLINE int64_t weights_offset(int64_t h, int64_t K) { return h / GROUP * K * GROUP + h % GROUP; }

INLINE void pack(const Field *f, const Scratch *s) {
    const int64_t K = f->levels * f->channels, D = f->dimension;
    for (int64_t h = 0; h < s->hidden; h++) {
        const int padded = h >= f->hidden;
        float *first = s->first + weights_offset(h, K);
        for (int64_t k = 0; k < K; k++) first[k * GROUP] = padded ? 0.0f : f->first[h * K + k];
        s->bias[h] = padded ? 0.0f : f->first_bias[h];
        for (int64_t o = 0; o < D; o++) s->last[h * D + o] = padded ? 0.0f : f->last[o * f->hidden + h];
    }
}

INLINE size_t padded_hidden(const Field *f) { return ((size_t)f->hidden + GROUP - 1) / GROUP * GROUP; }

/* Allocate the memory of `threads` threads for the evaluation of `rows` rows, with `all_rows` of features. Returns 0 when
 * memory is exhausted; otherwise release with free(scratch->first). */
INLINE int allocate(const Field *f, int rows, int all_rows, int threads, Scratch *scratch) {
    const size_t K = (size_t)(f->levels * f->channels), D = (size_t)f->dimension, R = (size_t)rows;
    const size_t H = padded_hidden(f), weights = H * (K + 1 + D), packed = (weights / LANES + 1) * sizeof(lanes);
    const size_t features = (size_t)all_rows * K, numbers = features + R * H + H;
    const size_t bytes = numbers * sizeof(lanes) + 2 * sizeof(UnitPoints) + 2 * (size_t)f->levels * sizeof(Cells);
    char *memory = aligned_alloc(sizeof(lanes), packed + (size_t)threads * bytes);
    if (!memory) return 0;
    for (int slot = 0; slot < threads; slot++) {
        Scratch *s = scratch + slot;
        s->hidden = (int64_t)H;
        s->first = (float *)memory;
        s->bias = s->first + H * K;
        s->last = s->bias + H;
        s->features = (lanes *)(memory + packed + (size_t)slot * bytes);
        s->sums = s->features + features;
        s->sigmoids = s->sums + R * H;
        s->points_unit = (UnitPoints *)(s->features + numbers);
        s->cells = (Cells *)(s->points_unit + 2);
    }
    pack(f, scratch);
    return 1;
}

/* Add the contribution of `units` hidden units, starting at h, to the outputs. */
INLINE void decode_units(const Field *f, const int D, const int rows, const int units, int64_t h, Scratch scratch,
                         lanes *outputs) {
    const int64_t K = f->levels * f->channels;
    const float *first = scratch.first + weights_offset(h, K);
    lanes sums[GROUP][MAX_ROWS];
    for (int u = 0; u < units; u++)
        for (int row = 0; row < rows; row++) sums[u][row] = fill(row ? 0.0f : scratch.bias[h + u]);
    for (int64_t k = 0; k < K; k++)
        for (int row = 0; row < rows; row++) {
            const lanes feature = scratch.features[row * K + k];
            for (int u = 0; u < units; u++) sums[u][row] += first[k * GROUP + u] * feature;
        }
    for (int u = 0; u < units; u++) {
        const lanes s = sigmoid(sums[u][0]), active = sums[u][0] * s, slope = s + active * (1.0f - s);
        const float *last = scratch.last + (h + u) * D;
        scratch.sigmoids[h + u] = s;
        for (int row = 0; row < rows; row++) {
            const lanes out = row ? slope * sums[u][row] : active;
            scratch.sums[(h + u) * rows + row] = sums[u][row];
            for (int o = 0; o < D; o++) outputs[row * D + o] += last[o] * out;
        }
    }
}

/* The network's outputs, [rows][D]. */
INLINE void decode(const Field *f, const int D, const int rows, Scratch scratch, lanes *outputs) {
    const int units = rows > 1 ? JET_UNITS : VALUE_UNITS;
    for (int i = 0; i < rows * D; i++) outputs[i] = fill(i < D ? f->last_bias[i] : 0.0f);
    for (int64_t h = 0; h < scratch.hidden; h += units) decode_units(f, D, rows, units, h, scratch, outputs);
}

/* Backward pass of hidden unit h: the gradients `down` of its input; accumulates those of its output weights and
 * bias. */
INLINE void unit_backward(const int D, const int rows, int64_t h, const lanes *outputs, Scratch scratch, lanes *down) {
    const lanes *sums = scratch.sums + h * rows;
    const lanes x = sums[0], s = scratch.sigmoids[h], active = x * s, slope = s + active * (1.0f - s);
    const lanes second_derivative = s * (1.0f - s) * (2.0f + x * (1.0f - 2.0f * s)); /* of x sigmoid(x) */
    lanes read[MAX_ROWS] = {{0.0f}};
    for (int o = 0; o < D; o++) {
        lanes product = active * outputs[o];
        for (int row = 0; row < rows; row++) {
            read[row] += scratch.last[h * D + o] * outputs[row * D + o];
            if (row) product += slope * sums[row] * outputs[row * D + o];
        }
        scratch.last_gradient[h * D + o] += product;
    }
    down[0] = read[0] * slope;
    for (int row = 1; row < rows; row++) {
        down[0] += read[row] * sums[row] * second_derivative;
        down[row] = read[row] * slope;
    }
    scratch.bias_gradient[h] += down[0];
}

/* Backward pass of both layers: the gradients of the features; accumulates those of the weights. Features and their
 * gradients are loaded once for all units. */
INLINE void units_backward(const Field *f, const int D, const int rows, int64_t h, const lanes *outputs,
                           Scratch scratch) {
    const int64_t K = f->levels * f->channels, offset = weights_offset(h, K);
    lanes down[BACK_UNITS][MAX_ROWS];
    for (int u = 0; u < BACK_UNITS; u++) unit_backward(D, rows, h + u, outputs, scratch, down[u]);
    for (int64_t k = 0; k < K; k++) {
        lanes *gradient = scratch.first_gradient + offset + k * GROUP, sums[BACK_UNITS];
        const float *first = scratch.first + offset + k * GROUP;
        for (int u = 0; u < BACK_UNITS; u++) sums[u] = gradient[u];
        for (int row = 0; row < rows; row++) {
            const lanes feature = scratch.features[row * K + k];
            lanes back = scratch.features_gradient[row * K + k];
            for (int u = 0; u < BACK_UNITS; u++) {
                sums[u] += down[u][row] * feature;
                back += first[u] * down[u][row];
            }
            scratch.features_gradient[row * K + k] = back;
        }
        for (int u = 0; u < BACK_UNITS; u++) gradient[u] = sums[u];
    }
}

INLINE void network_backward(const Field *f, const int D, const int rows, const lanes *outputs, Scratch scratch) {
    memset(scratch.features_gradient, 0, sizeof(lanes) * (size_t)(rows * f->levels * f->channels));
    for (int o = 0; o < D; o++) scratch.last_bias_gradient[o] += outputs[o];
    for (int64_t h = 0; h < scratch.hidden; h += BACK_UNITS) units_backward(f, D, rows, h, outputs, scratch);
}

/* Number of lanes that hold the gradients of all weights of a block. */
INLINE size_t weights_gradient_size(const Field *f) {
    const size_t K = (size_t)(f->levels * f->channels), D = (size_t)f->dimension;
    return padded_hidden(f) * (K + 1 + D) + D;
}

/* Let the gradients of the weights be added to `memory`, of the size above. */
INLINE void use_weights_gradient(const Field *f, lanes *memory, Scratch *s) {
    s->first_gradient = memory;
    s->bias_gradient = memory + s->hidden * f->levels * f->channels;
    s->last_gradient = s->bias_gradient + s->hidden;
    s->last_bias_gradient = s->last_gradient + s->hidden * f->dimension;
}

/* Sum the weights' gradients over lanes and add them to `g`. */
INLINE void reduce_gradients(const Field *f, const FieldGradient *g, Scratch scratch) {
    const int64_t K = f->levels * f->channels, D = f->dimension;
    for (int64_t h = 0; h < f->hidden; h++) {
        const lanes *first = scratch.first_gradient + weights_offset(h, K);
        for (int64_t k = 0; k < K; k++) g->first[h * K + k] += sum_lanes(first[k * GROUP]);
        g->first_bias[h] += sum_lanes(scratch.bias_gradient[h]);
        for (int64_t o = 0; o < D; o++) g->last[o * f->hidden + h] += sum_lanes(scratch.last_gradient[h * D + o]);
    }
    for (int64_t o = 0; o < D; o++) g->last_bias[o] += sum_lanes(scratch.last_bias_gradient[o]);
}

#endif
