"""Converting published weights in other formats to a model folder."""
