import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from small.data.caches import flip_bit
from small.train.runs import csr, make_cache, make_dataset, walks
from tcf.commands.app import app
from tcf.common.errors import ConfigError, DataError, RunError
from tcf.config.evaluate import Search
from tcf.config.train import TrainConfig
from tcf.data.dataset import Histories
from tcf.data.seen import SeenItems
from tcf.evaluate import best_items
from tcf.evaluate import recommend as module
from tcf.evaluate.recommend import examples, recommend
from tcf.ranking.ranker import top_k
from tcf.train.run.open_run import Run, open_run
from tcf.train.stage import train

TEXTS = [f"text {i // 2}" for i in range(30)]  # every text twice
SMALL: dict[str, Any] = {"width": 16, "batch_size": 16, "epochs": 2, "devices": "cpu", "learning_rate": 0.01}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    dataset = make_dataset(folder, walks(), TEXTS)
    cache = make_cache(folder, dataset, np.random.default_rng(0).normal(size=(15, 12)).astype(np.float16))
    return train(data=dataset.path, caches=[cache.path], out=folder / "run", config=TrainConfig(**SMALL)).path


def call(run: Path, out: Path, k: int = 5, **arguments: Any) -> pa.Table:
    recommend(run, out=out, k=k, device="cpu", **arguments)
    return pq.read_table(out)


def by_user(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        found.setdefault(row["user_id"], []).append(row)
    return found


def all_scores(run: Path) -> npt.NDArray[np.float64]:
    """Scores after the whole history, (U, N)."""
    opened = open_run(run, device="cpu")
    return (
        opened.user_states(np.arange(60), csr(walks())).astype(np.float64) @ opened.item_vectors().astype(np.float64).T
    )


@pytest.mark.parametrize(("k", "search"), [(1, "torch"), (5, "auto"), (12, "faiss"), (12, "torch")])
def test_the_best_items_by_brute_force(run: Path, tmp_path: Path, k: int, search: Search) -> None:
    table = call(run, tmp_path / "r.parquet", k, search=search)
    assert table.column_names == ["user_id", "place", "item_id", "score"]
    found, scores = by_user(table), all_scores(run)
    assert list(found) == [f"u{u}" for u in range(60)]
    for user, history in enumerate(walks()):
        rows = found[f"u{user}"]
        items = [int(row["item_id"].removeprefix("i")) for row in rows]
        unseen = [item for item in range(30) if item not in history]
        best = sorted(unseen, key=lambda item: -scores[user, item])[:k]
        assert [row["place"] for row in rows] == list(range(1, k + 1))
        assert len(set(items)) == k
        assert set(items) <= set(unseen)
        # Compared by score, since items of one text may stand for one another only in the order of the catalogue.
        assert [row["score"] for row in rows] == pytest.approx(scores[user, best], abs=1e-4)
        assert scores[user, items] == pytest.approx(scores[user, best], abs=1e-4)
        for one, other in itertools.pairwise(rows):
            assert one["score"] >= other["score"]
            if one["score"] == other["score"]:
                assert int(one["item_id"][1:]) < int(other["item_id"][1:])


def test_a_user_with_fewer_candidates_has_fewer_rows(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[0, 1, 2, 3], [0, 1, 2, 0], [3, 2, 1, 0, 4]], ["a", "b", "c", "d", "e"])
    run = train(data=dataset.path, out=tmp_path / "run", config=TrainConfig(**SMALL, items="id")).path
    found = by_user(call(run, tmp_path / "r.parquet", 10**12, catalogue="all"))
    assert {user: {row["item_id"] for row in rows} for user, rows in found.items()} == {
        "u0": {"i4"},
        "u1": {"i3", "i4"},
    }
    assert [row["place"] for row in found["u1"]] == [1, 2]


