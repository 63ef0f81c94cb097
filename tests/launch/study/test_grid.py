"""The grid: what is trained, counted by hand."""

from collections import Counter
from pathlib import Path

import pytest

from small.launch.studies import study_of
from tcf.common.errors import ConfigError
from tcf.config.train import TrainConfig, unread_settings
from tcf.launch.study.study_file import StudyFile

HEAD = """
[datasets.a]
path = "a"
[datasets.b]
path = "b"
[encoders.small]
model = "minilm"
[encoders.large]
model = "opt-125m"
[grid]
"""


def grid_of(folder: Path, text: str) -> StudyFile:
    return study_of(folder, HEAD + text)


def test_ids_exist_once_for_each_dataset_whatever_the_encoders(tmp_path: Path) -> None:
    file = grid_of(
        tmp_path, 'layers = [0, 3, -1]\npooling = ["auto", "max"]\nitems = ["text", "id", "text+id"]\nseeds = [0, 1]\n'
    )
    counts = Counter((setting.dataset, setting.config.items) for setting in file.settings)
    # 2 encoders x 3 layers x 2 poolings
    assert counts == {("a", "text"): 12, ("a", "text+id"): 12, ("a", "id"): 1} | {
        ("b", "text"): 12, ("b", "text+id"): 12, ("b", "id"): 1,
    }  # fmt: skip
    assert len({setting.name for setting in file.settings}) == 50
    assert "a/small-layer3-max-sasrec-text+id" in {setting.name for setting in file.settings}
    # All layers in one extraction, for each dataset, encoder and pooling.
    assert len(file.extractions) == 8
    assert {one.config.layers for one in file.extractions} == {(0, 3, -1)}


def test_ids_that_start_from_texts_exist_once_for_each_encoder(tmp_path: Path) -> None:
    file = grid_of(
        tmp_path,
        'datasets = ["b"]\nitems = ["text", "id", "text+id"]\nid_init = ["random", "text", "zero"]\n'
        'id_gate = ["none", 5]\n'
        'exclude = [{ items = "id", id_init = "zero" }, { items = "text+id", id_init = ["random", "text"] }]\n',
    )
    assert sorted(setting.name for setting in file.settings) == [
        "b/large-sasrec-id-id_inittext",
        "b/large-sasrec-text",
        "b/large-sasrec-text+id-id_initzero-id_gate5.0",
        "b/large-sasrec-text+id-id_initzero-id_gatenone",
        "b/sasrec-id-id_initrandom",
        "b/small-sasrec-id-id_inittext",
        "b/small-sasrec-text",
        "b/small-sasrec-text+id-id_initzero-id_gate5.0",
        "b/small-sasrec-text+id-id_initzero-id_gatenone",
    ]


def test_a_start_from_texts_needs_an_encoder(tmp_path: Path) -> None:
    text = '[datasets.a]\npath = "a"\n[grid]\nitems = ["id"]\n[train]\nid_init = "text"\n'
    with pytest.raises(ConfigError, match=r"s\.toml: a/.*sasrec-id: expected an encoder whose .*; set encoders ="):
        study_of(tmp_path, text)
    assert study_of(tmp_path, text, 'grid.encoders=["minilm"]').settings[0].encoder == "minilm"


def test_what_is_excluded_and_what_is_left_of_layers(tmp_path: Path) -> None:
    file = grid_of(
        tmp_path,
        'datasets = ["b"]\nlayers = [0, 3, -1]\nbackbones = ["sasrec", "dssm"]\nitems = ["text", "id"]\n'
        'exclude = [{ backbone = "dssm", items = "id" }, { encoder = "small", layer = [0, 3] }]\n',
    )
    assert sorted(setting.name for setting in file.settings) == [
        "b/large-layer-1-dssm-text",
        "b/large-layer-1-sasrec-text",
        "b/large-layer0-dssm-text",
        "b/large-layer0-sasrec-text",
        "b/large-layer3-dssm-text",
        "b/large-layer3-sasrec-text",
        "b/sasrec-id",
        "b/small-layer-1-dssm-text",
        "b/small-layer-1-sasrec-text",
    ]
    assert [(one.encoder.name, one.config.layers) for one in file.extractions] == [
        ("small", (-1,)),
        ("large", (0, 3, -1)),
    ]
    assert [dataset.name for dataset in file.datasets] == ["b"]


