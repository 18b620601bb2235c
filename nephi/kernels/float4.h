/* Conversion between float4 (four channels of one point) and lanes (one channel of several points). */
#ifndef NEPHI_FLOAT4_H
#define NEPHI_FLOAT4_H

#include "common.h"

typedef float float4 __attribute__((vector_size(16), aligned(4))); /* four channels of a table's row */

typedef float float4x2 __attribute__((vector_size(32), aligned(4))); /* two neighbouring rows */

INLINE float4 half_of(float4x2 pair, int half) {
    float4 result;
    memcpy(&result, (const char *)&pair + half * sizeof(float4), sizeof result);
    return result;
}

INLINE float4x2 concatenate(float4 first, float4 second) {
    float4x2 result;
    memcpy(&result, &first, sizeof first);
    memcpy((char *)&result + sizeof first, &second, sizeof second);
    return result;
}

/* The float4 of two consecutive rows of a table with Q float4 a row. */
INLINE float4x2 load_pair(const float4 *row, int64_t Q) {
    return Q == 1 ? *(const float4x2 *)row : concatenate(row[0], row[Q]);
}

INLINE void add_pair(float4 *row, int64_t Q, float4x2 pair) {
    if (Q == 1) *(float4x2 *)row += pair;
    else row[0] += half_of(pair, 0), row[Q] += half_of(pair, 1);
}

/* One float4 for each lane, in the slot that `transpose` expects. */
typedef union {
    lanes all[4];
    float4 of[LANES];
} Float4Block;

INLINE int slot_of(int lane) { return LANES / 4 * (lane % 4) + lane / 4; }

/* Transposition of 4 x 4 blocks by interleaving halves twice. */
#define FIRST_PAIRS(g) 4 * (g), 4 * (g) + LANES, 4 * (g) + 1, 4 * (g) + LANES + 1
#define LAST_PAIRS(g) 4 * (g) + 2, 4 * (g) + LANES + 2, 4 * (g) + 3, 4 * (g) + LANES + 3
#define LOW_PAIRS(g) 4 * (g), 4 * (g) + 1, 4 * (g) + LANES, 4 * (g) + LANES + 1
#define HIGH_PAIRS(g) 4 * (g) + 2, 4 * (g) + 3, 4 * (g) + LANES + 2, 4 * (g) + LANES + 3
#if LANES == 16
#define GROUPS(pattern) pattern(0), pattern(1), pattern(2), pattern(3)
#elif LANES == 8
#define GROUPS(pattern) pattern(0), pattern(1)
#else
#define GROUPS(pattern) pattern(0)
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(pattern, a, b) __builtin_shufflevector(a, b, GROUPS(pattern))
#else
#define SHUFFLE(pattern, a, b) __builtin_shuffle(a, b, (int_lanes){GROUPS(pattern)})
#endif

/* Convert float4 of all lanes to one vector of lanes for each channel, and back. */
INLINE void transpose(const lanes *from, lanes *to) {
    const lanes a = SHUFFLE(FIRST_PAIRS, from[0], from[1]), b = SHUFFLE(FIRST_PAIRS, from[2], from[3]);
    const lanes c = SHUFFLE(LAST_PAIRS, from[0], from[1]), d = SHUFFLE(LAST_PAIRS, from[2], from[3]);
    to[0] = SHUFFLE(LOW_PAIRS, a, b);
    to[1] = SHUFFLE(HIGH_PAIRS, a, b);
    to[2] = SHUFFLE(LOW_PAIRS, c, d);
    to[3] = SHUFFLE(HIGH_PAIRS, c, d);
}

#endif
