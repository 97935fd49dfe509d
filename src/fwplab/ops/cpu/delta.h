// The delta rule, with and without a gate, and the additive rule, for one group of strands (order.h):
//   additive:  e = v;                            W += k^T e;        o = q W.
//   erasing:   e = v - k W;                      W += k^T (b e);    o = q W.
//   gated:     W = a W, a = exp(log decay); then as erasing.
// There is one pass over W for each step. The pass of step t first applies the update of step t - 1; o = a q W_{t-1} + (q . k) b e.
// The tape saves e for each step. The backward pass reads the other arguments again.
#pragma once

#include "run.h"
#include "segments.h"

namespace fwplab {

enum class Writing { additive, erasing, gated };

struct DeltaForward {
    Strided query, key, value, beta, log_decay, weight;
    Strided output, last_weight;
};

struct DeltaBackward {
    Strided grad_output, query, key, value, beta, log_decay, weight, grad_last_weight;
    Strided grad_query, grad_key, grad_value, grad_beta, grad_log_decay, grad_weight;  // the results
};

// One pass over W (before the step, after the decay) and its gradient G: sum_q = W o^T; sum_k = G u^T - W v^T;
// G += q^T o - k^T v; key_G = k_{t-1} G; and for the gate the sum of G * W, and G times the decay.
// `left` is q, k, k_{t-1}, `right` is o, v, u. The additive rule does not read by key and has no terms with v.
template <class O, Writing writing, class Rows, class Columns>
FWPLAB_INLINE typename O::V pass_back(const typename O::V* W, typename O::V* G, Rows d, Columns n, typename O::V decay,
                                      const typename O::V* const (&left)[3], const typename O::V* const (&right)[3], typename O::V* sum_q,
                                      typename O::V* sum_k, typename O::V* key_G) {
    using V = typename O::V;
    constexpr bool erases = writing != Writing::additive, gated = writing == Writing::gated;
    constexpr int columns = sizeof(V) == 64 ? 4 : 2;
    V decay_sum{};
    for_blocks<columns>(n, [&](auto block, int j) FWPLAB_INLINE_LAMBDA {
        constexpr int B = block;
        V o[B], v[B], u[B], key_sum[B] = {}, decay_part[B] = {};
        for (int c = 0; c < B; c++) o[c] = right[0][j + c], v[c] = right[1][j + c], u[c] = right[2][j + c];
        for (int i = 0; i < d; i++) {
            const V* w = W + i * n + j;
            V* g = G + i * n + j;
            V q_part = j ? sum_q[i] : V{}, k_part = j ? sum_k[i] : V{}, v_part{};
            const V q = O::entry(left[0], i), before = O::entry(left[2], i);
            [[maybe_unused]] const V k = O::entry(left[1], i);
            for (int c = 0; c < B; c++) {
                const V old = gated ? decay * w[c] : w[c];
                q_part += old * o[c];
                k_part += g[c] * u[c];
                V moved = g[c] + q * o[c];
                if constexpr (erases) {
                    v_part += old * v[c];
                    moved -= k * v[c];
                }
                if constexpr (gated) {
                    decay_part[c] += moved * old;
                    moved *= decay;
                }
                g[c] = moved;
                key_sum[c] += before * moved;
            }
            sum_q[i] = q_part, sum_k[i] = erases ? k_part - v_part : k_part;
        }
        for (int c = 0; c < B; c++) {
            key_G[j + c] = key_sum[c];
            decay_sum += decay_part[c];
        }
    });
    return gated ? O::reduce(decay_sum) : decay_sum;
}

template <class O, Writing writing>
struct Delta {
    using T = typename O::Scalar;
    using V = typename O::V;
    static constexpr int M = O::teams, D = O::width;
    static constexpr bool erases = writing != Writing::additive, gated = writing == Writing::gated;
    static constexpr int interleaved = 2;  // sequences in rows order; W and its gradient fit into the first-level cache
    static constexpr int ahead = 4;  // arguments are prefetched this many steps ahead

    const Problem& problem;
    const Width<D> d;                            // entries and
    const Width<O::vectors(D)> n;                // vectors of one quantity
    const Width<D * O::vectors(D)> matrix;       // vectors of one team's W

    explicit Delta(const Problem& p) : problem(p), d(int(p.width)), n(O::vectors(d)), matrix(d * n) {}

    Tape<V> tape(void* start, std::int64_t group) const {
        return {static_cast<V*>(start), problem.segment, problem.segments(group), problem.longest(group), M * matrix, erases ? M * n : 0};
    }

