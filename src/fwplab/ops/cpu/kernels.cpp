// The C interface of the kernels: every function returns 0, or 1 when memory ran out, or 2 for a problem that this build has no code
// for. The same source is compiled once for each instruction set; `library.py` chooses among the results.
//
// Threads: a call splits into tasks whose results do not depend on which thread runs them, and shares of a gradient that several groups
// have are added in a fixed order. So the bits are the same for any number of threads.
#include "delta.h"
#include "elementwise.h"
#include "held.h"
#include "peak.h"
#include "recurrent_delta.h"
#include "srwm.h"

namespace fwplab {
namespace {

#if defined(__AVX512F__)
constexpr int register_bytes = 64;
#elif defined(__AVX2__)
constexpr int register_bytes = 32;
#else
constexpr int register_bytes = 16;
#endif

struct Unsupported {};

// The widths of common heads that are compiled in, in float32, where speed is asked for.
template <int... widths>
using Known = std::integer_sequence<int, widths...>;
constexpr bool quick = register_bytes >= 32;  // the smallest registers belong to processors that nobody trains on
template <int... widths>
using Quick = std::conditional_t<quick, Known<widths...>, Known<>>;

// In lanes and in rows order, by rule. What is held in registers needs no other order.
template <class Rule>
struct Common {
    using Narrow = Quick<4, 8, 16>;
    using Wide = Quick<32, 64>;
};
template <class O>
struct Common<Delta<O, Writing::additive>> {
    using Narrow = std::conditional_t<register_bytes == 32, Known<16>, Known<>>;
    using Wide = Quick<32, 64>;
};
template <class O>
struct Common<Delta<O, Writing::erasing>> : Common<Delta<O, Writing::additive>> {};
template <class O>
struct Common<RecurrentDelta<O, false>> {
    using Narrow = std::conditional_t<register_bytes == 32, Known<4, 8, 16>, Quick<4, 8>>;
    using Wide = std::conditional_t<register_bytes == 32, Known<32, 64>, Quick<16, 32, 64>>;
};
template <class O>
struct Common<Srwm<O, false>> {
    using Narrow = Quick<4, 8>;
    using Wide = Quick<16, 32, 64>;
};

template <class Rule>
constexpr bool lanes_alone = false;
template <class O>
constexpr bool lanes_alone<RecurrentDelta<O, true>> = true;
template <class O>
constexpr bool lanes_alone<Srwm<O, true>> = true;

// f(order) for the element type and loop order of the problem; in rows order one sequence alone or `teams` of them.
template <class T, int teams, int... narrow, int... wide, class F>
void with_order(const Problem& problem, Known<narrow...>, Known<wide...>, F&& f) {
    constexpr int N = register_bytes / sizeof(T);
    if (problem.lanes != N || problem.width < 1 || N % problem.together || problem.heads % problem.together) throw Unsupported();
    [[maybe_unused]] const auto known = [&](auto order) { return problem.width == decltype(order)::width && (f(order), true); };
    if (problem.order == lanes_order) {
        if (!(known(Lanes<T, N, narrow>()) || ...)) f(Lanes<T, N, 0>());
    } else if (problem.order == rows_order && problem.teams == teams) {
        if (!(known(Rows<T, N, teams, wide>()) || ...)) f(Rows<T, N, teams, 0>());
    } else if (problem.order == rows_order && problem.teams == 1) {
        f(Rows<T, N, 1, 0>());
    } else {
        throw Unsupported();
    }
}

// A varied rule has lanes order alone.
template <class T, class F>
void with_lanes(const Problem& problem, F&& f) {
    constexpr int N = register_bytes / sizeof(T);
    const bool fits = problem.lanes == N && N % problem.together == 0 && problem.heads % problem.together == 0;
    if (problem.order != lanes_order || !fits || problem.width < 1) throw Unsupported();
    f(Lanes<T, N, 0>());
}

// f(order) for the rule, with the widths that are common for it.
template <template <class> class Rule, class F>
void with_order(const Problem& problem, F&& f) {
    using Example = Rule<Lanes<float, 4, 4>>;
    if constexpr (lanes_alone<Example>) {
        problem.is_double ? with_lanes<double>(problem, f) : with_lanes<float>(problem, f);
    } else {
        using Widths = Common<Example>;
        constexpr int teams = Example::interleaved;
        problem.is_double ? with_order<double, teams>(problem, Known<>(), Known<>(), f)
                          : with_order<float, teams>(problem, typename Widths::Narrow(), typename Widths::Wide(), f);
    }
}

template <class F>
int guarded(F&& f) {
    try {
        f();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    } catch (const Unsupported&) {
        return 2;
    }
}

// The sum of the tasks' shares of one gradient, in the order of the tasks.
template <class T>
void add_shares(T* sum, const T* shares, std::int64_t tasks, std::int64_t size) {
    for (std::int64_t i = 0; i < size; i++) sum[i] = 0;
    for (std::int64_t task = 0; task < tasks; task++)
        for (std::int64_t i = 0; i < size; i++) sum[i] += shares[task * size + i];
}

// How many sets of heads one task takes, one after the other: those whose rows share a cache line and its neighbour, unless that leaves
// threads without work.
inline std::int64_t sets_together(const Problem& problem) {
    std::int64_t count = 128 / (problem.together * problem.width * problem.element_bytes());
    count = count < 1 ? 1 : count < problem.sets() ? count : problem.sets();
    while (count > 1 && (problem.sets() + count - 1) / count * problem.groups() < 2 * problem.threads) count--;
    return count;
}

// Runs f(group, tape, workspace) for every group of sequences of every set of heads. The tape, if any, has `bytes` for each head, a set's
// groups side by side; the callers' size must be the kernels' own.
template <class O, class Rule, class F>
void for_groups(const Problem& problem, const Rule& rule, void* tape, std::int64_t bytes, F&& f) {
    using V = typename O::V;
    std::vector<std::int64_t> starts(problem.groups() + 1);
    for (std::int64_t g = 0; g < problem.groups(); g++) starts[g + 1] = starts[g] + rule.tape(nullptr, g).vectors();
    const std::int64_t vectors = starts.back();
    if (tape && bytes * problem.together != vectors * std::int64_t(sizeof(V))) throw Unsupported();
    const std::int64_t together = sets_together(problem), bundles = (problem.sets() + together - 1) / together;
    parallel(problem.groups() * bundles, problem.threads, [&](std::int64_t task, Workspace& space) {
        const std::int64_t index = task / bundles, first = task % bundles * together;
        for (std::int64_t set = first; set < problem.sets() && set < first + together; set++) {
            space.reset();
            const Group<O> group(problem, set * problem.together, index, space);
            V* own = tape ? static_cast<V*>(tape) + set * vectors + starts[index] : nullptr;
            f(group, rule.tape(own, index), space);
        }
    });
}

template <template <class> class Rule, class Arguments>
int forward(const Problem& problem, const Arguments& a, void* tape, std::int64_t tape_bytes) {
    return guarded([&] {
        with_order<Rule>(problem, [&](auto order) {
            using O = decltype(order);
            const Rule<O> rule(problem);
            for_groups<O>(problem, rule, tape, tape_bytes,
                          [&](const auto& group, const auto& own, Workspace& space) { rule.forward(a, group, own, space); });
        });
    });
}

template <template <class> class Rule, class Arguments>
int backward(const Problem& problem, const Arguments& a, void* tape, std::int64_t tape_bytes) {
    return guarded([&] {
        with_order<Rule>(problem, [&](auto order) {
            using O = decltype(order);
            const Rule<O> rule(problem);
            for_groups<O>(problem, rule, tape, tape_bytes,
                          [&](const auto& group, const auto& own, Workspace& space) { rule.backward(a, group, own, space); });
        });
    });
}

// f(rule) for the rule in held order: heads no wider than a register.
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

// f(rule, number of heads, tape, b, h, workspace) for all heads of all sequences. The tape, if any, has `bytes` for each head; the callers' size
// must be the kernels' own.
template <bool erases, class F>
int held(const Problem& problem, void* tape, std::int64_t bytes, F&& f) {
    return guarded([&] {
        with_held<erases>(problem, [&](auto rule) {
            using Rule = decltype(rule);
            constexpr int M = Rule::side_by_side;
            if (tape && bytes != rule.tape_size() * problem.element_bytes()) throw Unsupported();
            const auto own = rule.tape(tape);
            // A thread takes all heads of a sequence, whose rows share cache lines, unless that leaves threads without work.
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

// The rules that have a held order as well.
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

template <class O>
using Additive = Delta<O, Writing::additive>;
template <class O>
using Erasing = Delta<O, Writing::erasing>;
template <class O>
using Gated = Delta<O, Writing::gated>;
template <class O>
using PaperSrwm = Srwm<O, false>;
template <class O>
using VariedSrwm = Srwm<O, true>;
template <class O>
using PaperRecurrentDelta = RecurrentDelta<O, false>;
template <class O>
using VariedRecurrentDelta = RecurrentDelta<O, true>;

// The rules that may be varied.
template <template <class> class Paper, template <class> class Varied, class Arguments>
int either_forward(const Problem& problem, const Arguments& a, void* tape, std::int64_t bytes) {
    return problem.variation ? forward<Varied>(problem, a, tape, bytes) : forward<Paper>(problem, a, tape, bytes);
}

template <template <class> class Paper, template <class> class Varied, class Arguments>
int either_backward(const Problem& problem, const Arguments& a, void* tape, std::int64_t bytes) {
    return problem.variation ? backward<Varied>(problem, a, tape, bytes) : backward<Paper>(problem, a, tape, bytes);
}

// `slow_gradients`: [heads, 3 d d + d], the gradients of R_q, R_k, R_v and r_b of every head.
template <template <class> class Rule>
int recurrent_delta_backward(const Problem& problem, const RecurrentDeltaBackward& a, void* tape, std::int64_t bytes, void* slow_gradients) {
    return guarded([&] {
        with_order<Rule>(problem, [&](auto order) {
            using O = decltype(order);
            using T = typename O::Scalar;
            const Rule<O> rule(problem);
            const std::int64_t d = problem.width, size = 3 * d * d + d, groups = problem.groups();
            std::vector<T> shares(problem.heads * groups * size);
            for_groups<O>(problem, rule, tape, bytes, [&](const auto& group, const auto& own, Workspace& space) {
                rule.backward(a, group, own, shares.data() + (group.head * groups + group.index) * size, groups * size, space);
            });
            T* sum = static_cast<T*>(slow_gradients);
            for (std::int64_t head = 0; head < problem.heads; head++)
                add_shares(sum + head * size, shares.data() + head * groups * size, groups, size);
        });
    });
}

}  // namespace
}  // namespace fwplab

using namespace fwplab;

#define FWPLAB_EXPORT extern "C" __attribute__((visibility("default")))

FWPLAB_EXPORT int fwplab_register_bytes() { return register_bytes; }

// Runs `rounds` rounds of multiply-adds on one core and returns how many numbers they were.
FWPLAB_EXPORT double fwplab_multiply_add(std::int64_t is_double, std::int64_t rounds) {
    union {
        float single;
        double twice;
    } sink;
    return is_double ? multiply_add<double, register_bytes / sizeof(double)>(rounds, &sink.twice)
                     : multiply_add<float, register_bytes / sizeof(float)>(rounds, &sink.single);
}

// The tape, if any, has `bytes` for each head.
#define FWPLAB_RULE(name, pass, run, Arguments)                                                                                   \
    FWPLAB_EXPORT int fwplab_##name##_##pass(const Problem* problem, const Arguments* a, void* tape, std::int64_t bytes) {         \
        return run(*problem, *a, tape, bytes);                                                                                    \
    }

FWPLAB_RULE(linear, forward, (narrow_forward<Additive, false>), DeltaForward)
FWPLAB_RULE(linear, backward, (narrow_backward<Additive, false>), DeltaBackward)
FWPLAB_RULE(delta, forward, (narrow_forward<Erasing, true>), DeltaForward)
FWPLAB_RULE(delta, backward, (narrow_backward<Erasing, true>), DeltaBackward)
FWPLAB_RULE(gated_delta, forward, forward<Gated>, DeltaForward)
FWPLAB_RULE(gated_delta, backward, backward<Gated>, DeltaBackward)
FWPLAB_RULE(srwm, forward, (either_forward<PaperSrwm, VariedSrwm>), SrwmForward)
FWPLAB_RULE(srwm, backward, (either_backward<PaperSrwm, VariedSrwm>), SrwmBackward)
FWPLAB_RULE(recurrent_delta, forward, (either_forward<PaperRecurrentDelta, VariedRecurrentDelta>), RecurrentDeltaForward)

FWPLAB_EXPORT int fwplab_recurrent_delta_backward(const Problem* problem, const RecurrentDeltaBackward* a, void* tape, std::int64_t bytes,
                                                  void* slow_gradients) {
    return problem->variation ? recurrent_delta_backward<VariedRecurrentDelta>(*problem, *a, tape, bytes, slow_gradients)
                              : recurrent_delta_backward<PaperRecurrentDelta>(*problem, *a, tape, bytes, slow_gradients);
}

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
