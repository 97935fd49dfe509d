// The two loop orders, as policies. A rule is written once, in vectors, and an order says what lies side by side in one register:
// `Lanes` the same entry of N sequences, `Rows` N consecutive entries of one sequence (and `teams` such sequences interleaved).
//
//                          Lanes                       Rows
// a quantity of d entries  d vectors                   ceil(d / N) vectors for each team, zeros after the end
// left(x, i)               vector: entry i             number: entry i, broadcast where it is used
// Weight (shared by batch) number, broadcast           vector of N columns
// sum over the entries     entry by entry              the same, then over the lanes
// total(x, i)              entry i of all sequences    entry i
#pragma once

#include "vector.h"

namespace fwplab {

// Where one argument of a rule lies: the element of sequence b, row r (position in time, or row of a matrix), head h begins at
// data + b * batch + r * row + h * head, its last dimension contiguous. The counts are in elements.
struct Strided {
    void* data;
    std::int64_t batch, row, head;

    template <class T>
    T* at(std::int64_t b, std::int64_t r, std::int64_t h) const {
        return static_cast<T*>(data) + b * batch + r * row + h * head;
    }
};

// A head width known while compiling (D > 0) or only at run time (D = 0).
template <int D>
struct Width {
    explicit Width(int) {}
    constexpr operator int() const { return D; }
};
template <>
struct Width<0> {
    int value;
    explicit Width(int d) : value(d) {}
    operator int() const { return value; }
};

template <class T, int N, int D>
struct Lanes {
    using Scalar = T;
    using V = Vector<T, N>;
    using Weight = T;
    static constexpr int lanes = N, teams = 1, sequences = N;
    static constexpr int block = sizeof(V) == 64 ? 8 : 4;  // accumulators that fit the register file

    Width<D> d;
    explicit Lanes(int width) : d(width) {}

    static int vectors(int n) { return n; }
    static int padded(int n) { return n; }
    static FWPLAB_INLINE V left(const V* x, int i) { return x[i]; }
    static FWPLAB_INLINE V entry(const V* x, int i) { return x[i]; }
    static FWPLAB_INLINE void set_entry(V* x, int i, V value) { x[i] = value; }
    static FWPLAB_INLINE V reduce(V x) { return x; }
    static FWPLAB_INLINE V reduce_max(V x) { return x; }
    static void fold(V*, int) {}
    static void mask(V*, int, T) {}
    static T total(const V* x, int i) { return sum_lanes(x[i])[0]; }

    // n numbers from each of the first `valid` sequences, zeros for the others.
    static void load(V* out, int, const T* p, std::ptrdiff_t batch, int valid, int n) {
        int c = 0;
        if constexpr (N % 4 == 0) {
            for (; valid == N && c + 4 <= n; c += 4) {
                V v[4];
                for (int r = 0; r < 4; r++) v[r] = load_quads<T, N / 4>(p + r * batch + c, batch);
                transpose_quads(v);
                for (int r = 0; r < 4; r++) out[c + r] = v[r];
            }
        }
        for (; c < n; c++) {
            V v{};
            for (int lane = 0; lane < valid; lane++) v[lane] = p[lane * batch + c];
            out[c] = v;
        }
    }

    static void store(T* p, std::ptrdiff_t batch, const V* in, int, int valid, int n) {
        int c = 0;
        if constexpr (N % 4 == 0) {
            for (; valid == N && c + 4 <= n; c += 4) {
                V v[4];
                for (int r = 0; r < 4; r++) v[r] = in[c + r];
                transpose_quads(v);
                for (int r = 0; r < 4; r++) store_quads<T, N / 4>(p + r * batch + c, batch, v[r]);
            }
        }
        for (; c < n; c++) {
            for (int lane = 0; lane < valid; lane++) p[lane * batch + c] = in[c][lane];
        }
    }

    // One number from each sequence.
    static FWPLAB_INLINE V load_number(const T* p, std::ptrdiff_t batch, int, int valid) {
        V v{};
        if (valid == N) {
            for (int lane = 0; lane < N; lane++) v[lane] = p[lane * batch];
        } else {
            for (int lane = 0; lane < valid; lane++) v[lane] = p[lane * batch];
        }
        return v;
    }

    static FWPLAB_INLINE void store_number(T* p, std::ptrdiff_t batch, V x, int, int valid) {
        for (int lane = 0; lane < valid; lane++) p[lane * batch] = x[lane];
    }
};

template <class T, int N, int M, int D>
struct Rows {
    using Scalar = T;
    using V = Vector<T, N>;
    using Weight = V;
    static constexpr int lanes = N, teams = M, sequences = M;
    static constexpr int block = sizeof(V) == 64 ? 4 : 2;

    Width<D> d;
    explicit Rows(int width) : d(width) {}

    static int vectors(int n) { return (n + N - 1) / N; }
    static int padded(int n) { return vectors(n) * N; }
    static FWPLAB_INLINE T left(const V* x, int i) { return reinterpret_cast<const T*>(x)[i]; }
    static FWPLAB_INLINE V entry(const V* x, int i) { return splat<V>(reinterpret_cast<const T*>(x)[i]); }
    static FWPLAB_INLINE void set_entry(V* x, int i, V value) { reinterpret_cast<T*>(x)[i] = value[0]; }
    static FWPLAB_INLINE V reduce(V x) { return sum_lanes(x); }
    static FWPLAB_INLINE V reduce_max(V x) { return max_lanes(x); }
    static T total(const V* x, int i) { return left(x, i); }

    // padded(n) vectors become the vectors(n) of their sums.
    static void fold(V* x, int n) {
        for (int c = 0; c < vectors(n); c++) x[c] = fold_rows<N / 2>(x + c * N);
    }

    // The entries after the end set to `value`.
    static void mask(V* x, int n, T value) {
        for (int i = n; i < padded(n); i++) reinterpret_cast<T*>(x)[i] = value;
    }

    static void load(V* out, int team_stride, const T* p, std::ptrdiff_t batch, int valid, int n) {
        for (int m = 0; m < M; m++) {
            for (int c = 0; c < vectors(n); c++) {
                V v{};
                if (m < valid && (c + 1) * N <= n) {
                    std::memcpy(&v, p + m * batch + c * N, sizeof v);
                } else if (m < valid) {
                    for (int i = c * N; i < n; i++) v[i - c * N] = p[m * batch + i];
                }
                out[m * team_stride + c] = v;
            }
        }
    }

    static void store(T* p, std::ptrdiff_t batch, const V* in, int team_stride, int valid, int n) {
        for (int m = 0; m < valid; m++) {
            for (int c = 0; c < vectors(n); c++) {
                V v = in[m * team_stride + c];
                if ((c + 1) * N <= n) {
                    std::memcpy(p + m * batch + c * N, &v, sizeof v);
                } else {
                    for (int i = c * N; i < n; i++) p[m * batch + i] = v[i - c * N];
                }
            }
        }
    }

    static FWPLAB_INLINE V load_number(const T* p, std::ptrdiff_t batch, int team, int valid) {
        return team < valid ? splat<V>(p[team * batch]) : V{};
    }

    static FWPLAB_INLINE void store_number(T* p, std::ptrdiff_t batch, V x, int team, int valid) {
        if (team < valid) p[team * batch] = x[0];
    }
};

}  // namespace fwplab
