/* Correlations and squared difference of patches, with their gradient. The Python twins are in losses/ncc.py and
 * mse.py.
 *
 * Sums of centred products do not depend on the means to first order, so the gradient of each measure is a linear
 * function of both images within a patch: a_p f + b_p m + c_p.
 */
#include <math.h>
#include <stdlib.h>

#include "common.h"

/* Sizes of (P, K) patches, and the weight of each measure in the sum. */
typedef struct {
    int64_t patches, samples;
    float lncc, lncc_squared, pooled, ncc, mse;
    float local_epsilon, global_epsilon; /* added to the product of both variances */
} Measure;

/* Of one patch: its weight in the mean over patches, its means, and its sums of centred products. */
typedef struct {
    float weight, f, m, ff, mm, fm, square; /* square: sum of the squared difference, not centred */
} Moments;

/* A correlation `fm / sqrt(ff mm + epsilon)` and the factors of f and m (centred) in its gradient with respect to m. */
typedef struct {
    double value, by_f, by_m;
} Correlation;

static Correlation correlation(double ff, double mm, double fm, double epsilon) {
    const double root = 1.0 / sqrt(ff * mm + epsilon);
    return (Correlation){fm * root, root, -fm * ff * root * root * root};
}

INLINE Moments moments(const float *f, const float *m, int64_t count) {
    Moments s = {0};
    for (int64_t k = 0; k < count; k++) {
        s.f += f[k];
        s.m += m[k];
    }
    s.f /= (float)count;
    s.m /= (float)count;
    for (int64_t k = 0; k < count; k++) {
        const float x = f[k] - s.f, y = m[k] - s.m;
        s.ff += x * x;
        s.mm += y * y;
        s.fm += x * y;
        s.square += (m[k] - f[k]) * (m[k] - f[k]);
    }
    return s;
}

/* Normalise the patches' weights to a sum of 1; all are 0 where every weight is 0. */
INLINE void normalise_weights(Moments *all, int64_t count, const float *weights) {
    double total = 0.0;
    for (int64_t p = 0; p < count; p++) total += weights ? weights[p] : 1.0;
    for (int64_t p = 0; p < count; p++)
        all[p].weight = total > 0.0 ? (float)((weights ? weights[p] : 1.0) / total) : 0.0f;
}

/* The weighted sum of the measures and, unless NULL, its gradient with respect to `moving`, (P, K). `weights` of the
 * patches are (P) or NULL. Returns 1 when memory is exhausted. */
EXPORT int nephi_similarity(const Measure *s, const float *fixed, const float *moving, const float *weights,
                            double *sum, float *by_moving) {
    const int64_t P = s->patches, K = s->samples;
    Moments *all = malloc(sizeof(Moments) * (size_t)P);
    if (!all) return 1;
    /* Of all patches together: means, and sums of products ff, mm, fm within and between patches. */
    double f = 0.0, m = 0.0, within[3] = {0.0}, between[3] = {0.0};
    for (int64_t p = 0; p < P; p++) all[p] = moments(fixed + p * K, moving + p * K, K);
    normalise_weights(all, P, weights);
    for (int64_t p = 0; p < P; p++) {
        const double weight = all[p].weight / (double)K;
        f += all[p].weight * (double)all[p].f;
        m += all[p].weight * (double)all[p].m;
        within[0] += weight * all[p].ff;
        within[1] += weight * all[p].mm;
        within[2] += weight * all[p].fm;
    }
    for (int64_t p = 0; p < P; p++) {
        const double x = all[p].f - f, y = all[p].m - m;
        between[0] += all[p].weight * x * x;
        between[1] += all[p].weight * y * y;
        between[2] += all[p].weight * x * y;
    }
    const Correlation pooled = correlation(within[0], within[1], within[2], s->global_epsilon);
    const Correlation global = correlation(within[0] + between[0], within[1] + between[1], within[2] + between[2],
                                          s->global_epsilon);
    double loss = s->lncc + s->lncc_squared + s->pooled * (1.0 - pooled.value) + s->ncc * (1.0 - global.value);
    for (int64_t p = 0; p < P; p++) {
        const Moments *q = all + p;
        const Correlation local = correlation(q->ff, q->mm, q->fm, (double)s->local_epsilon * (double)(K * K));
        const double mean_difference = (double)q->m - q->f;
        loss -= q->weight * local.value * (s->lncc + s->lncc_squared * local.value);
        loss += s->mse * q->weight * q->square / (double)K;
        if (!by_moving) continue;
        const double slope = -q->weight * (s->lncc + 2.0 * s->lncc_squared * local.value);
        const double sample_weight = q->weight / (double)K;
        const double centred_f = slope * local.by_f - sample_weight * s->pooled * pooled.by_f;
        const double centred_m = slope * local.by_m - sample_weight * s->pooled * pooled.by_m;
        const double all_f = -sample_weight * s->ncc * global.by_f, all_m = -sample_weight * s->ncc * global.by_m;
        const double difference = 2.0 * sample_weight * s->mse;
        const float of_f = (float)(centred_f + all_f - difference), of_m = (float)(centred_m + all_m + difference);
        const float rest = (float)(all_f * (q->f - f) + all_m * (q->m - m) + difference * mean_difference);
        for (int64_t k = 0; k < K; k++)
            by_moving[p * K + k] = of_f * (fixed[p * K + k] - q->f) + of_m * (moving[p * K + k] - q->m) + rest;
    }
    free(all);
    *sum = loss;
    return 0;
}
