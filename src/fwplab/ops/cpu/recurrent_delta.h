// Recurrent delta, one group of sequences of one head:
//   h = tanh(o_{t-1}); q = softmax(q_x + h R_q); k = softmax(k_x + h R_k); v = v_x + h R_v; b = sigmoid(b_x + h . r_b)
//   e = v - k W; W += k^T (b e); o = q W.
// W is touched once a step: the pass of step t first applies the update of step t - 1, and o = q W_{t-1} + (q . k) b e.
//
// The tape keeps for every step [q | k | e | h | b] and W before every `segment`-th step. The backward pass rebuilds the W inside a
// segment by the same additions, so it sees the very bits of the forward pass.
#pragma once

#include "parallel.h"
#include "problem.h"
#include "products.h"

namespace fwplab {

struct RecurrentDeltaForward {
    Strided query, key, value, beta, recurrent_query, recurrent_key, recurrent_value, recurrent_beta, weight, last;
    Strided output, last_weight;
};

struct RecurrentDeltaBackward {
    Strided grad_output, grad_last_weight, recurrent_query, recurrent_key, recurrent_value, recurrent_beta;
    Strided query, key, value, beta, weight, last;  // the gradients to be written
};

template <class O>
struct RecurrentDelta {
    using T = typename O::Scalar;
    using V = typename O::V;
    using Weight = typename O::Weight;
    static constexpr int M = O::teams;

    const Problem& problem;
    const O order;
    const int d, n;       // entries and vectors of one quantity
    const int slot;       // vectors of one team and step on the tape
    const int matrix;     // vectors of one team's W
    const int grad_size;  // vectors of one team's and step's gradients

    explicit RecurrentDelta(const Problem& p)
        : problem(p), order(int(p.width)), d(order.d), n(O::vectors(d)), slot(4 * n + 1), matrix(d * n), grad_size(3 * n + 1) {}

    std::int64_t tape_vectors() const { return M * (problem.segments() * matrix + problem.length * slot); }
    V* saved_weight(V* tape, std::int64_t segment) const { return tape + segment * M * matrix; }
    V* step_slot(V* tape, std::int64_t t) const { return tape + M * (problem.segments() * matrix + t * slot); }

    void load_matrix(const Access<O>& access, V* matrices, const Strided& from) const {
        for (int i = 0; i < d; i++) access.load(matrices + i * n, matrix, from, i, d);
    }
    void store_matrix(const Access<O>& access, const Strided& to, const V* matrices) const {
        for (int i = 0; i < d; i++) access.store(to, i, matrices + i * n, matrix, d);
    }

    // [R_q | R_k | R_v] side by side: one product feeds the last output back to all three.
    Weight* side_by_side(Workspace& space, const Strided& q, const Strided& k, const Strided& v, std::int64_t head) const {
        Weight* out = space.take<Weight>(d * 3 * n);
        const Strided* all[3] = {&q, &k, &v};
        for (int j = 0; j < 3; j++) copy_weight<O>(out + j * n, 3 * n, all[j]->at<const T>(0, 0, head), all[j]->row, 1, d, d);
        return out;
    }

