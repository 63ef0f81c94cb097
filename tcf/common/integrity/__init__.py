"""Comparison of files with the checksums that manifests state, and what a machine remembers of it."""
