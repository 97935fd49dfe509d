"""Loads checkpoints of other people's published code. One file per publication."""
