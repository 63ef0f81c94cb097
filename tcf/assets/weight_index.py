"""Names of a model's weight files: a single file, or several with an index that lists them."""

__all__ = ["INDEX", "SAFETENSORS", "WEIGHTS", "indexed_names"]

SAFETENSORS = "model.safetensors"
"""Name of a model's single weight file in safetensors format."""

WEIGHTS = (SAFETENSORS, "pytorch_model.bin")
"""Names of a model's single weight file, in order of preference."""

INDEX = ".index.json"
"""Suffix of the index of several weight files, after the name of the single file."""


def indexed_names(content: object) -> list[str] | None:
    """Return the weight files that an index lists.

    Args:
        content: the parsed JSON of the index.

    Returns:
        Sorted names without repeats; None if the index is damaged.

    Example:
        >>> indexed_names({"weight_map": {"a": "2.bin", "b": "1.bin", "c": "2.bin"}})
        ['1.bin', '2.bin']
    """
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        return None
    return sorted(set(names.values()))
