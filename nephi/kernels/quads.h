/* Between quads (four channels of one point) and lanes (one channel of many points). */
#ifndef NEPHI_QUADS_H
#define NEPHI_QUADS_H

#include "common.h"

typedef float quad __attribute__((vector_size(16), aligned(4))); /* four channels of a table's row */

typedef float quads2 __attribute__((vector_size(32), aligned(4))); /* two of them, of neighbours */

INLINE quad half_of(quads2 pair, int half) {
    quad result;
    memcpy(&result, (const char *)&pair + half * sizeof(quad), sizeof result);
    return result;
}

INLINE quads2 joined(quad first, quad second) {
    quads2 result;
    memcpy(&result, &first, sizeof first);
    memcpy((char *)&result + sizeof first, &second, sizeof second);
    return result;
}

/* The quads of two rows of a table one after the other, which has Q of them a row. */
INLINE quads2 neighbours(const quad *row, int64_t Q) {
    return Q == 1 ? *(const quads2 *)row : joined(row[0], row[Q]);
}

INLINE void add_neighbours(quad *row, int64_t Q, quads2 pair) {
    if (Q == 1) *(quads2 *)row += pair;
    else row[0] += half_of(pair, 0), row[Q] += half_of(pair, 1);
}

/* The quads of a block of points: that of a lane in the slot where `transpose` wants it. */
typedef union {
    lanes all[4];
    quad of[LANES];
} Quads;

INLINE int slot_of(int lane) { return LANES / 4 * (lane % 4) + lane / 4; }

/* Four columns become rows, in each group of four lanes: by interleaving halves, twice. */
#define ABOUT(g) 4 * (g), 4 * (g) + LANES, 4 * (g) + 1, 4 * (g) + LANES + 1
#define BEYOND(g) 4 * (g) + 2, 4 * (g) + LANES + 2, 4 * (g) + 3, 4 * (g) + LANES + 3
#define FIRST(g) 4 * (g), 4 * (g) + 1, 4 * (g) + LANES, 4 * (g) + LANES + 1
#define SECOND(g) 4 * (g) + 2, 4 * (g) + 3, 4 * (g) + LANES + 2, 4 * (g) + LANES + 3
#if LANES == 16
#define GROUPS(pattern) pattern(0), pattern(1), pattern(2), pattern(3)
#elif LANES == 8
#define GROUPS(pattern) pattern(0), pattern(1)
#else
#define GROUPS(pattern) pattern(0)
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define MIXED(pattern, a, b) __builtin_shufflevector(a, b, GROUPS(pattern))
#else
#define MIXED(pattern, a, b) __builtin_shuffle(a, b, (whole_lanes){GROUPS(pattern)})
#endif

/* From quads to one vector of lanes a channel, and back. */
INLINE void transpose(const lanes *from, lanes *to) {
    const lanes a = MIXED(ABOUT, from[0], from[1]), b = MIXED(ABOUT, from[2], from[3]);
    const lanes c = MIXED(BEYOND, from[0], from[1]), d = MIXED(BEYOND, from[2], from[3]);
    to[0] = MIXED(FIRST, a, b);
    to[1] = MIXED(SECOND, a, b);
    to[2] = MIXED(FIRST, c, d);
    to[3] = MIXED(SECOND, c, d);
}

#endif
