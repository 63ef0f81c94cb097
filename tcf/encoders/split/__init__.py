"""Running a model block by block: its skeleton, where its weights are stored, and buffers for them."""
