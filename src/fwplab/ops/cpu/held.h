// Held order: the additive and the delta rule (without a gate) for heads that are not wider than a register. W stays in registers for the
// whole sequence, one register for each row, so that only the arguments are read from memory. One head of width 16, or several narrower
// adjacent heads, use half of the registers.
//
// The backward pass is three passes over the positions. A sum over the columns of a matrix would be a sum across a register. Instead, a
// second pass carries the transposed matrix, and the sum is a product with it. u = b e (additive: e = u = v), and x' is the gradient of x:
//   backward, G:   G += q^T o';    u' = k G;     v' = b u';  b' = u' . e;    G -= k^T v'
//   backward, G^T: G^T += o'^T q;  k' = u G^T;               G^T -= v'^T k
//   forward, W^T:  k' -= v' W^T;   W^T += u^T k;             q' = o' W^T
// The additive rule does not read by key, and has neither b' nor the terms with -. The tape saves e.
//
// The delta rule corrects rounding errors of W and G by itself, but not those of the transposes, whose updates come from another pass. So
// the transposes are reset to W and G after every `segment` steps. The tape saves W there, too.
// delta.h includes this file and has the arguments.
#pragma once

#include "run.h"

namespace fwplab {

// The same pointer, but the compiler forgets the values behind it. Otherwise it would keep D broadcast numbers in registers between uses,
// although multiply-adds read them from memory at no cost.
template <class T>
FWPLAB_INLINE T* forgotten(T* p) {
    asm("" : "+r"(p));
    return p;
}

template <class T, int D>
struct HeldMatrix {
    using V = Vector<T, D>;
    V row[D];

    // Reads and writes memory. step: the distance of two rows.
    FWPLAB_INLINE void load(const T* from, std::int64_t step = D) {
        for (int i = 0; i < D; i++) std::memcpy(row + i, from + i * step, sizeof(V));
    }
    FWPLAB_INLINE void store(T* to, std::int64_t step = D) const {
        for (int i = 0; i < D; i++) std::memcpy(to + i * step, row + i, sizeof(V));
    }
    FWPLAB_INLINE void load_transposed(const T* from, std::int64_t step = D) {
        T entries[D * D];
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++) entries[j * D + i] = from[i * step + j];
        load(forgotten(entries));
    }

    // x times this matrix.
    FWPLAB_INLINE V product(const T* x) const {
        x = forgotten(x);
        V sum[4];
        for (int a = 0; a < 4; a++) sum[a] = x[a] * row[a];
#pragma GCC unroll 16
        for (int i = 4; i < D; i++) sum[i % 4] += x[i] * row[i];
        return (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }

    // Adds x^T y to this matrix.
    FWPLAB_INLINE void add(const T* x, V y) {
        x = forgotten(x);
#pragma GCC unroll 16
        for (int i = 0; i < D; i++) row[i] += x[i] * y;
    }
};

// One argument of adjacent heads of one sequence.
template <class T, int D>
struct Along {
    using V = Vector<T, D>;
    T* start;
    std::int64_t step, head;

    Along(const Strided& argument, const Problem& problem, std::int64_t b, std::int64_t h)
        : start(problem.starts ? argument.at<T>(0, problem.starts[b], h) : argument.at<T>(b, 0, h)), step(argument.row), head(argument.head) {}

    // Position t of the m-th of these heads.
    FWPLAB_INLINE T* at(std::int64_t t, int m) const { return start + t * step + m * head; }
    FWPLAB_INLINE V load(std::int64_t t, int m) const {
        V x;
        std::memcpy(&x, at(t, m), sizeof x);
        return x;
    }
    FWPLAB_INLINE void store(std::int64_t t, int m, V x) const { std::memcpy(at(t, m), &x, sizeof x); }

