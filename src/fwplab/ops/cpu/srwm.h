// The self-referential weight matrix W = [W_y | W_q | W_k | w_b], one group of sequences of one head:
//   [y | q | k | b] = x W; q = softmax(q); k = softmax(k); b = sigmoid(b) (four rates, one a block);
//   r = (q - k) W; W += k^T (b r), every block of r times its own rate.
// The pass that reads x W first applies the update of the step before; the pass that reads (q - k) W only reads.
//
// The tape keeps for every step [x | q | k | b | r] and W before every `segment`-th step; the backward pass rebuilds the W inside a
// segment by the same additions.
#pragma once

#include "parallel.h"
#include "problem.h"
#include "products.h"

namespace fwplab {

struct SrwmForward {
    Strided x, weight[4], output, last_weight[4];
};

struct SrwmBackward {
    Strided grad_output, grad_last_weight[4];
    Strided x, weight[4];  // the gradients to be written
};

template <class O>
struct Srwm {
    using T = typename O::Scalar;
    using V = typename O::V;
    static constexpr int M = O::teams, rates = 4;

    const Problem& problem;
    const O order;
    const int d, n;      // entries and vectors of one block's row
    const int columns;   // vectors of a row of W, all four blocks
    const int slot;      // vectors of one team and step on the tape
    const int matrix;    // vectors of one team's W

    explicit Srwm(const Problem& p)
        : problem(p), order(int(p.width)), d(order.d), n(O::vectors(d)), columns(3 * n + O::vectors(rates)), slot(2 * columns),
          matrix(d * columns) {}

    std::int64_t tape_vectors() const { return M * (problem.segments() * matrix + problem.length * slot); }
    V* saved_weight(V* tape, std::int64_t segment) const { return tape + segment * M * matrix; }
    V* step_slot(V* tape, std::int64_t t) const { return tape + M * (problem.segments() * matrix + t * slot); }

    static int entries(int block, int d) { return block < 3 ? d : rates; }

    void load_matrix(const Access<O>& access, V* matrices, const Strided (&from)[4]) const {
        for (int j = 0; j < 4; j++)
            for (int i = 0; i < d; i++) access.load(matrices + i * columns + j * n, matrix, from[j], i, entries(j, d));
    }
    void store_matrix(const Access<O>& access, const Strided (&to)[4], const V* matrices) const {
        for (int j = 0; j < 4; j++)
            for (int i = 0; i < d; i++) access.store(to[j], i, matrices + i * columns + j * n, matrix, entries(j, d));
    }

    // out = row, every block times its rate.
    FWPLAB_INLINE void scale_blocks(V* out, const V* row, const V* rate) const {
        for (int j = 0; j < 3; j++) {
            const V b = O::entry(rate, j);
            for (int c = 0; c < n; c++) out[j * n + c] = b * row[j * n + c];
        }
        const V b = O::entry(rate, 3);
        for (int c = 3 * n; c < columns; c++) out[c] = b * row[c];
    }

