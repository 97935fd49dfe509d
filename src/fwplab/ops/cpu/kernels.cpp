// The C interface of the kernels: every function returns 0, or 1 when memory ran out, or 2 for a problem that this build has no code
// for. The same source is compiled once for each instruction set; `library.py` chooses among the results.
//
// Threads: a call splits into tasks whose results do not depend on which thread runs them, and shares of a gradient that several groups
// have are added in a fixed order. So the bits are the same for any number of threads.
#include "peak.h"
#include "run.h"

using namespace fwplab;

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
