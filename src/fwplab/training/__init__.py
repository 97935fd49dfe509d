"""The spec of a run, the one trainer, and what a run leaves behind."""
