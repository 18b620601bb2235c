/* Patches of an image around points. */
#ifndef NEPHI_PATCHES_H
#define NEPHI_PATCHES_H

#include "volume.h"

/* Patches of K samples at centre + matrix @ offset (world mm); without a matrix, the identity. */
typedef struct {
    const float *to_voxel, *origin; /* (D, D), (D): map world mm to voxel coordinates */
    int64_t samples;                /* K */
    const float *offsets;           /* (K, D) */
} Patches;

/* Values (P, K) and, unless NULL, gradients (P, D, K) by voxel coordinates, and 1 or 0 for centres inside or outside of
 * the image (P). Returns 1 when memory is exhausted. */
EXPORT int nephi_interpolate_patches(const Volume *v, const Patches *p, int64_t count, const float *centres,
                                     const float *matrices, float *values, float *gradients, float *inside,
                                     int64_t threads);

/* Gradients with respect to centres (P, D) and, unless NULL, matrices (P, D, D), from those with respect to the values
 * and the gradients that nephi_interpolate_patches computed. */
EXPORT void nephi_patches_gradient(const Patches *p, int64_t dimension, int64_t count, const float *gradients,
                                   const float *by_values, float *by_centres, float *by_matrices, int64_t threads);

#endif
