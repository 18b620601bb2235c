/* One step of Adam. The Python twin is in optimize/adam.py. */
#include <math.h>

#include "common.h"

typedef struct {
    float first, second; /* decay of the two running means */
    float step;          /* step size over the first mean's share: rate / (1 - first^t) */
    float share;         /* the second mean's share: 1 - second^t */
    float epsilon;
} AdamStep;

/* Move `count` parameters; their running means of gradient and squared gradient are brought up to date, and the gradient
 * is set to 0 for the next step while it is at hand. */
EXPORT void nephi_adam(const AdamStep *s, int64_t count, float *restrict parameter, float *restrict gradient,
                       float *restrict mean, float *restrict square) {
    for (int64_t i = 0; i < count; i++) {
        const float g = gradient[i];
        mean[i] += (1.0f - s->first) * (g - mean[i]);
        square[i] = s->second * square[i] + (1.0f - s->second) * g * g;
        gradient[i] = 0.0f;
        parameter[i] -= s->step * mean[i] / (sqrtf(square[i] / s->share) + s->epsilon);
    }
}
