"""Language models: model folders, tokenization, token states and pooling."""