    void forward(const RecurrentDeltaForward& a, std::int64_t task, V* tape, Workspace& space) const {
        const Access<O> access{Group(problem, task)};
        const std::int64_t head = access.group.head, length = problem.length;
        const Weight* feedback = side_by_side(space, a.recurrent_query, a.recurrent_key, a.recurrent_value, head);
        Weight* feedback_beta = space.take<Weight>(n);
        copy_weight<O>(feedback_beta, n, a.recurrent_beta.at<const T>(0, 0, head), 0, 1, 1, d);
        V *W = space.take<V>(M * matrix), *o = space.take<V>(M * n), *update = space.take_zeros<V>(M * n), *read = space.take<V>(n);
        V* scratch = space.take_zeros<V>(2 * M * slot);  // the slots of this step and the last where no tape is kept
        load_matrix(access, W, a.weight);
        access.load(o, n, a.last, 0, d);
        const V* key_before = scratch + M * slot + n;  // zeros: before the first step there is nothing to apply
        for (std::int64_t t = 0; t < length; t++) {
            V* now = tape ? step_slot(tape, t) : scratch + (t % 2) * M * slot;
            access.load(now, slot, a.query, t, d);
            access.load(now + n, slot, a.key, t, d);
            access.load(now + 2 * n, slot, a.value, t, d);
            for (int m = 0; m < M; m++)
                for (int c = 0; c < n; c++) now[m * slot + 3 * n + c] = tanh(o[m * n + c]);
            multiply<O, M>(now, slot, now + 3 * n, slot, feedback, d, 3 * n);
            for (int m = 0; m < M; m++) {
                V *q = now + m * slot, *k = q + n, *e = k + n, *h = e + n, *u = update + m * n, *out = o + m * n;
                V b = sigmoid(access.load_number(a.beta, t, m) + dot<O>(h, feedback_beta, n));
                h[n] = b;
                softmax<O>(q, d);
                softmax<O>(k, d);
                update_and_read<O, 2>(W + m * matrix, d, n, key_before + m * slot, u, {k, q}, {read, out});
                V overlap = dot<O>(q, k, n);
                for (int c = 0; c < n; c++) {
                    e[c] -= read[c];
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

    // What the backward pass carries from step to step.
    struct Adjoint {
        V* G;      // gradient of W after the step
        V* o;      // gradient of the step's output
        V* key_G;  // k_t G, made while G was last written
        V* slow;   // gradients of [R_q | R_k | R_v], then of r_b
    };

    // Slow weights as the backward pass wants them: [R_q^T; R_k^T; R_v^T] and r_b.
    struct Transposed {
        Weight* feedback;
        Weight* beta;
    };

    void backward(const RecurrentDeltaBackward& a, std::int64_t task, V* tape, T* slow_gradient, Workspace& space) const {
        const Access<O> access{Group(problem, task)};
        const std::int64_t length = problem.length, K = problem.segment;
        const Transposed slow = transposed(a, access.group.head, space);
        const Adjoint adjoint{space.take<V>(M * matrix), space.take_zeros<V>(M * n), space.take_zeros<V>(M * n),
                              space.take_zeros<V>(3 * matrix + n)};
        V* states = space.take<V>(K * M * matrix);
        V* grads = space.take<V>(K * M * grad_size);
        V* scratch = space.take_zeros<V>(M * n + 2 * O::padded(d));
        load_matrix(access, adjoint.G, a.grad_last_weight);
        for (int m = 0; m < M && length; m++) {
            const V* key = step_slot(tape, length - 1) + m * slot + n;
            multiply<O, 1>(adjoint.key_G + m * n, 0, key, 0, adjoint.G + m * matrix, d, n);
        }
        for (std::int64_t segment = problem.segments() - 1; segment >= 0; segment--) {
            const std::int64_t begin = segment * K, end = begin + K < length ? begin + K : length;
            rebuild(tape, segment, int(end - begin), states, scratch);
            for (std::int64_t t = end - 1; t >= begin; t--) {
                V* grad = grads + (t - begin) * M * grad_size;
                access.load(scratch, n, a.grad_output, t, d);
                for (int c = 0; c < M * n; c++) adjoint.o[c] += scratch[c];
                for (int m = 0; m < M; m++) step_back(t, m, tape, states + (t - begin) * M * matrix, adjoint, grad, scratch);
                store_gradients(access, a, t, grad);
                feed_back(step_slot(tape, t), grad, adjoint.o, slow);
            }
            add_slow(step_slot(tape, begin), grads, int(end - begin) * M, adjoint.slow);
        }
        store_matrix(access, a.weight, adjoint.G);
        access.store(a.last, 0, adjoint.o, n, d);
        for (int j = 0; j < 3; j++)
            for (int r = 0; r < d; r++)
                for (int c = 0; c < d; c++) *slow_gradient++ = O::total(adjoint.slow + (r * 3 + j) * n, c);
        for (int c = 0; c < d; c++) *slow_gradient++ = O::total(adjoint.slow + 3 * matrix, c);
    }

    Transposed transposed(const RecurrentDeltaBackward& a, std::int64_t head, Workspace& space) const {
        const Strided* slow[3] = {&a.recurrent_query, &a.recurrent_key, &a.recurrent_value};
        Transposed out{space.take<Weight>(3 * matrix), space.take<Weight>(n)};
        for (int j = 0; j < 3; j++)
            copy_weight<O>(out.feedback + j * matrix, n, slow[j]->at<const T>(0, 0, head), 1, slow[j]->row, d, d);
        copy_weight<O>(out.beta, n, a.recurrent_beta.at<const T>(0, 0, head), 0, 1, 1, d);
        return out;
    }

    // W before every step of a segment.
    void rebuild(V* tape, std::int64_t segment, int steps, V* states, V* update) const {
        std::memcpy(states, saved_weight(tape, segment), M * matrix * sizeof(V));
        for (int s = 0; s + 1 < steps; s++) {
            const V* now = step_slot(tape, segment * problem.segment + s);
            for (int m = 0; m < M; m++) {
                const V *k = now + m * slot + n, *e = k + n, b = k[3 * n];
                for (int c = 0; c < n; c++) update[c] = b * e[c];
                V* before = states + (s * M + m) * matrix;
                add_outer<O>(before + M * matrix, before, d, n, k, update);
            }
        }
    }

    // One step of one team: from the adjoint after the step to the one before it and the gradients [q_x | k_x | v_x | b_x].
    void step_back(std::int64_t t, int m, V* tape, const V* states, const Adjoint& adjoint, V* grads, V* scratch) const {
        const V *q = step_slot(tape, t) + m * slot, *k = q + n, *e = k + n, b = q[4 * n];
        const V* key_before = t > 0 ? k - M * slot : k;  // at t = 0 what is made of it is not used
        V *grad = grads + m * grad_size, *grad_q = grad, *grad_k = grad + n, *grad_v = grad + 2 * n;
        V *update = scratch, *sum_q = scratch + M * n, *sum_k = sum_q + O::padded(d);
        V *o = adjoint.o + m * n, *key_G = adjoint.key_G + m * n;
        for (int c = 0; c < n; c++) update[c] = b * e[c];
        const V overlap = dot<O>(q, k, n), kept = dot<O>(update, o, n);
        for (int c = 0; c < n; c++) key_G[c] += overlap * o[c];  // the gradient of the update
        grad[3 * n] = dot<O>(key_G, e, n) * b * (splat<V>(1) - b);
        for (int c = 0; c < n; c++) grad_v[c] = b * key_G[c];
        pass_back<O, true>(states + m * matrix, adjoint.G + m * matrix, d, n, {q, k, key_before}, {o, grad_v, update}, sum_q, sum_k, key_G);
        O::fold(sum_q, d);
        O::fold(sum_k, d);
        for (int c = 0; c < n; c++) {
            sum_q[c] += kept * k[c];
            sum_k[c] += kept * q[c];
        }
        softmax_backward<O>(grad_q, q, sum_q, n);
        softmax_backward<O>(grad_k, k, sum_k, n);
    }

    // The gradient of the output before: h fed back [q_x | k_x | v_x | b_x], and h is its tanh.
    void feed_back(const V* now, const V* grads, V* o, const Transposed& slow) const {
        for (int c = 0; c < M * n; c++) o[c] = V{};
        for (int j = 0; j < 3; j++) multiply<O, M>(o, n, grads + j * n, grad_size, slow.feedback + j * matrix, d, n);
        for (int m = 0; m < M; m++) {
            const V *h = now + m * slot + 3 * n, grad_b = grads[m * grad_size + 3 * n];
            for (int c = 0; c < n; c++) o[m * n + c] = (o[m * n + c] + grad_b * slow.beta[c]) * (splat<V>(1) - h[c] * h[c]);
        }
    }

    void store_gradients(const Access<O>& access, const RecurrentDeltaBackward& a, std::int64_t t, const V* grads) const {
        access.store(a.query, t, grads, grad_size, d);
        access.store(a.key, t, grads + n, grad_size, d);
        access.store(a.value, t, grads + 2 * n, grad_size, d);
        for (int m = 0; m < M; m++) access.store_number(a.beta, t, grads[m * grad_size + 3 * n], m);
    }

    // A segment's share of the slow weights' gradients.
    void add_slow(const V* first, const V* grads, int positions, V* slow) const {
        accumulate_outer<O>(slow, d, 3 * n, first + 3 * n, slot, grads, grad_size, positions);
        for (int p = 0; p < positions; p++)
            for (int c = 0; c < n; c++) slow[3 * matrix + c] += first[p * slot + 3 * n + c] * grads[p * grad_size + 3 * n];
    }
};

}  // namespace fwplab
