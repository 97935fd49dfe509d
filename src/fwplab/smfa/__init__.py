"""Self-modifying finite automata: machines whose moves add and remove moves; examples, and what a model is as one."""
