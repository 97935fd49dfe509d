// The C interface of the kernels: every function returns 0, or 1 when memory ran out, or 2 for a problem that this build has no code
// for. The same source is compiled once for each instruction set; `library.py` chooses among the results.
//
// Threads: a call splits into tasks whose results do not depend on which thread runs them, and shares of a gradient that several tasks
// have are added in a fixed order. So the bits are the same for any number of threads.
#include "delta.h"
#include "elementwise.h"
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

template <class T, class F>
void with_order(const Problem& problem, F&& f) {
    constexpr int N = register_bytes / sizeof(T);
    if (problem.lanes != N || problem.width < 1) throw Unsupported();
    if (problem.teams == 0) {
        if constexpr (std::is_same_v<T, float>) {  // the widths of common heads are compiled in, where speed is asked for
            switch (problem.width) {
                case 4: return f(Lanes<T, N, 4>(4));
                case 8: return f(Lanes<T, N, 8>(8));
                case 16: return f(Lanes<T, N, 16>(16));
            }
        }
        return f(Lanes<T, N, 0>(int(problem.width)));
    }
    if (problem.teams == 1) return f(Rows<T, N, 1, 0>(int(problem.width)));
    if (problem.teams == 4) return f(Rows<T, N, 4, 0>(int(problem.width)));
    throw Unsupported();
}

// f(rule) for the rule in the element type and loop order of the problem.
template <template <class> class Rule, class F>
void with_rule(const Problem& problem, F&& f) {
    auto run = [&](auto order) { f(Rule<decltype(order)>(problem)); };
    problem.is_double ? with_order<double>(problem, run) : with_order<float>(problem, run);
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

// The tape of one task; the callers' size must be the kernels' own.
template <class Rule>
typename Rule::V* tape_of(const Rule& rule, void* tape, std::int64_t bytes, std::int64_t task) {
    if (!tape) return nullptr;
    if (bytes != rule.tape_vectors() * std::int64_t(sizeof(typename Rule::V))) throw Unsupported();
    return static_cast<typename Rule::V*>(tape) + task * rule.tape_vectors();
}

}  // namespace
}  // namespace fwplab

using namespace fwplab;

#define FWPLAB_EXPORT extern "C" __attribute__((visibility("default")))

FWPLAB_EXPORT int fwplab_register_bytes() { return register_bytes; }

// The tape, if any, has `tape_bytes` for each task (a head's group of sequences), tasks in order of head, then group.
FWPLAB_EXPORT int fwplab_recurrent_delta_forward(const Problem* problem, const RecurrentDeltaForward* a, void* tape, std::int64_t tape_bytes) {
    return guarded([&] {
        with_rule<RecurrentDelta>(*problem, [&](const auto& rule) {
            tape_of(rule, tape, tape_bytes, 0);
            parallel(problem->heads * problem->groups(), problem->threads, [&](std::int64_t task, Workspace& space) {
                rule.forward(*a, task, tape_of(rule, tape, tape_bytes, task), space);
            });
        });
    });
}

// `slow_gradients`: [heads, 3 d d + d], the gradients of R_q, R_k, R_v and r_b of every head.
FWPLAB_EXPORT int fwplab_recurrent_delta_backward(const Problem* problem, const RecurrentDeltaBackward* a, void* tape, std::int64_t tape_bytes,
                                                  void* slow_gradients) {
    return guarded([&] {
        with_rule<RecurrentDelta>(*problem, [&](const auto& rule) {
            using T = typename std::decay_t<decltype(rule)>::T;
            tape_of(rule, tape, tape_bytes, 0);
            const std::int64_t d = problem->width, size = 3 * d * d + d, groups = problem->groups();
            std::vector<T> shares(problem->heads * groups * size);
            parallel(problem->heads * groups, problem->threads, [&](std::int64_t task, Workspace& space) {
                rule.backward(*a, task, tape_of(rule, tape, tape_bytes, task), shares.data() + task * size, space);
            });
            T* sum = static_cast<T*>(slow_gradients);
            for (std::int64_t head = 0; head < problem->heads; head++)
                add_shares(sum + head * size, shares.data() + head * groups * size, groups, size);
        });
    });
}

namespace {

template <class O>
using DeltaRule = Delta<O, false>;
template <class O>
using AdditiveRule = Delta<O, true>;

template <template <class> class Rule>
int delta_forward(const Problem& problem, const DeltaForward& a, void* tape, std::int64_t tape_bytes) {
    return guarded([&] {
        with_rule<Rule>(problem, [&](const auto& rule) {
            tape_of(rule, tape, tape_bytes, 0);
            parallel(problem.heads * problem.groups(), problem.threads, [&](std::int64_t task, Workspace& space) {
                rule.forward(a, task, tape_of(rule, tape, tape_bytes, task), space);
            });
        });
    });
}

template <template <class> class Rule>
int delta_backward(const Problem& problem, const DeltaBackward& a, void* tape, std::int64_t tape_bytes) {
    return guarded([&] {
        with_rule<Rule>(problem, [&](const auto& rule) {
            tape_of(rule, tape, tape_bytes, 0);
            parallel(problem.heads * problem.groups(), problem.threads, [&](std::int64_t task, Workspace& space) {
                rule.backward(a, task, tape_of(rule, tape, tape_bytes, task), space);
            });
        });
    });
}

}  // namespace

FWPLAB_EXPORT int fwplab_delta_forward(const Problem* problem, const DeltaForward* a, void* tape, std::int64_t tape_bytes) {
    return delta_forward<DeltaRule>(*problem, *a, tape, tape_bytes);
}

FWPLAB_EXPORT int fwplab_delta_backward(const Problem* problem, const DeltaBackward* a, void* tape, std::int64_t tape_bytes) {
    return delta_backward<DeltaRule>(*problem, *a, tape, tape_bytes);
}

FWPLAB_EXPORT int fwplab_linear_forward(const Problem* problem, const DeltaForward* a, void* tape, std::int64_t tape_bytes) {
    return delta_forward<AdditiveRule>(*problem, *a, tape, tape_bytes);
}

FWPLAB_EXPORT int fwplab_linear_backward(const Problem* problem, const DeltaBackward* a, void* tape, std::int64_t tape_bytes) {
    return delta_backward<AdditiveRule>(*problem, *a, tape, tape_bytes);
}

FWPLAB_EXPORT int fwplab_srwm_forward(const Problem* problem, const SrwmForward* a, void* tape, std::int64_t tape_bytes) {
    return guarded([&] {
        with_rule<Srwm>(*problem, [&](const auto& rule) {
            tape_of(rule, tape, tape_bytes, 0);
            parallel(problem->heads * problem->groups(), problem->threads, [&](std::int64_t task, Workspace& space) {
                rule.forward(*a, task, tape_of(rule, tape, tape_bytes, task), space);
            });
        });
    });
}

FWPLAB_EXPORT int fwplab_srwm_backward(const Problem* problem, const SrwmBackward* a, void* tape, std::int64_t tape_bytes) {
    return guarded([&] {
        with_rule<Srwm>(*problem, [&](const auto& rule) {
            tape_of(rule, tape, tape_bytes, 0);
            parallel(problem->heads * problem->groups(), problem->threads, [&](std::int64_t task, Workspace& space) {
                rule.backward(*a, task, tape_of(rule, tape, tape_bytes, task), space);
            });
        });
    });
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
