"""Model folders before their weights are loaded: configuration, tokenizer, weight files, checksums."""
