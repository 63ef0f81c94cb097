"""Settings: a frozen dataclass per stage."""
