/* One step of Adam. The Python twin is in optimize/adam.py. */
#include <math.h>

#include "common.h"

typedef struct {
    float first_decay, second_decay; /* of the running means of the gradient and of its square */
    float step;                      /* bias-corrected step size, rate / (1 - first_decay^t) */
    float second_correction;         /* bias correction 1 - second_decay^t */
    float epsilon;
} AdamStep;

/* Apply one step to `count` parameters, update both running means, and set the gradient to 0 for the next step. */
EXPORT void nephi_adam(const AdamStep *s, int64_t count, float *restrict parameter, float *restrict gradient,
                       float *restrict mean, float *restrict square) {
    for (int64_t i = 0; i < count; i++) {
        const float g = gradient[i];
        mean[i] += (1.0f - s->first_decay) * (g - mean[i]);
        square[i] = s->second_decay * square[i] + (1.0f - s->second_decay) * g * g;
        gradient[i] = 0.0f;
        parameter[i] -= s->step * mean[i] / (sqrtf(square[i] / s->second_correction) + s->epsilon);
    }
}
