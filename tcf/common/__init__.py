"""Modules that every package uses: errors, files, manifests, memory, progress, threads."""
