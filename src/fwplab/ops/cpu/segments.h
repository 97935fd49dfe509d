// The tape between the two passes, and the way back over it, shared by the rules that write a matrix W.
//
// The forward pass keeps W before every `segment` steps, and a slot for each step with what the rule cannot make again. The backward pass
// makes W before every step of a segment again, by the additions of the forward pass, and walks back over these. It takes no update back:
// beside an update much larger than W, W - k^T u has lost the digits of W, and behind a strong decay all of them.
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

    // Asks for one of `shares` parts of step t's slot, and of the saved W `edge` segments on as much as comes to a step. The memory is
    // slow, and the hardware prefetcher stops at a page boundary.
    FWPLAB_INLINE void prefetch(std::int64_t t, int edge, int share, int shares) const {
        if (!start || t < 0 || t >= length) return;
        constexpr int line = sizeof(V) < 64 ? 64 / sizeof(V) : 1;
        const int part = slot / shares, weight_part = weight_step / shares;
        const V *own = step(t) + share * part, *saved = weight(edge) + t * weight_step + share * weight_part;
        for (int c = 0; c < part; c += line) __builtin_prefetch(own + c, 0, 3);
        for (int c = 0; c < weight_part; c += line) __builtin_prefetch(saved + c, 0, 2);
    }
};

// Vectors left free between W and its gradient. They are walked side by side, and a load waits for a store just before it to any address
// with the same last 12 bits: neither a page nor some rows of a page should lie between the two.
template <class V>
constexpr int apart = 2304 / sizeof(V);

// The segments from the last to the first: W before each step into `states`, the first from the tape, the others by `rebuild(begin, end)`,
// and then `steps(begin, end)`, back from end - 1 to begin.
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
