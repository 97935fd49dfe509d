// Recurrent Delta for one group of strands (order.h):
//   h = tanh(o_{t-1}); q = softmax(q_x + h R_q); k = softmax(k_x + h R_k); v = v_x + h R_v; b = sigmoid(b_x + h . r_b)
//   e = v - k W; W += k^T (b e); o = q W.
// There is one pass over W for each step. The pass of step t first applies the update of step t - 1; o = q W_{t-1} + (q . k) b e.
// The tape saves [q | k | e | h | b] for each step. A variation (variation.h) also saves the divisors of q and k.
#pragma once

#include "run.h"
#include "variation.h"

namespace fwplab {

struct RecurrentDeltaForward {
    Strided query, key, value, beta, recurrent_query, recurrent_key, recurrent_value, recurrent_beta, weight, last;
    Strided output, last_weight;
};

struct RecurrentDeltaBackward {
    Strided grad_output, grad_last_weight, recurrent_query, recurrent_key, recurrent_value, recurrent_beta;
    Strided query, key, value, beta, weight, last;  // the results: gradients
};

template <class O, bool varied = false>
struct RecurrentDelta {
    using T = typename O::Scalar;
    using V = typename O::V;
    using Weight = typename O::Weight;
    static constexpr int M = O::teams, D = O::width;
    static constexpr int interleaved = 4;  // sequences in rows order; the slow weights are read once for all
    static constexpr int ahead = 2;  // arguments are prefetched this many steps ahead

    const Problem& problem;
    const Parts<varied> parts;
    const Width<D> d;                           // entries and
    const Width<O::vectors(D)> n;               // vectors of one quantity
    const Width<3 * O::vectors(D)> wide;        // vectors of [R_q | R_k | R_v]
    const Width<D * O::vectors(D)> matrix;      // vectors of one team's W
    const Width<D ? 4 * O::vectors(D) + 1 : 0> slot;       // vectors of one team and step on the tape
    const Width<D ? 3 * O::vectors(D) + 1 : 0> grad_size;  // vectors of one team's and step's gradients [q_x | k_x | v_x | b_x]

    explicit RecurrentDelta(const Problem& p)
        : problem(p), parts(p), d(int(p.width)), n(O::vectors(d)), wide(3 * n), matrix(d * n), slot(4 * n + 1 + parts.scales),
          grad_size(3 * n + 1) {}

    Tape<V> tape(void* start, std::int64_t group) const {
        return {static_cast<V*>(start), problem.segment, problem.segments(group), problem.longest(group), M * matrix, M * slot};
    }

    // Copies `rows` rows of a slow weight. Entry (i, j) of a head is at i * row + j * column.
    void copy_weight(Weight* out, int out_columns, const Group<O>& group, const Strided& from, std::int64_t row, std::int64_t column,
                     int rows) const {
        const T* of_strand[O::strands];
        for (int s = 0; s < O::strands; s++) of_strand[s] = from.at<const T>(0, 0, group.heads[s]);
        fwplab::copy_weight<O>(out, out_columns, of_strand, row, column, rows, d);
    }

    // [R_q | R_k | R_v] in one matrix, so that one product computes the feedback to all three.
    Weight* side_by_side(Workspace& space, const Strided& q, const Strided& k, const Strided& v, const Group<O>& group) const {
        Weight* out = space.take<Weight>(d * wide);
        const Strided* all[3] = {&q, &k, &v};
        for (int j = 0; j < 3; j++) copy_weight(out + j * n, wide, group, *all[j], all[j]->row, 1, d);
        return out;
    }

