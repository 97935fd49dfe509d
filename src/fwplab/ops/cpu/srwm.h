// The self-referential weight matrix W = [W_y | W_q | W_k | w_b] for one group of strands (order.h):
//   [y | q | k | b] = x W; q = softmax(q); k = softmax(k); b = sigmoid(b) (one rate for each block);
//   r = (q - k) W; W += k^T (b r), every block of r times its own rate.
// The pass that computes x W first applies the update of the previous step. The pass that computes (q - k) W only reads W.
// The tape saves [x | q | k | b | r] for each step. A variation (variation.h) also saves the divisors of q and k.
#pragma once

#include "run.h"
#include "variation.h"

namespace fwplab {

struct SrwmForward {
    Strided x, weight[4], output, last_weight[4];
};

struct SrwmBackward {
    Strided grad_output, grad_last_weight[4];
    Strided x, weight[4];  // the results: gradients
};

template <class O, bool varied = false>
struct Srwm {
    using T = typename O::Scalar;
    using V = typename O::V;
    static constexpr int M = O::teams, D = O::width, rates = 4;
    static constexpr int known_columns = D ? 3 * O::vectors(D) + O::vectors(rates) : 0;
    static constexpr int interleaved = 2;  // sequences in rows order; W and its gradient fit into the first-level cache
    static constexpr int ahead = 2;  // arguments are prefetched this many steps ahead

    const Problem& problem;
    const Parts<varied> parts;
    const Width<D> d;                       // entries and
    const Width<O::vectors(D)> n;           // vectors of one block's row
    const Width<known_columns> columns;     // vectors of a row of W, all four blocks
    const Width<2 * known_columns> slot;    // vectors of one team and step on the tape
    const Width<D * known_columns> matrix;  // vectors of one team's W

    explicit Srwm(const Problem& p)
        : problem(p), parts(p), d(int(p.width)), n(O::vectors(d)), columns(3 * n + O::vectors(rates)), slot(2 * columns + parts.scales),
          matrix(d * columns) {}

    Tape<V> tape(void* start, std::int64_t group) const {
        return {static_cast<V*>(start), problem.segment, problem.segments(group), problem.longest(group), M * matrix, M * slot};
    }

    int entries(int block) const { return block < 3 ? int(d) : rates; }

    void load_matrix(const Group<O>& group, V* matrices, const Strided (&from)[4]) const {
        for (int j = 0; j < 4; j++)
            for (int i = 0; i < d; i++) group.load_row(matrices + i * columns + j * n, matrix, from[j], i, entries(j));
    }
    void store_matrix(const Group<O>& group, const Strided (&to)[4], const V* matrices) const {
        for (int j = 0; j < 4; j++)
            for (int i = 0; i < d; i++) group.store_row(to[j], i, matrices + i * columns + j * n, matrix, entries(j));
    }

    // out = row, with every block multiplied by its rate.
    FWPLAB_INLINE void scale_blocks(V* out, const V* row, const V* rate) const {
        for (int j = 0; j < 3; j++) {
            const V b = O::entry(rate, j);
            for (int c = 0; c < n; c++) out[j * n + c] = b * row[j * n + c];
        }
        const V b = O::entry(rate, 3);
        for (int c = 3 * n; c < columns; c++) out[c] = b * row[c];
    }

    void forward(const SrwmForward& a, const Group<O>& group, const Tape<V>& tape, Workspace& space) const {
        V *W = space.take<V>(M * matrix), *x = space.take<V>(M * n), *u = space.take_zeros<V>(M * columns), *moved = space.take<V>(n);
        V* scratch = space.take_zeros<V>(2 * M * slot);  // the slots of this step and the last one, if there is no tape
        load_matrix(group, W, a.weight);
        const V* k_before = scratch + M * slot + 2 * n;  // zeros at first, because there is no update to apply
        const Strided* places[] = {&a.x, &a.output};
        Walk<O, 2, 1 << 1> walk(group, places, 0, 1);
        for (std::int64_t t = 0; t < group.length; t++, walk.next()) {
            V* now = tape ? tape.step(t) : scratch + t % 2 * M * slot;
            walk.prefetch(ahead, d);
            O::load(x, n, walk[0], d);
            for (int m = 0; m < M; m++)
                update_and_read<O, 1, false>(W + m * matrix, d, columns, V{}, k_before + m * slot, u + m * columns, {x + m * n},
                                             {now + m * slot});
            if (tape && tape.begins_segment(t)) std::memcpy(tape.weight(t / problem.segment), W, M * matrix * sizeof(V));
            O::store(walk[1], now, slot, d);
            V *addresses[2 * M], *scales[2 * M];
            for (int a = 0; a < 2 * M; a++) {
                addresses[a] = now + a / 2 * slot + (1 + a % 2) * n;
                scales[a] = now + a / 2 * slot + 2 * columns + a % 2;
            }
            parts.template normalise<O>(addresses, scales, d);
            for (int m = 0; m < M; m++) {
                V* row = now + m * slot;
                for (int c = 0; c < n; c++) row[c] = x[m * n + c];
                for (int c = 3 * n; c < columns; c++) row[c] = parts.rate(row[c], c - 3 * n);
                walk.silence(row, columns, m);
            }
            for (int m = 0; m < M; m++) {
                V *row = now + m * slot, *q = row + n, *k = row + 2 * n, *r = row + columns;
                for (int c = 0; c < n; c++) moved[c] = q[c] - parts.erased(k[c]);
                for (int c = 0; c < columns; c++) r[c] = V{};
                tape.prefetch(t + 1, 1, m, M);
                multiply<O, 1>(r, 0, moved, 0, W + m * matrix, d, columns);
                walk.silence(r, columns, m);
                scale_blocks(u + m * columns, r, row + 3 * n);
            }
            k_before = now + 2 * n;
        }
        for (int m = 0; m < M; m++) update<O, false>(W + m * matrix, W + m * matrix, d, columns, V{}, k_before + m * slot, u + m * columns);
        store_matrix(group, a.last_weight, W);
    }

