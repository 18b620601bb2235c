/* A neural field as the kernels see it: latent grids, one hidden SiLU layer, a linear read-out. */
#ifndef NEPHI_FIELD_H
#define NEPHI_FIELD_H

#include "quads.h"

typedef struct {
    int64_t dimension, levels, channels, hidden; /* D, L, C, H; the network has K = L * C inputs */
    const int64_t *cells;                        /* (L, D): cells of a level along each axis */
    const int64_t *starts;                       /* (L): first table row of a level */
    const float *to_unit, *offset;               /* (D, D), (D): world mm to the unit cube */
    const float *amplitude;                      /* (D, D): network output to world mm */
    const float *table;                          /* (rows, C) */
    const float *first, *first_bias;             /* (H, K), (H) */
    const float *last, *last_bias;               /* (D, H), (D) */
} Field;

/* Where the gradients of the parameters are added up; shapes as in Field. */
typedef struct {
    float *table, *first, *first_bias, *last, *last_bias;
} FieldGradient;

#endif
