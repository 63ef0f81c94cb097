"""The stages in a row, on this machine."""
