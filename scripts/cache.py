"""The time of the kernels for a batch that fits into the cache and for one that does not, and the overhead of a pass.

    python scripts/cache.py

It prints the time of a forward and backward pass through autograd on one core, in nanoseconds for a position of one
head of one sequence. The small batch (in the cache) has so many sequences that they have 16 heads in all. The full
batch has 64 sequences.
The overhead is the time of a pass over a single position, in microseconds; it is subtracted from both. The three are
measured in turn, and the numbers are medians.
"""

from fwplab.benchmark import clock
from fwplab.benchmark.operators import Case, draw, passes

CASES = (
    Case("linear", 4, 16),
    Case("delta", 4, 16),
    Case("recurrent_delta", 8, 8),
    Case("recurrent_delta", 4, 16),
    Case("srwm", 4, 16),
)
LENGTH, ROUNDS = 100, 21

if __name__ == "__main__":
    print("operator         shape   in cache  full batch  share  smallest pass")
    with clock.on_threads(1):
        for case in CASES:
            few, form = 16 // case.heads, case.forms["cpu"]
            inputs = {"least": draw(case, few, 1), "inside": draw(case, few, LENGTH), "full": draw(case, 64, LENGTH)}
            times = clock.medians({name: passes(form, tensors) for name, tensors in inputs.items()}, rounds=ROUNDS)
            inside = (times["inside"] - times["least"]) / (16 * LENGTH)
            full = (times["full"] - times["least"]) / (64 * LENGTH * case.heads)
            shape = f"{case.heads}x{case.width}"
            print(
                f"{case.operator:16} {shape:6} {1e9 * inside:6.0f} ns   {1e9 * full:6.0f} ns   {inside / full:.2f} "
                f"{1e6 * times['least']:8.0f} us"
            )
