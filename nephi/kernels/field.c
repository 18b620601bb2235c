/* Displacement and Jacobian of a neural field at points, and their gradients.
 *
 * The Python twin is fields/neural_field.py; tests compare values, Jacobians and all gradients with it. */
#include "field_network.h"
#include "pool.h"

#define VALUES_BLOCK 48 /* points */
/* Blocks of a span, and points of a block: the gradients of the weights of each block are set to 0 and summed. */
#define GRADIENT_BLOCKS 12
#define LEAST_POINTS 96

/* Locate the points of the batch that starts at `start`, if it exists, and prefetch its features: they arrive from main
 * memory while the previous batch is computed. */
INLINE void prepare_batch(const Field *f, const int D, const float *points, int64_t start, int64_t end,
                          UnitPoints *points_unit, Cells *cells) {
    const int64_t size = end - start < LANES ? end - start : LANES;
    lanes x[MAX_DIMENSION];
    if (size <= 0) return;
    for (int k = 0; k < D; k++) x[k] = load(points + start * D + k, D, size);
    to_unit_cube(f, D, x, points_unit);
    for (int64_t level = 0; level < f->levels; level++) {
        find_cells(f, D, level, points_unit, cells + level);
        prefetch(f, D, cells + level, f->table, 0);
    }
}

typedef struct {
    const Field *f;
    const float *points;
    float *displacement, *jacobian;
    const Scratch *scratch; /* of each thread */
} Evaluation;

INLINE void evaluate(const Evaluation *e, const int D, const int rows, int64_t begin, int64_t end, Scratch scratch) {
    const Field *f = e->f;
    prepare_batch(f, D, e->points, begin, end, scratch.points_unit, scratch.cells);
    for (int64_t start = begin, batch = 0; start < end; start += LANES, batch++) {
        const int64_t size = end - start < LANES ? end - start : LANES, this = batch % 2, next = 1 - this;
        prepare_batch(f, D, e->points, start + LANES, end, scratch.points_unit + next, scratch.cells + next * f->levels);
        lanes outputs[MAX_ROWS * MAX_DIMENSION];
        encode(f, D, rows, scratch.points_unit + this, scratch.cells + this * f->levels, scratch.features);
        decode(f, D, rows, scratch, outputs);
        for (int i = 0; i < D; i++) {
            lanes world[MAX_ROWS] = {{0.0f}}; /* displacement along axis i, and its derivatives in the unit cube */
            for (int row = 0; row < rows; row++)
                for (int o = 0; o < D; o++) world[row] += f->amplitude[i * D + o] * outputs[row * D + o];
            store(e->displacement + start * D + i, D, size, world[0]);
            for (int k = 0; k < D && rows > 1; k++) {
                lanes by = fill(i == k ? 1.0f : 0.0f);
                for (int j = 0; j < D; j++) by += f->to_unit[j * D + k] * world[1 + j];
                store(e->jacobian + (start * D + i) * D + k, D * D, size, by);
            }
        }
    }
}

/* Gradients with respect to the network's outputs, [rows][D], from those of displacement and Jacobian; 0 in idle
 * lanes. */
INLINE void output_gradients(const Field *f, const int D, const int rows, int64_t count, const float *by_displacement,
                             const float *by_jacobian, lanes *outputs) {
    for (int i = 0; i < rows * D; i++) outputs[i] = fill(0.0f);
    for (int i = 0; i < D; i++) {
        lanes world[MAX_ROWS] = {{0.0f}};
        if (by_displacement) world[0] = load(by_displacement + i, D, count);
        for (int k = 0; k < D && rows > 1; k++) {
            const lanes by = load(by_jacobian + i * D + k, D * D, count);
            for (int j = 0; j < D; j++) world[1 + j] += f->to_unit[j * D + k] * by;
        }
        for (int row = 0; row < rows; row++)
            for (int o = 0; o < D; o++) outputs[row * D + o] += f->amplitude[i * D + o] * world[row];
    }
}

