// The tape from the forward to the backward pass, and the loop of the backward pass, for all rules with a matrix W.
//
// The forward pass saves W before every `segment` steps, and for each step a slot with the values that the backward pass cannot compute
// again. The backward pass computes W before every step of a segment again, with the additions of the forward pass, and then goes back over
// the steps. It does not invert updates: with an update much larger than W, W - k^T u would lose the digits of W, and after a strong decay
// all of them.
#pragma once

#include "problem.h"
#include "products.h"

namespace fwplab {

template <class V>
struct Tape {
    V* start;
    std::int64_t segment, segments, length;
    int matrix, slot;  // vectors of W and of a step, all teams
    int weight_step = int(matrix / segment);

    V* weight(std::int64_t s) const { return start + s * matrix; }
    V* step(std::int64_t t) const { return start + segments * matrix + t * slot; }
    std::int64_t vectors() const { return segments * matrix + length * slot; }
    explicit operator bool() const { return start; }

    bool begins_segment(std::int64_t t) const { return std::uint32_t(t) % std::uint32_t(segment) == 0; }  // 32 bits divide faster

    // Prefetches one of `shares` parts of the slot of step t, and a part of the W saved `edge` segments further. The memory is slow,
    // and the hardware prefetcher stops at a page boundary.
    FWPLAB_INLINE void prefetch(std::int64_t t, int edge, int share, int shares) const {
        if (!start || t < 0 || t >= length) return;
        constexpr int line = sizeof(V) < 64 ? 64 / sizeof(V) : 1;
        const int part = slot / shares, weight_part = weight_step / shares;
        const V *own = step(t) + share * part, *saved = weight(edge) + t * weight_step + share * weight_part;
        for (int c = 0; c < part; c += line) __builtin_prefetch(own + c, 0, 3);
        for (int c = 0; c < weight_part; c += line) __builtin_prefetch(saved + c, 0, 2);
    }
};

// The number of unused vectors between W and its gradient. Both are read and written together, and a load waits for a recent store to an
// address with the same last 12 bits. So the distance of the two should not be a page, nor a page and a few rows.
template <class V>
constexpr int apart = 2304 / sizeof(V);

// Goes through the segments from the last to the first. It reads the first W of a segment from the tape into `states`, and
// `rebuild(begin, end)` computes the others. Then it calls `steps(begin, end)`, which goes back from end - 1 to begin.
template <class V, class Rebuild, class Steps>
void walk_back(const Tape<V>& tape, V* states, const Rebuild& rebuild, const Steps& steps) {
    for (std::int64_t s = tape.segments - 1; s >= 0; s--) {
        const std::int64_t begin = s * tape.segment, rest = tape.length - begin, end = begin + (rest < tape.segment ? rest : tape.segment);
        std::memcpy(states, tape.weight(s), tape.matrix * sizeof(V));
        rebuild(begin, end);
        steps(begin, end);
    }
}

}  // namespace fwplab