    void forward(const DeltaForward& a, const Group<O>& group, const Tape<V>& tape, Workspace& space) const {
        V *W = space.take<V>(M * matrix), *q = space.take<V>(M * n), *keys = space.take_zeros<V>(2 * M * n), *o = space.take<V>(M * n);
        V *u = space.take_zeros<V>(M * n), *read = space.take<V>(n), *e = space.take<V>(M * n);
        V alpha[M];
        for (V& x : alpha) x = splat<V>(1);
        for (int i = 0; i < d; i++) group.load_row(W + i * n, matrix, a.weight, i, d);
        const Strided* places[] = {&a.query, &a.key, &a.value, &a.output, &a.beta, &a.log_decay};
        Walk<O, gated ? 6 : erases ? 5 : 4, 1 << 3> walk(group, places, 0, 1);
        for (std::int64_t t = 0; t < group.length; t++, walk.next()) {
            walk.prefetch(ahead, d);
            V *k = keys + t % 2 * M * n, *k_before = keys + (t + 1) % 2 * M * n;  // zeros at first, because there is no update to apply
            O::load(q, n, walk[0], d);
            O::load(k, n, walk[1], d);
            O::load(e, n, walk[2], d);
            for (int m = 0; m < M; m++) {
                V *q_m = q + m * n, *k_m = k + m * n, *u_m = u + m * n, *o_m = o + m * n;
                if constexpr (erases) {
                    update_and_read<O, 2, gated>(W + m * matrix, d, n, alpha[m], k_before + m * n, u_m, {k_m, q_m}, {read, o_m});
                } else {
                    update_and_read<O, 1, false>(W + m * matrix, d, n, V{}, k_before + m * n, u_m, {q_m}, {o_m});
                }
                tape.prefetch(t + 1, 1, m, M);
                const V b = erases ? O::load_number(walk[4], m) : splat<V>(1), overlap = dot<O>(q_m, k_m, n);
                if constexpr (gated) {
                    alpha[m] = exponential(O::load_number(walk[5], m));
                    for (int c = 0; c < n; c++) read[c] *= alpha[m], o_m[c] *= alpha[m];
                }
                for (int c = 0; c < n && erases; c++) e[m * n + c] -= read[c];
                if constexpr (erases) walk.silence(e + m * n, n, m);
                for (int c = 0; c < n; c++) {
                    u_m[c] = b * e[m * n + c];
                    o_m[c] += overlap * u_m[c];
                }
            }
            if (tape && tape.begins_segment(t)) std::memcpy(tape.weight(t / problem.segment), W, M * matrix * sizeof(V));
            if (tape && erases) std::memcpy(tape.step(t), e, M * n * sizeof(V));
            O::store(walk[3], o, n, d);
        }
        const V* last_key = keys + (group.length + 1) % 2 * M * n;
        for (int m = 0; m < M; m++) update<O, gated>(W + m * matrix, W + m * matrix, d, n, alpha[m], last_key + m * n, u + m * n);
        for (int i = 0; i < d; i++) group.store_row(a.last_weight, i, W + i * n, matrix, d);
    }

    // The variables of the backward pass, for all teams.
    struct Adjoint {
        V *G;      // gradient of W after the step
        V *key_G;  // k_t G, computed in the pass that last wrote G
        V *keys;   // k_t at index t % 2, k_{t-1} at the other
        V *q, *u, *o, *e;
        V *grad_q, *grad_k, *grad_v;
        V *sum_q, *sum_k;  // of one team
    };

    using WalkBack = Walk<O, gated ? 10 : erases ? 8 : 7, 7 << 3 | 1 << 7 | 1 << 9>;

    void backward(const DeltaBackward& a, const Group<O>& group, const Tape<V>& tape, Workspace& space) const {
        const int quantity = M * n;
        V *states = space.take<V>(problem.segment * M * matrix + apart<V>), *G = space.take<V>(M * matrix);
        V *rest = space.take_zeros<V>(10 * quantity), *sums = space.take_zeros<V>(2 * O::padded(d));
        const auto row = [&](int place) { return rest + place * quantity; };
        const Adjoint adjoint{G, row(0), row(1), row(3), row(4), row(5), row(6), row(7), row(8), row(9), sums, sums + O::padded(d)};
        const std::int64_t last = group.length - 1;
        const Strided* places[] = {&a.grad_output, &a.query, &a.key, &a.grad_query, &a.grad_key, &a.grad_value, erases ? &a.beta : &a.value,
                                   &a.grad_beta, &a.log_decay, &a.grad_log_decay};
        WalkBack walk(group, places, last, -1);
        Walk<O, 1, 0> before(group, places + 2, last - 1, -1);
        for (int i = 0; i < d; i++) group.load_row(G + i * n, matrix, a.grad_last_weight, i, d);
        if (group.length) O::load(adjoint.keys + last % 2 * quantity, n, walk[2], d);
        for (int m = 0; m < M && group.length; m++)
            read_in_turn<O>(adjoint.key_G + m * n, adjoint.keys + last % 2 * quantity + m * n, G + m * matrix, d, n);
        walk_back(
            tape, states, [&](std::int64_t begin, std::int64_t end) { rebuild(a, group, tape, begin, end, states, adjoint); },
            [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t t = end - 1; t >= begin; t--, walk.next(), before.next()) {
                    walk.prefetch(ahead, d);
                    step_back(walk, before, t, states + (t - begin) * M * matrix, tape, adjoint);
                }
            });
        for (int i = 0; i < d; i++) group.store_row(a.grad_weight, i, G + i * n, matrix, d);
    }

