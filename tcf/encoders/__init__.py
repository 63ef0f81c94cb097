"""Language models: their folders, tokens, token states and pooling."""
