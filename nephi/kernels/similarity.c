/* Correlations and squared difference of patches, with their gradient. The Python twins are in losses/ncc.py and
 * mse.py.
 *
 * Sums of centred products do not depend on the means to first order, so the gradient of each measure is a linear
 * function of both images within a patch: a_p f + b_p m + c_p.
 */
#include "similarity.h"

#include <math.h>
#include <stdlib.h>

#include "pool.h"

/* Of one patch: its weight in the mean over patches, its means, and its sums of centred products. */
typedef struct {
    float weight, f, m, ff, mm, fm, square; /* square: sum of the squared difference, not centred */
    double local, difference;               /* what it subtracts from the loss, and adds to it */
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

#define PATCHES 32 /* of a block */

/* Patches, their moments, and of all patches together: means, and correlations within and between patches. */
typedef struct {
    const Measure *s;
    const float *fixed, *moving;
    Moments *all;
    float *by_moving;
    double f, m;
    Correlation pooled, global;
} Comparison;

static void moments_block(const void *job, int64_t begin, int64_t end, int slot) {
    const Comparison *c = job;
    const int64_t K = c->s->samples;
    (void)slot;
    for (int64_t p = begin; p < end; p++) c->all[p] = moments(c->fixed + p * K, c->moving + p * K, K);
}

/* Means of all patches, and correlations of all patches together: sums of products ff, mm, fm within and between
 * patches. */
static void compare_all(Comparison *c) {
    const int64_t P = c->s->patches;
    double within[3] = {0.0}, between[3] = {0.0};
    c->f = c->m = 0.0;
    for (int64_t p = 0; p < P; p++) {
        const Moments *q = c->all + p;
        const double weight = q->weight / (double)c->s->samples;
        c->f += q->weight * (double)q->f;
        c->m += q->weight * (double)q->m;
        within[0] += weight * q->ff;
        within[1] += weight * q->mm;
        within[2] += weight * q->fm;
    }
    for (int64_t p = 0; p < P; p++) {
        const Moments *q = c->all + p;
        const double x = q->f - c->f, y = q->m - c->m;
        between[0] += q->weight * x * x;
        between[1] += q->weight * y * y;
        between[2] += q->weight * x * y;
    }
    c->pooled = correlation(within[0], within[1], within[2], c->s->global_epsilon);
    c->global = correlation(within[0] + between[0], within[1] + between[1], within[2] + between[2],
                            c->s->global_epsilon);
}

/* A patch's part of the loss, and its gradient. */
INLINE void compare_patch(const Comparison *c, int64_t p) {
    const Measure *s = c->s;
    const int64_t K = s->samples;
    Moments *q = c->all + p;
    const Correlation local = correlation(q->ff, q->mm, q->fm, (double)s->local_epsilon * (double)(K * K));
    const double mean_difference = (double)q->m - q->f;
    q->local = q->weight * local.value * (s->lncc + s->lncc_squared * local.value);
    q->difference = s->mse * q->weight * q->square / (double)K;
    if (!c->by_moving) return;
    const double slope = -q->weight * (s->lncc + 2.0 * s->lncc_squared * local.value);
    const double sample_weight = q->weight / (double)K;
    const double centred_f = slope * local.by_f - sample_weight * s->pooled * c->pooled.by_f;
    const double centred_m = slope * local.by_m - sample_weight * s->pooled * c->pooled.by_m;
    const double all_f = -sample_weight * s->ncc * c->global.by_f, all_m = -sample_weight * s->ncc * c->global.by_m;
    const double difference = 2.0 * sample_weight * s->mse;
    const float of_f = (float)(centred_f + all_f - difference), of_m = (float)(centred_m + all_m + difference);
    const float rest = (float)(all_f * (q->f - c->f) + all_m * (q->m - c->m) + difference * mean_difference);
    const float *fixed = c->fixed + p * K, *moving = c->moving + p * K;
    float *by_moving = c->by_moving + p * K;
    for (int64_t k = 0; k < K; k++) by_moving[k] = of_f * (fixed[k] - q->f) + of_m * (moving[k] - q->m) + rest;
}

static void compare_block(const void *job, int64_t begin, int64_t end, int slot) {
    (void)slot;
    for (int64_t p = begin; p < end; p++) compare_patch(job, p);
}

EXPORT int nephi_similarity(const Measure *s, const float *fixed, const float *moving, const float *weights,
                            double *sum, float *by_moving, int64_t threads) {
    const int64_t P = s->patches;
    Comparison c = {.s = s, .fixed = fixed, .moving = moving, .by_moving = by_moving};
    c.all = malloc(sizeof(Moments) * (size_t)(P + 1));
    if (!c.all) return 1;
    run_blocks(P, PATCHES, threads, moments_block, &c);
    normalise_weights(c.all, P, weights);
    compare_all(&c);
    run_blocks(P, PATCHES, threads, compare_block, &c);
    double loss = s->lncc + s->lncc_squared + s->pooled * (1.0 - c.pooled.value) + s->ncc * (1.0 - c.global.value);
    for (int64_t p = 0; p < P; p++) {
        loss -= c.all[p].local;
        loss += c.all[p].difference;
    }
    free(c.all);
    *sum = loss;
    return 0;
}