/* Gradients with respect to the points, (count, D) in world mm, from the features' gradients and derivatives. */
INLINE void point_gradients(const Field *f, const int D, const int rows, int64_t count, Scratch scratch,
                            float *by_points) {
    const int64_t K = f->levels * f->channels;
    lanes by_unit[MAX_DIMENSION] = {{0.0f}};
    for (int64_t k = 0; k < K; k++)
        for (int i = 0; i < D; i++) {
            by_unit[i] += scratch.features_gradient[k] * scratch.features[(1 + i) * K + k];
            for (int j = 0; j < D && rows > 1; j++)
                if (j != i)
                    by_unit[i] += scratch.features_gradient[(1 + j) * K + k] * scratch.features[(D + i + j) * K + k];
            if (rows > 1 && f->degree > 1)
                by_unit[i] += scratch.features_gradient[(1 + i) * K + k] * scratch.features[pure_row(D, i) * K + k];
        }
    for (int k = 0; k < D; k++) {
        lanes sum = {0.0f};
        for (int i = 0; i < D; i++) sum += f->to_unit[i * D + k] * by_unit[i];
        store(by_points + k, D, count, sum);
    }
}

/* Points whose gradients are computed before those of the table are added: the former are stored in between. */
#define SPAN 4096

typedef struct {
    const Field *f;
    const FieldGradient *g;
    const float *points, *by_displacement, *by_jacobian;
    float *by_points;
    const Scratch *scratch;   /* of each thread */
    int64_t first, end;       /* the span's points */
    int64_t block;            /* points of a block, a multiple of LANES */
    int64_t slabs;            /* of a level; 0: one thread, which adds all gradients of a batch at once */
    UnitPoints *points_unit;  /* of each batch of the span, with one thread of the current and the next: see `stored` */
    Cells *cells;             /* [batches][levels] */
    lanes *features_gradient; /* [batches][rows][K] */
    lanes *weights_sum;       /* gradients of the weights */
    lanes *weights_gradient;  /* parts of that sum that are not added yet, of each block, with one thread of one */
} Backward;

/* Index of what is stored of a batch. */
INLINE int64_t stored(const Backward *b, int64_t batch) { return b->slabs ? batch : batch % 2; }

/* Add the gradients of a block's weights to their sum, and set them to 0. */
static void add_weights_gradient(const Backward *b, int64_t block) {
    const int64_t size = (int64_t)weights_gradient_size(b->f);
    lanes *restrict sum = b->weights_sum, *restrict part = b->weights_gradient + block * size;
    for (int64_t i = 0; i < size; i++) {
        sum[i] += part[i];
        part[i] = fill(0.0f);
    }
}

/* Add the gradients of a part of the table: four channels, rows `begin` to `end` of a level, from those of a batch's
 * features. Not inlined: other code would round otherwise, with one thread or several. */
static __attribute__((noinline)) void add_to_table(const Backward *b, int64_t count, int64_t level, int64_t q,
                                                   int64_t begin, int64_t end, int64_t batch, const lanes *features) {
    const Field *f = b->f;
    const UnitPoints *points_unit = b->points_unit + stored(b, batch);
    const Cells *cells = b->cells + stored(b, batch) * f->levels + level;
    float *table = b->g->table;
    if (f->dimension == 3 && b->by_jacobian)
        table_backward(f, 3, 4, count, level, q, begin, end, points_unit, cells, features, table);
    else if (f->dimension == 3) table_backward(f, 3, 1, count, level, q, begin, end, points_unit, cells, features, table);
    else if (b->by_jacobian) table_backward(f, 2, 3, count, level, q, begin, end, points_unit, cells, features, table);
    else table_backward(f, 2, 1, count, level, q, begin, end, points_unit, cells, features, table);
}

