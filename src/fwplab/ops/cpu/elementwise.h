// The element-wise cell: zt = tanh(z + w_z c); ft = sigmoid(f + w_f c); c = ft c + (1 - ft) zt, channel by channel.
// All heads' channels lie side by side (the callers see to that: one head as wide as all), `block` registers of them interleaved so
// that a step's latency is hidden.
// The backward pass finds c_{t-1} in the output and makes zt and ft again.
#pragma once

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

    // A task is one sequence's run of `block` registers of channels; the last run of a sequence may be short.
    std::int64_t runs() const { return (problem.width + block * N - 1) / (block * N); }

    struct Run {
        std::int64_t sequence, channel;
        int count;
    };

    Run run(std::int64_t task) const {
        const std::int64_t channel = task % runs() * block * N, rest = problem.width - channel;
        return {task / runs(), channel, int(rest < block * N ? rest : block * N)};
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
        const auto [b, i, count] = run(task);
        V c[block], w_z[block], w_f[block], z[block], f[block];
        load(c, a.cell.at<const T>(b, 0, 0) + i, count);
        load(w_z, a.w_z.at<const T>(0, 0, 0) + i, count);
        load(w_f, a.w_f.at<const T>(0, 0, 0) + i, count);
        for (std::int64_t t = 0; t < problem.length; t++) {
            load(z, a.z.at<const T>(b, t, 0) + i, count);
            load(f, a.f.at<const T>(b, t, 0) + i, count);
            for (int v = 0; v < block; v++) {
                const V zt = tanh(z[v] + w_z[v] * c[v]), ft = sigmoid(f[v] + w_f[v] * c[v]);
                c[v] = ft * c[v] + (splat<V>(1) - ft) * zt;
            }
            store(a.output.at<T>(b, t, 0) + i, c, count);
        }
        store(a.last_cell.at<T>(b, 0, 0) + i, c, count);
    }

    // `weight_gradients`: this sequence's share, [width] for w_z and again for w_f.
    void backward(const ElementwiseBackward& a, std::int64_t task, T* weight_gradients) const {
        const auto [b, i, count] = run(task);
        V g[block], g_out[block], c[block], w_z[block], w_f[block], z[block], f[block], sum_z[block] = {}, sum_f[block] = {};
        load(g, a.grad_last_cell.at<const T>(b, 0, 0) + i, count);
        load(w_z, a.w_z.at<const T>(0, 0, 0) + i, count);
        load(w_f, a.w_f.at<const T>(0, 0, 0) + i, count);
        for (std::int64_t t = problem.length - 1; t >= 0; t--) {
            const T* before = t > 0 ? a.output.at<const T>(b, t - 1, 0) : a.cell.at<const T>(b, 0, 0);
            load(c, before + i, count);
            load(g_out, a.grad_output.at<const T>(b, t, 0) + i, count);
            load(z, a.z.at<const T>(b, t, 0) + i, count);
            load(f, a.f.at<const T>(b, t, 0) + i, count);
            for (int v = 0; v < block; v++) {
                const V zt = tanh(z[v] + w_z[v] * c[v]), ft = sigmoid(f[v] + w_f[v] * c[v]), one = splat<V>(1);
                g[v] += g_out[v];
                z[v] = g[v] * (one - ft) * (one - zt * zt);
                f[v] = g[v] * (c[v] - zt) * ft * (one - ft);
                g[v] = g[v] * ft + z[v] * w_z[v] + f[v] * w_f[v];
                sum_z[v] += z[v] * c[v];
                sum_f[v] += f[v] * c[v];
            }
            store(a.grad_z.at<T>(b, t, 0) + i, z, count);
            store(a.grad_f.at<T>(b, t, 0) + i, f, count);
        }
        store(a.grad_cell.at<T>(b, 0, 0) + i, g, count);
        T* share = weight_gradients + 2 * b * problem.width + i;
        store(share, sum_z, count);
        store(share + problem.width, sum_f, count);
    }
};

}  // namespace fwplab
