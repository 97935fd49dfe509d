"""Device functions of the kernels: bounds of sequences, masked loads and stores of rows and matrices, and functions.

softmax, sigmoid and tanh do not overflow, and keep their relative accuracy near 0.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc,import-untyped"
# ruff: noqa: N803

import triton
import triton.language as tl


@triton.jit
def sequence_bounds(cu_seqlens, sequence, time, PACKED: tl.constexpr):
    """The batch index of a sequence, its first position and its length, in 64 bits."""
    if PACKED:
        batch = sequence * 0
        start = tl.load(cu_seqlens + sequence).to(tl.int64)
        length = tl.load(cu_seqlens + sequence + 1).to(tl.int64) - start
    else:
        batch = sequence
        start = sequence * 0
        length = start + time
    return batch, start, length


@triton.jit
def load_row(pointer, t, stride, width, present, BLOCK: tl.constexpr):
    """Loads row `t` of `[time, width]`, padded with zeros; all zeros if it is not `present`."""
    column = tl.arange(0, BLOCK)
    return tl.load(pointer + t * stride + column, mask=(column < width) & present, other=0.0)


@triton.jit
def store_row(pointer, t, stride, width, row, BLOCK: tl.constexpr):
    """The inverse of `load_row`."""
    column = tl.arange(0, BLOCK)
    tl.store(pointer + t * stride + column, row, mask=column < width)


@triton.jit
def load_matrix(pointer, rows: tl.constexpr, columns: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Loads a contiguous matrix `[rows, columns]`, padded with zeros."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    if rows == ROWS and columns == COLUMNS:
        matrix = tl.load(pointer + row * columns + column)
    else:
        matrix = tl.load(pointer + row * columns + column, mask=(row < rows) & (column < columns), other=0.0)
    return matrix


@triton.jit
def store_matrix(pointer, rows: tl.constexpr, columns: tl.constexpr, matrix, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The inverse of `load_matrix`."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    if rows == ROWS and columns == COLUMNS:
        tl.store(pointer + row * columns + column, matrix)
    else:
        tl.store(pointer + row * columns + column, matrix, mask=(row < rows) & (column < columns))


@triton.jit
def left_multiply(row, matrix):
    """`row matrix`, a sum over the first axis."""
    return tl.sum(row[:, None] * matrix, 0)


@triton.jit
def right_multiply(matrix, row):
    """`matrix row^T`, a sum over the second axis."""
    return tl.sum(matrix * row[None, :], 1)


@triton.jit
def sigmoid(x):
    """`1 / (1 + exp(-x))`. Only nonpositive numbers are exponentiated, so that nothing overflows."""
    small = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, small) / (1.0 + small)


@triton.jit
def softmax(logits, width, BLOCK: tl.constexpr):
    """The softmax of the first `width` entries; 0 after them."""
    inside = tl.arange(0, BLOCK) < width
    top = tl.max(tl.where(inside, logits, -float("inf")), 0)
    weights = tl.exp(tl.where(inside, logits - top, -float("inf")))
    return weights / tl.sum(weights, 0)


@triton.jit
def softmax_backward(weights, gradient):
    """The gradient of the logits from that of the softmax."""
    return weights * (gradient - tl.sum(weights * gradient, 0))


@triton.jit
def tanh(x):
    """tanh by exponentials. Near 0, where these cancel, by the rational function of Cephes."""
    square = x * x
    numerator = (-9.64399179425052238628e-1 * square - 9.92877231001918586564e1) * square - 1.61468768441708447952e3
    denominator = (square + 1.12811678491632931402e2) * square + 2.23548839060100448583e3
    denominator = denominator * square + 4.84406305325125486048e3
    near = x + x * square * (numerator / denominator)
    small = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - small) / (1.0 + small)
    return tl.where(tl.abs(x) < 0.625, near, tl.where(x < 0, -far, far))
