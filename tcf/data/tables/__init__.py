"""Readers of large text and Parquet tables, in blocks of rows."""