    // One step: computes the adjoint before it from the adjoint after it, and the gradients of the arguments. W is that before the step.
    template <class Before>
    FWPLAB_INLINE void step_back(const WalkBack& walk, const Before& before, std::int64_t t, const V* W, const Tape<V>& tape,
                                 const Adjoint& x) const {
        V *k = x.keys + t % 2 * M * n, *k_before = x.keys + (t + 1) % 2 * M * n;
        const V* e = erases ? tape.step(t) : x.e;
        O::load(x.o, n, walk[0], d);
        O::load(x.q, n, walk[1], d);
        if (t > 0) O::load(k_before, n, before[0], d);  // the first step has no previous key; results from it are not used
        if constexpr (!erases) O::load(x.e, n, walk[6], d);
        for (int m = 0; m < M; m++) {
            V *q_m = x.q + m * n, *k_m = k + m * n, *u = x.u + m * n, *o = x.o + m * n, *key_G = x.key_G + m * n;
            V *grad_q = x.grad_q + m * n, *grad_k = x.grad_k + m * n, *grad_v = x.grad_v + m * n;
            const V b = erases ? O::load_number(walk[6], m) : splat<V>(1), decay = gated ? exponential(O::load_number(walk[8], m)) : V{};
            for (int c = 0; c < n; c++) u[c] = b * e[m * n + c];
            const V overlap = dot<O>(q_m, k_m, n), kept = dot<O>(u, o, n);
            for (int c = 0; c < n; c++) key_G[c] += overlap * o[c];  // the gradient of the update
            if constexpr (erases) O::store_number(walk[7], dot<O>(key_G, e + m * n, n), m);
            for (int c = 0; c < n; c++) grad_v[c] = b * key_G[c];
            if constexpr (erases) walk.silence(grad_v, n, m);
            tape.prefetch(t - tape.segment, 0, m, M);
            const V grad_decay = pass_back<O, writing>(W + m * matrix, x.G + m * matrix, d, n, decay, {q_m, k_m, k_before + m * n},
                                                       {o, grad_v, u}, x.sum_q, x.sum_k, key_G);
            if constexpr (gated) O::store_number(walk[9], grad_decay, m);
            O::fold(x.sum_q, d);
            O::fold(x.sum_k, d);
            for (int c = 0; c < n; c++) {
                grad_q[c] = x.sum_q[c] + kept * k_m[c];
                grad_k[c] = x.sum_k[c] + kept * q_m[c];
            }
        }
        O::store(walk[3], x.grad_q, n, d);
        O::store(walk[4], x.grad_k, n, d);
        O::store(walk[5], x.grad_v, n, d);
    }

    // Computes W before each step after `begin` with the additions of the forward pass. W before `begin` is given.
    FWPLAB_APART void rebuild(const DeltaBackward& a, const Group<O>& group, const Tape<V>& tape, std::int64_t begin, std::int64_t end,
                              V* states, const Adjoint& x) const {
        const Strided* places[] = {&a.key, erases ? &a.beta : &a.value, &a.log_decay};
        Walk<O, gated ? 3 : 2, 0> walk(group, places, begin, 1);
        V *k = x.q, *u = x.u;
        for (std::int64_t t = begin; t + 1 < end; t++, walk.next(), states += M * matrix) {
            O::load(k, n, walk[0], d);
            if constexpr (!erases) O::load(u, n, walk[1], d);
            for (int m = 0; m < M; m++) {
                if constexpr (erases) {
                    const V b = O::load_number(walk[1], m);
                    for (int c = 0; c < n; c++) u[m * n + c] = b * tape.step(t)[m * n + c];
                }
                const V decay = gated ? exponential(O::load_number(walk[2], m)) : V{};
                update<O, gated>(states + (M + m) * matrix, states + m * matrix, d, n, decay, k + m * n, u + m * n);
            }
        }
    }
};

}  // namespace fwplab

#include "held.h"

namespace fwplab {
namespace {

template <class O>
struct Common<Delta<O, Writing::additive>> {
    using Narrow = std::conditional_t<register_bytes == 32, Known<16>, Known<>>;
    using Wide = Quick<32, 64>;
};
template <class O>
struct Common<Delta<O, Writing::erasing>> : Common<Delta<O, Writing::additive>> {};
template <class O>
using Additive = Delta<O, Writing::additive>;
template <class O>
using Erasing = Delta<O, Writing::erasing>;
template <class O>
using Gated = Delta<O, Writing::gated>;

}  // namespace

FWPLAB_RULE(linear, forward, (narrow_forward<Additive, false>), DeltaForward)
FWPLAB_RULE(linear, backward, (narrow_backward<Additive, false>), DeltaBackward)
FWPLAB_RULE(delta, forward, (narrow_forward<Erasing, true>), DeltaForward)
FWPLAB_RULE(delta, backward, (narrow_backward<Erasing, true>), DeltaBackward)
FWPLAB_RULE(gated_delta, forward, forward<Gated>, DeltaForward)
FWPLAB_RULE(gated_delta, backward, backward<Gated>, DeltaBackward)

}  // namespace fwplab
