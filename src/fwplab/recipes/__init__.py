"""What each cell of a table is trained with, and the search that finds it."""
