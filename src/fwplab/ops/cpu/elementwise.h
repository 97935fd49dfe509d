// The element-wise cell: zt = tanh(z + w_z c); ft = sigmoid(f + w_f c); c = ft c + (1 - ft) zt, channel by channel.
// The callers join all heads to one wide head. `block` registers of channels are interleaved to hide the latency of a step.
// The backward pass reads c_{t-1} from the output and computes zt and ft again.
#pragma once

#include "run.h"
#include "parallel.h"
#include "problem.h"

namespace fwplab {

struct ElementwiseForward {
    Strided z, f, w_z, w_f, cell, output, last_cell;
};

struct ElementwiseBackward {
    Strided grad_output, grad_last_cell, z, f, w_z, w_f, cell, output;
    Strided grad_z, grad_f, grad_cell;
};

template <class T, int N>
struct Elementwise {
    using V = Vector<T, N>;
    static constexpr int block = 4;

    const Problem& problem;

    explicit Elementwise(const Problem& p) : problem(p) {}

    // A task is a block of `block` registers of channels of one sequence. The last block of a sequence may be shorter.
    std::int64_t runs() const { return (problem.width + block * N - 1) / (block * N); }

    struct Run {
        std::int64_t sequence, channel, length;
        int count;
    };

    Run run(std::int64_t task) const {
        const std::int64_t b = task / runs(), channel = task % runs() * block * N, rest = problem.width - channel;
        return {b, channel, problem.lengths ? problem.lengths[b] : problem.length, int(rest < block * N ? rest : block * N)};
    }

    // The channels of a sequence at position t.
    T* at(const Strided& place, const Run& run, std::int64_t t) const {
        return (problem.lengths ? place.at<T>(0, problem.starts[run.sequence] + t, 0) : place.at<T>(run.sequence, t, 0)) + run.channel;
    }

    static FWPLAB_INLINE void load(V (&to)[block], const T* from, int count) {
        if (count == block * N) {
            std::memcpy(to, from, sizeof to);
        } else {
            for (V& v : to) v = V{};
            std::memcpy(to, from, count * sizeof(T));
        }
    }

    static FWPLAB_INLINE void store(T* to, const V (&from)[block], int count) {
        if (count == block * N) {
            std::memcpy(to, from, sizeof from);
        } else {
            std::memcpy(to, from, count * sizeof(T));
        }
    }

    void forward(const ElementwiseForward& a, std::int64_t task) const {
        const Run here = run(task);
        const auto [b, i, length, count] = here;
        V c[block], w_z[block], w_f[block], z[block], f[block];
        load(c, a.cell.at<const T>(b, 0, 0) + i, count);
        load(w_z, a.w_z.at<const T>(0, 0, 0) + i, count);
        load(w_f, a.w_f.at<const T>(0, 0, 0) + i, count);
        for (std::int64_t t = 0; t < length; t++) {
            load(z, at(a.z, here, t), count);
            load(f, at(a.f, here, t), count);
            for (int v = 0; v < block; v++) {
                const V zt = tanh(z[v] + w_z[v] * c[v]), ft = sigmoid(f[v] + w_f[v] * c[v]);
                c[v] = ft * c[v] + (splat<V>(1) - ft) * zt;
            }
            store(at(a.output, here, t), c, count);
        }
        store(a.last_cell.at<T>(b, 0, 0) + i, c, count);
    }

    // `weight_gradients`: the contribution of this sequence, [width] for w_z, then [width] for w_f.
    void backward(const ElementwiseBackward& a, std::int64_t task, T* weight_gradients) const {
        const Run here = run(task);
        const auto [b, i, length, count] = here;
        V g[block], g_out[block], c[block], w_z[block], w_f[block], z[block], f[block];
        V sum_z[block] = {}, sum_f[block] = {}, part_z[block] = {}, part_f[block] = {};
        load(g, a.grad_last_cell.at<const T>(b, 0, 0) + i, count);
        load(w_z, a.w_z.at<const T>(0, 0, 0) + i, count);
        load(w_f, a.w_f.at<const T>(0, 0, 0) + i, count);
        for (std::int64_t t = length - 1; t >= 0; t--) {
            load(c, t > 0 ? at(a.output, here, t - 1) : a.cell.at<const T>(b, 0, 0) + i, count);
            load(g_out, at(a.grad_output, here, t), count);
            load(z, at(a.z, here, t), count);
            load(f, at(a.f, here, t), count);
            for (int v = 0; v < block; v++) {
                const V zt = tanh(z[v] + w_z[v] * c[v]), ft = sigmoid(f[v] + w_f[v] * c[v]), one = splat<V>(1);
                g[v] += g_out[v];
                z[v] = g[v] * (one - ft) * (one - zt * zt);
                f[v] = g[v] * (c[v] - zt) * ft * (one - ft);
                g[v] = g[v] * ft + z[v] * w_z[v] + f[v] * w_f[v];
                part_z[v] += z[v] * c[v];
                part_f[v] += f[v] * c[v];
            }
            store(at(a.grad_z, here, t), z, count);
            store(at(a.grad_f, here, t), f, count);
            if (t % 32 == 0) {  // partial sums have smaller rounding errors than one long sum
                for (int v = 0; v < block; v++) {
                    sum_z[v] += part_z[v], sum_f[v] += part_f[v];
                    part_z[v] = part_f[v] = V{};
                }
            }
        }
        store(a.grad_cell.at<T>(b, 0, 0) + i, g, count);
        T* share = weight_gradients + 2 * b * problem.width + i;
        store(share, sum_z, count);
        store(share + problem.width, sum_f, count);
    }
};

namespace {

template <class T>
void elementwise_forward(const Problem& problem, const ElementwiseForward& a) {
    const Elementwise<T, register_bytes / sizeof(T)> rule(problem);
    parallel(problem.batch * rule.runs(), problem.threads, [&](std::int64_t task, Workspace&) { rule.forward(a, task); });
}

template <class T>
void elementwise_backward(const Problem& problem, const ElementwiseBackward& a, T* weight_gradients) {
    const Elementwise<T, register_bytes / sizeof(T)> rule(problem);
    std::vector<T> shares(problem.batch * 2 * problem.width);
    parallel(problem.batch * rule.runs(), problem.threads, [&](std::int64_t task, Workspace&) { rule.backward(a, task, shares.data()); });
    add_shares(weight_gradients, shares.data(), problem.batch, 2 * problem.width);
}

}  // namespace

FWPLAB_EXPORT int fwplab_elementwise_forward(const Problem* problem, const ElementwiseForward* a) {
    return guarded([&] { problem->is_double ? elementwise_forward<double>(*problem, *a) : elementwise_forward<float>(*problem, *a); });
}

// `weight_gradients`: [2, width], of w_z and w_f.
FWPLAB_EXPORT int fwplab_elementwise_backward(const Problem* problem, const ElementwiseBackward* a, void* weight_gradients) {
    return guarded([&] {
        problem->is_double ? elementwise_backward<double>(*problem, *a, static_cast<double*>(weight_gradients))
                           : elementwise_backward<float>(*problem, *a, static_cast<float*>(weight_gradients));
    });
}

}  // namespace fwplab