    // The variables of the backward pass, for all teams.
    struct Adjoint {
        V* G;          // gradient of W after the step
        V* key_G;      // k_t G, and
        V* G_update;   // G (b r)^T, both computed in the pass that last wrote G
        V* z;          // gradients of [y | q | k | b]
        V *u, *u_before, *grad_r, *moved, *sum;
        V* grad_x;
    };

    using WalkBack = Walk<O, 2, 1 << 1>;

    void backward(const SrwmBackward& a, const Group<O>& group, const Tape<V>& tape, Workspace& space) const {
        const std::int64_t length = group.length;
        const int padded = O::padded(d);
        V *states = space.take<V>(problem.segment * M * matrix + apart<V>), *G = space.take<V>(M * matrix);
        const auto rows = [&](int vectors) { return space.take_zeros<V>(M * vectors); };
        const Adjoint adjoint{G, rows(columns), rows(padded), rows(columns), rows(columns), rows(columns), rows(columns),
                              rows(n), rows(padded), rows(padded)};
        const Strided* places[] = {&a.grad_output, &a.x};
        WalkBack walk(group, places, length - 1, -1);
        load_matrix(group, G, a.grad_last_weight);
        for (int m = 0; m < M && length; m++) start(tape.step(length - 1) + m * slot, adjoint, m);
        walk_back(
            tape, states, [&](std::int64_t begin, std::int64_t end) { rebuild(tape, begin, end, states, adjoint.u); },
            [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t t = end - 1; t >= begin; t--, walk.next()) {
                    walk.prefetch(ahead, d);
                    O::load(adjoint.z, columns, walk[0], d);
                    step_back(walk, t, states + (t - begin) * M * matrix, tape, adjoint);
                    O::store(walk[1], adjoint.grad_x, padded, d);
                }
            });
        store_matrix(group, a.weight, G);
    }

    // key_G and G_update of the last step.
    void start(const V* now, const Adjoint& adjoint, int m) const {
        const V* G = adjoint.G + m * matrix;
        V* sum = adjoint.G_update + m * O::padded(d);
        scale_blocks(adjoint.u, now + columns, now + 3 * n);
        read_in_turn<O>(adjoint.key_G + m * columns, now + 2 * n, G, d, columns);
        for (int i = 0; i < d; i++)
            for (int c = 0; c < columns; c++) sum[i] += G[i * columns + c] * adjoint.u[c];
        O::fold(sum, d);
    }

