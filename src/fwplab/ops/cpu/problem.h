// What the callers of the kernels describe: the sizes, the loop order, and where every argument lies. `kernels.py` mirrors it.
#pragma once

#include "order.h"

namespace fwplab {

struct Problem {
    std::int64_t batch, length, heads, width;
    std::int64_t is_double;
    std::int64_t lanes;    // numbers in one register
    std::int64_t teams;    // 0: lanes order; else rows order with that many sequences interleaved
    std::int64_t segment;  // steps between two saved states; the tape is kept only if it has a place
    std::int64_t threads;

    std::int64_t sequences() const { return teams ? teams : lanes; }
    std::int64_t groups() const { return (batch + sequences() - 1) / sequences(); }
    std::int64_t segments() const { return (length + segment - 1) / segment; }
};

// The sequences that one task works on: those of one head that share a register or are interleaved.
struct Group {
    std::int64_t head, index, first;
    int valid;

    Group(const Problem& problem, std::int64_t task)
        : head(task / problem.groups()), index(task % problem.groups()), first(index * problem.sequences()) {
        const std::int64_t rest = problem.batch - first;
        valid = int(rest < problem.sequences() ? rest : problem.sequences());
    }
};

// The arguments of a group as its order loads and stores them.
template <class O>
struct Access {
    using T = typename O::Scalar;
    using V = typename O::V;
    Group group;

    void load(V* out, int team_stride, const Strided& from, std::int64_t row, int n) const {
        O::load(out, team_stride, from.at<const T>(group.first, row, group.head), from.batch, group.valid, n);
    }
    void store(const Strided& to, std::int64_t row, const V* in, int team_stride, int n) const {
        O::store(to.at<T>(group.first, row, group.head), to.batch, in, team_stride, group.valid, n);
    }
    V load_number(const Strided& from, std::int64_t row, int team) const {
        return O::load_number(from.at<const T>(group.first, row, group.head), from.batch, team, group.valid);
    }
    void store_number(const Strided& to, std::int64_t row, V x, int team) const {
        O::store_number(to.at<T>(group.first, row, group.head), to.batch, x, team, group.valid);
    }
};

}  // namespace fwplab
