// The tape between the two passes, and the way back over it, shared by the rules that write a matrix W.
//
// The forward pass keeps W at the start of every `segment` steps and at the end, and a slot for each step with what the rule cannot
// make again. The backward pass starts each segment from the W at its end and undoes one update after the other (W - k^T u touches W
// once, in the pass that needs it). What comes out at the segment's start is compared with the W kept there: where rounding has left
// too much of it (sequences that grow), the segment is walked again over states rebuilt from its start by the forward additions.
#pragma once

#include <atomic>

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
    V* step(std::int64_t t) const { return start + (segments + 1) * matrix + t * slot; }
    std::int64_t vectors() const { return (segments + 1) * matrix + length * slot; }
    explicit operator bool() const { return start; }

    bool begins_segment(std::int64_t t) const { return std::uint32_t(t) % std::uint32_t(segment) == 0; }  // 32 bits divide faster

    // Asks for one of `shares` parts of what step t will use of the tape: its slot, and of the saved W as much as comes to a step, of the
    // one where its segment ends (edge 1) or begins (0). The memory is slow, and the hardware prefetcher stops at a page boundary.
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

// How many segments were walked again since the library was loaded.
inline std::atomic<std::int64_t>& rebuilt_segments() {
    static std::atomic<std::int64_t> count{0};
    return count;
}

// Whether undoing has led back to `saved` within `tolerance` (in units of rounding) of the larger of `saved` and the segment's first
// update. NaN is a failure.
template <class O>
FWPLAB_APART bool recovered(const typename O::V* W, const typename O::V* saved, int vectors, typename O::V first_update) {
    using V = typename O::V;
    using T = typename O::Scalar;
    constexpr T tolerance = 256 * std::numeric_limits<T>::epsilon();
    V residual{}, scale = first_update;
    for (int c = 0; c < vectors; c++) {
        const V difference = magnitude(W[c] - saved[c]), size = magnitude(saved[c]);
        residual = difference > residual ? difference : residual;
        residual = difference == difference ? residual : difference;
        scale = size > scale ? size : scale;
    }
    const V bound = tolerance * O::template reduce<Largest>(scale);
    for (int lane = 0; lane < O::lanes; lane++)
        if (!(residual[lane] <= bound[lane])) return false;
    return true;
}

// The largest entry of key^T update, in magnitude.
template <class O>
FWPLAB_APART typename O::V largest_product(const typename O::V* key, const typename O::V* update, int key_vectors, int update_vectors) {
    using V = typename O::V;
    V k{}, u{};
    for (int c = 0; c < key_vectors; c++) k = magnitude(key[c]) > k ? magnitude(key[c]) : k;
    for (int c = 0; c < update_vectors; c++) u = magnitude(update[c]) > u ? magnitude(update[c]) : u;
    return O::template reduce<Largest>(k) * O::template reduce<Largest>(u);
}

// The segments from the last to the first, by what the rule gives: `steps(begin, end, states)`, back from end - 1 to begin, undoing from
// the W given or, if there are `states`, with W after each step from there; `rebuild(segment)`, which makes these states; `check(segment)`,
// whether undoing has led back to where the segment began; `finish(begin, end)`, what follows when the steps are right. The steps change
// W, the vectors `carried` and the places of the `walk`.
template <class V, class Walk, class Steps, class Rebuild, class Check, class Finish>
void walk_back(const Tape<V>& tape, bool undo, V* W, V* carried, int carried_vectors, V* backup, Walk& walk, const Steps& steps,
               const Rebuild& rebuild, const Check& check, const Finish& finish) {
    for (std::int64_t s = tape.segments - 1; s >= 0; s--) {
        const std::int64_t begin = s * tape.segment, rest = tape.length - begin, end = begin + (rest < tape.segment ? rest : tape.segment);
        bool done = false;
        if (undo) {
            const Walk before = walk;
            std::memcpy(backup, carried, carried_vectors * sizeof(V));
            std::memcpy(W, tape.weight(s + 1), tape.matrix * sizeof(V));
            steps(begin, end, static_cast<const V*>(nullptr));
            done = check(s);
            if (!done) {
                walk = before;
                std::memcpy(carried, backup, carried_vectors * sizeof(V));
                rebuilt_segments()++;
            }
        }
        if (!done) steps(begin, end, static_cast<const V*>(rebuild(s)));
        finish(begin, end);
    }
}

}  // namespace fwplab
