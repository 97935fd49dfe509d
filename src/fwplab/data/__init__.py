"""Strings and labels as data: what a model is trained and judged on."""
