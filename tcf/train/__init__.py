"""Recommenders over cached item vectors or learned ids: training them, and opening what was trained."""
