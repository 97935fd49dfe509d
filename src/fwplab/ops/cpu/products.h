// Passes over matrices in either loop order. Every rule is made of these: products with a row on the left, rank-one updates, sums over
// the columns, and the softmax. A matrix is stored by rows, `columns` vectors each.
#pragma once

#include "order.h"

namespace fwplab {

// f(width, j) for blocks of B, then B/2, ..., 1 columns: the accumulators of a block stay in registers.
template <int B, class F>
FWPLAB_INLINE void for_blocks(int n, F&& f, int j = 0) {
    for (; j + B <= n; j += B) f(std::integral_constant<int, B>{}, j);
    if constexpr (B > 1) for_blocks<B / 2>(n, f, j);
}

// out[m] += left[m] weight for all teams m, the weight shared: `rows` rows, each `columns` long.
template <class O, int M, class Weight>
FWPLAB_INLINE void multiply(typename O::V* out, int out_stride, const typename O::V* left, int left_stride, const Weight* weight, int rows,
                            int columns) {
    using V = typename O::V;
    for_blocks<O::block>(columns, [&](auto block, int j) {
        constexpr int B = block;
        V sum[M][B];
        for (int m = 0; m < M; m++)
            for (int c = 0; c < B; c++) sum[m][c] = out[m * out_stride + j + c];
        for (int i = 0; i < rows; i++) {
            const Weight* row = weight + std::ptrdiff_t(i) * columns + j;
            for (int m = 0; m < M; m++) {
                auto x = O::left(left + m * left_stride, i);
                for (int c = 0; c < B; c++) sum[m][c] += x * row[c];
            }
        }
        for (int m = 0; m < M; m++)
            for (int c = 0; c < B; c++) out[m * out_stride + j + c] = sum[m][c];
    });
}

// matrix += key^T update, and then out[r] = left[r] matrix for R rows on the left, all in one pass.
template <class O, int R>
FWPLAB_INLINE void update_and_read(typename O::V* matrix, int rows, int columns, const typename O::V* key, const typename O::V* update,
                                   const typename O::V* const (&left)[R], typename O::V* const (&out)[R]) {
    using V = typename O::V;
    for_blocks<O::block>(columns, [&](auto block, int j) {
        constexpr int B = block;
        V sum[R][B] = {}, u[B];
        for (int c = 0; c < B; c++) u[c] = update[j + c];
        for (int i = 0; i < rows; i++) {
            V* row = matrix + std::ptrdiff_t(i) * columns + j;
            auto k = O::left(key, i);
            decltype(k) x[R];
            for (int r = 0; r < R; r++) x[r] = O::left(left[r], i);
            for (int c = 0; c < B; c++) {
                V w = row[c] + k * u[c];
                row[c] = w;
                for (int r = 0; r < R; r++) sum[r][c] += x[r] * w;
            }
        }
        for (int r = 0; r < R; r++)
            for (int c = 0; c < B; c++) out[r][j + c] = sum[r][c];
    });
}

// out = matrix + key^T update.
template <class O>
FWPLAB_INLINE void add_outer(typename O::V* out, const typename O::V* matrix, int rows, int columns, const typename O::V* key,
                             const typename O::V* update) {
    for (int i = 0; i < rows; i++) {
        auto k = O::left(key, i);
        for (int c = 0; c < columns; c++) out[i * columns + c] = matrix[i * columns + c] + k * update[c];
    }
}

// gradient[i, j] += sum over positions t of left[t, i] * right[t, j]: the gradient of a weight that a segment's positions share.
template <class O>
FWPLAB_INLINE void accumulate_outer(typename O::V* gradient, int rows, int columns, const typename O::V* left, int left_stride,
                                    const typename O::V* right, int right_stride, int positions) {
    using V = typename O::V;
    for_blocks<4>(rows, [&](auto height, int i) {
        for_blocks<O::block / 2>(columns, [&](auto block, int j) {
            constexpr int A = height, B = block;
            V sum[A][B];
            for (int a = 0; a < A; a++)
                for (int c = 0; c < B; c++) sum[a][c] = gradient[(i + a) * columns + j + c];
            for (int t = 0; t < positions; t++) {
                const V* x = left + std::ptrdiff_t(t) * left_stride;
                const V* y = right + std::ptrdiff_t(t) * right_stride + j;
                for (int a = 0; a < A; a++) {
                    auto xa = O::left(x, i + a);
                    for (int c = 0; c < B; c++) sum[a][c] += xa * y[c];
                }
            }
            for (int a = 0; a < A; a++)
                for (int c = 0; c < B; c++) gradient[(i + a) * columns + j + c] = sum[a][c];
        });
    });
}

// The sum over entries of x * y, in every lane that belongs to the sequence. One factor may be a shared weight.
template <class O, class Y>
FWPLAB_INLINE typename O::V dot(const typename O::V* x, const Y* y, int n) {
    typename O::V even{}, odd{};
    int c = 0;
    for (; c + 2 <= n; c += 2) even += x[c] * y[c], odd += x[c + 1] * y[c + 1];
    if (c < n) even += x[c] * y[c];
    return O::reduce(even + odd);
}

// x = softmax(x) over d entries, largest entry subtracted first.
template <class O>
FWPLAB_INLINE void softmax(typename O::V* x, int d) {
    using V = typename O::V;
    using T = typename O::Scalar;
    const int n = O::vectors(d);
    O::mask(x, d, -std::numeric_limits<T>::infinity());
    V largest = x[0], sum{};
    for (int c = 1; c < n; c++) largest = x[c] > largest ? x[c] : largest;
    largest = O::reduce_max(largest);
    for (int c = 0; c < n; c++) {
        x[c] = exponential(x[c] - largest);
        sum += x[c];
    }
    V scale = splat<V>(1) / O::reduce(sum);
    for (int c = 0; c < n; c++) x[c] *= scale;
}

// The gradient before the softmax: p * (g - p . g).
template <class O>
FWPLAB_INLINE void softmax_backward(typename O::V* out, const typename O::V* p, const typename O::V* gradient, int n) {
    auto mean = dot<O>(p, gradient, n);
    for (int c = 0; c < n; c++) out[c] = p[c] * (gradient[c] - mean);
}

// In one pass over W and G: sum_q = W o^T; sum_k = G u^T - W v^T; G += q^T o - k^T v; key_G = k_{t-1} G.
// `left` holds q, k, k_{t-1}, `right` o, v, u; where nothing was read by key (`erases` false) the terms with v are left out.
template <class O, bool erases>
FWPLAB_INLINE void pass_back(const typename O::V* W, typename O::V* G, int d, int n, const typename O::V* const (&left)[3],
                             const typename O::V* const (&right)[3], typename O::V* sum_q, typename O::V* sum_k, typename O::V* key_G) {
    using V = typename O::V;
    for (int i = 0; i < O::padded(d); i++) sum_q[i] = sum_k[i] = V{};
    for_blocks<4>(n, [&](auto block, int j) {
        constexpr int B = block;
        V o[B], v[B], u[B], key_sum[B] = {};
        for (int c = 0; c < B; c++) o[c] = right[0][j + c], v[c] = right[1][j + c], u[c] = right[2][j + c];
        for (int i = 0; i < d; i++) {
            const V* w = W + i * n + j;
            V *g = G + i * n + j, q_part = sum_q[i], k_part = sum_k[i];
            const auto q = O::left(left[0], i), k = O::left(left[1], i), before = O::left(left[2], i);
            for (int c = 0; c < B; c++) {
                q_part += w[c] * o[c];
                k_part += g[c] * u[c];
                V moved = g[c] + q * o[c];
                if constexpr (erases) {
                    k_part -= w[c] * v[c];
                    moved -= k * v[c];
                }
                g[c] = moved;
                key_sum[c] += before * moved;
            }
            sum_q[i] = q_part, sum_k[i] = k_part;
        }
        for (int c = 0; c < B; c++) key_G[j + c] = key_sum[c];
    });
}

// A copy of a weight shared by the batch, in the order's own layout: entry (i, j) from base + i * row + j * column.
template <class O>
void copy_weight(typename O::Weight* out, int out_columns, const typename O::Scalar* base, std::int64_t row, std::int64_t column, int rows,
                 int columns) {
    using T = typename O::Scalar;
    for (int i = 0; i < rows; i++) {
        T* to = reinterpret_cast<T*>(out + std::ptrdiff_t(i) * out_columns);
        for (int j = 0; j < columns; j++) to[j] = base[i * row + j * column];
        for (int j = columns; j < O::padded(columns); j++) to[j] = 0;
    }
}

}  // namespace fwplab
