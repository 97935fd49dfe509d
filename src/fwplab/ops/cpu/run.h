// Calls the kernels of a rule: the compiled loop orders and widths, the groups of sequences, the threads, the C interface.
//
// A rule is one header: its class, and at the end `FWPLAB_RULE` for each pass. setup.py compiles every header that has a Python file of the
// same name.
#pragma once

#include "problem.h"
#include "vector.h"

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

// The widths of heads that have code of their own, in float32.
template <int... widths>
using Known = std::integer_sequence<int, widths...>;
constexpr bool quick = register_bytes >= 32;  // processors with smaller registers are too slow for training
template <int... widths>
using Quick = std::conditional_t<quick, Known<widths...>, Known<>>;

// Widths for lanes and rows order. A rule may specialise it: widths with held order need no other.
template <class Rule>
struct Common {
    using Narrow = Quick<4, 8, 16>;
    using Wide = Quick<32, 64>;
};
// Whether a rule has only lanes order.
template <class Rule>
constexpr bool lanes_alone = false;

// Calls f(order) with the element type and loop order of the problem. Rows order has one sequence or `teams` sequences.
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

// A variation has only lanes order.
template <class T, class F>
void with_lanes(const Problem& problem, F&& f) {
    constexpr int N = register_bytes / sizeof(T);
    const bool fits = problem.lanes == N && N % problem.together == 0 && problem.heads % problem.together == 0;
    if (problem.order != lanes_order || !fits || problem.width < 1) throw Unsupported();
    f(Lanes<T, N, 0>());
}

// Calls f(order) with the order for this rule, of a compiled width if there is one.
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

// The sum of the tasks' contributions to a gradient, in the order of the tasks.
template <class T>
void add_shares(T* sum, const T* shares, std::int64_t tasks, std::int64_t size) {
    for (std::int64_t i = 0; i < size; i++) sum[i] = 0;
    for (std::int64_t task = 0; task < tasks; task++)
        for (std::int64_t i = 0; i < size; i++) sum[i] += shares[task * size + i];
}

// How many sets of heads one task computes: those whose rows share a cache line or its neighbour, unless some threads would then have no
// work.
inline std::int64_t sets_together(const Problem& problem) {
    std::int64_t count = 128 / (problem.together * problem.width * problem.element_bytes());
    count = count < 1 ? 1 : count < problem.sets() ? count : problem.sets();
    while (count > 1 && (problem.sets() + count - 1) / count * problem.groups() < 2 * problem.threads) count--;
    return count;
}

// Calls f(group, tape, workspace) for every group of sequences of every set of heads. The tape, if there is one, has `bytes` bytes for each
// head, which must be the size that the kernels compute. The groups of a set are contiguous.
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

// The rules that have variations.
template <template <class> class Paper, template <class> class Varied, class Arguments>
int either_forward(const Problem& problem, const Arguments& a, void* tape, std::int64_t bytes) {
    return problem.variation ? forward<Varied>(problem, a, tape, bytes) : forward<Paper>(problem, a, tape, bytes);
}

template <template <class> class Paper, template <class> class Varied, class Arguments>
int either_backward(const Problem& problem, const Arguments& a, void* tape, std::int64_t bytes) {
    return problem.variation ? backward<Varied>(problem, a, tape, bytes) : backward<Paper>(problem, a, tape, bytes);
}

}  // namespace
}  // namespace fwplab

#define FWPLAB_EXPORT extern "C" __attribute__((visibility("default")))

// Defines one pass of a rule. It is used inside the namespace. The tape, if there is one, has `bytes` bytes for each head.
#define FWPLAB_RULE(name, pass, run, Arguments)                                                                                   \
    FWPLAB_EXPORT int fwplab_##name##_##pass(const Problem* problem, const Arguments* a, void* tape, std::int64_t bytes) {         \
        return run(*problem, *a, tape, bytes);                                                                                    \
    }