    void forward(const SrwmForward& a, std::int64_t task, V* tape, Workspace& space) const {
        const Access<O> access{Group(problem, task)};
        V *W = space.take<V>(M * matrix), *x = space.take<V>(M * n), *update = space.take_zeros<V>(M * columns), *moved = space.take<V>(n);
        V* scratch = space.take_zeros<V>(2 * M * slot);  // the slots of this step and the last where no tape is kept
        load_matrix(access, W, a.weight);
        const V* key_before = scratch + M * slot + 2 * n;  // zeros: before the first step there is nothing to apply
        for (std::int64_t t = 0; t < problem.length; t++) {
            V* now = tape ? step_slot(tape, t) : scratch + (t % 2) * M * slot;
            access.load(x, n, a.x, t, d);
            for (int m = 0; m < M; m++) {
                V* row = now + m * slot;
                update_and_read<O, 1>(W + m * matrix, d, columns, key_before + m * slot, update + m * columns, {x + m * n}, {row});
            }
            if (tape && t % problem.segment == 0) std::memcpy(saved_weight(tape, t / problem.segment), W, M * matrix * sizeof(V));
            access.store(a.output, t, now, slot, d);
            for (int m = 0; m < M; m++) {
                V *row = now + m * slot, *q = row + n, *k = row + 2 * n, *rate = row + 3 * n, *r = row + columns;
                for (int c = 0; c < n; c++) row[c] = x[m * n + c];
                softmax<O>(q, d);
                softmax<O>(k, d);
                for (int c = 3 * n; c < columns; c++) row[c] = sigmoid(row[c]);
                for (int c = 0; c < n; c++) moved[c] = q[c] - k[c];
                for (int c = 0; c < columns; c++) r[c] = V{};
                multiply<O, 1>(r, 0, moved, 0, W + m * matrix, d, columns);
                scale_blocks(update + m * columns, r, rate);
            }
            key_before = now + 2 * n;
        }
        for (int m = 0; m < M; m++)
            add_outer<O>(W + m * matrix, W + m * matrix, d, columns, key_before + m * slot, update + m * columns);
        store_matrix(access, a.last_weight, W);
    }

    // What the backward pass carries from step to step, for one team.
    struct Adjoint {
        V* G;         // gradient of W after the step
        V* key_G;     // k_t G, and
        V* G_update;  // G (b r)^T, both made while G was last written
    };

    void backward(const SrwmBackward& a, std::int64_t task, V* tape, Workspace& space) const {
        const Access<O> access{Group(problem, task)};
        const std::int64_t length = problem.length, K = problem.segment;
        const Adjoint adjoint{space.take<V>(M * matrix), space.take_zeros<V>(M * columns), space.take_zeros<V>(M * O::padded(d))};
        V* states = space.take<V>(K * M * matrix);
        V* grads = space.take_zeros<V>(M * columns);  // of [y | q | k | b]
        V* grad_x = space.take<V>(M * O::padded(d));
        V* scratch = space.take_zeros<V>(2 * columns + n + O::padded(d));
        load_matrix(access, adjoint.G, a.grad_last_weight);
        for (int m = 0; m < M && length; m++) start(step_slot(tape, length - 1) + m * slot, adjoint, m, scratch);
        for (std::int64_t segment = problem.segments() - 1; segment >= 0; segment--) {
            const std::int64_t begin = segment * K, end = begin + K < length ? begin + K : length;
            rebuild(tape, segment, int(end - begin), states, scratch);
            for (std::int64_t t = end - 1; t >= begin; t--) {
                access.load(grads, columns, a.grad_output, t, d);
                for (int m = 0; m < M; m++) step_back(t, m, tape, states + ((t - begin) * M + m) * matrix, adjoint, grads, grad_x, scratch);
                access.store(a.x, t, grad_x, O::padded(d), d);
            }
        }
        store_matrix(access, a.weight, adjoint.G);
    }

    // key_G and G_update of the last step.
    void start(const V* now, const Adjoint& adjoint, int m, V* update) const {
        const V* G = adjoint.G + m * matrix;
        V* sum = adjoint.G_update + m * O::padded(d);
        scale_blocks(update, now + columns, now + 3 * n);
        multiply<O, 1>(adjoint.key_G + m * columns, 0, now + 2 * n, 0, G, d, columns);
        for (int i = 0; i < d; i++)
            for (int c = 0; c < columns; c++) sum[i] += G[i * columns + c] * update[c];
        O::fold(sum, d);
    }

    // W before every step of a segment.
    void rebuild(V* tape, std::int64_t segment, int steps, V* states, V* update) const {
        std::memcpy(states, saved_weight(tape, segment), M * matrix * sizeof(V));
        for (int s = 0; s + 1 < steps; s++) {
            const V* now = step_slot(tape, segment * problem.segment + s);
            for (int m = 0; m < M; m++) {
                const V* row = now + m * slot;
                scale_blocks(update, row + columns, row + 3 * n);
                V* before = states + (s * M + m) * matrix;
                add_outer<O>(before + M * matrix, before, d, columns, row + 2 * n, update);
            }
        }
    }

