/* Inverse consistency of two maps, and penalties of the Jacobian of the first. */
#ifndef NEPHI_REGULARITY_H
#define NEPHI_REGULARITY_H

#include "common.h"

#define TERMS 5 /* gradicon, icon, folding, diffusion, total variation */

/* N points x, mapped by phi and back by its approximate inverse psi, and the Jacobians of both maps. */
typedef struct {
    int64_t dimension, points;
    const float *start, *back;                /* (N, D): x and psi(phi(x)), mm */
    const float *first, *second;              /* (N, D, D): the Jacobian of phi at x, and of psi at phi(x) */
    float gradicon, icon, folding, diffusion, variation; /* weights */
    float floor;                              /* a determinant below it counts as folding */
    float epsilon;                            /* of total variation: e in sqrt(|J - I|^2 + e^2) - e */
} RoundTrip;

/* The weighted terms, in the order of the weights, each a mean over the points, and the gradients of their sum with
 * respect to `back` (N, D), `first` and `second` (N, D, D). Returns 1 when memory is exhausted. */
EXPORT int nephi_round_trip(const RoundTrip *r, double *terms, float *by_back, float *by_first, float *by_second,
                            int64_t threads);

#endif
