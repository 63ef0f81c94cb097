"""Static word vectors (GloVe, word2vec) as an encoder."""
