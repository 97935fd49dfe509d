"""How fast, measured beside what it replaces: every ratio comes from one run, every speed has passed its check."""
