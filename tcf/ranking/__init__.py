"""Arrays in, lists and ranks out: search through FAISS, exact ranks, metrics."""
