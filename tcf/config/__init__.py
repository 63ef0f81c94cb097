"""One frozen dataclass per stage, with its settings, their defaults and their help texts.

The command line derives its options from the same dataclasses (`tcf.commands.options`), so a setting is described once.
"""
