/* Loops over ranges of items on several threads.
 *
 * A range is cut into blocks whose size does not depend on the number of threads; each block writes its own results, or
 * its own partial sums, which the caller adds in the order of the blocks. So results are the same bytes for any number
 * of threads. */
#ifndef NEPHI_POOL_H
#define NEPHI_POOL_H

#include <stdint.h>

#define MAX_THREADS 64
#define HIDDEN __attribute__((visibility("hidden")))

/* Process the items `begin` to `end` of a job. `slot` is below `slots()`; no two threads of a job have the same one. */
typedef void (*Work)(const void *job, int64_t begin, int64_t end, int slot);

/* Return the number of threads that `run_blocks` uses at most, which is at least 1. */
static inline int slots(int64_t count, int64_t size, int64_t threads) {
    const int64_t blocks = (count + size - 1) / size, most = threads < MAX_THREADS ? threads : MAX_THREADS;
    const int64_t used = blocks < most ? blocks : most;
    return used < 1 ? 1 : (int)used;
}

/* Return the size of a block, a multiple of 16 of at least `least`, with which `count` items make at most `blocks`. */
static inline int64_t block_size(int64_t count, int64_t blocks, int64_t least) {
    const int64_t size = ((count + blocks - 1) / blocks + 15) / 16 * 16;
    return size < least ? least : size;
}

/* Call `work` for all blocks of `size` items of 0 to `count`, on the calling thread and at most `threads` - 1 others, in
 * any order; return when all are done. While another thread of the process uses the pool, all blocks are processed by
 * the calling one. */
HIDDEN void run_blocks(int64_t count, int64_t size, int64_t threads, Work work, const void *job);

#endif