    // One step for all teams. At the start the y block of z is the gradient of the output. Each stage is computed for all teams, to hide
    // latency. W is that before the step.
    FWPLAB_INLINE void step_back(const WalkBack& walk, std::int64_t t, const V* W, const Tape<V>& tape, const Adjoint& x) const {
        const V* now = tape.step(t);
        const V* before = t > 0 ? now - M * slot : now;  // at t = 0 the results from it are not used
        for (int m = 0; m < M; m++) {
            const V *rate = now + m * slot + 3 * n, *r = now + m * slot + columns;
            V *z = x.z + m * columns, *key_G = x.key_G + m * columns, products[4];
            for (int j = 0; j < 3; j++) products[j] = partial_dot<O>(key_G + j * n, r + j * n, n);
            products[3] = partial_dot<O>(key_G + 3 * n, r + 3 * n, columns - 3 * n);
            O::fold_four(z + 3 * n, products);
            for (int c = 3 * n; c < columns; c++) z[c] *= parts.rate_slope(rate[c - 3 * n]);
            scale_blocks(x.grad_r + m * columns, key_G, rate);
            walk.silence(x.grad_r + m * columns, columns, m);
        }
        for (int m = 0; m < M; m++) {
            tape.prefetch(t - tape.segment, 0, m, M);
            sum_rows(W + m * matrix, x.grad_r + m * columns, x.sum + m * O::padded(d));
        }
        V* gradients[2 * M];
        const V *addresses[2 * M], *scales[2 * M];
        for (int m = 0; m < M; m++) {
            const V *q = now + m * slot + n, *k = q + n, *sum = x.sum + m * O::padded(d), *G_update = x.G_update + m * O::padded(d);
            V *z = x.z + m * columns, *moved = x.moved + m * n;
            for (int c = 0; c < n; c++) {
                moved[c] = q[c] - parts.erased(k[c]);
                z[n + c] = sum[c];
                z[2 * n + c] = G_update[c] - parts.erased(sum[c]);
            }
            gradients[2 * m] = z + n, gradients[2 * m + 1] = z + 2 * n;
            addresses[2 * m] = q, addresses[2 * m + 1] = k;
            scales[2 * m] = now + m * slot + 2 * columns, scales[2 * m + 1] = scales[2 * m] + 1;
            scale_blocks(x.u_before + m * columns, before + m * slot + columns, before + m * slot + 3 * n);
        }
        parts.template normalise_backward<O>(gradients, addresses, scales, n);
        for (int m = 0; m < M; m++) walk.silence(x.z + m * columns, columns, m);
        for (int m = 0; m < M; m++)
            pass_back(W + m * matrix, x.G + m * matrix, {x.moved + m * n, now + m * slot, before + m * slot + 2 * n},
                      {x.grad_r + m * columns, x.z + m * columns, x.u_before + m * columns}, x.grad_x + m * O::padded(d),
                      x.G_update + m * O::padded(d), x.key_G + m * columns);
    }

    // sum = W row^T.
    FWPLAB_INLINE void sum_rows(const V* W, const V* row, V* sum) const {
        for_blocks<4>(columns, [&](auto block, int j) FWPLAB_INLINE_LAMBDA {
            constexpr int B = block;
            V factor[B];
            for (int c = 0; c < B; c++) factor[c] = row[j + c];
            for (int i = 0; i < d; i++) {
                const V* w = W + i * columns + j;
                V even = j ? sum[i] : V{}, odd{};
                for (int c = 0; c < B; c++) (c % 2 ? odd : even) += w[c] * factor[c];
                sum[i] = even + odd;
            }
        });
        O::fold(sum, d);
    }

    // One pass over W and G: sum_x = W z^T; G += (q - k)^T r + x^T z; and from the new G, for the previous step, k G and G (b r)^T.
    FWPLAB_INLINE void pass_back(const V* W, V* G, const V* const (&left)[3], const V* const (&right)[3], V* sum_x, V* G_update,
                                 V* key_G) const {
        for_blocks<sizeof(V) == 64 ? 4 : 2>(columns, [&](auto block, int j) FWPLAB_INLINE_LAMBDA {
            constexpr int B = block;
            V r[B], z[B], u[B], key_sum[B] = {};
            for (int c = 0; c < B; c++) r[c] = right[0][j + c], z[c] = right[1][j + c], u[c] = right[2][j + c];
            for (int i = 0; i < d; i++) {
                const V* w = W + i * columns + j;
                V *g = G + i * columns + j, x_part = j ? sum_x[i] : V{}, u_part = j ? G_update[i] : V{};
                const V moved = O::entry(left[0], i), x = O::entry(left[1], i), before = O::entry(left[2], i);
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
        O::fold(sum_x, d);
        O::fold(G_update, d);
    }

    // Computes W before each step after `begin` with the additions of the forward pass. W before `begin` is given.
    FWPLAB_APART void rebuild(const Tape<V>& tape, std::int64_t begin, std::int64_t end, V* states, V* u) const {
        for (std::int64_t t = begin; t + 1 < end; t++, states += M * matrix) {
            for (int m = 0; m < M; m++) {
                const V* row = tape.step(t) + m * slot;
                scale_blocks(u, row + columns, row + 3 * n);
                update<O, false>(states + (M + m) * matrix, states + m * matrix, d, columns, V{}, row + 2 * n, u);
            }
        }
    }
};

namespace {

template <class O>
struct Common<Srwm<O, false>> {
    using Narrow = Quick<4, 8>;
    using Wide = Quick<16, 32, 64>;
};

template <class O>
constexpr bool lanes_alone<Srwm<O, true>> = true;

template <class O>
using PaperSrwm = Srwm<O, false>;
template <class O>
using VariedSrwm = Srwm<O, true>;

}  // namespace

FWPLAB_RULE(srwm, forward, (either_forward<PaperSrwm, VariedSrwm>), SrwmForward)
FWPLAB_RULE(srwm, backward, (either_backward<PaperSrwm, VariedSrwm>), SrwmBackward)

}  // namespace fwplab
