"""The command line: a module per group of commands, each of which parses, makes one call and prints."""
