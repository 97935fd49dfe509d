// Two of the three loop orders, as policies (the third is in held.h). A rule is written once, with vectors. The order defines the content
// of a vector, which is one register of N numbers. A strand is one head of one sequence. In `Lanes` a register has the same entry of N
// strands. In `Rows` it has N consecutive entries of one strand; the strands of `teams` sequences are interleaved, and each is a team.
//
//                          Lanes                       Rows
// a quantity of d entries  d vectors                   ceil(d / N) vectors for each team, zeros after the end
// left(x, i)               vector: entry i             number: entry i, broadcast where it is used
// Weight (shared by batch) vector: of each strand's head  vector of N columns
// reduce(x)                nothing: no sum is needed   replaces each vector by the sum of its lanes, in every lane
// totals(x, i)             sums over a head's strands  entry i
#pragma once

#include "vector.h"

namespace fwplab {

// A size known while compiling (size > 0) or only at run time (size = 0).
template <int size>
struct Width {
    static constexpr int known = size;
    constexpr Width(int) {}
    constexpr operator int() const { return size; }
};
template <>
struct Width<0> {
    static constexpr int known = 0;
    int value;
    constexpr Width(int d) : value(d) {}
    constexpr operator int() const { return value; }
};

template <class T, int N, int D>
struct Lanes {
    using Scalar = T;
    using V = Vector<T, N>;
    using Weight = V;
    static constexpr int width = D, lanes = N, teams = 1, strands = N;
    static constexpr int block = sizeof(V) == 64 ? 8 : 4;  // accumulators that fit the register file

    static constexpr int vectors(int n) { return n; }
    static constexpr int padded(int n) { return n; }
    static FWPLAB_INLINE V left(const V* x, int i) { return x[i]; }
    static FWPLAB_INLINE V entry(const V* x, int i) { return x[i]; }
    static FWPLAB_INLINE void set_entry(V* x, int i, V value) { x[i] = value; }
    static constexpr int numbers = 1;
    template <class Fold = Sum>
    static FWPLAB_INLINE V reduce(V x) {
        return x;
    }
    template <class Fold = Sum, int count>
    static FWPLAB_INLINE void reduce(V (&)[count]) {}
    static FWPLAB_INLINE void fold_numbers(V (&)[1]) {}
    static FWPLAB_INLINE void spread(V (&)[1]) {}
    static FWPLAB_INLINE V inverse(V x) { return splat<V>(1) / x; }
    static FWPLAB_INLINE void fold(V*, int) {}
    static FWPLAB_INLINE void fold_four(V* out, const V (&x)[4]) {
        for (int i = 0; i < 4; i++) out[i] = x[i];
    }
    static FWPLAB_INLINE void mask(V*, int, T) {}
    static void set_weight(Weight* row, int j, const T* const* from, std::ptrdiff_t at) {
        for (int lane = 0; lane < N; lane++) row[j][lane] = from[lane][at];
    }

    // to[h * step] = the sum of entry i over the strands of head h, for `together` heads.
    static void totals(T* to, std::int64_t step, const V* x, int i, std::int64_t heads) {
        const V sums = fold_strands<N / 2>(x[i], heads);
        for (std::int64_t h = 0; h < heads; h++) to[h * step] = sums[h];
    }
    template <int half>
    static FWPLAB_INLINE V fold_strands(V x, std::int64_t heads) {
        if constexpr (half == 0) {
            return x;
        } else {
            return heads > half ? x : fold_strands<half / 2>(x + permute<Swapped<half>>(x, x), heads);
        }
    }

    // n numbers of every strand.
    static FWPLAB_INLINE void load(V* out, int, const T* const* from, int n) {
        int c = 0;
        if constexpr (N % 4 == 0) {
            for (; c + 4 <= n; c += 4) {
                V v[4];
                for (int r = 0; r < 4; r++) v[r] = load_quads<T, N / 4>(from + r, c);
                transpose_quads(v);
                for (int r = 0; r < 4; r++) out[c + r] = v[r];
            }
        }
        for (; c < n; c++) {
            V v{};
            for (int lane = 0; lane < N; lane++) v[lane] = from[lane][c];
            out[c] = v;
        }
    }

    static FWPLAB_INLINE void store(T* const* to, const V* in, int, int n) {
        int c = 0;
        if constexpr (N % 4 == 0) {
            for (; c + 4 <= n; c += 4) {
                V v[4];
                for (int r = 0; r < 4; r++) v[r] = in[c + r];
                transpose_quads(v);
                for (int r = 0; r < 4; r++) store_quads<T, N / 4>(to + r, c, v[r]);
            }
        }
        for (; c < n; c++) {
            for (int lane = 0; lane < N; lane++) to[lane][c] = in[c][lane];
        }
    }

    // One number of every strand.
    static FWPLAB_INLINE V load_numbers(const T* const* from, int) { return load_number(from, 0); }
    static FWPLAB_INLINE V load_number(const T* const* from, int) {
        V v{};
        for (int lane = 0; lane < N; lane++) v[lane] = *from[lane];
        return v;
    }

    static FWPLAB_INLINE void store_number(T* const* to, V x, int) {
        for (int lane = 0; lane < N; lane++) *to[lane] = x[lane];
    }

    // x for the first `active` strands, 0 for the others.
    static FWPLAB_INLINE V first(V x, int active, int) {
        const V here = present(active, 0);
        return here > V{} ? x : V{};
    }
    // 1 for the first `active` strands, 0 for the others.
    static FWPLAB_INLINE V present(int active, int) {
        V v{};
        for (int lane = 0; lane < N; lane++) v[lane] = lane < active;
        return v;
    }
};

template <class T, int N, int M, int D>
struct Rows {
    using Scalar = T;
    using V = Vector<T, N>;
    using Weight = V;
    static constexpr int width = D, lanes = N, teams = M, strands = M;
    static constexpr int block = 4;