    void forward(const RecurrentDeltaForward& a, const Group<O>& group, const Tape<V>& tape, Workspace& space) const {
        const Weight* feedback = side_by_side(space, a.recurrent_query, a.recurrent_key, a.recurrent_value, group);
        Weight* feedback_beta = space.take<Weight>(n);
        copy_weight(feedback_beta, n, group, a.recurrent_beta, 0, 1, 1);
        V *W = space.take<V>(M * matrix), *o = space.take<V>(M * n), *u = space.take_zeros<V>(M * n), *read = space.take<V>(n);
        V* scratch = space.take_zeros<V>(2 * M * slot);  // the slots of this step and the last one, if there is no tape
        for (int i = 0; i < d; i++) group.load_row(W + i * n, matrix, a.weight, i, d);
        group.load_row(o, n, a.last, 0, d);
        const V* k_before = scratch + M * slot + n;  // zeros at first, because there is no update to apply
        const Strided* places[] = {&a.query, &a.key, &a.value, &a.beta, &a.output};
        Walk<O, 5, 1 << 4> walk(group, places, 0, 1);
        for (std::int64_t t = 0; t < group.length; t++, walk.next()) {
            V* now = tape ? tape.step(t) : scratch + t % 2 * M * slot;
            walk.prefetch(ahead, d);
            for (int j = 0; j < 3; j++) O::load(now + j * n, slot, walk[j], d);
            for (int m = 0; m < M; m++)
                for (int c = 0; c < n; c++) now[m * slot + 3 * n + c] = parts.squash(o[m * n + c]);
            multiply<O, M>(now, slot, now + 3 * n, slot, feedback, d, wide);
            V *addresses[2 * M], *scales[2 * M];
            for (int a = 0; a < 2 * M; a++) {
                addresses[a] = now + a / 2 * slot + a % 2 * n;
                scales[a] = now + a / 2 * slot + 4 * n + 1 + a % 2;
            }
            parts.template normalise<O>(addresses, scales, d);
            V b[M], overlap[M];
            for (int m = 0; m < M; m++) {
                walk.silence(now + m * slot, 2 * n, m);
                walk.silence(now + m * slot + 3 * n, n, m);
                const V *q = now + m * slot, *h = q + 3 * n;
                b[m] = partial_dot<O>(h, feedback_beta, n);
                overlap[m] = partial_dot<O>(q, q + n, n);
            }
            O::fold_numbers(b);
            O::reduce(overlap);
            for (int i = 0; i < O::numbers; i++) {
                b[i] = parts.rate(O::load_numbers(walk[3], i) + b[i], 0);
                if (problem.lengths) b[i] *= O::present(walk.active(), i);  // a sequence that has ended writes nothing
            }
            O::spread(b);
            for (int m = 0; m < M; m++) {
                V *q = now + m * slot, *k = q + n, *e = k + n, *u_m = u + m * n, *o_m = o + m * n;
                update_and_read<O, 2, false>(W + m * matrix, d, n, V{}, k_before + m * slot, u_m, {k, q}, {read, o_m});
                tape.prefetch(t + 1, 1, m, M);
                q[4 * n] = b[m];
                for (int c = 0; c < n; c++) e[c] -= parts.erased(read[c]);
                walk.silence(e, n, m);
                for (int c = 0; c < n; c++) {
                    u_m[c] = b[m] * e[c];
                    o_m[c] += overlap[m] * u_m[c];
                }
                walk.silence(o_m, n, m);
            }
            if (tape && tape.begins_segment(t)) std::memcpy(tape.weight(t / problem.segment), W, M * matrix * sizeof(V));
            O::store(walk[4], o, n, d);
            k_before = now + n;
        }
        for (int m = 0; m < M; m++) update<O, false>(W + m * matrix, W + m * matrix, d, n, V{}, k_before + m * slot, u + m * n);
        for (int i = 0; i < d; i++) group.store_row(a.last_weight, i, W + i * n, matrix, d);
    }

    // The variables of the backward pass, for all teams.
    struct Adjoint {
        V *G;      // gradient of W after the step
        V *key_G;  // k_t G, computed in the pass that last wrote G
        V *o;      // gradient of the step's output
        V *u, *grad_output;
        V *sum_q, *sum_k;  // of one team
        V* slow;           // gradients of [R_q | R_k | R_v], then of r_b
    };

    // The slow weights for the backward pass: [R_q^T; R_k^T; R_v^T] and r_b.
    struct Transposed {
        Weight* feedback;
        Weight* beta;
    };

    using WalkBack = Walk<O, 5, 15 << 1>;

