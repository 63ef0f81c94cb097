"""The vector cache: files, reader, writer, and operations on whole caches."""