    // Prefetches position t of all these heads. Their cache lines are too far apart for the hardware prefetcher.
    FWPLAB_INLINE void prefetch(std::int64_t t) const { __builtin_prefetch(start + t * step); }
    FWPLAB_INLINE void prefetch_for_writing(std::int64_t t) const { __builtin_prefetch(start + t * step, 1); }
};

template <class T, int D, bool erases>
struct HeldDelta {
    using V = Vector<T, D>;
    using Argument = Along<T, D>;
    using Matrix = HeldMatrix<T, D>;
    static constexpr int side_by_side = 16 / D;  // heads in parallel, to hide latency
    static constexpr int ahead = 8;              // arguments are prefetched this many steps ahead

    // The tape, if the forward pass has one: e at every position of all sequences, and W at the start of each segment.
    struct Tape {
        Strided errors, states;
    };

    const Problem& problem;

    // The number of positions of all sequences, and of numbers on the tape for each head.
    std::int64_t positions() const { return problem.batch ? position(problem.batch - 1, length(problem.batch - 1)) : 0; }
    std::int64_t tape_size() const { return (positions() + (positions() + problem.segment - 1) / problem.segment * D) * D; }

    Tape tape(void* start) const {
        T* states = start ? static_cast<T*>(start) + positions() * D : nullptr;
        return {{start, problem.length * D, D, tape_size()}, {states, 0, D * D, tape_size()}};
    }

    // The index of position t of sequence b among the positions of all sequences.
    std::int64_t position(std::int64_t b, std::int64_t t) const { return (problem.starts ? problem.starts[b] : b * problem.length) + t; }

    // W before position t, which is the first of a segment. The index is unique, because segment starts are a segment or more apart.
    T* kept(const Tape& tape, std::int64_t b, std::int64_t t, std::int64_t h) const {
        return tape.states.template at<T>(0, position(b, t) / problem.segment, h);
    }

    std::int64_t length(std::int64_t b) const { return problem.lengths ? problem.lengths[b] : problem.length; }
    std::int64_t end_of(std::int64_t begin, std::int64_t b) const {
        const std::int64_t rest = length(b) - begin;
        return begin + (erases && rest > problem.segment ? problem.segment : rest);
    }
    std::int64_t segments(std::int64_t b) const { return erases ? (length(b) + problem.segment - 1) / problem.segment : length(b) > 0; }

    // M heads of sequence b, from head h on.
    template <int M>
    FWPLAB_APART void forward(const DeltaForward& a, const Tape& tape, std::int64_t b, std::int64_t h) const {
        const Argument query(a.query, problem, b, h), key(a.key, problem, b, h), value(a.value, problem, b, h), beta(a.beta, problem, b, h);
        const Argument output(a.output, problem, b, h), errors(tape.errors, problem, b, h);
        const bool keeps = erases && tape.errors.data;
        Matrix W[M];
        for (int m = 0; m < M; m++) W[m].load(a.weight.at<T>(b, 0, h + m), a.weight.row);
        for (std::int64_t s = 0; s < segments(b); s++) {
            const std::int64_t begin = s * problem.segment, end = end_of(begin, b);
            for (int m = 0; m < M && keeps && s; m++) W[m].store(kept(tape, b, begin, h + m));
            for (std::int64_t t = begin; t < end; t++) {
                if constexpr (erases) {
                    for (const Argument* x : {&query, &key, &value}) x->prefetch(t + ahead);
                    for (const Argument* x : {&output, &errors}) x->prefetch_for_writing(t + ahead);
                }
                for (int m = 0; m < M; m++) {
                    V u = value.load(t, m);
                    if constexpr (erases) {
                        u -= W[m].product(key.at(t, m));
                        if (keeps) errors.store(t, m, u);
                        u *= *beta.at(t, m);
                    }
                    W[m].add(key.at(t, m), u);
                    output.store(t, m, W[m].product(query.at(t, m)));
                }
            }
        }
        for (int m = 0; m < M; m++) W[m].store(a.last_weight.at<T>(b, 0, h + m), a.last_weight.row);
    }

    template <int M>
    FWPLAB_APART void backward(const DeltaBackward& a, const Tape& tape, std::int64_t b, std::int64_t h, Workspace& space) const {
        T* G = space.take<T>(M * segments(b) * D * D);  // at the start of each segment but the first
        back_by_key<M>(a, tape, b, h, G);
        back_by_value<M>(a, tape, b, h, G);
        forth_by_value<M>(a, tape, b, h);
    }

