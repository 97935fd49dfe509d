"""The one model, its starting weights, a population of them, and what happens inside while it reads a string."""
