/* Latent grids of a neural field at a batch of points: cells, interpolated features, and the backward pass.
 *
 * Points are processed in batches of LANES. Row 0 of an array contains values, row 1 + j derivatives with respect to
 * unit-cube coordinate j (a jet, as in fields/jets.py). For gradients of the points the features have further rows:
 * mixed second derivatives (axes 0 1, 0 2, 1 2) and, of splines, pure ones (axes 0, 1, 2), which are 0 for linear
 * interpolation. Arrays are laid out [row][feature]; each entry is a vector of lanes. */
#ifndef NEPHI_FIELD_GRIDS_H
#define NEPHI_FIELD_GRIDS_H

#include "field_splines.h"

/* Index of the mixed derivative of axes i < j. */
INLINE int mixed_index(int i, int j) { return i + j - 1; }

/* Interpolate four features of one point: value, derivatives with respect to the position in the cell and, with enough
 * rows, mixed derivatives. Axes are contracted one after the other, carrying the derivatives of earlier axes along.
 * Neighbours along the last axis stay in one float4x2 until it is contracted. */
INLINE void interpolate(const Field *f, const int D, const int rows, const Cells *cells, int lane, int64_t q,
                        float4 *out) {
    const int64_t Q = f->channels / 4, first = cells->first[lane];
    const int last = D - 1;
    const float t = cells->fraction[last][lane];
    float4x2 value[MAX_CORNERS / 2], slope[MAX_DIMENSION - 1][MAX_CORNERS / 4], mixed = {0.0f};
    for (int c = 0; c < 1 << last; c++)
        value[c] = load_pair((const float4 *)f->table + (first + cells->shift[c]) * Q + q, Q);
    for (int i = 0; i < last; i++) {
        const float u = cells->fraction[i][lane];
        for (int c = 0; c < 1 << (last - 1 - i); c++) {
            for (int j = 0; j < i && rows > 1; j++) {
                const float4x2 difference = slope[j][2 * c + 1] - slope[j][2 * c];
                mixed = difference;
                slope[j][c] = slope[j][2 * c] + u * difference;
            }
            const float4x2 difference = value[2 * c + 1] - value[2 * c];
            slope[i][c] = difference;
            value[c] = value[2 * c] + u * difference;
        }
    }
    const float4 difference = half_of(value[0], 1) - half_of(value[0], 0);
    out[0] = half_of(value[0], 0) + t * difference;
    if (rows > 1) out[1 + last] = difference;
    for (int j = 0; j < last && rows > 1; j++) {
        const float4 second_difference = half_of(slope[j][0], 1) - half_of(slope[j][0], 0);
        out[1 + j] = half_of(slope[j][0], 0) + t * second_difference;
        if (rows > 1 + D) out[1 + D + mixed_index(j, last)] = second_difference;
    }
    if (D == 3 && rows > 1 + D)
        out[1 + D + mixed_index(0, 1)] = half_of(mixed, 0) + t * (half_of(mixed, 1) - half_of(mixed, 0));
}

/* Backward pass of `interpolate`: add the gradients of a point's corners to the table's gradient, for the corners in
 * rows `begin` to `end`, which are whole slices across the first axis. */
INLINE void scatter(const Field *f, const int D, const int rows, const Cells *cells, int lane, int64_t q,
                    const float4 *up, int64_t begin, int64_t end, float *table) {
    const int64_t Q = f->channels / 4, first = cells->first[lane];
    const int last = D - 1;
    const float t = cells->fraction[last][lane];
    float4x2 value[MAX_CORNERS / 2], slope[MAX_DIMENSION - 1][MAX_CORNERS / 2];
    const float4 high = rows > 1 ? up[1 + last] + t * up[0] : t * up[0];
    value[0] = concatenate(up[0] - high, high);
    for (int j = 0; j < last && rows > 1; j++) slope[j][0] = concatenate(up[1 + j] - t * up[1 + j], t * up[1 + j]);
    for (int i = last - 1; i >= 0; i--) {
        const float u = cells->fraction[i][lane];
        for (int c = (1 << (last - 1 - i)) - 1; c >= 0; c--) {
            for (int j = 0; j < i && rows > 1; j++) {
                const float4x2 upper = u * slope[j][c];
                slope[j][2 * c] = slope[j][c] - upper;
                slope[j][2 * c + 1] = upper;
            }
            const float4x2 upper = rows > 1 ? slope[i][c] + u * value[c] : u * value[c];
            value[2 * c] = value[c] - upper;
            value[2 * c + 1] = upper;
        }
    }
    for (int c = 0; c < 1 << last; c++) {
        const int64_t row = first + cells->shift[c];
        if (row >= begin && row < end) add_pair((float4 *)table + row * Q + q, Q, value[c]);
    }
}

