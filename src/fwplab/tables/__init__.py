"""Tables made from records: their rows and columns, statistics, and output for terminals and other tools."""
