// Vectors of N numbers in one register (GCC and Clang vector extensions), with permutations, sums over lanes, transpositions, and exp, tanh
// and sigmoid with an error of one or two units in the last place.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define FWPLAB_INLINE inline __attribute__((always_inline))
#define FWPLAB_APART __attribute__((noinline))  // for rare code: compiled once, outside the loops

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define FWPLAB_SHUFFLEVECTOR 1
#endif
#endif

namespace fwplab {

template <class T, int N>
struct VectorType {
    typedef T type __attribute__((vector_size(N * sizeof(T))));
};
template <class T, int N>
using Vector = typename VectorType<T, N>::type;

// The unsigned integer type of the same size as a real type, and the constants for exp.
template <class T>
struct Real;

template <>
struct Real<float> {
    using Bits = std::uint32_t;
    static constexpr int mantissa = 23, bias = 127, degree = 7;
    static constexpr float rounding = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr float nothing = -127 * 0.6931471805599453f;
};

template <>
struct Real<double> {
    using Bits = std::uint64_t;
    static constexpr int mantissa = 52, bias = 1023, degree = 13;
    static constexpr double rounding = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
    static constexpr double nothing = -1023 * 0.6931471805599453;
};

template <class V>
struct VectorTraits {
    using Scalar = typename std::remove_reference<decltype(std::declval<V&>()[0])>::type;
    static constexpr int size = sizeof(V) / sizeof(Scalar);
    using Bits = Vector<typename Real<Scalar>::Bits, size>;
};

template <class V>
FWPLAB_INLINE V splat(typename VectorTraits<V>::Scalar x) {
    return x - V{};
}

// ---- permutations: lane l of the result is entry Pattern::at(l) of the concatenation of a and b

template <class Pattern, class V, std::size_t... lane>
FWPLAB_INLINE V permute(V a, V b, std::index_sequence<lane...>) {
#ifdef FWPLAB_SHUFFLEVECTOR
    return __builtin_shufflevector(a, b, Pattern::at(int(lane))...);
#else
    using Index = typename VectorTraits<V>::Bits;
    return __builtin_shuffle(a, b, Index{typename Real<typename VectorTraits<V>::Scalar>::Bits(Pattern::at(int(lane)))...});
#endif
}

template <class Pattern, class V>
FWPLAB_INLINE V permute(V a, V b) {
    return permute<Pattern>(a, b, std::make_index_sequence<VectorTraits<V>::size>{});
}

template <int half>
struct Swapped {  // exchanges the halves of every block of 2 * half lanes
    static constexpr int at(int lane) { return lane ^ half; }
};

template <int size, int half>
struct Kept {  // the first half of every block from a, the second half from b
    static constexpr int at(int lane) { return lane & half ? size + lane : lane; }
};

template <int size, int half>
struct Crossed {  // the second half of every block of a, then the first half of that of b
    static constexpr int at(int lane) { return lane & half ? size + (lane ^ half) : lane ^ half; }
};

template <int size, int count>
struct First {  // the first lanes of a, the others from b
    static constexpr int at(int lane) { return lane < count ? lane : size + lane; }
};

// The element-wise maximum; y if one of the two is NaN. For a comparison and a selection compilers need two or three instructions.
template <class V>
FWPLAB_INLINE V larger(V x, V y) {
    [[maybe_unused]] constexpr bool single = std::is_same_v<typename VectorTraits<V>::Scalar, float>;
#if defined(__SSE2__)
    if constexpr (sizeof(V) == 16 && single) return V(_mm_max_ps(__m128(x), __m128(y)));
    if constexpr (sizeof(V) == 16 && !single) return V(_mm_max_pd(__m128d(x), __m128d(y)));
#endif
#if defined(__AVX__)
    if constexpr (sizeof(V) == 32 && single) return V(_mm256_max_ps(__m256(x), __m256(y)));
    if constexpr (sizeof(V) == 32 && !single) return V(_mm256_max_pd(__m256d(x), __m256d(y)));
#endif
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64 && single) return V(_mm512_max_ps(__m512(x), __m512(y)));
    if constexpr (sizeof(V) == 64 && !single) return V(_mm512_max_pd(__m512d(x), __m512d(y)));
#endif
    return x > y ? x : y;
}

