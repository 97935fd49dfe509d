"""What a construction does on all words, and what no weights can do."""
