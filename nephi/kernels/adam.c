/* One step of Adam. The Python twin is in optimize/adam.py. */
#include <math.h>

#include "common.h"
#include "pool.h"

typedef struct {
    float first_decay, second_decay; /* of the running means of the gradient and of its square */
    float step;                      /* bias-corrected step size, rate / (1 - first_decay^t) */
    float second_correction;         /* bias correction 1 - second_decay^t */
    float epsilon;
} AdamStep;

typedef struct {
    const AdamStep *step;
    float *parameter, *gradient, *mean, *square;
} Adam;

static void adam_block(const void *job, int64_t begin, int64_t end, int slot) {
    const Adam *a = job;
    const AdamStep *s = a->step;
    float *restrict parameter = a->parameter, *restrict gradient = a->gradient;
    float *restrict mean = a->mean, *restrict square = a->square;
    (void)slot;
    for (int64_t i = begin; i < end; i++) {
        const float g = gradient[i];
        mean[i] += (1.0f - s->first_decay) * (g - mean[i]);
        square[i] = s->second_decay * square[i] + (1.0f - s->second_decay) * g * g;
        gradient[i] = 0.0f;
        parameter[i] -= s->step * mean[i] / (sqrtf(square[i] / s->second_correction) + s->epsilon);
    }
}

/* Apply one step to `count` parameters, update both running means, and set the gradient to 0 for the next step. */
EXPORT void nephi_adam(const AdamStep *s, int64_t count, float *parameter, float *gradient, float *mean, float *square,
                       int64_t threads) {
    const Adam adam = {s, parameter, gradient, mean, square};
    run_blocks(count, 8192, threads, adam_block, &adam);
}
