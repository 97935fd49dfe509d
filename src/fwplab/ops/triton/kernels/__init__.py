"""The Triton kernels, one file for each rule: forward, backward, and the PyTorch operator that launches them.

Importing a module of this folder imports Triton. `fwplab.ops.triton` does so at the first call.
"""
