/* Latent grids interpolated by B-splines: features of one point at one level, and the backward pass.
 *
 * A line of nodes along the last axis, consecutive rows of the table, stays in one vector until that axis is contracted,
 * last. A vector holds four nodes; with three (degree 2) the last one is 0. */
#ifndef NEPHI_FIELD_SPLINES_H
#define NEPHI_FIELD_SPLINES_H

#include "field_cells.h"

#define MAX_ROWS (1 + MAX_DIMENSION)
#define MAX_MIXED 3
#define ALL_ROWS (MAX_ROWS + MAX_MIXED + MAX_DIMENSION)

#define MAX_NODES 4  /* of a cubic spline along an axis */
#define MAX_ORDERS 3 /* value, first and second derivative */

/* Weights of the nodes around each point of a batch, and their derivatives by the unit cube's coordinates. */
typedef struct {
    float of[MAX_DIMENSION][MAX_ORDERS][MAX_NODES][LANES] __attribute__((aligned(sizeof(lanes))));
} SplineWeights;

/* Uniform B-splines whose knots are the planes between cells. Derivatives are 0 where a coordinate was clamped. */
INLINE void spline_weights(const Field *f, const int D, const int degree, int64_t level, const UnitPoints *points_unit,
                           const Cells *cells, SplineWeights *weights) {
    for (int i = 0; i < D; i++) {
        lanes t, of[MAX_ORDERS][MAX_NODES], scale = fill(1.0f);
        memcpy(&t, cells->fraction[i], sizeof t);
        const lanes s = 1.0f - t;
        if (degree == 2) {
            of[0][0] = 0.5f * s * s, of[0][1] = 0.5f + s * t, of[0][2] = 0.5f * t * t;
            of[1][0] = -s, of[1][1] = s - t, of[1][2] = t;
            of[2][0] = of[2][2] = fill(1.0f), of[2][1] = fill(-2.0f);
        } else {
            of[0][0] = s * s * s * (1.0f / 6.0f), of[0][3] = t * t * t * (1.0f / 6.0f);
            of[0][1] = 2.0f / 3.0f + t * t * (0.5f * t - 1.0f), of[0][2] = 2.0f / 3.0f + s * s * (0.5f * s - 1.0f);
            of[1][0] = -0.5f * s * s, of[1][3] = 0.5f * t * t;
            of[1][1] = t * (1.5f * t - 2.0f), of[1][2] = s * (2.0f - 1.5f * s);
            of[2][0] = s, of[2][1] = 3.0f * t - 2.0f, of[2][2] = 3.0f * s - 2.0f, of[2][3] = t;
        }
        for (int order = 0; order < MAX_ORDERS; order++) {
            for (int k = 0; k <= degree; k++) {
                const lanes weight = order ? of[order][k] * scale : of[order][k];
                memcpy(weights->of[i][order][k], &weight, sizeof weight);
            }
            scale *= (float)f->cells[D * level + i] * points_unit->inside[i];
        }
    }
}

#if LANES == 16
#include <immintrin.h>

typedef float Line __attribute__((vector_size(64), aligned(4))); /* the float4 of up to four nodes */

INLINE float4 node_of(Line line, int node) {
    float4 result;
    memcpy(&result, (const char *)&line + node * sizeof(float4), sizeof result);
    return result;
}

INLINE Line line_of(const float4 *nodes, const int N) {
    Line line = {0.0f};
    memcpy(&line, nodes, N * sizeof(float4));
    return line;
}

INLINE Line scale(float weight, Line line) { return weight * line; }

INLINE Line add_scaled(Line sum, float weight, Line line) { return sum + weight * line; }

/* The float4 of N consecutive rows of a table with Q float4 a row. */
INLINE Line load_line(const float4 *row, int64_t Q, const int N) {
    if (Q == 1) return (Line)_mm512_maskz_loadu_ps((__mmask16)((1 << 4 * N) - 1), row);
    float4 nodes[MAX_NODES];
    for (int k = 0; k < N; k++) nodes[k] = row[k * Q];
    return line_of(nodes, N);
}

