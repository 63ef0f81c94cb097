"""Training of recommenders over cached item vectors or learned ids, and opening of trained runs."""
