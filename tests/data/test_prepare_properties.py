"""What holds of every prepared dataset, and the real Games data."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small.data.raw import folder_of, histories_of, texts_of
from tcf.common.errors import ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import Dataset, open_dataset
from tcf.data.prepare import prepare
from tcf.data.split import training_histories

GAMES = Path(__file__).parents[3] / "shared" / "data" / "games"

ids = st.sampled_from(["a", "b", "c", "d", "id", "user", "7"])
logs = st.dictionaries(
    st.sampled_from([f"u{n}" for n in range(8)] + ["user", "id"]), st.lists(ids, min_size=1, max_size=12), min_size=1
)
settings_of_prepare = st.builds(
    PrepareConfig,
    min_history=st.integers(3, 5),
    keep_last=st.integers(3, 8),
    sample_users=st.none() | st.integers(1, 4),
    seed=st.integers(0, 3),
)


@settings(deadline=None, max_examples=14)
@given(log=logs, catalogue=st.permutations(["a", "b", "c", "d", "id", "user", "7"]), config=settings_of_prepare)
def test_properties_of_prepared_datasets(
    tmp_path_factory: pytest.TempPathFactory,
    log: dict[str, list[str]],
    catalogue: list[str],
    config: PrepareConfig,
) -> None:
    tmp_path = tmp_path_factory.mktemp("prepared")
    texts = {item: f"Text of {item}" for item in catalogue}
    raw = folder_of(tmp_path / "raw", texts, {user: " ".join(items) for user, items in log.items()})
    long_enough = [user for user, items in log.items() if len(items) >= config.min_history]
    wanted = config.sample_users if config.sample_users is not None else len(long_enough)
    if not long_enough or wanted > len(long_enough):
        with pytest.raises(DataError if not long_enough else ConfigError):
            prepare("tcf", raw, tmp_path / "out", config)
        return
    dataset = prepare("tcf", raw, tmp_path / "out", config)
    histories = histories_of(dataset)
    assert list(histories) == [user for user in long_enough if user in histories]
    assert len(histories) == wanted
    assert histories == {user: log[user][-config.keep_last :] for user in histories}
    seen = {item for items in histories.values() for item in items}
    assert list(texts_of(dataset).items()) == [(item, texts[item]) for item in catalogue if item in seen]
    training = training_histories(dataset.split)
    kept = dataset.item_ids.to_pylist()
    for row, user in enumerate(histories):
        assert [kept[item] for item in training.of(row)] == log[user][-config.keep_last :][:-2]
    _check_counts(dataset, log, histories)
    again = prepare("tcf", raw, tmp_path / "again", config)
    assert again.fingerprint == dataset.fingerprint
    for path in (tmp_path / "out").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def _check_counts(dataset: Dataset, log: dict[str, list[str]], histories: dict[str, list[str]]) -> None:
    """Every user, interaction and item of the raw files is either kept or counted."""
    skipped = Counter(dataset.statistics["skipped"])
    assert sum(map(len, log.values())) == (
        dataset.statistics["interactions"]
        + skipped["interactions_of_dropped_users"]
        + skipped["interactions_of_users_not_sampled"]
        + skipped["interactions_cut_by_keep_last"]
    )
    assert len(log) == dataset.n_users + skipped["users_below_min_history"] + skipped["users_not_sampled"]
    assert dataset.n_items + skipped["items_never_seen"] + skipped["header_line"] == 7
    repeats = sum(len(items) - len(set(items)) for items in histories.values())
    assert dataset.statistics["repeated_interactions"] == repeats


@pytest.mark.skipif(not GAMES.is_dir(), reason=f"the Games data is not there ({GAMES})")
def test_games(tmp_path: Path) -> None:
    dataset = prepare("tcf", GAMES, tmp_path / "games", PrepareConfig())
    statistics = dataset.statistics
    assert (statistics["users"], statistics["items"]) == (50_546, 16_859)
    assert statistics["interactions"] + statistics["skipped"]["interactions_cut_by_keep_last"] == 440_264
    assert set(statistics["skipped"]) == {"interactions_cut_by_keep_last"}
    texts = dict(line.rstrip("\n").split("\t") for line in (GAMES / "items.tsv").open(encoding="utf-8"))
    assert {item: text.strip() for item, text in texts.items()} == texts_of(dataset)
    rows = (line.split("\t") for line in (GAMES / "behaviors.tsv").open(encoding="utf-8"))
    assert histories_of(open_dataset(tmp_path / "games")) == {user: items.split()[-23:] for user, items in rows}
