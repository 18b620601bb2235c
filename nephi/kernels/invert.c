/* The inverse of a neural field at points: phi(y + v) = y, solved for v at each y by Broyden's method.
 *
 * Each of the LANES processes its own strips of neighbouring points, so that no lane waits for another to converge. It
 * starts each point with the approximate inverse Jacobian of the previous one, which saves a sixth of the evaluations.
 * The Python twin, fields/inverse.py, starts each point with the identity. */
#include <math.h>

#include "field_network.h"
#include "pool.h"

#define BLOCK 8192 /* points of a block: at its end lanes become idle one after the other */
#define STRIP 64 /* points of a strip: short enough that all lanes read the same part of the tables */
#define DIVERGENCE 16.0f /* growth of the squared residual at which the iteration is stopped */

typedef struct {
    lanes target[MAX_DIMENSION], displacement[MAX_DIMENSION]; /* y and v, world mm */
    lanes residual[MAX_DIMENSION], step[MAX_DIMENSION];       /* of the last evaluation, and the step taken after it */
    lanes map[MAX_DIMENSION][MAX_DIMENSION];                  /* residual to step: approximate inverse Jacobian */
    lanes initial;                                            /* squared residual of the first evaluation */
    int64_t point[LANES];                                     /* index of the lane's point, -1: idle */
    int64_t end[LANES];                                       /* end of the lane's strip */
    int64_t evaluations[LANES];                               /* of the field at the point */
    int64_t count, next;                                      /* number of points; the first that is not assigned */
} Solver;

/* Assign the next point to a lane: of its strip, else of a new strip, else none. */
INLINE void assign_point(Solver *s, const int D, int lane, const float *points, const float *start) {
    int64_t index = s->point[lane] + 1;
    if (index == s->end[lane]) {
        index = s->next;
        s->next = index + STRIP < s->count ? index + STRIP : s->count;
        s->end[lane] = s->next;
    }
    const int idle = index == s->count;
    s->point[lane] = idle ? -1 : index;
    s->evaluations[lane] = 0;
    s->initial[lane] = INFINITY;
    for (int i = 0; i < D; i++) {
        s->target[i][lane] = idle ? 0.0f : points[index * D + i];
        s->displacement[i][lane] = idle ? 0.0f : start[index * D + i];
        s->residual[i][lane] = s->step[i][lane] = 0.0f;
    }
}

/* Reset a lane's map to the identity, which yields fixed-point steps. */
INLINE void reset_map(Solver *s, const int D, int lane) {
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) s->map[i][j][lane] = i == j ? 1.0f : 0.0f;
}

/* Residual of phi(y + v) = y: -v - u(y + v), where u is the field's displacement. */
INLINE void evaluate_residual(const Field *f, const int D, const Solver *s, Scratch scratch, lanes *residual) {
    lanes x[MAX_DIMENSION], outputs[MAX_DIMENSION];
    for (int i = 0; i < D; i++) x[i] = s->target[i] + s->displacement[i];
    to_unit_cube(f, D, x, scratch.points_unit);
    for (int64_t level = 0; level < f->levels; level++)
        find_cells(f, D, level, scratch.points_unit, scratch.cells + level);
    encode(f, D, 1, scratch.points_unit, scratch.cells, scratch.features);
    decode(f, D, 1, scratch, outputs);
    for (int i = 0; i < D; i++) {
        residual[i] = -s->displacement[i];
        for (int o = 0; o < D; o++) residual[i] -= f->amplitude[i * D + o] * outputs[o];
    }
}

/* Broyden's "good" update of the map, which makes it exact for the last step and changes it least; then the next
 * step. */
