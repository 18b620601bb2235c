/* Multilinear lookup of an image, with its gradient. The Python twin is geometry/interpolation.py. */
#include "common.h"

/* Voxels in any memory order; strides count voxels. `scale` and `low` window the values: (v - low) * scale, clamped to
 * [0, 1] where `clamped` is set; the gradient is 0 where it was clamped. */
typedef struct {
    int64_t dimension;
    int64_t shape[MAX_DIMENSION], stride[MAX_DIMENSION];
    const void *voxels;
    int64_t type; /* an index into the types below */
    float low, scale;
    int64_t clamped;
} Volume;

/* The voxels at the 2^D corners of the cells that hold the lanes' points; bit i of a corner: upper side of axis i. */
#define DEFINE_READ(name, type)                                                                              \
    INLINE void name(const void *voxels, const int D, const int64_t *first, const int64_t *reach, int64_t count, \
                     lanes *corners) {                                                                       \
        for (int c = 0; c < 1 << D; c++) {                                                                   \
            const int64_t shift =                                                                            \
                (c & 1 ? reach[0] : 0) + (c & 2 ? reach[1] : 0) + (D == 3 && c & 4 ? reach[D - 1] : 0);      \
            float values[LANES] = {0.0f};                                                                    \
            for (int64_t lane = 0; lane < count; lane++)                                                     \
                values[lane] = (float)((const type *)voxels)[first[lane] + shift];                           \
            memcpy(corners + c, values, sizeof *corners);                                                    \
        }                                                                                                    \
    }
DEFINE_READ(read_float, float)
DEFINE_READ(read_double, double)
DEFINE_READ(read_uint8, uint8_t)
DEFINE_READ(read_int16, int16_t)
DEFINE_READ(read_int32, int32_t)

INLINE void read(const Volume *v, const int D, const int64_t *first, const int64_t *reach, int64_t count,
                 lanes *corners) {
    switch (v->type) {
        case 0: read_float(v->voxels, D, first, reach, count, corners); break;
        case 1: read_double(v->voxels, D, first, reach, count, corners); break;
        case 2: read_uint8(v->voxels, D, first, reach, count, corners); break;
        case 3: read_int16(v->voxels, D, first, reach, count, corners); break;
        default: read_int32(v->voxels, D, first, reach, count, corners);
    }
}

/* One block of points: values, and with `slopes` the gradient by voxel coordinates. */
INLINE lanes look(const Volume *v, const int D, const float *points, int64_t count, const int slopes, lanes *gradient) {
    lanes fraction[MAX_DIMENSION], inside[MAX_DIMENSION], corners[8];
    int64_t first[LANES] = {0}, reach[MAX_DIMENSION];
    for (int i = 0; i < D; i++) {
        const lanes x = column(points + i, D, count), last = filled((float)(v->shape[i] - 1));
        const lanes bounded = chosen(x < 0.0f, filled(0.0f), chosen(x > last, last, x)); /* NaN stays NaN */
        const lanes low = chosen(bounded > 0.0f, bounded, filled(0.0f));
        whole_lanes base = __builtin_convertvector(low, whole_lanes);
        const whole_lanes most = (whole_lanes){0} + (int32_t)(v->shape[i] > 1 ? v->shape[i] - 2 : 0);
        base = (base & (base < most)) | (most & ~(base < most));
        fraction[i] = bounded - __builtin_convertvector(base, lanes);
        inside[i] = chosen(bounded == x, filled(1.0f), filled(0.0f));
        for (int64_t lane = 0; lane < LANES; lane++) first[lane] += base[lane] * v->stride[i];
        reach[i] = v->shape[i] > 1 ? v->stride[i] : 0;
    }
    read(v, D, first, reach, count, corners);
    for (int i = 0; i < D; i++) { /* contract one axis after the other; slopes of the axes already done go along */
        const int half = 1 << (D - 1 - i);
        for (int j = 0; j < i && slopes; j++)
            for (int c = 0; c < half; c++)
                gradient[j * 4 + c] = gradient[j * 4 + 2 * c] +
                                      (gradient[j * 4 + 2 * c + 1] - gradient[j * 4 + 2 * c]) * fraction[i];
        for (int c = 0; c < half; c++) {
            const lanes difference = corners[2 * c + 1] - corners[2 * c];
            if (slopes) gradient[i * 4 + c] = difference;
            corners[c] = corners[2 * c] + difference * fraction[i];
        }
    }
    const lanes raw = (corners[0] - v->low) * v->scale;
    lanes value = raw;
    if (v->clamped) value = chosen(raw < 0.0f, filled(0.0f), chosen(raw > 1.0f, filled(1.0f), raw));
    for (int i = 0; i < D && slopes; i++)
        gradient[i * 4] *= v->scale * inside[i] * chosen(raw == value, filled(1.0f), filled(0.0f));
    return value;
}

INLINE void look_all(const Volume *v, const int D, int64_t count, const float *points, float *values, float *gradients) {
    for (int64_t start = 0; start < count; start += LANES) {
        const int64_t size = count - start < LANES ? count - start : LANES;
        lanes gradient[4 * MAX_DIMENSION]; /* four places an axis, for the halves still to be contracted */
        const lanes value = look(v, D, points + start * D, size, gradients != 0, gradient);
        put_column(values + start, 1, size, value);
        for (int i = 0; i < D && gradients; i++) put_column(gradients + start * D + i, D, size, gradient[i * 4]);
    }
}

/* Values (N) and, unless NULL, gradients (N, D) by voxel coordinates, at voxel points (N, D). */
EXPORT EVERY_PROCESSOR void nephi_lookup(const Volume *v, int64_t count, const float *points, float *values,
                                         float *gradients) {
    if (v->dimension == 3) look_all(v, 3, count, points, values, gradients);
    else look_all(v, 2, count, points, values, gradients);
}
