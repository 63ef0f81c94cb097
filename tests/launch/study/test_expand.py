"""Units of studies: each once, with what it needs, counted by hand."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

import tcf
from small.launch.pipelines import FILE
from small.launch.studies import STUDY, changed, study_of
from tcf.config.train import TrainConfig
from tcf.launch.study.expand import expand
from tcf.launch.study.identities import run_digest, training_settings
from tcf.launch.study.study import Study
from tcf.launch.study.study_file import read_study
from tcf.launch.units.tasks import CompareTask, EvaluateTask, ExtractTask, RecommendTask, TrainTask
from tcf.launch.units.unit import Unit, check_names, decode_unit

EXAMPLES = Path(tcf.__file__).parent / "examples"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expanded(folder: Path, text: str, *overrides: str) -> Study:
    study = expand(study_of(folder, text, *overrides), write=False)
    check_names(study.units)
    earlier: set[str] = set()
    for unit in study.units:
        assert decode_unit(unit.as_message()) == unit
        assert set(unit.needs) <= earlier, unit.name  # needs come before those that need them
        earlier.add(unit.name)
    return study


def needs_of(study: Study) -> dict[str, tuple[str, ...]]:
    return {unit.name: unit.needs for unit in study.units}


def unit_of(study: Study, name: str) -> Unit:
    return next(unit for unit in study.units if unit.name == name)


def extraction(study: Study, name: str) -> ExtractTask:
    task = unit_of(study, name).task
    assert isinstance(task, ExtractTask)
    return task


def test_units_of_a_small_study(here: Path) -> None:
    (here / "model").mkdir()
    study = expanded(here, STUDY, "evaluate.recommend=4", "grid.seeds=[0, 7]")
    text, ids = "walks/tiny-sasrec-text", "walks/sasrec-id"
    assert needs_of(study) == {
        "prepare/walks": (),
        "extract/tiny/walks": ("prepare/walks",),
        "evaluate/walks/popularity": ("prepare/walks",),
        f"train/{text}/seed-0": ("prepare/walks", "extract/tiny/walks"),
        f"evaluate/{text}/seed-0": (f"train/{text}/seed-0",),
        f"train/{text}/seed-7": ("prepare/walks", "extract/tiny/walks"),
        f"evaluate/{text}/seed-7": (f"train/{text}/seed-7",),
        f"recommend/{text}": (f"train/{text}/seed-0",),
        f"train/{ids}/seed-0": ("prepare/walks",),
        f"evaluate/{ids}/seed-0": (f"train/{ids}/seed-0",),
        f"train/{ids}/seed-7": ("prepare/walks",),
        f"evaluate/{ids}/seed-7": (f"train/{ids}/seed-7",),
        f"recommend/{ids}": (f"train/{ids}/seed-0",),
        "compare": (
            "evaluate/walks/popularity",
            *(f"evaluate/{name}/seed-{seed}" for name in (text, ids) for seed in (0, 7)),
        ),
    }
    assert not list(here.glob("out*"))  # nothing is written
    out = here / "out"
    train = unit_of(study, f"train/{text}/seed-7").task
    assert isinstance(train, TrainTask)
    assert (train.data, train.caches) == (out / "datasets/walks", (out / "caches/tiny/layer-1",))
    assert (train.out, train.config.seed, train.config.width) == (out / "runs" / text / "seed-7", 7, 8)
    evaluate = unit_of(study, f"evaluate/{text}/seed-7").task
    assert isinstance(evaluate, EvaluateTask)
    assert (evaluate.run_folder, evaluate.out) == (train.out, out / "evaluations" / text / "seed-7")
    recommend = unit_of(study, f"recommend/{ids}").task
    assert isinstance(recommend, RecommendTask)
    assert (recommend.k, recommend.out) == (4, out / "recommendations" / f"{ids}.parquet")
    assert extraction(study, "extract/tiny/walks").model == str(here / "model")
    assert study.settings[0].runs == {seed: out / "runs" / text / f"seed-{seed}" for seed in (0, 7)}
    assert study.settings[1].caches == ()


def test_a_training_needs_the_extraction_of_its_encoder_for_its_dataset_alone(here: Path) -> None:
    text = changed("[encoders.tiny]", '[datasets.more]\nraw = "m"\nformat = "tcf"\n[encoders.tiny]')
    study = expanded(
        here, text, 'grid.encoders=["tiny", "minilm"]', 'grid.pooling=["auto", "max"]', "grid.layers=[0, -1]"
    )
    needs = needs_of(study)
    # 2 datasets x 2 encoders x 2 poolings; 2 layers more for texts; a download, since `model` is no folder here
    assert Counter(unit.stage for unit in study.units) == {
        "download": 2, "prepare": 2, "extract": 8, "train": 18, "evaluate": 20, "compare": 1,
    }  # fmt: skip
    assert needs["train/more/minilm-layer0-max-sasrec-text/seed-0"] == ("prepare/more", "extract/minilm-max/more")
    assert needs["extract/minilm-max/more"] == ("prepare/more", "download/models/minilm")
    # One cache for both datasets; "part 0 of 1" leaves alone what the other extraction has not finished.
    tasks = [extraction(study, f"extract/minilm-max/{name}") for name in ("walks", "more")]
    assert {task.out for task in tasks} == {here / "out/caches/minilm-max"}
    assert {task.config.shards for task in tasks} == {"0/1"}
    assert {task.config.layers for task in tasks} == {(0, -1)}
    assert tasks[0].outputs == tuple(here / "out/caches/minilm-max" / name for name in ("layer0", "layer-1"))
    train = unit_of(study, "train/more/minilm-layer0-max-sasrec-text/seed-0").task
    assert isinstance(train, TrainTask) and train.caches == (here / "out/caches/minilm-max/layer0",)


def test_ids_that_start_from_texts_need_the_extraction(here: Path) -> None:
    """Its cache and layer count for what it is; which ids that start at random have nothing to do with."""
    texts = changed('items = ["text", "id"]', 'items = ["id"]\nid_init = ["random", "text"]\nencoders = ["tiny"]')
    study = expanded(here, texts)
    name = "train/walks/tiny-sasrec-id-id_inittext/seed-0"
    needs = needs_of(study)
    assert needs[name] == ("prepare/walks", "extract/tiny/walks")
    assert needs["train/walks/sasrec-id-id_initrandom/seed-0"] == ("prepare/walks",)
    task = unit_of(study, name).task
    assert isinstance(task, TrainTask) and task.caches == (here / "out/caches/tiny/layer-1",)
    assert f"--init-from {task.caches[0]} " in task.command and "--cache" not in task.command
    assert [setting.caches for setting in study.settings] == [(), task.caches]
    ids = TrainConfig(items="id", id_init="text")
    assert run_digest("d", "c", -1, ids, of_seed=True) != run_digest("d", "e", -1, ids, of_seed=True)


def test_several_devices_count_where_each_leaves_out_ids_of_its_own() -> None:
    plain = TrainConfig(items="text+id", dropout=0.0, id_dropout=0.1, devices="cpu")
    several = dataclasses.replace(plain, devices="cpu,cpu")
    assert training_settings(plain) != training_settings(several)
    assert training_settings(dataclasses.replace(several, id_dropout=0.0)) == training_settings(
        dataclasses.replace(plain, id_dropout=0.0)
    )


def test_a_single_layer_has_the_place_that_it_has_beside_others(here: Path) -> None:
    alone = extraction(expanded(here, STUDY, "grid.layers=[2]"), "extract/tiny/walks")
    both = extraction(expanded(here, STUDY, "grid.layers=[2, 0]"), "extract/tiny/walks")
    assert alone.outputs == both.outputs[:1] == (here / "out/caches/tiny/layer2",)
    assert (alone.config.shards, both.config.shards) == (None, None)


def test_parts_of_an_extraction_and_one_that_finishes_it(here: Path) -> None:
    study = expanded(here, STUDY, "launch.extract.workers=3")
    parts = [f"extract/tiny/walks/part-{part}-of-3" for part in range(3)]
    assert [extraction(study, name).config.shards for name in parts] == ["0/3", "1/3", "2/3"]
    needs = needs_of(study)
    assert {needs[name] for name in parts} == {("prepare/walks", "download/models/model")}
    assert needs["extract/tiny/walks"] == tuple(parts)
    assert extraction(study, "extract/tiny/walks").config.shards is None
    repaired = expanded(here, STUDY, "launch.extract.workers=3", "extract.repair=true")
    assert [unit.name for unit in repaired.units if unit.stage == "extract"] == ["extract/tiny/walks"]


def test_raw_weights_are_converted_first(here: Path) -> None:
    study = expanded(here, changed('model = "model"', 'raw = "weights"\ntokenizer = "words"'))
    assert needs_of(study)["extract/tiny/walks"] == ("prepare/walks", "convert/tiny")
    assert unit_of(study, "convert/tiny").task.command == (
        f"tcf convert {here}/weights --out {here}/out/models/tiny --tokenizer {here}/words"
    )
    assert extraction(study, "extract/tiny/walks").model == f"{here}/out/models/tiny"


def test_a_named_dataset_is_downloaded_and_a_prepared_one_is_there(here: Path) -> None:
    named = expanded(here, changed('raw = "raw"', 'download = "ml-100k"'))
    assert needs_of(named)["prepare/walks"] == ("download/datasets/ml-100k",)
    there = expanded(here, changed('raw = "raw"\nformat = "tcf"', 'path = "d"'))
    assert "prepare/walks" not in needs_of(there)
    assert extraction(there, "extract/tiny/walks").data == here / "d"


def test_gpus_of_a_training_are_named(here: Path) -> None:
    def devices(*overrides: str) -> set[str]:
        tasks = [unit.task for unit in expanded(here, changed('epochs = 1\ndevices = "cpu"', ""), *overrides).units]
        return {task.config.devices for task in tasks if isinstance(task, TrainTask)}

    assert devices() == devices("launch.train.gpus_per_worker=1") == {"auto"}
    assert devices("launch.train.gpus_per_worker=2") == {"cuda:0,cuda:1"}
    assert devices("launch.train.gpus_per_worker=2", "train.devices=cuda:3") == {"cuda:3"}


def test_options_typed_beside_the_file_do_not_hide_evaluations_from_the_comparison(here: Path) -> None:
    file = read_study(study_of(here, changed('epochs = 1\ndevices = "cpu"', "")).path)
    typed = {stage: dataclasses.replace(config, gpus_per_worker=2) for stage, config in file.launch.items()}
    begun = expand(dataclasses.replace(file, launch=typed))
    task = unit_of(begun, "compare").task
    assert isinstance(task, CompareTask)
    compared = expand(read_study(task.file, task.overrides), write=False)
    assert [setting.evaluations for setting in compared.settings] == [one.evaluations for one in begun.settings]


def test_a_comparison_is_another_when_what_it_compares_is_another(here: Path) -> None:
    def comparison(*overrides: str) -> Unit:
        return unit_of(expanded(here, STUDY, *overrides), "compare")

    unit = comparison()
    assert unit.after_failures and isinstance(unit.task, CompareTask)
    assert (unit.task.file, unit.task.out) == (here / "s.toml", here / "out")
    # A job may start in another folder, and finds the same place.
    assert read_study(unit.task.file, unit.task.overrides).out == here / "out"
    identities = {unit.task.identity}
    for change in ("grid.seeds=[0, 1]", "evaluate.cutoffs=[5]", 'evaluate.by=["cold"]', 'evaluate.metrics=["hr@5"]'):
        task = comparison(change).task
        assert isinstance(task, CompareTask)
        identities.add(task.identity)
    assert len(identities) == 5


def test_units_of_a_pipeline_have_the_places_that_they_had(here: Path) -> None:
    text = FILE.replace("FORMAT", "tcf").replace("[train.id]", '[train."my id"]')
    study = expanded(here, text)
    out = here / "out"
    places = {unit.name: unit.task.outputs for unit in study.units}
    assert places["prepare/dataset"] == (out / "dataset",)
    assert places["extract/cache/dataset"] == (out / "cache",)
    assert places["train/text"] == (out / "runs/text",)
    assert places["evaluate/text"] == (out / "evaluations/text",)
    assert places["evaluate/co-occurrence"] == (out / "evaluations/co-occurrence",)
    assert places["recommend/text"] == (out / "recommendations/text.parquet",)
    odd = [name for name in places if name.startswith("train/my_id-")]
    assert [places[name] for name in odd] == [(out / "runs/my id",)]
    seeds = expanded(here, text, "seeds=[3, 1]")
    assert seeds.settings[0].runs == {seed: out / f"runs/text/seed-{seed}" for seed in (3, 1)}
    assert [setting.axes["dataset"] for setting in seeds.settings] == ["raw", "raw"]


def test_layers_read_together_and_ids_that_start_from_texts(here: Path) -> None:
    grid = ("grid.layers=[2, [0, 2]]", "train.overrides=[{when = {items = 'id'}, id_init = 'text'}]")
    study = expanded(here, STUDY, *grid, 'grid.exclude=[{items = "id", layer = "0+2"}]')
    caches = here / "out/caches/tiny"
    tasks = [unit.task for unit in study.units if isinstance(unit.task, TrainTask)]
    assert [(task.out.parent.name, task.caches) for task in tasks] == [
        ("tiny-layer2-sasrec-text", (caches / "layer2",)),
        ("tiny-layer0+2-sasrec-text", (caches / "layer0", caches / "layer2")),
        ("tiny-layer2-sasrec-id", (caches / "layer2",)),
    ]
    assert f" --init-from {caches}/layer2 --out " in tasks[2].command
    assert f" --cache {caches}/layer0 --cache {caches}/layer2 --out " in tasks[1].command
    assert extraction(study, "extract/tiny/walks").config.layers == (2, 0)
    assert {unit.needs for unit in study.units if unit.stage == "train"} == {("prepare/walks", "extract/tiny/walks")}


def test_one_model_under_two_names_with_layers_of_their_own(here: Path) -> None:
    text = changed("[extract]", '[encoders.same]\nmodel = "model"\n[extract]').replace("[-1]", "[-1, 0]")
    study = expanded(here, text, 'grid.exclude=[{encoder = "same", layer = 0}]')
    found = [unit.task for unit in study.units if isinstance(unit.task, ExtractTask)]
    assert [task.outputs for task in found] == [
        (here / "out/caches/tiny/layer-1", here / "out/caches/tiny/layer0"),
        (here / "out/caches/tiny/layer-1",),
    ]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        # minilm, smollm2, and 15 blocks of it, and ids; minilm and ids combined; with 3 seeds
        (
            "study",
            {"download": 3, "prepare": 1, "extract": 2, "train": 12, "combine": 3, "evaluate": 18, "recommend": 5},
        ),
        # 3 datasets x 2 backbones x (9 encoders and ids) x 3 seeds; eight encoders are on the hub
        ("tcf-paper", {"download": 8, "convert": 1, "prepare": 3, "extract": 27, "train": 180, "evaluate": 183}),
    ],
)
def test_the_examples(here: Path, name: str, counts: dict[str, int]) -> None:
    study = expanded(here, (EXAMPLES / f"{name}.toml").read_text(encoding="utf-8"))
    assert Counter(unit.stage for unit in study.units) == {**counts, "compare": 1}
    assert study.launch["train"].launcher == ("local" if name == "study" else "slurm")


def test_the_papers_settings_are_its_own(here: Path) -> None:
    study = expanded(here, (EXAMPLES / "tcf-paper.toml").read_text(encoding="utf-8"))
    for setting in study.settings:
        config = setting.config
        assert (config.width, config.dtl_layers, config.batch_size, config.epochs) == (512, 2, 64, 200)
        assert (config.learning_rate, config.weight_decay, config.history) == (1e-3, 0.1, 20)
        assert config.resolved_patience == (10 if config.items == "id" else 5)
    encoders = dict.fromkeys(setting.axes.get("encoder") for setting in study.settings if setting.caches)
    sizes = ["125m", "350m", "1.3b", "2.7b", "6.7b", "13b", "30b", "66b", "175b"]
    assert [*encoders] == [f"opt-{size}" for size in sizes]
    assert dataclasses.replace(study.settings[0].config, seed=1) != study.settings[0].config