INLINE void broyden_step(Solver *s, const int D, const lanes *residual) {
    lanes along[MAX_DIMENSION], scale = fill(0.0f);
    for (int i = 0; i < D; i++) {
        along[i] = fill(0.0f);
        for (int j = 0; j < D; j++) along[i] += s->map[i][j] * (s->residual[j] - residual[j]);
        scale += s->step[i] * along[i];
    }
    const int_lanes usable = (scale > 1e-12f) | (scale < -1e-12f); /* false after the first evaluation */
    const lanes factor = blend(usable, 1.0f / scale, fill(0.0f));
    for (int j = 0; j < D; j++) {
        lanes across = fill(0.0f);
        for (int i = 0; i < D; i++) across += s->step[i] * s->map[i][j];
        for (int i = 0; i < D; i++) s->map[i][j] += (s->step[i] - along[i]) * factor * across;
    }
    for (int i = 0; i < D; i++) s->residual[i] = residual[i];
    for (int i = 0; i < D; i++) {
        s->step[i] = fill(0.0f);
        for (int j = 0; j < D; j++) s->step[i] += s->map[i][j] * residual[j];
        s->displacement[i] += s->step[i];
    }
}

INLINE void solve(const Field *f, const int D, int64_t count, const float *points, float *displacement, float *error,
                  float tolerance, int64_t evaluations, Scratch scratch) {
    int64_t remaining = count;
    Solver s = {.count = count, .next = 0};
    for (int lane = 0; lane < LANES; lane++) {
        s.point[lane] = -1;
        s.end[lane] = 0;
        assign_point(&s, D, lane, points, displacement);
        reset_map(&s, D, lane);
    }
    while (remaining) {
        lanes residual[MAX_DIMENSION], evaluated[MAX_DIMENSION], squared = fill(0.0f);
        evaluate_residual(f, D, &s, scratch, residual);
        for (int i = 0; i < D; i++) squared += residual[i] * residual[i], evaluated[i] = s.displacement[i];
        s.initial = blend(s.initial < INFINITY, s.initial, squared);
        const int_lanes converged = squared <= tolerance * tolerance;
        const int_lanes bounded = squared <= DIVERGENCE * s.initial; /* false for NaN */
        broyden_step(&s, D, residual);
        for (int lane = 0; lane < LANES; lane++) {
            const int64_t index = s.point[lane];
            if (index < 0 || (!converged[lane] && bounded[lane] && ++s.evaluations[lane] < evaluations)) continue;
            /* Converged points take the next step, too: it is already computed and reduces the error further. */
            for (int i = 0; i < D; i++)
                displacement[index * D + i] = converged[lane] ? s.displacement[i][lane] : evaluated[i][lane];
            error[index] = sqrtf(squared[lane]);
            if (!converged[lane]) reset_map(&s, D, lane);
            assign_point(&s, D, lane, points, displacement);
            remaining--;
        }
    }
}

typedef struct {
    const Field *f;
    const float *points;
    float *displacement, *error;
    float tolerance;
    int64_t evaluations;
    const Scratch *scratch; /* of each thread */
} Inversion;

static void invert_block(const void *job, int64_t begin, int64_t end, int slot) {
    const Inversion *v = job;
    const int64_t D = v->f->dimension, count = end - begin;
    const float *points = v->points + begin * D;
    float *displacement = v->displacement + begin * D, *error = v->error + begin;
    const Scratch scratch = v->scratch[slot];
    if (D == 3) solve(v->f, 3, count, points, displacement, error, v->tolerance, v->evaluations, scratch);
    else solve(v->f, 2, count, points, displacement, error, v->tolerance, v->evaluations, scratch);
}

/* Displacement (N, D) of the inverse at world points (N, D), improved from an initial guess until the error is below
 * `tolerance` mm, and a bound of the remaining error (N), which exceeds the tolerance where the iteration diverged or
 * `evaluations` did not suffice. Returns 1 when memory is exhausted. */
EXPORT int nephi_invert(const Field *f, int64_t count, const float *points, float *displacement, float *error,
                        float tolerance, int64_t evaluations, int64_t threads) {
    Scratch scratch[MAX_THREADS];
    if (!allocate(f, 1, 1, slots(count, BLOCK, threads), scratch)) return 1;
    const Inversion inversion = {f, points, displacement, error, tolerance, evaluations, scratch};
    run_blocks(count, BLOCK, threads, invert_block, &inversion);
    free(scratch->first);
    return 0;
}
