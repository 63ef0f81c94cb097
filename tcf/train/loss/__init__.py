"""Losses, and the kernels that compute a loss together with its gradient."""
