/* Between quads (four channels of one point) and lanes (one channel of many points). */
#ifndef NEPHI_QUADS_H
#define NEPHI_QUADS_H

#include "common.h"

typedef float quad __attribute__((vector_size(16), aligned(4))); /* four channels of a table's row */

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