INLINE void add_line(float4 *row, int64_t Q, const int N, Line line) {
    if (Q == 1) _mm512_mask_storeu_ps(row, (__mmask16)((1 << 4 * N) - 1), (__m512)(load_line(row, Q, N) + line));
    else
        for (int k = 0; k < N; k++) row[k * Q] += node_of(line, k);
}
#else
typedef struct {
    float4x2 low, high;
} Line;

INLINE float4 node_of(Line line, int node) { return half_of(node < 2 ? line.low : line.high, node % 2); }

INLINE Line line_of(const float4 *nodes, const int N) {
    const float4 last = N == 4 ? nodes[3] : (float4){0.0f};
    return (Line){concatenate(nodes[0], nodes[1]), concatenate(nodes[2], last)};
}

INLINE Line scale(float weight, Line line) { return (Line){weight * line.low, weight * line.high}; }

INLINE Line add_scaled(Line sum, float weight, Line line) {
    return (Line){sum.low + weight * line.low, sum.high + weight * line.high};
}

/* The float4 of N consecutive rows of a table with Q float4 a row. */
INLINE Line load_line(const float4 *row, int64_t Q, const int N) {
    return (Line){load_pair(row, Q), N == 4 ? load_pair(row + 2 * Q, Q) : concatenate(row[2 * Q], (float4){0.0f})};
}

INLINE void add_line(float4 *row, int64_t Q, const int N, Line line) {
    add_pair(row, Q, line.low);
    if (N == 4) add_pair(row + 2 * Q, Q, line.high);
    else row[2 * Q] += half_of(line.high, 0);
}
#endif

/* Number of rows of features for gradients of the points: with mixed and pure second derivatives. */
INLINE int rows_with_second(const int D) { return 1 + D + D * (D + 1) / 2; }

/* Row of the pure second derivative along an axis; the mixed ones are before them. */
INLINE int pure_row(const int D, int axis) { return 1 + D + D * (D - 1) / 2 + axis; }

/* A line contracted along an axis: value, first and second derivative, of which `orders` are computed. */
typedef struct {
    Line of[MAX_ORDERS];
} Contracted;

/* Contract a plane of N lines, `stride` rows apart, along `axis`. */
INLINE Contracted contract_plane(const Cells *cells, const SplineWeights *weights, int lane, int axis,
                                 const int N, const int orders, const float4 *plane, int64_t Q) {
    Contracted sum;
    for (int k = 0; k < N; k++) {
        const Line line = load_line(plane + k * cells->stride[axis] * Q, Q, N);
        for (int order = 0; order < orders; order++) {
            const float weight = weights->of[axis][order][k][lane];
            sum.of[order] = k ? add_scaled(sum.of[order], weight, line) : scale(weight, line);
        }
    }
    return sum;
}

/* Contract a line along the last axis, by the weights of value or derivative. */
INLINE float4 contract_line(const SplineWeights *weights, int lane, int axis, const int N, int order, Line line) {
    float4 sum = weights->of[axis][order][0][lane] * node_of(line, 0);
    for (int k = 1; k < N; k++) sum += weights->of[axis][order][k][lane] * node_of(line, k);
    return sum;
}

/* Interpolate four features of one point: value, derivatives by unit-cube coordinates and, with enough rows, mixed and
 * pure second derivatives. N is the number of nodes along an axis. */