struct Sum {
    template <class V>
    static FWPLAB_INLINE V of(V x, V y) {
        return x + y;
    }
};

struct Largest {
    template <class V>
    static FWPLAB_INLINE V of(V x, V y) {
        return larger(x, y);
    }
};

// The sum of all lanes, in every lane.
template <int half, class Fold, class V>
FWPLAB_INLINE V fold_lanes(V x) {
    if constexpr (half == 0) {
        return x;
    } else {
        return fold_lanes<half / 2, Fold>(Fold::of(x, permute<Swapped<half>>(x, x)));
    }
}

template <class Fold = Sum, class V>
FWPLAB_INLINE V fold_lanes(V x) {
    return fold_lanes<VectorTraits<V>::size / 2, Fold>(x);
}

// The sums of N vectors of N lanes: lane l of the result is the sum of the lanes of rows[l].
template <int half, class Fold = Sum, class V>
FWPLAB_INLINE V fold_rows(const V* rows) {
    if constexpr (half == 0) {
        return rows[0];
    } else {
        constexpr int size = VectorTraits<V>::size;
        V folded[half];
        for (int m = 0; m < half; m++) {
            V a = rows[m], b = rows[m + half];
            folded[m] = Fold::of(permute<Kept<size, half>>(a, b), permute<Crossed<size, half>>(a, b));
        }
        return fold_rows<half / 2, Fold>(folded);
    }
}

// The sum of all quads of a vector, in every quad.
template <int half, class Fold = Sum, class V>
FWPLAB_INLINE V fold_quads(V x) {
    if constexpr (half < 4) {
        return x;
    } else {
        return fold_quads<half / 2, Fold>(Fold::of(x, permute<Swapped<half>>(x, x)));
    }
}

// The four sums of four vectors, in every quad.
template <class Fold = Sum, class V>
FWPLAB_INLINE V fold_four(const V* rows) {
    return fold_quads<VectorTraits<V>::size / 2, Fold>(fold_rows<2, Fold>(rows));
}

template <int count>
struct Repeated {  // repeats the first lanes of a
    static constexpr int at(int lane) { return lane % count; }
};

template <int entry>
struct Spread {  // repeats one entry of every quad in all four lanes of the quad
    static constexpr int at(int lane) { return (lane & ~3) + entry; }
};

// ---- quads: four consecutive numbers of one sequence; the unit of a transposition

template <class T>
using Quad = Vector<T, 4>;

template <class T>
FWPLAB_INLINE Quad<T> load_quad(const T* p) {
    Quad<T> q;
    std::memcpy(&q, p, sizeof q);
    return q;
}

template <class Q, std::size_t... i>
FWPLAB_INLINE auto join(Q a, Q b, std::index_sequence<i...>) {
#ifdef FWPLAB_SHUFFLEVECTOR
    return __builtin_shufflevector(a, b, i...);
#else
    Vector<typename VectorTraits<Q>::Scalar, sizeof...(i)> joined;
    std::memcpy(&joined, &a, sizeof a);
    std::memcpy(reinterpret_cast<char*>(&joined) + sizeof a, &b, sizeof b);
    return joined;
#endif
}

// A vector of the quads at `column` of the rows rows[0], rows[4], rows[8], ...
template <class T, int quads>
FWPLAB_INLINE Vector<T, 4 * quads> load_quads(const T* const* rows, int column) {
    if constexpr (quads == 1) {
        return load_quad(rows[0] + column);
    } else {
        return join(load_quads<T, quads / 2>(rows, column), load_quads<T, quads / 2>(rows + 2 * quads, column),
                    std::make_index_sequence<4 * quads>{});
    }
}

template <int first, class Q, class V, std::size_t... i>
FWPLAB_INLINE Q part(V v, std::index_sequence<i...>) {
#ifdef FWPLAB_SHUFFLEVECTOR
    return __builtin_shufflevector(v, v, (first + int(i))...);
#else
    Q q;
    std::memcpy(&q, reinterpret_cast<const char*>(&v) + first * sizeof(q[0]), sizeof q);
    return q;
#endif
}