    template <int M>
    FWPLAB_INLINE void back_by_key(const DeltaBackward& a, const Tape& tape, std::int64_t b, std::int64_t h, T* kept_G) const {
        const Argument query(a.query, problem, b, h), key(a.key, problem, b, h), beta(a.beta, problem, b, h);
        const Argument errors(tape.errors, problem, b, h), grad_output(a.grad_output, problem, b, h);
        const Argument grad_value(a.grad_value, problem, b, h), grad_beta(a.grad_beta, problem, b, h);
        Matrix G[M];
        for (int m = 0; m < M; m++) G[m].load(a.grad_last_weight.at<T>(b, 0, h + m), a.grad_last_weight.row);
        for (std::int64_t s = segments(b) - 1; s >= 0; s--) {
            const std::int64_t begin = s * problem.segment;
            for (std::int64_t t = end_of(begin, b) - 1; t >= begin; t--) {
                for (const Argument* x : {&query, &key, &grad_output}) x->prefetch(t - ahead);
                if constexpr (erases) errors.prefetch(t - ahead);
                grad_value.prefetch_for_writing(t - ahead);
                for (int m = 0; m < M; m++) {
                    G[m].add(query.at(t, m), grad_output.load(t, m));
                    V v = G[m].product(key.at(t, m));
                    if constexpr (erases) {
                        *grad_beta.at(t, m) = fold_lanes(v * errors.load(t, m))[0];
                        v *= *beta.at(t, m);
                        G[m].add(key.at(t, m), -v);
                    }
                    grad_value.store(t, m, v);
                }
            }
            for (int m = 0; m < M && s; m++) G[m].store(kept_G + (s * M + m) * D * D);
        }
        for (int m = 0; m < M; m++) G[m].store(a.grad_weight.at<T>(b, 0, h + m), a.grad_weight.row);
    }

    template <int M>
    FWPLAB_INLINE void back_by_value(const DeltaBackward& a, const Tape& tape, std::int64_t b, std::int64_t h, const T* kept_G) const {
        const Argument query(a.query, problem, b, h), key(a.key, problem, b, h), beta(a.beta, problem, b, h);
        const Argument written(erases ? tape.errors : a.value, problem, b, h), grad_output(a.grad_output, problem, b, h);
        const Argument grad_value(a.grad_value, problem, b, h), grad_key(a.grad_key, problem, b, h);
        Matrix G[M];
        for (int m = 0; m < M; m++) G[m].load_transposed(a.grad_last_weight.at<T>(b, 0, h + m), a.grad_last_weight.row);
        for (std::int64_t s = segments(b) - 1; s >= 0; s--) {
            const std::int64_t begin = s * problem.segment;
            for (std::int64_t t = end_of(begin, b) - 1; t >= begin; t--) {
                grad_key.prefetch_for_writing(t - ahead);
                for (int m = 0; m < M; m++) {
                    G[m].add(grad_output.at(t, m), query.load(t, m));
                    V k = G[m].product(written.at(t, m));
                    if constexpr (erases) {
                        k *= *beta.at(t, m);
                        G[m].add(grad_value.at(t, m), -key.load(t, m));
                    }
                    grad_key.store(t, m, k);
                }
            }
            for (int m = 0; m < M && s; m++) G[m].load_transposed(kept_G + (s * M + m) * D * D);
        }
    }