INLINE void interpolate_spline(const Field *f, const int D, const int rows, const int N, const Cells *cells,
                               const SplineWeights *weights, int lane, int64_t q, float4 *out) {
    const int64_t Q = f->channels / 4;
    const float4 *table = (const float4 *)f->table + cells->first[lane] * Q + q;
    const int last = D - 1, orders = rows > 1 + D ? 3 : (rows > 1 ? 2 : 1);
    Line line[MAX_ORDERS][MAX_ORDERS]; /* [order along axis 0][order along axis 1]; in 2-D the second is 0 */
    if (D == 2) {
        const Contracted plane = contract_plane(cells, weights, lane, 0, N, orders, table, Q);
        for (int order = 0; order < orders; order++) line[order][0] = plane.of[order];
    }
    for (int k = 0; k < N && D == 3; k++) {
        const Contracted plane = contract_plane(cells, weights, lane, 1, N, orders, table + k * cells->stride[0] * Q, Q);
        for (int a = 0; a < orders; a++)
            for (int b = 0; a + b < orders; b++) {
                const float weight = weights->of[0][a][k][lane];
                line[a][b] = k ? add_scaled(line[a][b], weight, plane.of[b]) : scale(weight, plane.of[b]);
            }
    }
    out[0] = contract_line(weights, lane, last, N, 0, line[0][0]);
    if (rows == 1) return;
    out[1] = contract_line(weights, lane, last, N, 0, line[1][0]);
    out[1 + last] = contract_line(weights, lane, last, N, 1, line[0][0]);
    if (D == 3) out[2] = contract_line(weights, lane, last, N, 0, line[0][1]);
    if (rows == 1 + D) return;
    out[pure_row(D, 0)] = contract_line(weights, lane, last, N, 0, line[2][0]);
    out[pure_row(D, last)] = contract_line(weights, lane, last, N, 2, line[0][0]);
    if (D == 2) {
        out[1 + D] = contract_line(weights, lane, last, N, 1, line[1][0]);
        return;
    }
    out[pure_row(D, 1)] = contract_line(weights, lane, last, N, 0, line[0][2]);
    out[1 + D] = contract_line(weights, lane, last, N, 0, line[1][1]);
    out[2 + D] = contract_line(weights, lane, last, N, 1, line[1][0]);
    out[3 + D] = contract_line(weights, lane, last, N, 1, line[0][1]);
}

/* The gradient of a line before its contraction along the last axis: `value` by the weights of the value, `slope`,
 * unless NULL, by those of the derivative. */
INLINE Line expand_line(const SplineWeights *weights, int lane, int axis, const int N, float4 value, const float4 *slope) {
    float4 nodes[MAX_NODES];
    for (int k = 0; k < N; k++) {
        nodes[k] = weights->of[axis][0][k][lane] * value;
        if (slope) nodes[k] += weights->of[axis][1][k][lane] * *slope;
    }
    return line_of(nodes, N);
}

/* Backward pass of `interpolate_spline`, of value and first derivatives: add the gradients of a point's nodes to the
 * table's gradient, for the nodes in rows `begin` to `end`, which are whole slices across the first axis. */
INLINE void scatter_spline(const Field *f, const int D, const int rows, const int N, const Cells *cells,
                           const SplineWeights *weights, int lane, int64_t q, const float4 *up, int64_t begin,
                           int64_t end, float *table) {
    const int64_t Q = f->channels / 4;
    const int last = D - 1;
    const Line value = expand_line(weights, lane, last, N, up[0], rows > 1 ? up + 1 + last : 0);
    Line by_outer, by_inner;
    if (rows > 1) by_outer = expand_line(weights, lane, last, N, up[1], 0);
    if (rows > 1 && D == 3) by_inner = expand_line(weights, lane, last, N, up[2], 0);
    for (int j = 0; j < (D == 3 ? N : 1); j++) {
        Line plane = value, plane_by_outer = by_outer; /* the gradients of plane j's contraction along axis 1 */
        if (D == 3) {
            const float weight = weights->of[1][0][j][lane];
            plane = scale(weight, value);
            if (rows > 1) {
                plane = add_scaled(plane, weights->of[1][1][j][lane], by_inner);
                plane_by_outer = scale(weight, by_outer);
            }
        }
        for (int i = 0; i < N; i++) {
            const int64_t row = cells->first[lane] + i * cells->stride[0] + (D == 3 ? j * cells->stride[1] : 0);
            Line gradient = scale(weights->of[0][0][i][lane], plane);
            if (rows > 1) gradient = add_scaled(gradient, weights->of[0][1][i][lane], plane_by_outer);
            if (row >= begin && row < end) add_line((float4 *)table + row * Q + q, Q, N, gradient);
        }
    }
}

#endif
