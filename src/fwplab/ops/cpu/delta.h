// The delta rule and the additive rule, one group of sequences of one head:
//   delta: e = v - k W; W += k^T (b e); o = q W.      additive: e = v; W += k^T e; o = q W.
// W is touched once a step: the pass of step t first applies the update of step t - 1, and o = q W_{t-1} + (q . k) b e.
//
// The tape keeps for every step [q | k | e | b] and W before every `segment`-th step, from which the backward pass rebuilds the W
// inside a segment by the same additions.
#pragma once

#include "parallel.h"
#include "problem.h"
#include "products.h"

namespace fwplab {

struct DeltaForward {
    Strided query, key, value, beta, weight;
    Strided output, last_weight;
};

struct DeltaBackward {
    Strided grad_output, grad_last_weight;
    Strided query, key, value, beta, weight;  // the gradients to be written
};

template <class O, bool additive>
struct Delta {
    using T = typename O::Scalar;
    using V = typename O::V;
    static constexpr int M = O::teams;

    const Problem& problem;
    const O order;
    const int d, n;    // entries and vectors of one quantity
    const int slot;    // vectors of one team and step on the tape, and of its gradients [q | k | v | b]
    const int matrix;  // vectors of one team's W

    explicit Delta(const Problem& p)
        : problem(p), order(int(p.width)), d(order.d), n(O::vectors(d)), slot(3 * n + 1), matrix(d * n) {}

    std::int64_t tape_vectors() const { return M * (problem.segments() * matrix + problem.length * slot); }
    V* saved_weight(V* tape, std::int64_t segment) const { return tape + segment * M * matrix; }
    V* step_slot(V* tape, std::int64_t t) const { return tape + M * (problem.segments() * matrix + t * slot); }

    void load_matrix(const Access<O>& access, V* matrices, const Strided& from) const {
        for (int i = 0; i < d; i++) access.load(matrices + i * n, matrix, from, i, d);
    }
    void store_matrix(const Access<O>& access, const Strided& to, const V* matrices) const {
        for (int i = 0; i < d; i++) access.store(to, i, matrices + i * n, matrix, d);
    }

    void forward(const DeltaForward& a, std::int64_t task, V* tape, Workspace& space) const {
        const Access<O> access{Group(problem, task)};
        V *W = space.take<V>(M * matrix), *o = space.take<V>(M * n), *update = space.take_zeros<V>(M * n), *read = space.take<V>(n);
        V* scratch = space.take_zeros<V>(2 * M * slot);  // the slots of this step and the last where no tape is kept
        load_matrix(access, W, a.weight);
        const V* key_before = scratch + M * slot + n;  // zeros: before the first step there is nothing to apply
        for (std::int64_t t = 0; t < problem.length; t++) {
            V* now = tape ? step_slot(tape, t) : scratch + (t % 2) * M * slot;
            access.load(now, slot, a.query, t, d);
            access.load(now + n, slot, a.key, t, d);
            access.load(now + 2 * n, slot, a.value, t, d);
            for (int m = 0; m < M; m++) {
                V *q = now + m * slot, *k = q + n, *e = k + n, *u = update + m * n, *out = o + m * n;
                const V b = additive ? splat<V>(1) : access.load_number(a.beta, t, m);
                e[n] = b;
                if constexpr (additive) {
                    update_and_read<O, 1>(W + m * matrix, d, n, key_before + m * slot, u, {q}, {out});
                } else {
                    update_and_read<O, 2>(W + m * matrix, d, n, key_before + m * slot, u, {k, q}, {read, out});
                }
                const V overlap = dot<O>(q, k, n);
                for (int c = 0; c < n; c++) {
                    if constexpr (!additive) e[c] -= read[c];
                    u[c] = b * e[c];
                    out[c] += overlap * u[c];
                }
            }
            if (tape && t % problem.segment == 0) std::memcpy(saved_weight(tape, t / problem.segment), W, M * matrix * sizeof(V));
            access.store(a.output, t, o, n, d);
            key_before = now + n;
        }
        for (int m = 0; m < M; m++) add_outer<O>(W + m * matrix, W + m * matrix, d, n, key_before + m * slot, update + m * n);
        store_matrix(access, a.last_weight, W);
    }

