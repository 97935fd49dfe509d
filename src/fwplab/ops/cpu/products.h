// Passes over matrices in lanes and rows order, of which the rules consist: products with a row vector on the left, rank-one updates,
// sums over the columns, and the softmax. A matrix is stored by rows of `columns` vectors.
#pragma once

#include "order.h"

#define FWPLAB_INLINE_LAMBDA __attribute__((always_inline))

namespace fwplab {

template <int B, class F, std::size_t... block>
FWPLAB_INLINE void for_known_blocks(F&& f, std::index_sequence<block...>) {
    (f(std::integral_constant<int, B>{}, int(block) * B), ...);
}

// Calls f(size, j) for blocks of `B` columns. The remaining columns are one block if n is known at compile time, else single columns.
template <int B, class N, class F>
FWPLAB_INLINE void for_blocks(N n, F&& f) {
    if constexpr (N::known > 0) {
        for_known_blocks<B>(f, std::make_index_sequence<N::known / B>{});
        if constexpr (N::known % B > 0) f(std::integral_constant<int, N::known % B>{}, N::known / B * B);
    } else {
        int j = 0;
        for (; j + B <= n; j += B) f(std::integral_constant<int, B>{}, j);
        for (; j < n; j++) f(std::integral_constant<int, 1>{}, j);
    }
}

// Sums over rows use several accumulators, so that `sums` sums together hide the latency of a multiply-add.
constexpr int accumulators(int sums) { return sums >= 8 ? 1 : sums >= 4 ? 2 : 4; }

// Calls f(i, accumulator) for every row.
template <int U, class N, class F>
FWPLAB_INLINE void for_rows(N rows, F&& f) {
    int i = 0;
    for (; i + U <= rows; i += U)
        for (int a = 0; a < U; a++) f(i + a, a);
    for (; i < rows; i++) f(i, 0);
}

// out[m] += left[m] weight for all teams m. They share the weight, which has `rows` rows of `columns` vectors.
template <class O, int M, class Rows, class Columns, class Weight>
FWPLAB_INLINE void multiply(typename O::V* out, int out_stride, const typename O::V* left, int left_stride, const Weight* weight, Rows rows,
                            Columns columns) {
    using V = typename O::V;
    for_blocks<O::block>(columns, [&](auto block, int j) FWPLAB_INLINE_LAMBDA {
        constexpr int B = block, U = accumulators(M * B);
        V sum[U][M][B] = {};
        for (int m = 0; m < M; m++)
            for (int c = 0; c < B; c++) sum[0][m][c] = out[m * out_stride + j + c];
        for_rows<U>(rows, [&](int i, int a) FWPLAB_INLINE_LAMBDA {
            const Weight* row = weight + std::ptrdiff_t(i) * columns + j;
            for (int m = 0; m < M; m++) {
                const auto x = O::left(left + m * left_stride, i);
                for (int c = 0; c < B; c++) sum[a][m][c] += x * row[c];
            }
        });
        for (int m = 0; m < M; m++) {
            for (int c = 0; c < B; c++) {
                for (int a = 1; a < U; a++) sum[0][m][c] += sum[a][m][c];
                out[m * out_stride + j + c] = sum[0][m][c];
            }
        }
    });
}

// out = key matrix. It adds the rows in the same order as the backward passes.
template <class O, class Rows, class Columns>
FWPLAB_APART void read_in_turn(typename O::V* out, const typename O::V* key, const typename O::V* matrix, Rows rows, Columns columns) {
    for (int c = 0; c < columns; c++) out[c] = typename O::V{};
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < columns; c++) out[c] += O::entry(key, i) * matrix[std::ptrdiff_t(i) * columns + c];
}

// matrix = decay matrix + key^T update, and then out[r] = left[r] matrix for R row vectors, in one pass.
template <class O, int R, bool decays, class Rows, class Columns>
FWPLAB_INLINE void update_and_read(typename O::V* matrix, Rows rows, Columns columns, typename O::V decay, const typename O::V* key,
                                   const typename O::V* update, const typename O::V* const (&left)[R], typename O::V* const (&out)[R]) {
    using V = typename O::V;
    for_blocks<O::block>(columns, [&](auto block, int j) FWPLAB_INLINE_LAMBDA {
        constexpr int B = block, U = accumulators(R * B);
        V sum[U][R][B] = {}, u[B];
        for (int c = 0; c < B; c++) u[c] = update[j + c];
        for_rows<U>(rows, [&](int i, int a) FWPLAB_INLINE_LAMBDA {
            V* row = matrix + std::ptrdiff_t(i) * columns + j;
            const V k = O::entry(key, i);
            V x[R];  // loaded before any store, so that they stay in registers
            for (int r = 0; r < R; r++) x[r] = O::entry(left[r], i);
            for (int c = 0; c < B; c++) {
                const V w = (decays ? decay * row[c] : row[c]) + k * u[c];
                row[c] = w;
                for (int r = 0; r < R; r++) sum[a][r][c] += x[r] * w;
            }
        });
        for (int r = 0; r < R; r++) {
            for (int c = 0; c < B; c++) {
                for (int a = 1; a < U; a++) sum[0][r][c] += sum[a][r][c];
                out[r][j + c] = sum[0][r][c];
            }
        }
    });
}

