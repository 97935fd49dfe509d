"""Layers and languages of other packages: checks of their requirements, and fingerprints of their code."""
