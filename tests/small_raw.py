"""Raw files of the study's format, small enough to read by eye, and what was read of them."""

from pathlib import Path

from tcf.data.raw import RawLog

ITEMS = "a\tAlpha\nb\tBeta\nc\tGamma\n"
BEHAVIORS = "u1\ta b a\nu2\tc\nu3\tb c\n"
HISTORIES = {"u1": ["a", "b", "a"], "u2": ["c"], "u3": ["b", "c"]}
TEXTS = {"a": "Alpha", "b": "Beta", "c": "Gamma"}


def folder_with(path: Path, items: str | bytes = ITEMS, behaviors: str | bytes = BEHAVIORS) -> Path:
    for name, content in (("items.tsv", items), ("behaviors.tsv", behaviors)):
        (path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def histories_of(log: RawLog) -> dict[str, list[str]]:
    ids = log.item_ids.to_pylist()
    users = log.user_ids.to_pylist()
    return {
        user: [ids[item] for item in log.items[log.offsets[row] : log.offsets[row + 1]]]
        for row, user in enumerate(users)
    }


def texts_of(log: RawLog) -> dict[str, str]:
    return dict(zip(log.item_ids.to_pylist(), log.texts.to_pylist(), strict=True))
