"""Data sets of strings and labels, on which models are trained and evaluated."""
