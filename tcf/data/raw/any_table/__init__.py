"""Event logs from any source: format `table`."""
