"""Metrics of groups of targets or users: cold and warm items, popular ones, short histories, columns of a table."""
