"""What typer says of wrong command lines, and what tcf uses of its private parts."""
