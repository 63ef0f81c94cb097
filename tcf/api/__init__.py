"""The functions of the public API; import them from `tcf`, since modules here may move."""