    static constexpr int vectors(int n) { return (n + N - 1) / N; }
    static constexpr int padded(int n) { return vectors(n) * N; }
    static FWPLAB_INLINE T left(const V* x, int i) { return reinterpret_cast<const T*>(x)[i]; }
    static FWPLAB_INLINE V entry(const V* x, int i) { return splat<V>(reinterpret_cast<const T*>(x)[i]); }
    static FWPLAB_INLINE void set_entry(V* x, int i, V value) { reinterpret_cast<T*>(x)[i] = value[0]; }
    template <class Fold = Sum>
    static FWPLAB_INLINE V reduce(V x) {
        return fold_lanes<Fold>(x);
    }
    // Replaces each vector by the sum of its lanes. Four at once take hardly longer than one.
    template <class Fold = Sum, int count>
    static FWPLAB_INLINE void reduce(V (&x)[count]) {
        int i = 0;
        if constexpr (N >= 4) {
            for (; i + 4 <= count; i += 4) spread_four(x + i, fwplab::fold_four<Fold>(x + i));
        }
        for (; i < count; i++) x[i] = fold_lanes<Fold>(x[i]);
    }

    // One number for every team: with four teams, all in each quad of one vector; else one vector for each team.
    static constexpr bool quads = N >= 4 && M == 4;
    static constexpr int numbers = quads ? 1 : M;
    static FWPLAB_INLINE void fold_numbers(V (&x)[M]) {
        if constexpr (quads) {
            x[0] = fwplab::fold_four(x);
        } else {
            reduce(x);
        }
    }
    // A vector for each team, its number in all lanes.
    static FWPLAB_INLINE void spread(V (&x)[M]) {
        if constexpr (quads) spread_four(x, x[0]);
    }
    static FWPLAB_INLINE void spread_four(V* out, V x) {
        out[0] = permute<Spread<0>>(x, x), out[1] = permute<Spread<1>>(x, x);
        out[2] = permute<Spread<2>>(x, x), out[3] = permute<Spread<3>>(x, x);
    }
    static FWPLAB_INLINE V inverse(V x) { return splat<V>(1 / x[0]); }  // x has the same value in every lane
    static void set_weight(Weight* row, int j, const T* const* from, std::ptrdiff_t at) { reinterpret_cast<T*>(row)[j] = from[0][at]; }
    static void totals(T* to, std::int64_t, const V* x, int i, std::int64_t) { *to = left(x, i); }

    // Reduces padded(n) vectors to vectors(n) vectors of their sums.
    static FWPLAB_INLINE void fold(V* x, int n) {
        for (int c = 0; c < vectors(n); c++) x[c] = fold_rows<N / 2>(x + c * N);
    }

    // A quantity of four entries, the sums of the four vectors.
    static FWPLAB_INLINE void fold_four(V* out, const V (&x)[4]) {
        if constexpr (N >= 4) {
            out[0] = permute<First<N, 4>>(fwplab::fold_four(x), V{});
        } else {
            for (int i = 0; i < 4; i++) set_entry(out, i, fold_lanes(x[i]));
        }
    }

    // The entries after the end set to `value`.
    static FWPLAB_INLINE void mask(V* x, int n, T value) {
        for (int i = n; i < padded(n); i++) reinterpret_cast<T*>(x)[i] = value;
    }

    // Fewer numbers than a register has.
    static FWPLAB_INLINE void copy_few(T* to, const T* from, int n) {
        int i = 0;
        for (; i + 4 <= n; i += 4) std::memcpy(to + i, from + i, 4 * sizeof(T));
        for (; i < n; i++) to[i] = from[i];
    }

    static FWPLAB_INLINE void load(V* out, int team_stride, const T* const* from, int n) {
        for (int m = 0; m < M; m++) {
            for (int c = 0; c < vectors(n); c++) {
                V v{};
                if ((c + 1) * N <= n) {
                    std::memcpy(&v, from[m] + c * N, sizeof v);
                } else {
                    copy_few(reinterpret_cast<T*>(&v), from[m] + c * N, n - c * N);
                }
                out[m * team_stride + c] = v;
            }
        }
    }

    static FWPLAB_INLINE void store(T* const* to, const V* in, int team_stride, int n) {
        for (int m = 0; m < M; m++) {
            for (int c = 0; c < vectors(n); c++) {
                const V v = in[m * team_stride + c];
                if ((c + 1) * N <= n) {
                    std::memcpy(to[m] + c * N, &v, sizeof v);
                } else {
                    copy_few(to[m] + c * N, reinterpret_cast<const T*>(&v), n - c * N);
                }
            }
        }
    }

    static FWPLAB_INLINE V load_number(const T* const* from, int team) { return splat<V>(*from[team]); }
    static FWPLAB_INLINE V load_numbers(const T* const* from, int place) {
        if constexpr (!quads) return load_number(from, place);
        V x{};
        for (int m = 0; m < M; m++) x[m] = *from[m];
        return permute<Repeated<4>>(x, x);
    }
    static FWPLAB_INLINE void store_number(T* const* to, V x, int team) { *to[team] = x[0]; }
    static FWPLAB_INLINE V first(V x, int active, int team) { return team < active ? x : V{}; }
    static FWPLAB_INLINE V present(int active, int place) {
        V x{};
        for (int lane = 0; lane < N; lane++) x[lane] = (quads ? lane % 4 : place) < active;
        return x;
    }
};

}  // namespace fwplab