/* Scale derivatives with respect to the position in a cell to those in the unit cube, for four channels. */
INLINE void rescale(const Field *f, const int D, int64_t level, const UnitPoints *points_unit, int row,
                    lanes *channels) {
    static const int pairs[MAX_MIXED][2] = {{0, 1}, {0, 2}, {1, 2}};
    const int first = row <= D ? row - 1 : pairs[row - 1 - D][0], second = row <= D ? -1 : pairs[row - 1 - D][1];
    const int64_t *cells = f->cells + D * level;
    lanes scale = (float)cells[first] * points_unit->inside[first];
    if (second >= 0) scale *= (float)cells[second] * points_unit->inside[second];
    for (int channel = 0; channel < 4; channel++) channels[channel] *= scale;
}

/* Features of a batch at one level, four channels from 4 q on, for a constant `degree` of the interpolation. */
INLINE void encode_level(const Field *f, const int D, const int rows, const int degree, int64_t level, int64_t q,
                         const UnitPoints *points_unit, const Cells *cells, lanes *features) {
    const int64_t Q = f->channels / 4, K = f->levels * f->channels;
    Float4Block blocks[ALL_ROWS];
    SplineWeights weights;
    if (degree > 1) spline_weights(f, D, degree, level, points_unit, cells + level, &weights);
    for (int lane = 0; lane < LANES; lane++) {
        float4 out[ALL_ROWS];
        if (degree == 1) interpolate(f, D, rows, cells + level, lane, q, out);
        else interpolate_spline(f, D, rows, degree + 1, cells + level, &weights, lane, q, out);
        for (int row = 0; row < rows; row++) blocks[row].of[slot_of(lane)] = out[row];
    }
    for (int row = 0; row < rows; row++) {
        lanes *channels = features + row * K + (level * Q + q) * 4;
        transpose(blocks[row].all, channels);
        if (row && degree == 1) rescale(f, D, level, points_unit, row, channels); /* the weights of splines are scaled */
    }
}

/* Features [rows][K] of points, from their cells at all levels. */
INLINE void encode(const Field *f, const int D, const int rows, const UnitPoints *points_unit, const Cells *cells,
                   lanes *features) {
    for (int64_t level = 0; level < f->levels; level++)
        for (int64_t q = 0; q < f->channels / 4; q++) {
            if (f->degree == 1) encode_level(f, D, rows, 1, level, q, points_unit, cells, features);
            else if (f->degree == 2) encode_level(f, D, rows, 2, level, q, points_unit, cells, features);
            else encode_level(f, D, rows, 3, level, q, points_unit, cells, features);
        }
}

/* First table row of a slab of a level: `slabs` of them divide its slices across the first axis. */
INLINE int64_t slab_start(const Field *f, int64_t level, int64_t slab, int64_t slabs) {
    const int64_t *cells = f->cells + f->dimension * level;
    int64_t slice = 1;
    for (int64_t i = 1; i < f->dimension; i++) slice *= cells[i] + f->degree;
    return f->starts[level] + (cells[0] + f->degree) * slab / slabs * slice;
}

/* Whether the cell of a point has nodes in rows `begin` to `end`. */
INLINE int touches(const Cells *cells, int lane, int64_t begin, int64_t end) {
    return cells->first[lane] + cells->extent >= begin && cells->first[lane] < end;
}

/* The same as `table_backward`, for a constant `degree` of the interpolation. */
INLINE void level_backward(const Field *f, const int D, const int rows, const int degree, int64_t count, int64_t level,
                           int64_t q, int64_t begin, int64_t end, const UnitPoints *points_unit, const Cells *cells,
                           const lanes *features_gradient, float *table) {
    const int64_t K = f->levels * f->channels;
    Float4Block blocks[MAX_ROWS];
    SplineWeights weights;
    if (degree > 1) spline_weights(f, D, degree, level, points_unit, cells, &weights);
    for (int row = 0; row < rows; row++) {
        lanes channels[4];
        for (int c = 0; c < 4; c++) channels[c] = features_gradient[row * K + level * f->channels + 4 * q + c];
        if (row && degree == 1) rescale(f, D, level, points_unit, row, channels);
        transpose(channels, blocks[row].all);
    }
    for (int lane = 0; lane < count; lane++) {
        float4 up[MAX_ROWS];
        if (!touches(cells, lane, begin, end)) continue;
        for (int row = 0; row < rows; row++) up[row] = blocks[row].of[slot_of(lane)];
        if (degree == 1) scatter(f, D, rows, cells, lane, q, up, begin, end, table);
        else scatter_spline(f, D, rows, degree + 1, cells, &weights, lane, q, up, begin, end, table);
    }
}

/* Add the gradients of four channels of a table's rows `begin` to `end`, from those of a batch's features. */
INLINE void table_backward(const Field *f, const int D, const int rows, int64_t count, int64_t level, int64_t q,
                           int64_t begin, int64_t end, const UnitPoints *points_unit, const Cells *cells,
                           const lanes *features, float *table) {
    if (f->degree == 1)
        level_backward(f, D, rows, 1, count, level, q, begin, end, points_unit, cells, features, table);
    else if (f->degree == 2)
        level_backward(f, D, rows, 2, count, level, q, begin, end, points_unit, cells, features, table);
    else level_backward(f, D, rows, 3, count, level, q, begin, end, points_unit, cells, features, table);
}

#endif
