// The C interface of the kernels. Every function returns 0, or 1 if memory ran out, or 2 if this build has no code for the problem. This
// source is compiled once for each instruction set, and `library.py` chooses among the libraries.
//
// Threads: a call is divided into tasks, whose results do not depend on the thread that runs them. If several tasks contribute to a
// gradient, their contributions are added in a fixed order. So the bits are the same for any number of threads.
#include "peak.h"
#include "run.h"

using namespace fwplab;

FWPLAB_EXPORT int fwplab_register_bytes() { return register_bytes; }

// Runs `rounds` rounds of multiply-adds on one core. Returns how many numbers were multiplied and added.
FWPLAB_EXPORT double fwplab_multiply_add(std::int64_t is_double, std::int64_t rounds) {
    union {
        float single;
        double twice;
    } sink;
    return is_double ? multiply_add<double, register_bytes / sizeof(double)>(rounds, &sink.twice)
                     : multiply_add<float, register_bytes / sizeof(float)>(rounds, &sink.single);
}
