/* The cells of a neural field's latent grids that contain a batch of points. */
#ifndef NEPHI_FIELD_CELLS_H
#define NEPHI_FIELD_CELLS_H

#include "field.h"

#define MAX_CORNERS 8

typedef struct {
    lanes unit[MAX_DIMENSION];   /* coordinates clamped to the unit cube */
    lanes inside[MAX_DIMENSION]; /* 1, or 0 where the coordinate was clamped */
} UnitPoints;

/* The cells of one level that contain the lanes' points. */
typedef struct {
    int_lanes first;                     /* table row of the cell's lowest corner */
    int32_t shift[MAX_CORNERS];          /* rows from there to corner c; bit i of c: upper side of axis i */
    float fraction[MAX_DIMENSION][LANES] /* position within the cell, 0 to 1 */
        __attribute__((aligned(sizeof(lanes))));
    int32_t stride[MAX_DIMENSION];       /* rows between neighbours along an axis */
    int32_t extent;                      /* rows from the first to the last that contributes to the cell */
} Cells;

/* Map points x, world mm, to the unit cube. */
INLINE void to_unit_cube(const Field *f, const int D, const lanes *x, UnitPoints *points_unit) {
    for (int i = 0; i < D; i++) {
        lanes raw = fill(f->offset[i]);
        for (int k = 0; k < D; k++) raw += f->to_unit[D * i + k] * x[k];
        const lanes at_least_0 = blend(raw < 0.0f, fill(0.0f), raw);
        points_unit->unit[i] = blend(raw > 1.0f, fill(1.0f), at_least_0); /* NaN stays NaN */
        points_unit->inside[i] = blend(raw == points_unit->unit[i], fill(1.0f), fill(0.0f));
    }
}

INLINE void find_cells(const Field *f, const int D, int64_t level, const UnitPoints *points_unit, Cells *out) {
    const int64_t *cells = f->cells + D * level;
    int32_t stride = 1;
    out->first = (int_lanes){0} + (int32_t)f->starts[level];
    for (int c = 0; c < 1 << D; c++) out->shift[c] = 0;
    for (int i = D - 1; i >= 0; i--) {
        const lanes position = points_unit->unit[i] * (float)cells[i], last = fill((float)cells[i] - 1.0f);
        const lanes low = blend(position > 0.0f, blend(position < last, position, last), fill(0.0f)); /* not NaN */
        const int_lanes base = __builtin_convertvector(low, int_lanes);
        const lanes fraction = position - __builtin_convertvector(base, lanes);
        memcpy(out->fraction[i], &fraction, sizeof fraction);
        out->first += base * stride;
        for (int c = 0; c < 1 << D; c++) out->shift[c] += (c >> i & 1) * stride;
        out->stride[i] = stride;
        stride *= (int32_t)(cells[i] + f->degree);
    }
    out->extent = (int32_t)f->degree * out->shift[(1 << D) - 1];
}

/* Prefetch the table rows of the cells' nodes for reading or, with `change`, for adding: the first one of each line along
 * the last axis. With four channels most neighbours along it share a cache line. */
INLINE void prefetch(const Field *f, const int D, const Cells *cells, const float *table, const int change) {
    const int64_t Q = f->channels / 4;
    const int N = (int)f->degree + 1, lines = D == 3 ? N * N : N;
    for (int c = 0; c < lines; c++) {
        const int32_t shift = D == 3 ? c / N * cells->stride[0] + c % N * cells->stride[1] : c * cells->stride[0];
        for (int lane = 0; lane < LANES; lane++) {
            const float4 *row = (const float4 *)table + (cells->first[lane] + shift) * Q;
            if (change) __builtin_prefetch(row, 1); /* Clang requires a literal constant */
            else __builtin_prefetch(row, 0);
        }
    }
}

#endif
