/* Inverse consistency of two maps, folding, diffusion and total variation of the first, with their gradients. The Python
 * twins are in losses/gradicon.py, icon.py, jacobian.py, diffusion.py and total_variation.py. */
#include "regularity.h"

#include <math.h>
#include <stdlib.h>

#include "pool.h"

/* The determinant and its gradient, the cofactors. */
INLINE float cofactors(const float *a, const int D, float *c) {
    if (D == 2) {
        c[0] = a[3], c[1] = -a[2], c[2] = -a[1], c[3] = a[0];
        return a[0] * a[3] - a[1] * a[2];
    }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            const int r = (i + 1) % 3, s = (i + 2) % 3, t = (j + 1) % 3, u = (j + 2) % 3;
            c[i * 3 + j] = a[r * 3 + t] * a[s * 3 + u] - a[r * 3 + u] * a[s * 3 + t];
        }
    return a[0] * c[0] + a[1] * c[1] + a[2] * c[2];
}

#define POINTS 64 /* of a block */

typedef struct {
    const RoundTrip *r;
    double (*sums)[TERMS]; /* of each block: gradicon, icon, folding, diffusion, total variation */
    float *by_back, *by_first, *by_second;
} Penalties;

INLINE void round_trip(const Penalties *p, const int D, int64_t begin, int64_t end) {
    const RoundTrip *r = p->r;
    const float weight = 1.0f / (float)r->points;
    double gradicon = 0.0, icon = 0.0, folding = 0.0, diffusion = 0.0, variation = 0.0;
    double *sums = p->sums[begin / POINTS];
    for (int64_t n = begin; n < end; n++) {
        const float *a = r->first + n * D * D, *b = r->second + n * D * D;
        float product[9], minor[9];
        const float determinant = cofactors(a, D, minor), depth = r->floor - determinant;
        const float hinge = depth < 0.0f ? 0.0f : depth; /* NaN stays NaN */
        folding += (double)(hinge * hinge);
        float squared = 0.0f; /* |J - I|^2 */
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++) {
                const float gradient = a[i * D + j] - (i == j ? 1.0f : 0.0f);
                squared += gradient * gradient;
            }
        const float root = sqrtf(squared + r->epsilon * r->epsilon);
        variation += (double)(squared / (root + r->epsilon)); /* root - e, without cancellation */
        const float slope = r->diffusion + 0.5f * r->variation / root; /* of both penalties by |J - I|^2 */
        for (int i = 0; i < D; i++) {
            const float error = r->back[n * D + i] - r->start[n * D + i];
            icon += (double)(error * error);
            p->by_back[n * D + i] = 2.0f * weight * r->icon * error;
            for (int j = 0; j < D; j++) {
                const float identity = i == j ? 1.0f : 0.0f, gradient = a[i * D + j] - identity;
                float sum = -identity;
                for (int k = 0; k < D; k++) sum += b[i * D + k] * a[k * D + j];
                product[i * D + j] = sum;
                gradicon += (double)(sum * sum);
                diffusion += (double)(gradient * gradient);
                p->by_first[(n * D + i) * D + j] =
                    2.0f * weight * (slope * gradient - r->folding * hinge * minor[i * D + j]);
            }
        }
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++) {
                float left = 0.0f, right = 0.0f;
                for (int k = 0; k < D; k++) {
                    left += product[i * D + k] * a[j * D + k];
                    right += b[k * D + i] * product[k * D + j];
                }
                p->by_second[(n * D + i) * D + j] = 2.0f * weight * r->gradicon * left;
                p->by_first[(n * D + i) * D + j] += 2.0f * weight * r->gradicon * right;
            }
    }
    sums[0] = gradicon, sums[1] = icon, sums[2] = folding, sums[3] = diffusion, sums[4] = variation;
}

static void round_trip_block(const void *job, int64_t begin, int64_t end, int slot) {
    const Penalties *p = job;
    (void)slot;
    if (p->r->dimension == 3) round_trip(p, 3, begin, end);
    else round_trip(p, 2, begin, end);
}

EXPORT int nephi_round_trip(const RoundTrip *r, double *terms, float *by_back, float *by_first, float *by_second,
                            int64_t threads) {
    const float weights[] = {r->gradicon, r->icon, r->folding, r->diffusion, r->variation};
    const int64_t blocks = (r->points + POINTS - 1) / POINTS;
    const Penalties penalties = {r, malloc(sizeof(double[TERMS]) * (size_t)(blocks + 1)), by_back, by_first, by_second};
    if (!penalties.sums) return 1;
    run_blocks(r->points, POINTS, threads, round_trip_block, &penalties);
    for (int term = 0; term < TERMS; term++) {
        double sum = 0.0;
        for (int64_t block = 0; block < blocks; block++) sum += penalties.sums[block][term];
        terms[term] = weights[term] * sum / (double)r->points;
    }
    free(penalties.sums);
    return 0;
}