template <class T, int quads, int quad = 0>
FWPLAB_INLINE void store_quads(T* const* rows, int column, Vector<T, 4 * quads> v) {
    Quad<T> q = part<4 * quad, Quad<T>>(v, std::make_index_sequence<4>{});
    std::memcpy(rows[4 * quad] + column, &q, sizeof q);
    if constexpr (quad + 1 < quads) store_quads<T, quads, quad + 1>(rows, column, v);
}

template <int size, bool high>
struct Interleaved {  // entries 0, 1 (or 2, 3) of every quad of a and b in turn
    static constexpr int at(int lane) { return (lane & 1 ? size : 0) + (lane & ~3) + (lane & 2) / 2 + (high ? 2 : 0); }
};

template <int size, bool high>
struct Paired {  // the low (or high) pair of every quad of a, then of b
    static constexpr int at(int lane) { return (lane & 2 ? size : 0) + (lane & ~3) + (lane & 1) + (high ? 2 : 0); }
};

// Transposes four vectors within each quad. It is its own inverse.
template <class V>
FWPLAB_INLINE void transpose_quads(V (&v)[4]) {
    constexpr int size = VectorTraits<V>::size;
    V low01 = permute<Interleaved<size, false>>(v[0], v[1]), high01 = permute<Interleaved<size, true>>(v[0], v[1]);
    V low23 = permute<Interleaved<size, false>>(v[2], v[3]), high23 = permute<Interleaved<size, true>>(v[2], v[3]);
    v[0] = permute<Paired<size, false>>(low01, low23);
    v[1] = permute<Paired<size, true>>(low01, low23);
    v[2] = permute<Paired<size, false>>(high01, high23);
    v[3] = permute<Paired<size, true>>(high01, high23);
}

// ---- elementary functions

// exp(x) - 1 = scale * p + (scale - 1) with |p| < 0.42: x = n ln 2 + r, p = exp(r) - 1 by its Taylor sum. NaN stays NaN.
template <class V>
struct Exponential {
    V scale, p;

    FWPLAB_INLINE explicit Exponential(V x) {
        using T = typename VectorTraits<V>::Scalar;
        using R = Real<T>;
        using Bits = typename VectorTraits<V>::Bits;
        V shifted = x * T(1.4426950408889634) + R::rounding;
        V n = shifted - R::rounding;
        V r = x - n * R::ln2_high - n * R::ln2_low;
        p = splat<V>(inverse_factorial(R::degree));
        for (int k = R::degree - 1; k >= 1; k--) p = p * r + inverse_factorial(k);
        p = p * r;
        scale = V((Bits(shifted) + typename R::Bits(R::bias)) << R::mantissa);
    }

    static constexpr typename VectorTraits<V>::Scalar inverse_factorial(int k) {
        double product = 1;
        for (int i = 2; i <= k; i++) product *= i;
        return typename VectorTraits<V>::Scalar(1 / product);
    }
};

// exp(x) for x <= 88 (float) or 709 (double). Denormal results are zero: at `nothing` the bits of the scale are those of zero.
template <class V>
FWPLAB_INLINE V exponential(V x) {
    Exponential<V> e(larger(splat<V>(Real<typename VectorTraits<V>::Scalar>::nothing), x));
    return e.scale * e.p + e.scale;
}

template <class V>
FWPLAB_INLINE V magnitude(V x) {
    using Bits = typename VectorTraits<V>::Bits;
    return V(Bits(x) & ~Bits(-V{}));
}

// tanh(x) = m / (m + 2) with m = exp(2|x|) - 1 and the sign of x; exactly 1 for |x| >= 20.
template <class V>
FWPLAB_INLINE V tanh(V x) {
    using Bits = typename VectorTraits<V>::Bits;
    using T = typename VectorTraits<V>::Scalar;
    V limit = splat<V>(40), doubled = magnitude(x) * T(2);
    Exponential<V> e(doubled > limit ? limit : doubled);
    V m = e.scale * e.p + (e.scale - T(1));
    return V(Bits(m / (m + T(2))) | (Bits(x) & Bits(-V{})));
}

// 1 / (1 + exp(-x)), computed from exp(-|x|), which cannot overflow.
template <class V>
FWPLAB_INLINE V sigmoid(V x) {
    V e = exponential(-magnitude(x));
    V one = splat<V>(1);
    return (x < V{} ? e : one) / (e + one);
}

}  // namespace fwplab
