"""Device functions of the chunkwise kernels: tiles of rows, matrix products, and the linear system of a chunk."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc,import-untyped"
# ruff: noqa: N803

import triton
import triton.language as tl


@triton.jit
def dot(left, right):
    """A matrix product with the accuracy of float32 on tensor cores, as three products of parts with 11 bits.

    Ordinary float32 products ("ieee") keep whole rows and columns in registers, which do not suffice at width 64.
    """
    if left.dtype == tl.float64:
        product = tl.dot(left, right, input_precision="ieee")
    else:
        product = tl.dot(left, right, input_precision="tf32x3")
    return product


@triton.jit
def load_tile(pointer, first, length, stride, width, dtype: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Loads the rows from `first` on of `[length, width]`, padded with zeros.

    Only the scalar `first` is multiplied in 64 bits, so that the addresses in the tile need half the registers.
    """
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    present = (row < (length - first).to(tl.int32)) & (column < width)
    return tl.load(pointer + first * stride + (row * stride + column), mask=present, other=0.0).to(dtype)


@triton.jit
def store_tile(pointer, first, length, stride, width, tile, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The inverse of `load_tile`."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    present = (row < (length - first).to(tl.int32)) & (column < width)
    tl.store(pointer + first * stride + (row * stride + column), tile, mask=present)


@triton.jit
def load_column(pointer, first, length, stride, dtype: tl.constexpr, ROWS: tl.constexpr):
    """Loads the numbers from `first` on of `[length]`, padded with zeros."""
    row = tl.arange(0, ROWS)
    present = row < (length - first).to(tl.int32)
    return tl.load(pointer + first * stride + row * stride, mask=present, other=0.0).to(dtype)


@triton.jit
def store_column(pointer, first, length, stride, column, ROWS: tl.constexpr):
    """The inverse of `load_column`."""
    row = tl.arange(0, ROWS)
    tl.store(pointer + first * stride + row * stride, column, mask=row < (length - first).to(tl.int32))


@triton.jit
def load_block(pointer, stride: tl.constexpr, rows: tl.constexpr, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Loads some columns of a contiguous matrix, padded with zeros."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    return tl.load(pointer + (row * stride + column), mask=(row < rows) & (column < width), other=0.0)


@triton.jit
def store_block(
    pointer, stride: tl.constexpr, rows: tl.constexpr, width, matrix, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """The inverse of `load_block`."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    tl.store(pointer + (row * stride + column), matrix, mask=(row < rows) & (column < width))


@triton.jit
def inverse(A, CHUNK: tl.constexpr, DOUBLINGS: tl.constexpr):
    """`(I + A)^-1` for a strictly lower triangular A of `2^(DOUBLINGS + 1)` rows."""
    row, column = tl.arange(0, CHUNK)[:, None], tl.arange(0, CHUNK)[None, :]
    result = tl.where(row == column, 1.0, tl.where(row // 2 == column // 2, -A, 0.0))
    for doubling in tl.static_range(DOUBLINGS):
        size = 2 << doubling  # rows of the blocks that are inverted; the block below each pair joins them
        below = (row // (2 * size) == column // (2 * size)) & (row // size != column // size)
        result -= dot(dot(result, tl.where(below, A, 0.0)), result)
    return result


@triton.jit
def decays(log_decay, CHUNK: tl.constexpr):
    """`D` (lower triangular with its diagonal), and for every position the decay from the start of the chunk."""
    row, column = tl.arange(0, CHUNK)[:, None], tl.arange(0, CHUNK)[None, :]
    sums = tl.cumsum(tl.where(row > column, log_decay[:, None], 0.0), 0)
    return tl.where(row >= column, tl.exp(sums), 0.0), tl.exp(tl.cumsum(log_decay, 0))


@triton.jit
def last_of(vector, CHUNK: tl.constexpr):
    """The last entry of a column."""
    return tl.sum(tl.where(tl.arange(0, CHUNK) == CHUNK - 1, vector, 0.0), 0)
