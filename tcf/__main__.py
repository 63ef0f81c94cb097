"""`python -m tcf` is the command `tcf`."""

from tcf.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