    // One step of one team. On entry the y block of `grads` is the output's gradient.
    void step_back(std::int64_t t, int m, V* tape, const V* W, const Adjoint& adjoint, V* grads, V* grad_x, V* scratch) const {
        const V *now = step_slot(tape, t) + m * slot, *q = now + n, *k = now + 2 * n, *rate = now + 3 * n, *r = now + columns;
        const V* before = t > 0 ? now - M * slot : now;  // at t = 0 what is made of it is not used
        V *z = grads + m * columns, *key_G = adjoint.key_G + m * columns, *G_update = adjoint.G_update + m * O::padded(d);
        V *grad_r = scratch, *update = scratch + columns, *moved = update + columns, *sum = moved + n;
        for (int j = 0; j < 4; j++) {
            const int width = j < 3 ? n : columns - 3 * n;
            O::set_entry(z + 3 * n, j, dot<O>(key_G + j * n, r + j * n, width));
        }
        for (int c = 3 * n; c < columns; c++) z[c] *= now[c] * (splat<V>(1) - now[c]);
        scale_blocks(grad_r, key_G, rate);
        scale_blocks(update, before + columns, before + 3 * n);
        sum_columns(W, grad_r, sum);
        for (int c = 0; c < n; c++) {
            moved[c] = q[c] - k[c];
            G_update[c] -= sum[c];
        }
        softmax_backward<O>(z + n, q, sum, n);
        softmax_backward<O>(z + 2 * n, k, G_update, n);
        pass_back(W, adjoint.G + m * matrix, {moved, now, before + 2 * n}, {grad_r, z, update}, grad_x + m * O::padded(d), G_update, key_G);
        O::fold(grad_x + m * O::padded(d), d);
        O::fold(G_update, d);
    }

    // sum = W row^T.
    void sum_columns(const V* W, const V* row, V* sum) const {
        for (int i = 0; i < d; i++) {
            V even{}, odd{};
            int c = 0;
            for (; c + 2 <= columns; c += 2) {
                even += W[i * columns + c] * row[c];
                odd += W[i * columns + c + 1] * row[c + 1];
            }
            if (c < columns) even += W[i * columns + c] * row[c];
            sum[i] = even + odd;
        }
        for (int i = d; i < O::padded(d); i++) sum[i] = V{};
        O::fold(sum, d);
    }

    // In one pass over W and G: sum_x = W z^T; G += (q - k)^T r + x^T z; and of the new G what the step before wants, k G and G (b r)^T.
    void pass_back(const V* W, V* G, const V* const (&left)[3], const V* const (&right)[3], V* sum_x, V* G_update, V* key_G) const {
        for (int i = 0; i < O::padded(d); i++) sum_x[i] = G_update[i] = V{};
        for_blocks<4>(columns, [&](auto block, int j) {
            constexpr int B = block;
            V r[B], z[B], u[B], key_sum[B] = {};
            for (int c = 0; c < B; c++) r[c] = right[0][j + c], z[c] = right[1][j + c], u[c] = right[2][j + c];
            for (int i = 0; i < d; i++) {
                const V* w = W + i * columns + j;
                V *g = G + i * columns + j, x_part = sum_x[i], u_part = G_update[i];
                const auto moved = O::left(left[0], i), x = O::left(left[1], i), before = O::left(left[2], i);
                for (int c = 0; c < B; c++) {
                    x_part += w[c] * z[c];
                    const V next = g[c] + moved * r[c] + x * z[c];
                    g[c] = next;
                    u_part += next * u[c];
                    key_sum[c] += before * next;
                }
                sum_x[i] = x_part, G_update[i] = u_part;
            }
            for (int c = 0; c < B; c++) key_G[j + c] = key_sum[c];
        });
    }
};

}  // namespace fwplab
