/* The objective of a pair of fields by the other kernels, in one call: between twenty calls from Python their arguments
 * take as long as the arithmetic on two threads. The Python twin is objective/objective.py. */
#include "objective.h"

#include <stdlib.h>

/* One field at one step's points, and the gradient of the loss with respect to what it maps them to. */
typedef struct {
    const Field *field;
    const FieldGradient *gradient;
    int64_t count, background;
    float *points, *mapped, *jacobians, *by_mapped, *by_jacobians; /* (N, D), (N, D), (N, D, D), (N, D), (N, D, D) */
} Direction;

/* Memory of a term: patches of one channel, or points of one order of composition. */
typedef struct {
    float *source, *target, *gradients, *by_values; /* (P, K), (P, K), (P, D, K), (P, K) */
    float *inside, *inside_source;                  /* (P) */
    float *by_centres, *by_matrices;                /* (P, D), (P, D, D) */
    float *back, *jacobians;                        /* (N, D), (N, D, D) */
    float *by_back, *by_first, *by_second, *by_points; /* (N, D), (N, D, D), (N, D, D), (N, D) */
} Buffers;

static void add(float *sum, const float *part, int64_t count) {
    for (int64_t i = 0; i < count; i++) sum[i] += part[i];
}

/* Memory that is cut into arrays; `start` is NULL while it is only measured. */
typedef struct {
    float *start;
    int64_t used; /* floats */
} Memory;

static float *take(Memory *memory, int64_t count) {
    float *taken = memory->start ? memory->start + memory->used : 0;
    memory->used += (count + 15) / 16 * 16; /* every array begins a cache line */
    return taken;
}

static int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }

/* The samples of the largest patch of all channels. */
static int64_t most_samples(const Objective *o) {
    int64_t samples = 0;
    for (int64_t c = 0; c < o->channels_count; c++) samples = largest(samples, o->channels[c].measure.samples);
    return samples;
}

/* Cut memory into the arrays of both directions and of the buffers. */
static void lay_out(const Objective *o, Memory *memory, Direction *directions, Buffers *b) {
    const int64_t D = o->fields[0]->dimension, K = most_samples(o);
    const int64_t P = largest(o->centres_counts[0], o->centres_counts[1]), N = o->background_count + P;
    for (int side = 0; side < 2; side++) {
        const int64_t count = o->background_count + o->centres_counts[side];
        Direction *d = directions + side;
        *d = (Direction){o->fields[side], o->gradients[side], count, o->background_count, 0, 0, 0, 0, 0};
        d->points = take(memory, count * D);
        d->mapped = take(memory, count * D);
        d->jacobians = take(memory, count * D * D);
        d->by_mapped = take(memory, count * D);
        d->by_jacobians = take(memory, count * D * D);
    }
    b->source = take(memory, P * K);
    b->target = take(memory, P * K);
    b->gradients = take(memory, P * D * K);
    b->by_values = take(memory, P * K);
    b->inside = take(memory, P);
    b->inside_source = take(memory, P);
    b->by_centres = take(memory, P * D);
    b->by_matrices = take(memory, P * D * D);
    b->back = take(memory, N * D);
    b->jacobians = take(memory, N * D * D);
    b->by_back = take(memory, N * D);
    b->by_first = take(memory, N * D * D);
    b->by_second = take(memory, N * D * D);
    b->by_points = take(memory, N * D);
}

/* Map the points of a direction; the gradients become 0. */
static int map_points(const Objective *o, int side, Direction *d, int64_t threads) {
    const int64_t D = d->field->dimension, first = d->background * D, size = d->count * D;
    memcpy(d->points, o->background, sizeof(float) * (size_t)first);
    memcpy(d->points + first, o->centres[side], sizeof(float) * (size_t)(size - first));
    memset(d->by_mapped, 0, sizeof(float) * (size_t)size);
    memset(d->by_jacobians, 0, sizeof(float) * (size_t)(size * D));
    if (nephi_field(d->field, d->count, d->points, d->mapped, d->jacobians, threads)) return 1;
    add(d->mapped, d->points, size);
    return 0;
}