def test_blocks_change_nothing_and_are_never_larger(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = call(run, tmp_path / "whole.parquet")
    sizes, states = [], Run.user_states

    def spy(self: Run, users: npt.NDArray[np.int64], histories: Histories) -> npt.NDArray[np.float32]:
        assert len(users) == len(histories)
        sizes.append(len(histories))
        return states(self, users, histories)

    monkeypatch.setattr(Run, "user_states", spy)
    monkeypatch.setattr(module, "_USERS_AT_ONCE", 7)
    blocks = call(run, tmp_path / "blocks.parquet")
    assert sizes == [7] * 8 + [4]
    assert pq.ParquetFile(tmp_path / "blocks.parquet").num_row_groups == 9
    names = ["user_id", "place", "item_id"]
    assert blocks.select(names).equals(whole.select(names))
    assert np.allclose(blocks["score"], whole["score"], atol=1e-5)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_users_of_a_file_in_its_order(run: Path, tmp_path: Path, encoding: str) -> None:
    users = tmp_path / "users.txt"
    users.write_bytes("\ufeffu7\r\n u3 \nu59\n\n  \n".encode(encoding))
    table = call(run, tmp_path / "r.parquet", users=users)
    everyone = by_user(call(run, tmp_path / "all.parquet"))
    found = by_user(table)
    assert list(found) == ["u7", "u3", "u59"]
    for user, rows in found.items():
        assert [row["item_id"] for row in rows] == [row["item_id"] for row in everyone[user]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"u1\nu60\nu2\nx\n",
            r"users\.txt:2: expected users of .*, each only once, found the unknown id 'u60' \(2 wrong lines\)",
        ),
        (b"u1\n\nu2\n", r"users\.txt:2: .* found the unknown id '' \(1 wrong line\)"),
        (b"u1\nu2\nu1\nu1\n", r"users\.txt:3: .* found 'u1' a second time \(2 wrong lines\)"),
        (b"u1\n\xff\n", r"users\.txt:2: .*unknown"),
        (b"", r"users\.txt: expected rows, found an empty file"),
        (b"\n\n", r"users\.txt: expected user ids, one per line, found none"),
        (None, r"users\.txt: expected a readable file, found none"),
    ],
)
def test_users_that_cannot_be(run: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "users.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        call(run, tmp_path / "r.parquet", users=tmp_path / "users.txt")
    assert not (tmp_path / "r.parquet").exists()


def test_an_equal_file_is_left_and_any_other_of_tcf_replaced(run: Path, tmp_path: Path) -> None:
    out, users = tmp_path / "r.parquet", tmp_path / "users.txt"

    def stamp() -> tuple[int, int]:
        return out.stat().st_mtime_ns, out.stat().st_ino

    assert recommend(run, out=out, k=5, device="cpu").n_users == 60
    first, content = stamp(), out.read_bytes()
    assert recommend(run, out=out, k=5, device="cpu").n_users == 60
    assert stamp() == first
    assert len(call(run, out, 6)) == 6 * 60
    users.write_text("u3\n")
    assert len(call(run, out, 6, users=users)) == 6
    assert len(call(run, out, 5)) == 5 * 60
    assert out.read_bytes() == content
    other = train(data=run.parent / "data", out=tmp_path / "id", config=TrainConfig(**SMALL, items="id")).path
    assert call(other, out)["item_id"].to_pylist() != pq.read_table(pa.BufferReader(content))["item_id"].to_pylist()


@pytest.mark.usefixtures("shown_log")
def test_a_damaged_file_of_these_rows_is_named_and_written_again(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.parquet"
    recommend(run, out=out, k=5, device="cpu")
    whole = out.read_bytes()
    for position in (len(whole) // 3, len(whole) // 2):
        flip_bit(out, position)
        capsys.readouterr()
        recommend(run, out=out, k=5, device="cpu")
        assert f"{out}: expected these recommendations as they were written" in capsys.readouterr().err
        assert out.read_bytes() == whole


@pytest.mark.usefixtures("shown_log")
def test_a_file_that_will_not_be_written_again_is_not_called_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last bytes are damaged, so that nobody can tell whose it is."""
    out = tmp_path / "r.parquet"
    recommend(run, out=out, k=5, device="cpu")
    recommend(run, out=out, k=5, device="cpu")
    assert f"{out}: already has these recommendations; nothing to do" in capsys.readouterr().err
    flip_bit(out, out.stat().st_size - 1)
    with pytest.raises(RunError, match=r"found a file that tcf did not write; remove it or"):
        recommend(run, out=out, k=5, device="cpu")
    assert "written again" not in capsys.readouterr().err


def test_a_table_that_is_read_is_as_it_was_written(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.parquet"
    done = recommend(run, out=out, k=5, device="cpu")
    assert done.table.equals(pq.read_table(out))
    scores = pa.array(np.flip(done.table["score"].to_numpy()))
    pq.write_table(done.table.set_column(3, "score", scores), out)
    with pytest.raises(RunError, match=rf"{out}: expected recommendations as they were written, found others"):
        _ = done.table
    out.unlink()
    with pytest.raises(RunError, match=rf"{out}: .* \(.*no such file.*\)"):
        _ = done.table


@pytest.mark.parametrize("there", [False, True])
def test_a_failure_leaves_what_was_there(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    out = tmp_path / "r.parquet"
    if there:
        out.write_bytes(b'"user_id","place","item_id","score"\n')
    blocks = []

    def fails(*arguments: Any, **named: Any) -> Any:
        blocks.append(arguments[0].n_users)
        if len(blocks) == 2:
            raise RunError("the second block")
        return top_k(*arguments, **named)

    monkeypatch.setattr(module, "_USERS_AT_ONCE", 20)
    monkeypatch.setattr(best_items, "top_k", fails)
    with pytest.raises(RunError, match="the second block"):
        recommend(run, out=out, k=5, device="cpu")
    assert [(p.name, p.stat().st_size) for p in tmp_path.iterdir()] == [("r.parquet", 36)] * there


def test_what_cannot_be_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="k: expected at least 1, found 0"):
        call(run, tmp_path / "r.parquet", 0)
    with pytest.raises(RunError, match="expected a file or an unused path, found a directory; choose"):
        call(run, made_folder(tmp_path / "folder.csv"))
    with pytest.raises(
        ConfigError,
        match=r"--out: expected a file name that ends in .parquet or .csv, found .*r.npy; change its suffix",
    ):
        call(run, tmp_path / "r.npy")
    with pytest.raises(RunError, match="made by `tcf train`, found nothing"):
        call(tmp_path / "nowhere", tmp_path / "r.parquet")
    assert [file.name for file in tmp_path.iterdir()] == ["folder.csv"]


def made_folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_csv_file_has_the_same_rows(run: Path, tmp_path: Path) -> None:
    expected = call(run, tmp_path / "r.parquet").to_pandas()
    recommend(run, out=tmp_path / "r.CSV", k=5, device="cpu")
    read = pd.read_csv(tmp_path / "r.CSV", dtype={"place": np.int32, "score": np.float32})
    pd.testing.assert_frame_equal(read, expected, check_exact=True)


def test_inputs_that_have_moved_are_named(run: Path, tmp_path: Path) -> None:
    expected = call(run, tmp_path / "expected.parquet")
    shutil.copytree(run, tmp_path / "run")
    with pytest.raises(RunError, match="found nothing there"):
        call(tmp_path / "run", tmp_path / "r.parquet")
    moved: dict[str, Any] = {"data": run.parent / "data", "caches": [run.parent / "cache"]}
    assert call(tmp_path / "run", tmp_path / "r.parquet", **moved).equals(expected)
    other = make_dataset(tmp_path, walks()[1:], TEXTS, name="other")
    with pytest.raises(RunError, match="expected the dataset that .* was trained on"):
        call(tmp_path / "run", tmp_path / "r.parquet", data=other.path, caches=[run.parent / "cache"])


def test_the_command_says_what_it_wrote(run: Path, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("u3\nu1\n")
    words = ["recommend", str(run), "--k", "4", "--out", str(tmp_path / "r.parquet"), "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--users", str(tmp_path / "users.txt")])
    assert done.stdout == f"{tmp_path / 'r.parquet'}: up to 4 items for each of 2 users\n"
    assert pq.read_table(tmp_path / "r.parquet")["user_id"].to_pylist() == ["u3"] * 4 + ["u1"] * 4


def test_examples_are_texts_of_some_users(run: Path, tmp_path: Path) -> None:
    lines = examples(run, users=3, k=2, device="cpu").splitlines()
    found = by_user(call(run, tmp_path / "r.parquet", 2))
    expected = []
    for user in (0, 29, 59):
        texts = [TEXTS[int(row["item_id"][1:])] for row in found[f"u{user}"]]
        latest = "; ".join(TEXTS[item] for item in walks()[user][-3:])
        expected += [f"user u{user}, latest: {latest}", f"  recommended: {'; '.join(texts)}"]
    assert lines == expected
    assert len(examples(run, users=1000, k=1, device="cpu").splitlines()) == 2 * 60


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six items, of which i4 and i5 have no training interaction, and four users; u3 has none either. Runs by name."""
    folder = tmp_path_factory.mktemp("few")
    histories = [[0, 1, 2, 3], [0, 1, 2, 0], [3, 2, 1, 0, 4], [2, 5]]
    seen = SeenItems(csr([[4, 5], [], [], []]), csr([[], [3], [], []]))
    dataset = make_dataset(folder, histories, ["a", "b", "c", "d", "e", "f"], seen=seen)
    cache = make_cache(folder, dataset, np.random.default_rng(0).normal(size=(6, 12)).astype(np.float16))
    for name, more in (("id", {}), ("dssm", {"backbone": "dssm"}), ("text", {"items": "text"})):
        config = TrainConfig(**{**SMALL, "items": "id", **more})
        train(data=dataset.path, caches=[cache.path] * (name == "text"), out=folder / name, config=config)
    return folder


def items_by_user(table: pa.Table) -> dict[str, set[str]]:
    return {user: {row["item_id"] for row in rows} for user, rows in by_user(table).items()}


@pytest.mark.parametrize(
    ("name", "catalogue", "expected", "used"),
    [
        ("id", None, {"u3": {"i0", "i1", "i3"}}, "trained"),
        ("text", None, {"u1": {"i4", "i5"}, "u2": {"i5"}, "u3": {"i0", "i1", "i3", "i4"}}, "all"),
        ("id", "all", {"u1": {"i4", "i5"}, "u2": {"i5"}, "u3": {"i0", "i1", "i3", "i4"}}, "all"),
        ("text", "trained", {"u3": {"i0", "i1", "i3"}}, "trained"),
    ],
)
@pytest.mark.usefixtures("shown_log")
def test_untrained_items_are_candidates_where_texts_tell_of_them(
    few: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    catalogue: Any,
    expected: dict[str, set[str]],
    used: str,
) -> None:
    """u0 has had everything, partly before its history was cut; u1 has had i3 in another way."""
    done = recommend(few / name, out=tmp_path / "r.parquet", k=3, catalogue=catalogue, device="cpu")
    found = items_by_user(done.table)
    best = found.pop("u3")
    assert (len(best), best <= expected.pop("u3"), found) == (3, True, expected)
    metadata = pq.read_schema(tmp_path / "r.parquet").metadata
    policies = (b"tcf.catalogue", b"tcf.exclude", b"tcf.untrained_users")
    assert [metadata[key] for key in policies] == [used.encode(), b"all-seen", b"keep"]
    assert (done.n_users, done.with_fewer, done.catalogue) == (4, 3, used)
    said = capsys.readouterr().err
    assert "3 of 4 users get fewer than 3 items: there are no further candidates that they have not had" in said
    assert ("4 of 6 items have a training interaction and are candidates" in said) == (used == "trained")
    again = recommend(few / name, out=tmp_path / "r.parquet", k=3, catalogue=catalogue, device="cpu")
    assert again == done
    assert "3 of 4 users get fewer" in capsys.readouterr().err


@pytest.mark.usefixtures("shown_log")
def test_users_who_were_never_trained_are_said_and_left_out_on_request(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users = tmp_path / "users.txt"
    users.write_text("u3\nu1\n")
    words = ["recommend", str(few / "dssm"), "--device", "cpu", "--users", str(users), "--k", "1", "--json"]
    found = {}
    for policy in ("keep", "leave-out"):
        out = tmp_path / f"{policy}.parquet"
        done = recommend(few / "dssm", out=out, k=1, users=users, untrained_users=policy, device="cpu")
        printed = CliRunner().invoke(app, [*words, "--out", str(out), "--untrained-users", policy]).stdout
        assert json.loads(printed) == done.as_json()
        found[policy] = done.as_json(), [*items_by_user(done.table)], capsys.readouterr().err
    policies = {"catalogue": "trained", "exclude": "all-seen"}
    kept, left = ({**dict(found[name][0]), "out": ""} for name in ("keep", "leave-out"))
    assert kept == {
        "out": "",
        "k": 1,
        "users": 2,
        "users_with_fewer": 1,
        "users_never_trained": 1,
        **policies,
        "untrained_users": "keep",
        "search": "torch",
    }
    assert left == {**kept, "users": 1, "untrained_users": "leave-out"}
    assert (found["keep"][1], found["leave-out"][1]) == (["u3"], [])
    assert "1 of 2 users (the first: u3) have no training interaction, so that" in found["keep"][2]
    assert "1 of 2 users (the first: u3) have no training interaction and are left out" in found["leave-out"][2]
    recommend(few / "id", out=tmp_path / "id.parquet", k=1, users=users, device="cpu")
    assert "no training interaction, so" not in capsys.readouterr().err


def test_examples_are_of_what_users_have_not_had(few: Path) -> None:
    lines = examples(few / "id", users=4, k=6, device="cpu").splitlines()
    assert lines[:5] == [
        *("user u0, latest: b; c; d", "  recommended: "),
        *("user u1, latest: b; c; a", "  recommended: "),
        "user u2, latest: b; a; e",
    ]
    assert sorted(lines[-1].removeprefix("  recommended: ").split("; ")) == ["a", "b", "d"]
