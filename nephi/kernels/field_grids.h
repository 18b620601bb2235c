/* The latent grids of a neural field at a block of points: where they lie, their features, and back.
 *
 * Points are worked on in blocks of LANES. `row` 0 of an array holds values, row 1 + j derivatives by unit-cube
 * coordinate j (a jet, as in fields/jets.py), and where the points' gradient is wanted the features have further rows,
 * their mixed second derivatives (by axes 0 1, 0 2, 1 2: within a cell the others are 0). Arrays are laid out
 * [row][feature], each entry a vector of lanes. */
#ifndef NEPHI_FIELD_GRIDS_H
#define NEPHI_FIELD_GRIDS_H

#include "field.h"

#define MAX_ROWS (1 + MAX_DIMENSION)
#define MAX_MIXED 3
#define ALL_ROWS (MAX_ROWS + MAX_MIXED)
#define MAX_CORNERS 8

typedef struct {
    lanes unit[MAX_DIMENSION];   /* coordinates, moved into the cube */
    lanes inside[MAX_DIMENSION]; /* 1, or 0 where the point was moved */
} Place;

/* The cells of one level that hold the lanes' points. */
typedef struct {
    whole_lanes first;                   /* row in the table of a cell's lowest corner */
    int32_t shift[MAX_CORNERS];          /* rows from there to corner c: on the upper side of axis i if bit i of c is set */
    float fraction[MAX_DIMENSION][LANES] /* place within the cell */
        __attribute__((aligned(sizeof(lanes))));
} Cells;

/* Place the points x, world mm. */
INLINE void locate(const Field *f, const int D, const lanes *x, Place *place) {
    for (int i = 0; i < D; i++) {
        lanes raw = filled(f->offset[i]);
        for (int k = 0; k < D; k++) raw += f->to_unit[D * i + k] * x[k];
        place->unit[i] = chosen(raw > 1.0f, filled(1.0f), chosen(raw < 0.0f, filled(0.0f), raw)); /* NaN stays NaN */
        place->inside[i] = chosen(raw == place->unit[i], filled(1.0f), filled(0.0f));
    }
}

INLINE void find_cells(const Field *f, const int D, int64_t level, const Place *place, Cells *out) {
    const int64_t *cells = f->cells + D * level;
    int32_t stride = 1;
    out->first = (whole_lanes){0} + (int32_t)f->starts[level];
    for (int c = 0; c < 1 << D; c++) out->shift[c] = 0;
    for (int i = D - 1; i >= 0; i--) {
        const lanes position = place->unit[i] * (float)cells[i], last = filled((float)cells[i] - 1.0f);
        const lanes low = chosen(position > 0.0f, chosen(position < last, position, last), filled(0.0f)); /* not NaN */
        const whole_lanes base = __builtin_convertvector(low, whole_lanes);
        const lanes fraction = position - __builtin_convertvector(base, lanes);
        memcpy(out->fraction[i], &fraction, sizeof fraction);
        out->first += base * stride;
        for (int c = 0; c < 1 << D; c++) out->shift[c] += (c >> i & 1) * stride;
        stride *= (int32_t)cells[i] + 1;
    }
}

/* Ask for the memory of the cells' corners in a table, to be read or (`change`) added to a little later. With four channels
 * most neighbours along the last axis share their line. */
INLINE void fetch(const Field *f, const int D, const Cells *cells, const float *table, const int change) {
    const int64_t Q = f->channels / 4;
    for (int c = 0; c < 1 << (D - 1); c++)
        for (int lane = 0; lane < LANES; lane++) {
            const quad *row = (const quad *)table + (cells->first[lane] + cells->shift[c]) * Q;
            if (change) __builtin_prefetch(row, 1); /* Clang wants the constant as such */
            else __builtin_prefetch(row, 0);
        }
}

/* Which mixed derivative is that by axes i < j. */
INLINE int pair_of(int i, int j) { return i + j - 1; }

/* One point's quad of features: value, derivatives by place within the cell and, for as many rows, mixed ones. One axis
 * after the other is contracted; what was found by the axes before goes along. Neighbours along the last axis stay a
 * pair until then. */
