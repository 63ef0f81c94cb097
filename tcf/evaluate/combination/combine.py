"""The stage that combines finished runs and baselines: their weights, and the directory that holds them."""

import os
from collections.abc import Sequence
from pathlib import Path

from tcf.common.files import check_early, is_published, publish_file, publishing
from tcf.common.manifest import digest, seal
from tcf.common.output.folders import real_path
from tcf.config.combine import CombineConfig, CombinedBaseline
from tcf.config.fields import to_mapping, write_toml
from tcf.config.sealed_toml import sealed_toml
from tcf.evaluate.combination.combined_run import CombinedRun, opened_combination
from tcf.evaluate.combination.members import Member
from tcf.evaluate.combination.recorded_combination import (
    BASELINES,
    COMBINATION,
    CONFIG,
    MEMBERS,
    NAMES,
    RUNS,
    member_role,
    read_combination,
)
from tcf.train.run.open_inputs import OpenInputs
from tcf.train.run.recorded_run import read_run

__all__ = ["combine"]

_DECIDE_NOTHING = ("device", "verify")


def combine(
    runs: Sequence[Path],
    *,
    out: Path,
    config: CombineConfig,
    baselines: Sequence[CombinedBaseline] = (),
    names: Sequence[str] | None = None,
    data: Path | None = None,
    caches: Sequence[Path] = (),
) -> CombinedRun:
    """Combine finished runs and baselines; a finished combination of the same at `out` is opened as it is.

    Args:
        runs: the runs' directories, at least one.
        out: directory to create.
        config: settings.
        baselines: baselines that are members too, after the runs.
        names: a name for each run; None: the names of their folders, made distinct.
        data: the dataset, if it has moved since the training.
        caches: the runs' caches, if they have moved, run by run, in the order of training.
    """
    check_early(out)
    inputs = OpenInputs(config.verify)
    recorded = [read_run(path, data=data) for path in runs]
    named = list(names) if names is not None else [path.absolute().name for path in runs]
    kinds = ["run"] * len(runs) + list(baselines)
    weights = config.weights or (1.0,) * len(kinds)
    members = [
        Member(name, kind, weight / sum(weights), {"hr@10": 0.0, "ndcg@10": 0.0})  # type: ignore[arg-type]
        for name, kind, weight in zip([*named, *baselines], kinds, weights, strict=True)
    ]
    settings = {**to_mapping(config), NAMES: named, BASELINES: list(baselines)}
    fingerprints = {member_role(n): r.manifest.fingerprint for n, r in zip(named, recorded, strict=True)}
    places = {n: os.path.relpath(real_path(r.path), real_path(out)) for n, r in zip(named, recorded, strict=True)}
    all_inputs = {"dataset": recorded[0].manifest.inputs["dataset"], **fingerprints}
    if not is_published(out):
        with publishing(out) as staging:
            publish_file(staging / CONFIG, sealed_toml(write_toml({**settings, RUNS: places})))
            facts = {MEMBERS: [m.as_json() for m in members], "hr@10": 0.0, "ndcg@10": 0.0, "users": 0, "fitted_on": 0}
            seal(staging, COMBINATION, inputs=all_inputs, config=settings, facts=facts, identity=digest([settings]))
    return opened_combination(read_combination(out, data=data), inputs, config.device)
