"""Ranking over arrays: search with FAISS, ranked lists, exact ranks, metrics."""
