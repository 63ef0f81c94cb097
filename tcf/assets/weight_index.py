"""How a model's weights are named in its folder: in one file, or in several with an index that lists them."""

__all__ = ["INDEX", "SAFETENSORS", "WEIGHTS", "indexed_names"]

SAFETENSORS = "model.safetensors"
"""Name of a model's one file of weights without pickles."""

WEIGHTS = (SAFETENSORS, "pytorch_model.bin")
"""Names of a model's one file of weights, in order of preference."""

INDEX = ".index.json"
"""What the index of several files adds to the name that one file would have."""


def indexed_names(content: object) -> list[str] | None:
    """The files that an index of weights lists.

    Args:
        content: the index, read from its JSON.

    Returns:
        Names, sorted, each once; None where the index is damaged.

    Example:
        >>> indexed_names({"weight_map": {"a": "2.bin", "b": "1.bin", "c": "2.bin"}})
        ['1.bin', '2.bin']
    """
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        return None
    return sorted(set(names.values()))