    void backward(const RecurrentDeltaBackward& a, const Group<O>& group, const Tape<V>& tape, T* slow_gradient, std::int64_t slow_step,
                  Workspace& space) const {
        const Transposed slow = transposed(a, group, space);
        const int quantity = M * n;
        V *states = space.take<V>(problem.segment * M * matrix + apart<V>), *G = space.take<V>(M * matrix);
        V *rest = space.take_zeros<V>(4 * quantity), *sums = space.take_zeros<V>(2 * O::padded(d));
        const Adjoint adjoint{G, rest, rest + quantity, rest + 2 * quantity, rest + 3 * quantity, sums, sums + O::padded(d),
                              space.take_zeros<V>(d * wide + n)};
        V* grads = space.take<V>(problem.segment * M * grad_size);
        const Strided* places[] = {&a.grad_output, &a.query, &a.key, &a.value, &a.beta};
        WalkBack walk(group, places, group.length - 1, -1);
        for (int i = 0; i < d; i++) group.load_row(G + i * n, matrix, a.grad_last_weight, i, d);
        for (int m = 0; m < M && group.length; m++)
            read_in_turn<O>(adjoint.key_G + m * n, tape.step(group.length - 1) + m * slot + n, G + m * matrix, d, n);
        walk_back(
            tape, states, [&](std::int64_t begin, std::int64_t end) { rebuild(tape, begin, end, states, adjoint.u); },
            [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t t = end - 1; t >= begin; t--, walk.next()) {
                    V* grad = grads + (t - begin) * M * grad_size;
                    walk.prefetch(ahead, d);
                    O::load(adjoint.grad_output, n, walk[0], d);
                    for (int c = 0; c < quantity; c++) adjoint.o[c] += adjoint.grad_output[c];
                    step_back(walk, t, states + (t - begin) * M * matrix, tape, adjoint, grad);
                    for (int j = 0; j < 3; j++) O::store(walk[1 + j], grad + j * n, grad_size, d);
                    for (int m = 0; m < M; m++) O::store_number(walk[4], grad[m * grad_size + 3 * n], m);
                    feed_back(tape.step(t), grad, adjoint.o, slow);
                }
                add_slow(tape.step(begin), grads, int(end - begin) * M, adjoint.slow);
            });
        for (int i = 0; i < d; i++) group.store_row(a.weight, i, G + i * n, matrix, d);
        group.store_row(a.last, 0, adjoint.o, n, d);
        const auto totals = [&](const V* row) {
            for (int c = 0; c < d; c++) O::totals(slow_gradient++, slow_step, row, c, problem.together);
        };
        for (int j = 0; j < 3; j++)
            for (int r = 0; r < d; r++) totals(adjoint.slow + (r * 3 + j) * n);
        totals(adjoint.slow + d * wide);
    }

    Transposed transposed(const RecurrentDeltaBackward& a, const Group<O>& group, Workspace& space) const {
        const Strided* slow[3] = {&a.recurrent_query, &a.recurrent_key, &a.recurrent_value};
        Transposed out{space.take<Weight>(3 * matrix), space.take<Weight>(n)};
        for (int j = 0; j < 3; j++) copy_weight(out.feedback + j * matrix, n, group, *slow[j], 1, slow[j]->row, d);
        copy_weight(out.beta, n, group, a.recurrent_beta, 0, 1, 1);
        return out;
    }

    // One step: computes the adjoint before it from the one after it, and the gradients [q_x | k_x | v_x | b_x]. W is that before the step.
    FWPLAB_INLINE void step_back(const WalkBack& walk, std::int64_t t, const V* W, const Tape<V>& tape, const Adjoint& adjoint,
                                 V* grads) const {
        const V* now = tape.step(t);
        V overlap[M], kept[M], grad_b[M];
        for (int m = 0; m < M; m++) {
            const V *q = now + m * slot, *e = q + 2 * n;
            V* u = adjoint.u + m * n;
            for (int c = 0; c < n; c++) u[c] = q[4 * n] * e[c];
            overlap[m] = partial_dot<O>(q, q + n, n);
            kept[m] = partial_dot<O>(u, adjoint.o + m * n, n);
        }
        O::reduce(overlap);
        O::reduce(kept);
        for (int m = 0; m < M; m++) {
            const V *e = now + m * slot + 2 * n, b = e[2 * n];
            V *key_G = adjoint.key_G + m * n, *grad_v = grads + m * grad_size + 2 * n;
            for (int c = 0; c < n; c++) key_G[c] += overlap[m] * adjoint.o[m * n + c];  // the gradient of the update
            grad_b[m] = partial_dot<O>(key_G, e, n);
            for (int c = 0; c < n; c++) grad_v[c] = b * key_G[c];
            walk.silence(grad_v, n, m);
        }
        O::reduce(grad_b);
        for (int m = 0; m < M; m++) {
            const V *q = now + m * slot, *k = q + n, b = q[4 * n];
            const V* k_before = t > 0 ? k - M * slot : k;  // at t = 0 the results from it are not used
            V *grad_q = grads + m * grad_size, *grad_k = grad_q + n, *grad_v = grad_k + n;
            grad_v[n] = grad_b[m] * parts.rate_slope(b);
            tape.prefetch(t - tape.segment, 0, m, M);
            parts.template pass_back<O>(W + m * matrix, adjoint.G + m * matrix, d, n, {q, k, k_before},
                                        {adjoint.o + m * n, grad_v, adjoint.u + m * n}, adjoint.sum_q, adjoint.sum_k, adjoint.key_G + m * n);
            O::fold(adjoint.sum_q, d);
            O::fold(adjoint.sum_k, d);
            for (int c = 0; c < n; c++) {
                grad_q[c] = adjoint.sum_q[c] + kept[m] * k[c];
                grad_k[c] = adjoint.sum_k[c] + kept[m] * q[c];
            }
        }
        V* gradients[2 * M];
        const V *addresses[2 * M], *scales[2 * M];
        for (int a = 0; a < 2 * M; a++) {
            gradients[a] = grads + a / 2 * grad_size + a % 2 * n;
            addresses[a] = now + a / 2 * slot + a % 2 * n;
            scales[a] = now + a / 2 * slot + 4 * n + 1 + a % 2;
        }
        parts.template normalise_backward<O>(gradients, addresses, scales, n);
        for (int m = 0; m < M; m++) walk.silence(grads + m * grad_size, grad_size, m);
    }

