"""Benchmarks of the operators and of training, beside their alternatives.

Both times of a ratio come from one run, and an operator's speed is only reported after a check of its results.
"""
