/* Parameters of a neural field: latent grids, one hidden SiLU layer, a linear output layer. */
#ifndef NEPHI_FIELD_H
#define NEPHI_FIELD_H

#include "float4.h"

typedef struct {
    int64_t dimension, levels, channels, hidden; /* D, L, C, H; the network has K = L * C inputs */
    int64_t degree;                              /* of the interpolation: 1 linear, 2 or 3 for B-splines */
    const int64_t *cells;                        /* (L, D): cells of a level along each axis; it has `degree` more nodes */
    const int64_t *starts;                       /* (L): first table row of a level */
    const float *to_unit, *offset;               /* (D, D), (D): map world mm to the unit cube */
    const float *amplitude;                      /* (D, D): maps the network's output to world mm */
    const float *table;                          /* (rows, C) */
    const float *first, *first_bias;             /* (H, K), (H) */
    const float *last, *last_bias;               /* (D, H), (D) */
} Field;

/* Accumulated gradients of the parameters; shapes as in Field. */
typedef struct {
    float *table, *first, *first_bias, *last, *last_bias;
} FieldGradient;

/* Displacement (N, D) and, unless NULL, Jacobian (N, D, D) of x + displacement, at world points (N, D). Returns 1 when
 * memory is exhausted. */
EXPORT int nephi_field(const Field *f, int64_t count, const float *points, float *displacement, float *jacobian,
                       int64_t threads);

/* Add the gradients of nephi_field's parameters to `g`, and compute those of the points; `by_displacement`,
 * `by_jacobian` and `by_points` may be NULL. Returns 1 when memory is exhausted. */
EXPORT int nephi_field_gradient(const Field *f, const FieldGradient *g, int64_t count, const float *points,
                                const float *by_displacement, const float *by_jacobian, float *by_points,
                                int64_t threads);

#endif
