"""Finished runs in a database, or as Parquet files."""
