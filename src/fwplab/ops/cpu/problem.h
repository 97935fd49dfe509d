// The description of a call: the sizes, the loop order, and the address and strides of every argument. `kernels.py` mirrors it.
#pragma once

#include "order.h"
#include "parallel.h"

namespace fwplab {

// The content of a register; see order.h and held.h.
enum Order : std::int64_t { lanes_order, rows_order, held_order };

struct Problem {
    std::int64_t batch;   // sequences
    std::int64_t length;  // of the longest
    std::int64_t heads, width;
    std::int64_t is_double;
    std::int64_t order;
    std::int64_t lanes;    // numbers in one register
    std::int64_t together; // adjacent heads of a sequence that share a register in lanes order; divides heads and lanes
    std::int64_t teams;    // sequences interleaved in rows order
    std::int64_t segment;  // steps between two saved states
    std::int64_t threads;
    std::int64_t variation; // of the rule, by the bits of variation.h; 0 for the paper's
    // For a packed batch, else null: the indices of the sequences from long to short; the start and the length of each sequence.
    const std::int64_t *longest_first, *starts, *lengths;

    std::int64_t sequences() const { return order == rows_order ? teams : lanes / together; }
    std::int64_t groups() const { return (batch + sequences() - 1) / sequences(); }
    std::int64_t sets() const { return heads / together; }  // of heads
    std::int64_t element_bytes() const { return is_double ? 8 : 4; }
    std::int64_t longest(std::int64_t group) const { return lengths ? lengths[longest_first[group * sequences()]] : length; }
    std::int64_t segments(std::int64_t group) const { return (longest(group) + segment - 1) / segment; }
};

// The address and strides of one argument. The numbers of sequence b, row r (a position in time, or a row of a matrix) and head h begin at
// data + b * batch + r * row + h * head, and are contiguous. The strides are in elements.
struct Strided {
    void* data;
    std::int64_t batch, row, head;

    template <class T>
    T* at(std::int64_t b, std::int64_t r, std::int64_t h) const {
        return static_cast<T*>(data) + b * batch + r * row + h * head;
    }
};

// The strands that share a register or are interleaved: adjacent heads of some sequences. A strand is one head of one sequence.
template <class O>
struct Group {
    using T = typename O::Scalar;
    using V = typename O::V;
    static constexpr int S = O::strands;

    const Problem& problem;
    std::int64_t head, index, length;  // the first head; length of the longest
    int count;                         // the number of strands; some lanes may have none
    std::int64_t members[S], heads[S], starts[S], lengths[S];
    T *zeros, *dump;  // dummy memory to read and write, for lanes whose strand has ended or does not exist

    FWPLAB_APART Group(const Problem& p, std::int64_t head_, std::int64_t index_, Workspace& space)
        : problem(p), head(head_), index(index_), length(p.longest(index_)) {
        const std::int64_t first = index * p.sequences(), rest = p.batch - first;
        count = int((rest < p.sequences() ? rest : p.sequences()) * p.together);
        for (int s = 0; s < S; s++) heads[s] = head + s % p.together;
        for (int s = 0; s < count; s++) {
            members[s] = p.lengths ? p.longest_first[first + s / p.together] : first + s / p.together;
            starts[s] = p.lengths ? p.starts[members[s]] : 0;
            lengths[s] = p.lengths ? p.lengths[members[s]] : p.length;
        }
        const std::size_t vectors = O::vectors(int(p.width) < 4 ? 4 : int(p.width));
        zeros = reinterpret_cast<T*>(space.take_zeros<V>(vectors));
        dump = reinterpret_cast<T*>(space.take<V>(vectors));
    }

    // How many strands have not ended at position t. They are the first ones.
    int active(std::int64_t t) const {
        int running = count;
        while (running && lengths[running - 1] <= t) running--;
        return running;
    }

    // The first position of a strand, in an argument with a time axis.
    template <class X>
    X* place(const Strided& argument, int s) const {
        return problem.lengths ? argument.at<X>(0, starts[s], heads[s]) : argument.at<X>(members[s], 0, heads[s]);
    }

    // n numbers of row r of a state.
    FWPLAB_APART void load_row(V* out, int team_stride, const Strided& from, std::int64_t row, int n) const {
        T* at[S];
        for (int s = 0; s < S; s++) at[s] = s < count ? from.at<T>(members[s], row, heads[s]) : zeros;
        O::load(out, team_stride, at, n);
    }
    FWPLAB_APART void store_row(const Strided& to, std::int64_t row, const V* in, int team_stride, int n) const {
        T* at[S];
        for (int s = 0; s < S; s++) at[s] = s < count ? to.at<T>(members[s], row, heads[s]) : dump;
        O::store(at, in, team_stride, n);
    }
};

// The pointers into `count` arguments with a time axis, for every strand of a group. Bit i of `written` is set if argument i is a result.
template <class O, int count, int written>
class Walk {
   public:
    using T = typename O::Scalar;
    static constexpr int S = O::strands;

    // Starts at position t, in direction +1 or -1.
    Walk(const Group<O>& group_, const Strided* const* places_, std::int64_t t_, int direction_)
        : group(&group_), t(t_), direction(direction_) {
        for (int i = 0; i < count; i++) places[i] = places_[i];
        seat();
    }

    FWPLAB_INLINE T* const* operator[](int argument) const { return at[argument]; }
    int active() const { return running; }

    // Replaces n vectors of team m by zeros if the strand has ended. A product with zero would keep infinity and NaN.
    FWPLAB_INLINE void silence(typename O::V* x, int n, int m) const {
        if (running == group->count) return;
        for (int c = 0; c < n; c++) x[c] = O::first(x[c], running, m);
    }

    FWPLAB_INLINE void next() {
        t += direction;
        for (int i = 0; i < count; i++)
            for (int s = 0; s < S; s++) at[i][s] += step[i][s];
        if (group->problem.lengths && present() != running) seat();
    }

    // Prefetches the numbers of `ahead` steps later, if a register has more strands than the hardware prefetcher can follow.
    FWPLAB_INLINE void prefetch(int ahead, int n) const {
        if constexpr (S < 4) return;
        constexpr int line = 64 / sizeof(T);
        for (int i = 0; i < count; i++)
            for (int s = 0; s < S; s++)
                for (int c = 0; c < n; c += line) __builtin_prefetch(at[i][s] + ahead * step[i][s] + c);
    }

   private:
    const Group<O>* group;
    const Strided* places[count];
    T* at[count][S];
    std::ptrdiff_t step[count][S];
    std::int64_t t;
    int direction, running;

    int present() const { return t < 0 ? 0 : group->active(t); }

    FWPLAB_APART void seat() {
        running = present();
        for (int i = 0; i < count; i++) {
            const Strided& place = *places[i];
            for (int s = 0; s < S; s++) {
                const bool here = s < running;
                T* outside = written >> i & 1 ? group->dump : group->zeros;
                at[i][s] = here ? group->template place<T>(place, s) + t * place.row : outside;
                step[i][s] = here ? direction * place.row : 0;
            }
        }
    }
};

}  // namespace fwplab
