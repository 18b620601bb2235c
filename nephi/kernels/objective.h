/* The objective of a pair of fields at one step's points: similarity of patches in both directions, and penalties. */
#ifndef NEPHI_OBJECTIVE_H
#define NEPHI_OBJECTIVE_H

#include "field.h"
#include "patches.h"
#include "regularity.h"
#include "similarity.h"

/* The two images of a channel, fixed and moving, the frames of their patches, and the measure of the similarity, whose
 * number of patches is set in each direction. A `further` channel may show less than the first: patches whose centre
 * lies outside of its source image do not count. */
typedef struct {
    const Volume *images[2];
    const Patches *frames[2];
    Measure measure;
    int64_t further;
} Channel;

/* Both fields, from fixed to moving points and back, and where their gradients are added. The points of a direction are
 * the background points and the centres of patches in its source image; the penalties are computed at the first
 * `background + shared` of them. */
typedef struct {
    const Field *fields[2];
    const FieldGradient *gradients[2];
    int64_t channels_count;
    const Channel *channels;
    int64_t background_count, shared, centres_counts[2];
    const float *background, *centres[2]; /* (B, D), (P, D) of either image, world mm */
    float weights[TERMS];                 /* of one direction, in the order of regularity.h; all 0: no penalties */
    float floor, epsilon;                 /* see RoundTrip */
} Objective;

/* Add the gradients of the objective to those of the fields' parameters. `terms` are the similarity of each channel, and
 * the penalties; sums over both directions. Returns 1 when memory is exhausted. */
EXPORT int nephi_objective(const Objective *o, double *terms, int64_t threads);

#endif
