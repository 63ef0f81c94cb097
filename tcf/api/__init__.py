"""The functions of the public API; import them from `tcf`, because modules here may move."""