// out = decay matrix + key^T update.
template <class O, bool decays, class Rows, class Columns>
FWPLAB_INLINE void update(typename O::V* out, const typename O::V* matrix, Rows rows, Columns columns, typename O::V decay,
                          const typename O::V* key, const typename O::V* row) {
    for_blocks<O::block>(columns, [&](auto block, int j) FWPLAB_INLINE_LAMBDA {
        constexpr int B = block;
        typename O::V u[B];
        for (int c = 0; c < B; c++) u[c] = row[j + c];
        for (int i = 0; i < rows; i++) {
            const auto k = O::left(key, i);
            const std::ptrdiff_t at = std::ptrdiff_t(i) * columns + j;
            for (int c = 0; c < B; c++) out[at + c] = (decays ? decay * matrix[at + c] : matrix[at + c]) + k * u[c];
        }
    });
}

// gradient[i, j] += sum over positions t of left[t, i] * right[t, j]: the gradient of a weight that the positions of a segment share.
template <class O, class Rows, class Columns>
FWPLAB_INLINE void accumulate_outer(typename O::V* gradient, Rows rows, Columns columns, const typename O::V* left, int left_stride,
                                    const typename O::V* right, int right_stride, int positions) {
    using V = typename O::V;
    constexpr int height = sizeof(V) == 64 ? 4 : 2;
    const auto block_of_rows = [&](auto rows_here, int i) FWPLAB_INLINE_LAMBDA {
        for_blocks<4>(columns, [&](auto block, int j) FWPLAB_INLINE_LAMBDA {
            constexpr int A = rows_here, B = block;
            V sum[A][B];
            for (int a = 0; a < A; a++)
                for (int c = 0; c < B; c++) sum[a][c] = gradient[(i + a) * columns + j + c];
            for (int t = 0; t < positions; t++) {
                const V* x = left + std::ptrdiff_t(t) * left_stride;
                const V* y = right + std::ptrdiff_t(t) * right_stride + j;
                for (int a = 0; a < A; a++) {
                    const auto xa = O::left(x, i + a);
                    for (int c = 0; c < B; c++) sum[a][c] += xa * y[c];
                }
            }
            for (int a = 0; a < A; a++)
                for (int c = 0; c < B; c++) gradient[(i + a) * columns + j + c] = sum[a][c];
        });
    };
    for_blocks<height>(Width<0>(rows), block_of_rows);
}

// The sum over vectors of x * y, separately for each lane. One factor may be a shared weight.
template <class O, class Y>
FWPLAB_INLINE typename O::V partial_dot(const typename O::V* x, const Y* y, int n) {
    typename O::V sum[4] = {};
    int c = 0;
    for (; c + 4 <= n; c += 4)
        for (int a = 0; a < 4; a++) sum[a] += x[c + a] * y[c + a];
    for (; c < n; c++) sum[0] += x[c] * y[c];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// The sum over entries, in every lane that belongs to the sequence.
template <class O, class Y>
FWPLAB_INLINE typename O::V dot(const typename O::V* x, const Y* y, int n) {
    return O::reduce(partial_dot<O>(x, y, n));
}

// x = softmax(x) over d entries for every given x (the largest entry is subtracted). Each stage is computed for all x, to hide latency.
template <class O, int count>
FWPLAB_INLINE void softmax(typename O::V* const (&x)[count], int d) {
    using V = typename O::V;
    using T = typename O::Scalar;
    const int n = O::vectors(d);
    V largest[count], sum[count] = {};
    for (int r = 0; r < count; r++) {
        O::mask(x[r], d, -std::numeric_limits<T>::infinity());
        largest[r] = x[r][0];
        for (int c = 1; c < n; c++) largest[r] = larger(x[r][c], largest[r]);
    }
    O::template reduce<Largest>(largest);
    for (int r = 0; r < count; r++) {
        for (int c = 0; c < n; c++) {
            x[r][c] = exponential(x[r][c] - largest[r]);
            sum[r] += x[r][c];
        }
    }
    O::reduce(sum);
    for (int r = 0; r < count; r++) sum[r] = O::inverse(sum[r]);
    for (int r = 0; r < count; r++)
        for (int c = 0; c < n; c++) x[r][c] *= sum[r];
}

// The gradients before the softmax: p * (g - p . g) for every pair given.
template <class O, int count>
FWPLAB_INLINE void softmax_backward(typename O::V* const (&gradient)[count], const typename O::V* const (&p)[count], int n) {
    typename O::V mean[count];
    for (int r = 0; r < count; r++) mean[r] = partial_dot<O>(p[r], gradient[r], n);
    O::reduce(mean);
    for (int r = 0; r < count; r++)
        for (int c = 0; c < n; c++) gradient[r][c] = p[r][c] * (gradient[r][c] - mean[r]);
}

// Copies a weight that the batch shares to the layout of the loop order. Entry (i, j) of a head is at i * row + j * column.
template <class O>
void copy_weight(typename O::Weight* out, int out_columns, const typename O::Scalar* const (&of_strand)[O::strands], std::int64_t row,
                 std::int64_t column, int rows, int columns) {
    for (int i = 0; i < rows; i++) {
        typename O::Weight* to = out + std::ptrdiff_t(i) * out_columns;
        to[O::vectors(columns) - 1] = typename O::Weight{};  // the lanes after the last column stay zero
        for (int j = 0; j < columns; j++) O::set_weight(to, j, of_strand, i * row + j * column);
    }
}

}  // namespace fwplab
