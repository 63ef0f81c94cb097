"""What every package uses: errors, files, manifests, memory, progress, threads."""
