// The exchangeable parts of the rules of Recurrent Delta and SRWM. `Parts<false>` are the paper's, known at compile time. `Parts<true>` are
// chosen at run time by the bits of Problem::variation, which `ops/variation.py` sets. A variation has only lanes order, where each entry
// has a register.
#pragma once

#include <cmath>

#include "delta.h"

namespace fwplab {

template <bool varied>
struct Parts {
    static constexpr int scales = 0;     // vectors in a slot of the tape for the divisors of `normalise`

    explicit Parts(const Problem&) {}

    // Replaces all given x by phi(x) over d entries. `scale` gets the divisors.
    template <class O, int count, class V>
    FWPLAB_INLINE void normalise(V* const (&x)[count], V* const (&)[count], int d) const {
        softmax<O>(x, d);
    }
    // Computes the gradients of x from those of p = phi(x).
    template <class O, int count, class V>
    FWPLAB_INLINE void normalise_backward(V* const (&gradient)[count], const V* const (&p)[count], const V* const (&)[count], int n) const {
        softmax_backward<O>(gradient, p, n);
    }

    template <class V>
    FWPLAB_INLINE V squash(V x) const {
        return tanh(x);
    }
    template <class V>
    FWPLAB_INLINE V squash_slope(V h) const {
        return splat<V>(1) - h * h;
    }

    // The rate of a block, and the derivative of the rate as a function of its value.
    template <class V>
    FWPLAB_INLINE V rate(V x, int) const {
        return sigmoid(x);
    }
    template <class V>
    FWPLAB_INLINE V rate_slope(V b) const {
        return b * (splat<V>(1) - b);
    }

    // x, the value read with the key, if the rule erases; else zero.
    template <class V>
    FWPLAB_INLINE V erased(V x) const {
        return x;
    }
    template <class O, class Rows, class Columns, class V = typename O::V>
    FWPLAB_INLINE void pass_back(const V* W, V* G, Rows d, Columns n, const typename O::V* const (&left)[3],
                                 const typename O::V* const (&right)[3], V* sum_q, V* sum_k, V* key_G) const {
        fwplab::pass_back<O, Writing::erasing>(W, G, d, n, V{}, left, right, sum_q, sum_k, key_G);
    }
};

template <>
struct Parts<true> {
    static constexpr int scales = 2;

    enum Normalisation { by_softmax, by_sum, by_length, by_nothing };
    enum Rate { sigmoidal, twice, fixed };

    const int normalisation, range;
    const bool raw, additive;
    const int still;  // bit j: block j is constant

    explicit Parts(const Problem& problem)
        : normalisation(problem.variation & 3),
          range(problem.variation >> 2 & 3),
          raw(problem.variation >> 4 & 1),
          additive(problem.variation >> 5 & 1),
          still(problem.variation >> 6 & 15) {}

    template <class O, int count, class V>
    void normalise(V* const (&x)[count], V* const (&scale)[count], int d) const {
        if (normalisation == by_softmax) return softmax<O>(x, d);
        for (int r = 0; r < count; r++) {
            V sum{}, tiny = splat<V>(typename O::Scalar(1e-12));
            if (normalisation == by_length) {
                sum = partial_dot<O>(x[r], x[r], d);
                for (int lane = 0; lane < O::lanes; lane++) sum[lane] = std::sqrt(sum[lane]);
                sum = larger(sum, tiny);
            } else {  // elu(x) + 1
                for (int c = 0; c < d; c++) {
                    const V value = x[r][c], low = value < V{} ? value : V{};
                    x[r][c] = value > V{} ? value + splat<V>(1) : exponential(low);
                    x[r][c] = value == value ? x[r][c] : value;
                    sum += x[r][c];
                }
            }
            if (normalisation == by_nothing) continue;
            *scale[r] = sum;
            for (int c = 0; c < d; c++) x[r][c] /= sum;
        }
    }

    template <class O, int count, class V>
    void normalise_backward(V* const (&gradient)[count], const V* const (&p)[count], const V* const (&scale)[count], int n) const {
        if (normalisation == by_softmax) return softmax_backward<O>(gradient, p, n);
        for (int r = 0; r < count; r++) {
            const V one = splat<V>(1), size = normalisation == by_nothing ? one : *scale[r];
            const V mean = normalisation == by_nothing ? V{} : partial_dot<O>(p[r], gradient[r], n);
            for (int c = 0; c < n; c++) {
                V& g = gradient[r][c];
                if (normalisation == by_length) {
                    g = (g - p[r][c] * mean) / size;
                } else {  // below zero the derivative of elu(x) + 1 is its value
                    const V feature = p[r][c] * size;
                    g = (g - mean) / size * (feature < one ? feature : one);
                }
            }
        }
    }

    template <class V>
    FWPLAB_INLINE V squash(V x) const {
        return raw ? x : tanh(x);
    }
    template <class V>
    FWPLAB_INLINE V squash_slope(V h) const {
        return raw ? splat<V>(1) : splat<V>(1) - h * h;
    }

    template <class V>
    FWPLAB_INLINE V rate(V x, int block) const {
        if (still >> block & 1) return V{};
        if (range == fixed) return splat<V>(1);
        const V b = sigmoid(x);
        return range == twice ? b + b : b;
    }
    template <class V>
    FWPLAB_INLINE V rate_slope(V b) const {
        if (range == fixed) return V{};
        return b * (splat<V>(1) - (range == twice ? b / splat<V>(2) : b));
    }

    template <class V>
    FWPLAB_INLINE V erased(V x) const {
        return additive ? V{} : x;
    }
    template <class O, class Rows, class Columns, class V = typename O::V>
    void pass_back(const V* W, V* G, Rows d, Columns n, const typename O::V* const (&left)[3], const typename O::V* const (&right)[3], V* sum_q,
                   V* sum_k, V* key_G) const {
        if (additive) {
            fwplab::pass_back<O, Writing::additive>(W, G, d, n, V{}, left, right, sum_q, sum_k, key_G);
        } else {
            fwplab::pass_back<O, Writing::erasing>(W, G, d, n, V{}, left, right, sum_q, sum_k, key_G);
        }
    }
};

}  // namespace fwplab
