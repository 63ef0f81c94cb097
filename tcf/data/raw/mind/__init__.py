"""MIND as published by Microsoft."""
