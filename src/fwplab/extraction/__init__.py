"""Extracts an automaton from a trained model: learns it from the model's labels, or clusters the model's states."""