INLINE void interpolate(const Field *f, const int D, const int rows, const Cells *cells, int lane, int64_t q, quad *out) {
    const int64_t Q = f->channels / 4, first = cells->first[lane];
    const int last = D - 1;
    const float t = cells->fraction[last][lane];
    quads2 value[MAX_CORNERS / 2], slope[MAX_DIMENSION - 1][MAX_CORNERS / 4], mixed = {0.0f};
    for (int c = 0; c < 1 << last; c++) value[c] = neighbours((const quad *)f->table + (first + cells->shift[c]) * Q + q, Q);
    for (int i = 0; i < last; i++) {
        const float u = cells->fraction[i][lane];
        for (int c = 0; c < 1 << (last - 1 - i); c++) {
            for (int j = 0; j < i && rows > 1; j++) {
                const quads2 rise = slope[j][2 * c + 1] - slope[j][2 * c];
                mixed = rise;
                slope[j][c] = slope[j][2 * c] + u * rise;
            }
            const quads2 rise = value[2 * c + 1] - value[2 * c];
            slope[i][c] = rise;
            value[c] = value[2 * c] + u * rise;
        }
    }
    const quad rise = half_of(value[0], 1) - half_of(value[0], 0);
    out[0] = half_of(value[0], 0) + t * rise;
    if (rows > 1) out[1 + last] = rise;
    for (int j = 0; j < last && rows > 1; j++) {
        const quad bend = half_of(slope[j][0], 1) - half_of(slope[j][0], 0);
        out[1 + j] = half_of(slope[j][0], 0) + t * bend;
        if (rows > 1 + D) out[1 + D + pair_of(j, last)] = bend;
    }
    if (D == 3 && rows > 1 + D) out[1 + D + pair_of(0, 1)] = half_of(mixed, 0) + t * (half_of(mixed, 1) - half_of(mixed, 0));
}

/* The way back: add what the gradients of a point's rows mean for its corners to the table's gradient. */
INLINE void spread(const Field *f, const int D, const int rows, const Cells *cells, int lane, int64_t q, const quad *up,
                   float *table) {
    const int64_t Q = f->channels / 4, first = cells->first[lane];
    const int last = D - 1;
    const float t = cells->fraction[last][lane];
    quads2 value[MAX_CORNERS / 2], slope[MAX_DIMENSION - 1][MAX_CORNERS / 2];
    const quad high = rows > 1 ? up[1 + last] + t * up[0] : t * up[0];
    value[0] = joined(up[0] - high, high);
    for (int j = 0; j < last && rows > 1; j++) slope[j][0] = joined(up[1 + j] - t * up[1 + j], t * up[1 + j]);
    for (int i = last - 1; i >= 0; i--) {
        const float u = cells->fraction[i][lane];
        for (int c = (1 << (last - 1 - i)) - 1; c >= 0; c--) {
            for (int j = 0; j < i && rows > 1; j++) {
                const quads2 above = u * slope[j][c];
                slope[j][2 * c] = slope[j][c] - above;
                slope[j][2 * c + 1] = above;
            }
            const quads2 above = rows > 1 ? slope[i][c] + u * value[c] : u * value[c];
            value[2 * c] = value[c] - above;
            value[2 * c + 1] = above;
        }
    }
    for (int c = 0; c < 1 << last; c++) add_neighbours((quad *)table + (first + cells->shift[c]) * Q + q, Q, value[c]);
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

/* Features [rows][K] of the points in a place, whose cells at all levels are known. */
INLINE void encode(const Field *f, const int D, const int rows, const Place *place, const Cells *cells,
                   lanes *features) {
    const int64_t Q = f->channels / 4, K = f->levels * f->channels;
    for (int64_t level = 0; level < f->levels; level++)
        for (int64_t q = 0; q < Q; q++) {
            Quads quads[ALL_ROWS];
            for (int lane = 0; lane < LANES; lane++) {
                quad out[ALL_ROWS];
                interpolate(f, D, rows, cells + level, lane, q, out);
                for (int row = 0; row < rows; row++) quads[row].of[slot_of(lane)] = out[row];
            }
            for (int row = 0; row < rows; row++) {
                lanes *channels = features + row * K + (level * Q + q) * 4;
                transpose(quads[row].all, channels);
                if (row) rescale(f, D, level, place, row, channels);
            }
        }
}

/* Back from the gradients of features, which are used up, to the table. */
INLINE void pull_table(const Field *f, const FieldGradient *g, const int D, const int rows, int64_t count,
                       const Place *place, const Cells *cells, lanes *features_gradient) {
    const int64_t Q = f->channels / 4, K = f->levels * f->channels;
    for (int64_t level = 0; level < f->levels; level++)
        for (int64_t q = 0; q < Q; q++) {
            Quads quads[MAX_ROWS];
            for (int row = 0; row < rows; row++) {
                lanes *channels = features_gradient + row * K + (level * Q + q) * 4;
                if (row) rescale(f, D, level, place, row, channels);
                transpose(channels, quads[row].all);
            }
            for (int lane = 0; lane < count; lane++) {
                quad up[MAX_ROWS];
                for (int row = 0; row < rows; row++) up[row] = quads[row].of[slot_of(lane)];
                spread(f, D, rows, cells + level, lane, q, up, g->table);
            }
        }
}

#endif
