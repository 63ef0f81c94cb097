"""Evaluates many runs in one command, in this process or in several."""
