"""Self-modifying finite automata: the machines, example languages, and machines fitted to trained models."""