/* Gradients of the features of a block's points, which are stored, and of the weights. */
INLINE void block_backward(const Backward *b, const int D, const int rows, int64_t begin, int64_t end, Scratch scratch) {
    const Field *f = b->f;
    const int64_t L = f->levels, K = L * f->channels, block = b->slabs ? begin / b->block : 0;
    int64_t batch = begin / LANES;
    use_weights_gradient(f, b->weights_gradient + block * (int64_t)weights_gradient_size(f), &scratch);
    begin += b->first, end += b->first;
    prepare_batch(f, D, b->points, begin, end, b->points_unit + stored(b, batch), b->cells + stored(b, batch) * L);
    for (int64_t start = begin; start < end; start += LANES, batch++) {
        const int64_t size = end - start < LANES ? end - start : LANES, next = stored(b, batch + 1);
        const UnitPoints *points_unit = b->points_unit + stored(b, batch);
        const Cells *cells = b->cells + stored(b, batch) * L;
        lanes outputs[MAX_ROWS * MAX_DIMENSION];
        for (int64_t level = 0; level < L && !b->slabs; level++) prefetch(f, D, cells + level, b->g->table, 1);
        prepare_batch(f, D, b->points, start + LANES, end, b->points_unit + next, b->cells + next * L);
        if (f->degree == 1)
            encode(f, D, b->by_points ? 1 + D + D * (D - 1) / 2 : rows, points_unit, cells, scratch.features);
        else if (!b->by_points) encode(f, D, rows, points_unit, cells, scratch.features);
        else encode(f, D, rows > 1 ? rows_with_second(D) : 1 + D, points_unit, cells, scratch.features);
        decode(f, D, rows, scratch, outputs); /* recomputed: cheaper than storing it in the forward pass */
        output_gradients(f, D, rows, size, b->by_displacement ? b->by_displacement + start * D : 0,
                         rows > 1 ? b->by_jacobian + start * D * D : 0, outputs);
        scratch.features_gradient = b->features_gradient + stored(b, batch) * rows * K;
        network_backward(f, D, rows, outputs, scratch);
        if (b->by_points) point_gradients(f, D, rows, size, scratch, b->by_points + start * D);
        for (int64_t part = 0; part < K / 4 && !b->slabs; part++) {
            const int64_t level = part / (f->channels / 4), q = part % (f->channels / 4);
            add_to_table(b, size, level, q, f->starts[level], INT64_MAX, batch, scratch.features_gradient);
        }
    }
    if (!b->slabs) add_weights_gradient(b, 0);
}

/* Gradients of a part of the table: four channels of a slab of a level. Every row sums the points in their order. */
INLINE void part_backward(const Backward *b, const int D, const int rows, int64_t part) {
    const Field *f = b->f;
    const int64_t Q = f->channels / 4, slab = part % b->slabs, q = part / b->slabs % Q, level = part / b->slabs / Q;
    const int64_t first_row = slab_start(f, level, slab, b->slabs), end_row = slab_start(f, level, slab + 1, b->slabs);
    for (int64_t start = b->first, batch = 0; start < b->end; start += LANES, batch++) {
        const int64_t size = b->end - start < LANES ? b->end - start : LANES, next = (batch + 1) * f->levels + level;
        if (start + LANES < b->end) prefetch(f, D, b->cells + next, b->g->table, 1);
        add_to_table(b, size, level, q, first_row, end_row, batch,
                     b->features_gradient + batch * rows * f->levels * f->channels);
    }
}

/* Constant dimensions and rows let the compiler unroll all short loops. */
static void evaluate_block(const void *job, int64_t begin, int64_t end, int slot) {
    const Evaluation *e = job;
    const Scratch scratch = e->scratch[slot];
    if (e->f->dimension == 3 && e->jacobian) evaluate(e, 3, 4, begin, end, scratch);
    else if (e->f->dimension == 3) evaluate(e, 3, 1, begin, end, scratch);
    else if (e->jacobian) evaluate(e, 2, 3, begin, end, scratch);
    else evaluate(e, 2, 1, begin, end, scratch);
}

static void backward_block(const void *job, int64_t begin, int64_t end, int slot) {
    const Backward *b = job;
    const Scratch scratch = b->scratch[slot];
    if (b->f->dimension == 3 && b->by_jacobian) block_backward(b, 3, 4, begin, end, scratch);
    else if (b->f->dimension == 3) block_backward(b, 3, 1, begin, end, scratch);
    else if (b->by_jacobian) block_backward(b, 2, 3, begin, end, scratch);
    else block_backward(b, 2, 1, begin, end, scratch);
}

