"""Study files, with small raw files and a model beside them."""

from pathlib import Path

from small.encoders.models import save_opt
from small.launch.pipelines import write_tcf
from tcf.launch.study.study_file import StudyFile, read_study

__all__ = ["STUDY", "changed", "study_of", "study_place"]

STUDY = """
out = "out"
[datasets.walks]
raw = "raw"
format = "tcf"
[encoders.tiny]
model = "model"
[extract]
devices = "cpu"
tokens_per_batch = 512
[grid]
layers = [-1]
items = ["text", "id"]
seeds = [0]
[train]
width = 8
epochs = 1
devices = "cpu"
[evaluate]
baselines = ["popularity"]
device = "cpu"
"""
"""One dataset and one encoder: two settings, with one seed."""


def study_place(folder: Path) -> Path:
    """Write raw files, a model and this study file into a folder; returns the file."""
    write_tcf(folder / "raw")
    save_opt(folder / "model")
    (folder / "s.toml").write_text(STUDY)
    return folder / "s.toml"


def study_of(folder: Path, text: str, *overrides: str) -> StudyFile:
    """Read a study file with this content; nothing that it names need be there."""
    (folder / "s.toml").write_text(text)
    return read_study(folder / "s.toml", overrides)


def changed(old: str, new: str) -> str:
    """The study file with something replaced."""
    assert old in STUDY
    return STUDY.replace(old, new, 1)
