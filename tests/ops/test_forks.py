"""Kernels in forked processes: no deadlock, whether PyTorch's threads or the kernels ran before the fork."""

import os
import subprocess
import sys

import pytest

FORK_FIRST = """
import os, signal, sys, torch
from fwplab import ops
torch.set_num_threads(2)
(torch.randn(2000, 2000) + 1).sum()  # now PyTorch's threads exist, but no kernel has used them
inputs = [torch.randn(64, 20, 2, 4) for _ in range(3)]
child = os.fork()
if child == 0:
    signal.alarm(20)
    if sys.argv[1] == "set_num_threads":
        torch.set_num_threads(2)
    ops.linear(*inputs, backend="cpu")
    if sys.argv[1] == "torch_operator":
        (torch.randn(2000, 2000) + 1).sum()
    os._exit(0)
raise SystemExit(os.waitpid(child, 0)[1])
"""

FORK_BEFORE_IMPORT = """
import os, signal, torch
torch.set_num_threads(2)
(torch.randn(2000, 2000) + 1).sum()
child = os.fork()
if child == 0:
    signal.alarm(60)
    from fwplab import ops
    ops.linear(*[torch.randn(64, 20, 2, 4) for _ in range(3)], backend="cpu")
    os._exit(0)
raise SystemExit(os.waitpid(child, 0)[1])
"""

POOL = """
import multiprocessing, torch
from fwplab import ops
def work(seed):
    inputs = [torch.randn(64, 20, 2, 4, generator=torch.Generator().manual_seed(seed)) for _ in range(3)]
    return float(ops.linear(*inputs).output.sum())
torch.set_num_threads(2)
(torch.randn(2000, 2000) + 1).sum()
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map_async(work, range(4)).get(timeout=30)
assert found == [work(seed) for seed in range(4)]
class Strings(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, place): return work(place)
loader = torch.utils.data.DataLoader(Strings(), num_workers=2, timeout=30, multiprocessing_context="fork")
assert [float(value) for value in loader] == found
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("child_runs", ["kernel", "set_num_threads", "torch_operator"])
def test_a_fork_before_the_first_kernel_does_not_hang(child_runs: str) -> None:
    assert subprocess.run([sys.executable, "-c", FORK_FIRST, child_runs], check=False, timeout=120).returncode == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux reports this fork")
def test_a_fork_before_the_import_does_not_hang() -> None:
    assert subprocess.run([sys.executable, "-c", FORK_BEFORE_IMPORT], check=False, timeout=120).returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_pools_and_data_loaders_compute_the_same() -> None:
    ran = subprocess.run([sys.executable, "-c", POOL], check=False, timeout=120, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