static void backward_part(const void *job, int64_t part, int64_t end, int slot) {
    const Backward *b = job;
    (void)end, (void)slot;
    if (b->f->dimension == 3 && b->by_jacobian) part_backward(b, 3, 4, part);
    else if (b->f->dimension == 3) part_backward(b, 3, 1, part);
    else if (b->by_jacobian) part_backward(b, 2, 3, part);
    else part_backward(b, 2, 1, part);
}

/* Allocate the memory of a span of `b`. Returns 0 when memory is exhausted; otherwise release with
 * free(b->weights_sum). */
INLINE int allocate_span(Backward *b, int64_t points, int64_t blocks, int rows) {
    const size_t batches = b->slabs ? (size_t)(points + LANES - 1) / LANES : 2, levels = (size_t)b->f->levels;
    const size_t part = weights_gradient_size(b->f), weights = (1 + (size_t)(b->slabs ? blocks : 1)) * part;
    const size_t features = batches * (size_t)rows * levels * (size_t)b->f->channels;
    const size_t bytes = (weights + features) * sizeof(lanes) + batches * (sizeof(UnitPoints) + levels * sizeof(Cells));
    b->weights_sum = aligned_alloc(sizeof(lanes), bytes);
    if (!b->weights_sum) return 0;
    memset(b->weights_sum, 0, weights * sizeof(lanes));
    b->weights_gradient = b->weights_sum + part;
    b->features_gradient = b->weights_sum + weights;
    b->points_unit = (UnitPoints *)(b->features_gradient + features);
    b->cells = (Cells *)(b->points_unit + batches);
    return 1;
}

EXPORT int nephi_field(const Field *f, int64_t count, const float *points, float *displacement, float *jacobian,
                       int64_t threads) {
    const int64_t block = count < 8192 ? VALUES_BLOCK : 1024;
    const int rows = jacobian ? 1 + (int)f->dimension : 1;
    Scratch scratch[MAX_THREADS];
    if (!allocate(f, rows, rows, slots(count, block, threads), scratch)) return 1;
    const Evaluation evaluation = {f, points, displacement, jacobian, scratch};
    run_blocks(count, block, threads, evaluate_block, &evaluation);
    free(scratch->first);
    return 0;
}

EXPORT int nephi_field_gradient(const Field *f, const FieldGradient *g, int64_t count, const float *points,
                                const float *by_displacement, const float *by_jacobian, float *by_points,
                                int64_t threads) {
    const int rows = by_jacobian ? 1 + (int)f->dimension : 1;
    const int64_t span = count < SPAN ? count : SPAN, block = block_size(span, GRADIENT_BLOCKS, LEAST_POINTS);
    const int64_t blocks = (span + block - 1) / block, parts = f->levels * (f->channels / 4);
    const int used = slots(span, block, threads);
    Scratch scratch[MAX_THREADS];
    Backward b = {f, g, points, by_displacement, by_jacobian, by_points, scratch, .block = block};
    b.slabs = used > 1 ? (2 * used + parts - 1) / parts : 0;
    if (!allocate(f, rows, by_points ? ALL_ROWS : rows, used, scratch)) return 1;
    if (!allocate_span(&b, span, blocks, rows)) {
        free(scratch->first);
        return 1;
    }
    for (b.first = 0; b.first < count; b.first += SPAN) {
        b.end = b.first + SPAN < count ? b.first + SPAN : count;
        run_blocks(b.end - b.first, block, threads, backward_block, &b);
        if (!b.slabs) continue;
        run_blocks(parts * b.slabs, 1, threads, backward_part, &b);
        for (int64_t k = 0; k * block < b.end - b.first; k++) add_weights_gradient(&b, k);
    }
    use_weights_gradient(f, b.weights_sum, scratch);
    reduce_gradients(f, g, *scratch);
    free(b.weights_sum);
    free(scratch->first);
    return 0;
}
