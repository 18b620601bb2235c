/* Correlations and squared difference of patches. */
#ifndef NEPHI_SIMILARITY_H
#define NEPHI_SIMILARITY_H

#include "common.h"

/* Sizes of (P, K) patches, and the weight of each measure in the sum. */
typedef struct {
    int64_t patches, samples;
    float lncc, lncc_squared, pooled, ncc, mse;
    float local_epsilon, global_epsilon; /* added to the product of both variances */
} Measure;

/* The weighted sum of the measures and, unless NULL, its gradient with respect to `moving`, (P, K). `weights` of the
 * patches are (P) or NULL. Returns 1 when memory is exhausted. */
EXPORT int nephi_similarity(const Measure *s, const float *fixed, const float *moving, const float *weights,
                            double *sum, float *by_moving, int64_t threads);

#endif