    template <int M>
    FWPLAB_INLINE void forth_by_value(const DeltaBackward& a, const Tape& tape, std::int64_t b, std::int64_t h) const {
        const Argument key(a.key, problem, b, h), beta(a.beta, problem, b, h), written(erases ? tape.errors : a.value, problem, b, h);
        const Argument grad_output(a.grad_output, problem, b, h), grad_value(a.grad_value, problem, b, h);
        const Argument grad_query(a.grad_query, problem, b, h), grad_key(a.grad_key, problem, b, h);
        Matrix W[M];
        for (int m = 0; m < M; m++) W[m].load_transposed(a.weight.at<T>(b, 0, h + m), a.weight.row);
        for (std::int64_t s = 0; s < segments(b); s++) {
            const std::int64_t begin = s * problem.segment, end = end_of(begin, b);
            for (int m = 0; m < M && s; m++) W[m].load_transposed(kept(tape, b, begin, h + m));
            for (std::int64_t t = begin; t < end; t++) {
                grad_query.prefetch_for_writing(t + ahead);
                for (int m = 0; m < M; m++) {
                    V k = key.load(t, m);
                    if constexpr (erases) {
                        grad_key.store(t, m, grad_key.load(t, m) - W[m].product(grad_value.at(t, m)));
                        k *= *beta.at(t, m);
                    }
                    W[m].add(written.at(t, m), k);
                    grad_query.store(t, m, W[m].product(grad_output.at(t, m)));
                }
            }
        }
    }
};

namespace {

// Calls f(rule) with the rule in held order, for heads that are not wider than a register.
template <bool erases, class F>
void with_held(const Problem& problem, F&& f) {
    const auto widths = [&](auto number) {
        using T = decltype(number);
        constexpr int N = register_bytes / sizeof(T);
        if (problem.width == 4 && N >= 4) return f(HeldDelta<T, 4, erases>{problem});
        if constexpr (N >= 8) {
            if (problem.width == 8) return f(HeldDelta<T, 8, erases>{problem});
        }
        if constexpr (N >= 16) {
            if (problem.width == 16) return f(HeldDelta<T, 16, erases>{problem});
        }
        throw Unsupported();
    };
    problem.is_double ? widths(double()) : widths(float());
}

// Calls f(rule, number of heads, tape, b, h, workspace) for all heads of all sequences. The tape, if there is one, has `bytes` bytes for
// each head, which must be the size that the kernels compute.
template <bool erases, class F>
int held(const Problem& problem, void* tape, std::int64_t bytes, F&& f) {
    return guarded([&] {
        with_held<erases>(problem, [&](auto rule) {
            using Rule = decltype(rule);
            constexpr int M = Rule::side_by_side;
            if (tape && bytes != rule.tape_size() * problem.element_bytes()) throw Unsupported();
            const auto own = rule.tape(tape);
            // A thread takes all heads of a sequence, because their rows share cache lines, unless some threads would then have no work.
            const std::int64_t together = problem.batch < 4 * problem.threads ? M : problem.heads;
            const std::int64_t bundles = (problem.heads + together - 1) / together;
            parallel(problem.batch * bundles, problem.threads, [&](std::int64_t task, Workspace& space) {
                const std::int64_t b = task / bundles, first = task % bundles * together;
                const std::int64_t end = first + together < problem.heads ? first + together : problem.heads;
                std::int64_t h = first;
                for (; h + M <= end; h += M, space.reset()) f(rule, std::integral_constant<int, M>(), own, b, h, space);
                for (; h < end; h++, space.reset()) f(rule, std::integral_constant<int, 1>(), own, b, h, space);
            });
        });
    });
}

// The rules that also have held order.
template <template <class> class Rule, bool erases>
int narrow_forward(const Problem& problem, const DeltaForward& a, void* tape, std::int64_t bytes) {
    if (problem.order != held_order) return forward<Rule>(problem, a, tape, bytes);
    return held<erases>(problem, tape, bytes, [&](const auto& rule, auto heads, const auto& own, std::int64_t b, std::int64_t h, Workspace&) {
        rule.template forward<heads>(a, own, b, h);
    });
}

template <template <class> class Rule, bool erases>
int narrow_backward(const Problem& problem, const DeltaBackward& a, void* tape, std::int64_t bytes) {
    if (problem.order != held_order) return backward<Rule>(problem, a, tape, bytes);
    return held<erases>(problem, tape, bytes, [&](const auto& rule, auto heads, const auto& own, std::int64_t b, std::int64_t h, Workspace& space) {
        rule.template backward<heads>(a, own, b, h, space);
    });
}

}  // namespace
}  // namespace fwplab


