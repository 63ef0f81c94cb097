"""Model folders before their weights are loaded: configuration, tokenizer, files, checksums."""