def test_layers_that_are_read_together(tmp_path: Path) -> None:
    text = (
        'datasets = ["a"]\nencoders = ["small"]\nlayers = [3, [2, -1], [0, 3]]\nitems = ["text", "id"]\n'
        'mix = ["concat", "weights"]\n'
    )
    file = grid_of(tmp_path, text)
    # How they are mixed means nothing beside a single layer, and nothing of it for ids.
    assert [(one.name, one.config.mix) for one in file.settings] == [
        ("a/small-layer3-sasrec-text", "concat"),
        ("a/small-layer2+-1-sasrec-text-mixconcat", "concat"),
        ("a/small-layer2+-1-sasrec-text-mixweights", "weights"),
        ("a/small-layer0+3-sasrec-text-mixconcat", "concat"),
        ("a/small-layer0+3-sasrec-text-mixweights", "weights"),
        ("a/sasrec-id", "concat"),
    ]
    assert [one.config.layers for one in file.extractions] == [(3, 2, -1, 0)]
    for entry in ("layer = [3, [2, -1]]", 'layer = [3, "2+-1"]'):
        rest = grid_of(tmp_path, f"{text}exclude = [{{ {entry} }}]\n")
        assert [one.axes.get("layer") for one in rest.settings] == ["0+3", "0+3", None]


def test_a_setting_of_mixing_needs_layers_that_are_read_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[train\] mix: expected a setting that a training of the grid reads"):
        grid_of(tmp_path, 'encoders = ["small"]\nlayers = [2, 3]\n[train]\nmix = "weights"\n')
    file = grid_of(tmp_path, 'datasets = ["a"]\nencoders = ["small"]\nlayers = [2, [2, 3]]\n[train]\nmix = "weights"\n')
    assert [one.config.mix for one in file.settings] == ["concat", "weights"]