    // What the backward pass carries from step to step: the gradient of W after the step, and k_t G, made while G was last written.
    struct Adjoint {
        V *G, *key_G;
    };

    void backward(const DeltaBackward& a, std::int64_t task, V* tape, Workspace& space) const {
        const Access<O> access{Group(problem, task)};
        const std::int64_t length = problem.length, K = problem.segment;
        const Adjoint adjoint{space.take<V>(M * matrix), space.take_zeros<V>(M * n)};
        V* states = space.take<V>(K * M * matrix);
        V* grad = space.take<V>(M * slot);
        V* o = space.take<V>(M * n);
        V* scratch = space.take_zeros<V>(n + 2 * O::padded(d));
        load_matrix(access, adjoint.G, a.grad_last_weight);
        for (int m = 0; m < M && length; m++) {
            const V* key = step_slot(tape, length - 1) + m * slot + n;
            multiply<O, 1>(adjoint.key_G + m * n, 0, key, 0, adjoint.G + m * matrix, d, n);
        }
        for (std::int64_t segment = problem.segments() - 1; segment >= 0; segment--) {
            const std::int64_t begin = segment * K, end = begin + K < length ? begin + K : length;
            rebuild(tape, segment, int(end - begin), states, scratch);
            for (std::int64_t t = end - 1; t >= begin; t--) {
                access.load(o, n, a.grad_output, t, d);
                for (int m = 0; m < M; m++) step_back(t, m, tape, states + (t - begin) * M * matrix, o, adjoint, grad, scratch);
                access.store(a.query, t, grad, slot, d);
                access.store(a.key, t, grad + n, slot, d);
                access.store(a.value, t, grad + 2 * n, slot, d);
                for (int m = 0; m < M && !additive; m++) access.store_number(a.beta, t, grad[m * slot + 3 * n], m);
            }
        }
        store_matrix(access, a.weight, adjoint.G);
    }

    // W before every step of a segment.
    void rebuild(V* tape, std::int64_t segment, int steps, V* states, V* update) const {
        std::memcpy(states, saved_weight(tape, segment), M * matrix * sizeof(V));
        for (int s = 0; s + 1 < steps; s++) {
            const V* now = step_slot(tape, segment * problem.segment + s);
            for (int m = 0; m < M; m++) {
                const V *k = now + m * slot + n, *e = k + n, b = e[n];
                for (int c = 0; c < n; c++) update[c] = b * e[c];
                V* before = states + (s * M + m) * matrix;
                add_outer<O>(before + M * matrix, before, d, n, k, update);
            }
        }
    }

    // One step of one team: from the adjoint after the step to the one before it and the gradients [q | k | v | b].
    void step_back(std::int64_t t, int m, V* tape, const V* states, const V* grad_output, const Adjoint& adjoint, V* grads,
                   V* scratch) const {
        const V *q = step_slot(tape, t) + m * slot, *k = q + n, *e = k + n, b = e[n], *o = grad_output + m * n;
        const V* key_before = t > 0 ? k - M * slot : k;  // at t = 0 what is made of it is not used
        V *grad_q = grads + m * slot, *grad_k = grad_q + n, *grad_v = grad_k + n;
        V *update = scratch, *sum_q = scratch + n, *sum_k = sum_q + O::padded(d), *key_G = adjoint.key_G + m * n;
        for (int c = 0; c < n; c++) update[c] = b * e[c];
        const V overlap = dot<O>(q, k, n), kept = dot<O>(update, o, n);
        for (int c = 0; c < n; c++) key_G[c] += overlap * o[c];  // the gradient of the update
        grad_v[n] = dot<O>(key_G, e, n);
        for (int c = 0; c < n; c++) grad_v[c] = b * key_G[c];
        pass_back<O, !additive>(states + m * matrix, adjoint.G + m * matrix, d, n, {q, k, key_before}, {o, grad_v, update}, sum_q, sum_k,
                                key_G);
        O::fold(sum_q, d);
        O::fold(sum_k, d);
        for (int c = 0; c < n; c++) {
            grad_q[c] = sum_q[c] + kept * k[c];
            grad_k[c] = sum_k[c] + kept * q[c];
        }
    }
};

}  // namespace fwplab
