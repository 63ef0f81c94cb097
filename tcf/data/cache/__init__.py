"""The vector cache: its files, reader, writer, and the operations on whole caches."""
