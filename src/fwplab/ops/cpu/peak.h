// Measures the peak rate of multiply-adds of one core, for `fwplab bench`.
#pragma once

#include "vector.h"

namespace fwplab {

// Runs `rounds` multiply-adds on each of ten registers, which is more than latency times throughput on today's cores. Returns how many
// numbers were multiplied and added. `sink` receives the sums, so that the compiler cannot remove the computation.
template <class T, int N>
double multiply_add(std::int64_t rounds, T* sink) {
    using V = Vector<T, N>;
    constexpr int registers = 10;
    V sum[registers], x = splat<V>(T(0.999999)), y = splat<V>(T(1e-6));
    for (int i = 0; i < registers; i++) sum[i] = splat<V>(T(i));
    for (std::int64_t round = 0; round < rounds; round++)
        for (int i = 0; i < registers; i++) sum[i] = sum[i] * x + y;
    V total{};
    for (int i = 0; i < registers; i++) total += sum[i];
    *sink = fold_lanes(total)[0];
    return double(rounds) * registers * N;
}

}  // namespace fwplab
