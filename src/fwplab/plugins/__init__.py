"""Layers and languages of other packages: whether they keep their promises, and which code they are."""
