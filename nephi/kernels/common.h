/* Vectors ("lanes") as wide as the registers of the target CPU, and operations on them.
 *
 * They use the vector extension of GCC and Clang; with other compilers nephi is built without kernels and computes
 * in torch. setup.py builds the kernels for several instruction sets; library.py loads the fastest that the CPU
 * supports. */
#ifndef NEPHI_COMMON_H
#define NEPHI_COMMON_H

#include <stdint.h>
#include <string.h>

/* Points processed in parallel: one register of floats. Vectors wider than registers are legal, but GCC compares,
 * converts and blends them element by element, six times slower. */
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#define MAX_DIMENSION 3
#define INTERFACE 7 /* incremented when the signature or behaviour of a function changes; the same in library.py */

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t int_lanes __attribute__((vector_size(4 * LANES)));

#define INLINE static inline __attribute__((always_inline))
#define EXPORT __attribute__((visibility("default")))

INLINE lanes fill(float value) { return value - (lanes){0.0f}; }

INLINE lanes blend(int_lanes mask, lanes yes, lanes no) {
    return (lanes)(((int_lanes)yes & mask) | ((int_lanes)no & ~mask));
}

/* Load `count` numbers, `stride` apart; the other lanes are 0. */
INLINE lanes load(const float *from, int64_t stride, int64_t count) {
    lanes result = {0.0f};
    if (count == LANES) /* constant count: the compiler unrolls the loop and stays in registers */
        for (int lane = 0; lane < LANES; lane++) result[lane] = from[lane * stride];
    else
        for (int lane = 0; lane < count; lane++) result[lane] = from[lane * stride];
    return result;
}

INLINE void store(float *to, int64_t stride, int64_t count, lanes values) {
    if (count == LANES)
        for (int lane = 0; lane < LANES; lane++) to[lane * stride] = values[lane];
    else
        for (int lane = 0; lane < count; lane++) to[lane * stride] = values[lane];
}

INLINE float sum_lanes(lanes values) {
    float sum = 0.0f;
    for (int lane = 0; lane < LANES; lane++) sum += values[lane];
    return sum;
}

/* exp(x) with a relative error of 1e-7 (Cephes' expf), for |x| < 87. */
INLINE lanes exponential(lanes x) {
    const lanes n = (x * 1.44269504f + 12582912.0f) - 12582912.0f; /* adding 1.5 * 2^23 rounds to an integer */
    const lanes r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    lanes p = fill(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (lanes)((__builtin_convertvector(n, int_lanes) + 127) << 23); /* times 2^n */
}

/* 1 / (1 + exp(-x)); NaN stays NaN. */
INLINE lanes sigmoid(lanes x) {
    lanes bounded = blend(x < -86.0f, fill(-86.0f), x);
    bounded = blend(x > 86.0f, fill(86.0f), bounded);
    return 1.0f / (1.0f + exponential(-bounded));
}

#endif
