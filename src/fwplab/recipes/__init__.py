"""Recipes: the hyperparameters of each mixer on each language, and the search that finds them."""
