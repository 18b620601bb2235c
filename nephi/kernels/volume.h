/* The voxels of an image, and the intensity window that is applied to them. */
#ifndef NEPHI_VOLUME_H
#define NEPHI_VOLUME_H

#include "common.h"

/* Any memory order; strides count voxels. Values become (v - low) * scale, clamped to [0, 1] if `clamped` is set. */
typedef struct {
    int64_t dimension;
    int64_t shape[MAX_DIMENSION], stride[MAX_DIMENSION];
    const void *voxels;
    int64_t type; /* an index into float, double, uint8, int16, int32 */
    float low, scale;
    int64_t clamped;
} Volume;

#endif