def test_ids_that_start_from_texts_have_an_encoder_and_others_have_none(tmp_path: Path) -> None:
    text = 'datasets = ["a"]\nlayers = [2, 3]\nitems = ["id"]\nid_init = ["random", "text"]\n'
    file = grid_of(tmp_path, text)
    assert [(one.name, one.encoder) for one in file.settings] == [
        ("a/sasrec-id-id_initrandom", ""),
        *((f"a/{name}-layer{n}-sasrec-id-id_inittext", name) for name in ("small", "large") for n in (2, 3)),
    ]
    assert [(one.encoder.name, one.config.layers) for one in file.extractions] == [("small", (2, 3)), ("large", (2, 3))]
    # Of several layers together there is none to start from.
    with pytest.raises(ConfigError, match=r"expected one layer for ids to start from, found 2\+3; leave it out: excl"):
        grid_of(tmp_path, text.replace("[2, 3]", "[2, [2, 3]]"))
    left = text.replace("[2, 3]", "[2, [2, 3]]") + 'exclude = [{ items = "id", layer = "2+3" }]\n'
    assert [one.axes.get("layer") for one in grid_of(tmp_path, left).settings] == [None, 2, 2]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("[1.5]", r"\[grid\] layers: expected whole numbers, or lists of layers that are read together, .* found 1\.5"),
        ("[true]", r"\[grid\] layers: expected whole numbers"),
        ("[[2]]", r"\[grid\] layers: expected two or more different layers in a list .* found \[2\]"),
        ("[[2, 2]]", r"\[grid\] layers: expected two or more different layers in a list .* found \[2, 2\]"),
        ("[[2, 3], [2, 3]]", r"\[grid\] layers: expected different values, found 2\+3 twice"),
        ("[]", r"\[grid\] layers: expected a value or more, found none; leave layers out"),
        ("3", r"\[grid\] layers: expected a list, found 3"),
    ],
)
def test_what_layers_may_be(tmp_path: Path, layers: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        grid_of(tmp_path, f'encoders = ["small"]\nlayers = {layers}\n')


def test_a_setting_that_is_left_out_is_matched_by_none(tmp_path: Path) -> None:
    axes = 'datasets = ["b"]\nencoders = ["small", "large"]\nwhiten = ["none", 16]\n'
    file = grid_of(tmp_path, f'{axes}exclude = [{{ encoder = "small", whiten = "none" }}]\n')
    assert sorted(setting.name for setting in file.settings) == [
        "b/large-sasrec-text-whiten16",
        "b/large-sasrec-text-whitennone",
        "b/small-sasrec-text-whiten16",
    ]


def test_an_axis_counts_only_where_something_reads_it(tmp_path: Path) -> None:
    file = grid_of(
        tmp_path,
        'datasets = ["a"]\nencoders = ["small"]\nbackbones = ["sasrec", "dssm"]\nitems = ["text", "id"]\n'
        'heads = [1, 2]\nwhiten = ["none", 16]\n',
    )
    # SASRec has heads, DSSM has none; only texts are whitened.
    assert Counter((one.config.backbone, one.config.items) for one in file.settings) == {
        ("sasrec", "text"): 4, ("sasrec", "id"): 2, ("dssm", "text"): 2, ("dssm", "id"): 1,
    }  # fmt: skip
    names = [one.name for one in file.settings if one.config.backbone == "dssm"]
    assert names == ["a/small-dssm-text-whitennone", "a/small-dssm-text-whiten16", "a/dssm-id"]
    assert [one.config.whiten for one in file.settings if one.name in names] == [None, 16, None]


def test_whitening_is_an_axis_of_numbers_and_words(tmp_path: Path) -> None:
    axes = 'datasets = ["a"]\nencoders = ["small"]\nwhiten = [16, "full"]\nwhiten_groups = [1, 4]\n'
    file = grid_of(tmp_path, f'{axes}whiten_sum = [false, true]\n[train]\nwhiten_form = "zca"\n')
    found = [(one.config.whiten, one.config.whiten_groups, one.config.whiten_sum) for one in file.settings]
    # Without groups there is nothing to add up.
    assert sorted(found, key=str) == [
        (wanted, *groups) for wanted in ("full", 16) for groups in ((1, False), (4, False), (4, True))
    ]  # fmt: skip
    assert "a/small-sasrec-text-whitenfull-whiten_groups4-whiten_sumTrue" in {one.name for one in file.settings}


def test_settings_reach_those_that_read_them_and_later_overrides_win(tmp_path: Path) -> None:
    file = grid_of(
        tmp_path,
        'datasets = ["a"]\nencoders = ["small"]\nbackbones = ["sasrec", "dssm"]\nitems = ["text", "id"]\n'
        "[train]\nblocks = 1\ndtl_layers = 3\nepochs = 9\n"
        '[[train.overrides]]\nwhen = { backbone = "dssm" }\nepochs = 8\nmlp_layers = 2\n'
        '[[train.overrides]]\nwhen = { backbone = "dssm", items = "id" }\nepochs = 7\n',
    )
    assert {one.name: one.config for one in file.settings} == {
        "a/small-sasrec-text": TrainConfig(blocks=1, dtl_layers=3, epochs=9),
        "a/sasrec-id": TrainConfig(items="id", blocks=1, epochs=9),
        "a/small-dssm-text": TrainConfig(backbone="dssm", dtl_layers=3, mlp_layers=2, epochs=8),
        "a/dssm-id": TrainConfig(backbone="dssm", items="id", mlp_layers=2, epochs=7),
    }


def test_an_axis_that_an_override_makes_meaningful(tmp_path: Path) -> None:
    file = grid_of(
        tmp_path,
        'datasets = ["a"]\nitems = ["id"]\nbackbones = ["sasrec", "dssm"]\ngbce_t = [0.5, 1.0]\n'
        '[[train.overrides]]\nwhen = { backbone = "sasrec" }\nloss = "gbce"\n',
    )
    assert [one.name for one in file.settings] == ["a/sasrec-id-gbce_t0.5", "a/sasrec-id-gbce_t1.0", "a/dssm-id"]


def test_settings_that_nothing_reads_because_of_others_that_nothing_reads() -> None:
    assert unread_settings({"backbone": "sasrec", "user_tower": "history", "tower_reads": "earlier", "width": 8}) == {
        "user_tower",
        "tower_reads",
    }
    assert unread_settings({"backbone": "dssm", "user_tower": "history", "tower_reads": "earlier"}) == set()
    assert unread_settings({"whiten_epsilon": 0.1}) == {"whiten_epsilon"}
    assert unread_settings({"items": "id", "whiten": 8, "whiten_epsilon": 0.1}) == {"whiten", "whiten_epsilon"}
    summed = {"whiten": "full", "whiten_sum": True, "whiten_form": "zca"}
    assert unread_settings(summed) == {"whiten_sum"}
    assert unread_settings({**summed, "whiten_groups": 2}) == set()
