/* The inverse of a neural field at many points: phi(y + v) = y, solved for v at each y by Broyden's method.
 *
 * Each of the LANES works through strips of neighbouring points of its own, so that quick points do not wait for slow
 * ones; from one voxel to the next it keeps what it learnt of the field's slope, which saves a sixth of the visits. The
 * Python twin, fields/inverse.py, starts every point afresh. */
#include <math.h>

#include "field_network.h"

#define STRIP 64 /* points: long enough to learn from, short enough that all lanes read the same part of the tables */
#define RUNAWAY 16.0f /* a squared residual that grew by this will not come back */

typedef struct {
    lanes target[MAX_DIMENSION], found[MAX_DIMENSION];  /* y and v, world mm */
    lanes residual[MAX_DIMENSION], step[MAX_DIMENSION]; /* of the last visit, and what was added to v since */
    lanes map[MAX_DIMENSION][MAX_DIMENSION];            /* from residuals to steps */
    lanes begun;                                        /* squared residual of the first visit */
    int64_t owner[LANES];                               /* index of the lane's point, -1: idle */
    int64_t end[LANES];                                 /* where the lane's strip ends */
    int64_t visits[LANES];                              /* to the point */
    int64_t count, next;                                /* points in all; the first that no lane has been given */
} Search;

/* Give a lane the next point of its strip, else of a fresh strip, else none. */
INLINE void take(Search *s, const int D, int lane, const float *points, const float *start) {
    int64_t index = s->owner[lane] + 1;
    if (index == s->end[lane]) {
        index = s->next;
        s->next = index + STRIP < s->count ? index + STRIP : s->count;
        s->end[lane] = s->next;
    }
    const int idle = index == s->count;
    s->owner[lane] = idle ? -1 : index;
    s->visits[lane] = 0;
    s->begun[lane] = INFINITY;
    for (int i = 0; i < D; i++) {
        s->target[i][lane] = idle ? 0.0f : points[index * D + i];
        s->found[i][lane] = idle ? 0.0f : start[index * D + i];
        s->residual[i][lane] = s->step[i][lane] = 0.0f;
    }
}

/* Let a lane begin with plain fixed-point steps. */
INLINE void forget(Search *s, const int D, int lane) {
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) s->map[i][j][lane] = i == j ? 1.0f : 0.0f;
}

/* What is missing to phi(y + v) = y: -v - u(y + v), u the displacement. */
INLINE void visit(const Field *f, const int D, const Search *s, Scratch scratch, lanes *residual) {
    lanes x[MAX_DIMENSION], outputs[MAX_DIMENSION];
    for (int i = 0; i < D; i++) x[i] = s->target[i] + s->found[i];
    locate(f, D, x, scratch.places);
    for (int64_t level = 0; level < f->levels; level++) find_cells(f, D, level, scratch.places, scratch.cells + level);
    encode(f, D, 1, scratch.places, scratch.cells, scratch.features);
    decode(f, D, 1, scratch, outputs);
    for (int i = 0; i < D; i++) {
        residual[i] = -s->found[i];
        for (int o = 0; o < D; o++) residual[i] -= f->amplitude[i * D + o] * outputs[o];
    }
}

/* Broyden's (good) update: the map that is right for the last step and differs least; then the next step. */
INLINE void step(Search *s, const int D, const lanes *residual) {
    lanes along[MAX_DIMENSION], scale = filled(0.0f);
    for (int i = 0; i < D; i++) {
        along[i] = filled(0.0f);
        for (int j = 0; j < D; j++) along[i] += s->map[i][j] * (s->residual[j] - residual[j]);
        scale += s->step[i] * along[i];
    }
    const whole_lanes usable = (scale > 1e-12f) | (scale < -1e-12f); /* not so after the first visit */
    const lanes factor = chosen(usable, 1.0f / scale, filled(0.0f));
    for (int j = 0; j < D; j++) {
        lanes across = filled(0.0f);
        for (int i = 0; i < D; i++) across += s->step[i] * s->map[i][j];
        for (int i = 0; i < D; i++) s->map[i][j] += (s->step[i] - along[i]) * factor * across;
    }
    for (int i = 0; i < D; i++) s->residual[i] = residual[i];
    for (int i = 0; i < D; i++) {
        s->step[i] = filled(0.0f);
        for (int j = 0; j < D; j++) s->step[i] += s->map[i][j] * residual[j];
        s->found[i] += s->step[i];
    }
}

INLINE void solve(const Field *f, const int D, int64_t count, const float *points, float *displacement, float *error,
                  float tolerance, int64_t visits, Scratch scratch) {
    int64_t left = count;
    Search s = {.count = count, .next = 0};
    for (int lane = 0; lane < LANES; lane++) {
        s.owner[lane] = -1;
        s.end[lane] = 0;
        take(&s, D, lane, points, displacement);
        forget(&s, D, lane);
    }
    while (left) {
        lanes residual[MAX_DIMENSION], visited[MAX_DIMENSION], squared = filled(0.0f);
        visit(f, D, &s, scratch, residual);
        for (int i = 0; i < D; i++) squared += residual[i] * residual[i], visited[i] = s.found[i];
        s.begun = chosen(s.begun < INFINITY, s.begun, squared);
        const whole_lanes arrived = squared <= tolerance * tolerance, sound = squared <= RUNAWAY * s.begun; /* not NaN */
        step(&s, D, residual);
        for (int lane = 0; lane < LANES; lane++) {
            const int64_t index = s.owner[lane];
            if (index < 0 || (!arrived[lane] && sound[lane] && ++s.visits[lane] < visits)) continue;
            /* One who has arrived takes the next step, too: it is known, and leads closer still. */
            for (int i = 0; i < D; i++)
                displacement[index * D + i] = arrived[lane] ? s.found[i][lane] : visited[i][lane];
            error[index] = sqrtf(squared[lane]);
            if (!arrived[lane]) forget(&s, D, lane);
            take(&s, D, lane, points, displacement);
            left--;
        }
    }
}

/* Displacement (N, D) of the inverse at world points (N, D), from a start to within `tolerance` mm, and a bound of the
 * error (N) that is left: above the tolerance where `visits` were not enough or the search ran away. */
EXPORT int nephi_invert(const Field *f, int64_t count, const float *points, float *displacement, float *error,
                        float tolerance, int64_t visits) {
    Scratch scratch;
    if (!allocate(f, 1, 0, &scratch)) return 1;
    if (f->dimension == 3) solve(f, 3, count, points, displacement, error, tolerance, visits, scratch);
    else solve(f, 2, count, points, displacement, error, tolerance, visits, scratch);
    free(scratch.features);
    return 0;
}