    // The gradient of the previous output, through h, whose feedback reaches [q_x | k_x | v_x | b_x].
    FWPLAB_INLINE void feed_back(const V* now, const V* grads, V* o, const Transposed& slow) const {
        for (int c = 0; c < M * n; c++) o[c] = V{};
        for (int j = 0; j < 3; j++) multiply<O, M>(o, n, grads + j * n, grad_size, slow.feedback + j * matrix, d, n);
        for (int m = 0; m < M; m++) {
            const V *h = now + m * slot + 3 * n, grad_b = grads[m * grad_size + 3 * n];
            for (int c = 0; c < n; c++) o[m * n + c] = (o[m * n + c] + grad_b * slow.beta[c]) * parts.squash_slope(h[c]);
        }
    }

    // The contribution of a segment to the gradients of the slow weights.
    void add_slow(const V* first, const V* grads, int positions, V* slow) const {
        accumulate_outer<O>(slow, d, wide, first + 3 * n, slot, grads, grad_size, positions);
        for (int p = 0; p < positions; p++)
            for (int c = 0; c < n; c++) slow[d * wide + c] += first[p * slot + 3 * n + c] * grads[p * grad_size + 3 * n];
    }

    // Computes W before each step after `begin` with the additions of the forward pass. W before `begin` is given.
    FWPLAB_APART void rebuild(const Tape<V>& tape, std::int64_t begin, std::int64_t end, V* states, V* u) const {
        for (std::int64_t t = begin; t + 1 < end; t++, states += M * matrix) {
            for (int m = 0; m < M; m++) {
                const V *k = tape.step(t) + m * slot + n, *e = k + n, b = k[3 * n];
                for (int c = 0; c < n; c++) u[c] = b * e[c];
                update<O, false>(states + (M + m) * matrix, states + m * matrix, d, n, V{}, k, u);
            }
        }
    }
};

namespace {

template <class O>
struct Common<RecurrentDelta<O, false>> {
    using Narrow = std::conditional_t<register_bytes == 32, Known<4, 8, 16>, Quick<4, 8>>;
    using Wide = std::conditional_t<register_bytes == 32, Known<32, 64>, Quick<16, 32, 64>>;
};
template <class O>
constexpr bool lanes_alone<RecurrentDelta<O, true>> = true;

template <class O>
using PaperRecurrentDelta = RecurrentDelta<O, false>;
template <class O>
using VariedRecurrentDelta = RecurrentDelta<O, true>;

// `slow_gradients`: [heads, 3 d d + d], the gradients of R_q, R_k, R_v and r_b of every head.
template <template <class> class Rule>
int recurrent_delta_backward(const Problem& problem, const RecurrentDeltaBackward& a, void* tape, std::int64_t bytes, void* slow_gradients) {
    return guarded([&] {
        with_order<Rule>(problem, [&](auto order) {
            using O = decltype(order);
            using T = typename O::Scalar;
            const Rule<O> rule(problem);
            const std::int64_t d = problem.width, size = 3 * d * d + d, groups = problem.groups();
            std::vector<T> shares(problem.heads * groups * size);
            for_groups<O>(problem, rule, tape, bytes, [&](const auto& group, const auto& own, Workspace& space) {
                rule.backward(a, group, own, shares.data() + (group.head * groups + group.index) * size, groups * size, space);
            });
            T* sum = static_cast<T*>(slow_gradients);
            for (std::int64_t head = 0; head < problem.heads; head++)
                add_shares(sum + head * size, shares.data() + head * groups * size, groups, size);
        });
    });
}

}  // namespace

FWPLAB_RULE(recurrent_delta, forward, (either_forward<PaperRecurrentDelta, VariedRecurrentDelta>), RecurrentDeltaForward)

FWPLAB_EXPORT int fwplab_recurrent_delta_backward(const Problem* problem, const RecurrentDeltaBackward* a, void* tape, std::int64_t bytes,
                                                  void* slow_gradients) {
    return problem->variation ? recurrent_delta_backward<VariedRecurrentDelta>(*problem, *a, tape, bytes, slow_gradients)
                              : recurrent_delta_backward<PaperRecurrentDelta>(*problem, *a, tape, bytes, slow_gradients);
}

}  // namespace fwplab
