"""From records to tables: a row a cell, its columns, and the forms in which they are shown and handed on."""
