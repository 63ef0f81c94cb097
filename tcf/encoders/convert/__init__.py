"""Published weights in other formats, written as a model folder."""