/* Compare the patches of a channel around a direction's points, from image `side` to the other one. */
static int compare(const Channel *c, int side, const Direction *d, const Buffers *b, double *term, int64_t threads) {
    const int64_t D = d->field->dimension, first = d->background, count = d->count - first;
    const float *matrices = d->jacobians + first * D * D;
    Measure measure = c->measure;
    measure.patches = count;
    if (nephi_interpolate_patches(c->images[side], c->frames[side], count, d->points + first * D, 0, b->source, 0,
                                  b->inside_source, threads))
        return 1;
    if (nephi_interpolate_patches(c->images[1 - side], c->frames[1 - side], count, d->mapped + first * D, matrices,
                                  b->target, b->gradients, b->inside, threads))
        return 1;
    for (int64_t p = 0; p < count && c->further; p++) b->inside[p] *= b->inside_source[p];
    double loss = 0.0;
    if (nephi_similarity(&measure, b->source, b->target, b->inside, &loss, b->by_values, threads)) return 1;
    nephi_patches_gradient(c->frames[1 - side], D, count, b->gradients, b->by_values, b->by_centres, b->by_matrices,
                           threads);
    add(d->by_mapped + first * D, b->by_centres, count * D);
    add(d->by_jacobians + first * D * D, b->by_matrices, count * D * D);
    *term += loss;
    return 0;
}

/* Penalties of a direction followed by the other one, which maps its points back. */
static int penalize(const Objective *o, const Direction *d, const Direction *other, const Buffers *b, double *terms,
                    int64_t threads) {
    const int64_t D = d->field->dimension, centres = d->count - d->background;
    const int64_t count = d->background + (o->shared < centres ? o->shared : centres);
    const RoundTrip trip = {D, count, d->points, b->back, d->jacobians, b->jacobians, o->weights[0], o->weights[1],
                            o->weights[2], o->weights[3], o->weights[4], o->floor, o->epsilon};
    double parts[TERMS];
    if (nephi_field(other->field, count, d->mapped, b->back, b->jacobians, threads)) return 1;
    add(b->back, d->mapped, count * D);
    if (nephi_round_trip(&trip, parts, b->by_back, b->by_first, b->by_second, threads)) return 1;
    if (nephi_field_gradient(other->field, other->gradient, count, d->mapped, b->by_back, b->by_second, b->by_points,
                             threads))
        return 1;
    add(b->by_back, b->by_points, count * D);
    add(d->by_mapped, b->by_back, count * D);
    add(d->by_jacobians, b->by_first, count * D * D);
    for (int term = 0; term < TERMS; term++) terms[term] += parts[term];
    return 0;
}

static int has_penalties(const Objective *o) {
    for (int term = 0; term < TERMS; term++)
        if (o->weights[term] != 0.0f) return 1;
    return 0;
}

static int compute(const Objective *o, Direction *directions, const Buffers *b, double *terms, int64_t threads) {
    for (int side = 0; side < 2; side++)
        if (map_points(o, side, directions + side, threads)) return 1;
    for (int64_t c = 0; c < o->channels_count; c++)
        for (int side = 0; side < 2; side++)
            if (compare(o->channels + c, side, directions + side, b, terms + c, threads)) return 1;
    for (int side = 0; side < 2 && has_penalties(o); side++)
        if (penalize(o, directions + side, directions + 1 - side, b, terms + o->channels_count, threads)) return 1;
    for (int side = 0; side < 2; side++) {
        const Direction *d = directions + side;
        if (nephi_field_gradient(d->field, d->gradient, d->count, d->points, d->by_mapped, d->by_jacobians, 0, threads))
            return 1;
    }
    return 0;
}

EXPORT int nephi_objective(const Objective *o, double *terms, int64_t threads) {
    Direction directions[2];
    Buffers buffers;
    Memory size = {0, 0};
    lay_out(o, &size, directions, &buffers);
    Memory memory = {aligned_alloc(64, sizeof(float) * (size_t)size.used + 64), 0};
    if (!memory.start) return 1;
    lay_out(o, &memory, directions, &buffers);
    for (int64_t term = 0; term < o->channels_count + TERMS; term++) terms[term] = 0.0;
    const int failed = compute(o, directions, &buffers, terms, threads);
    free(memory.start);
    return failed;
}
