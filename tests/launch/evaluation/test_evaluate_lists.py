"""Lists, and the vectors of their diversity, in many evaluations of one command."""

import dataclasses
from pathlib import Path

from small.train.evaluations import CPU
from tcf.evaluate.stage import evaluate_baseline
from tcf.launch.evaluation.evaluate_runs import evaluate_runs
from tcf.launch.workers.jobs import EvaluationJob, decode_message, encode_message


def test_many_evaluations_measure_lists_on_the_vectors_that_are_named(made: Path, tmp_path: Path) -> None:
    config, vectors = dataclasses.replace(CPU, lists=True), made / "cache"
    alone = evaluate_baseline("popularity", data=made / "data", out=tmp_path / "a", config=config, vectors=vectors)
    assert alone.metrics["diversity@10"] > 0
    done = evaluate_runs(
        [], ["popularity", "random"], out=tmp_path / "e", config=config, data=made / "data", vectors=vectors
    )
    done.check()
    assert done.evaluations["popularity"].manifest == alone.manifest
    assert done.evaluations["random"].manifest.inputs == alone.manifest.inputs
    assert "diversity@10" in str(done.table).splitlines()[0]
    # The same command finds them, and one without the vectors finds something else.
    again = evaluate_runs([], ["popularity"], out=tmp_path / "e", config=config, data=made / "data", vectors=vectors)
    assert (again.evaluations["popularity"].manifest, again.failures) == (alone.manifest, {})
    other = evaluate_runs([], ["popularity"], out=tmp_path / "e", config=config, data=made / "data")
    assert "nothing requested)" in other.failures["popularity"]


def test_a_job_with_vectors_or_without_there_and_back(tmp_path: Path) -> None:
    for vectors in (None, tmp_path / "cache"):
        job = EvaluationJob(tmp_path, "", tmp_path, (), tmp_path / "e", CPU, vectors, seed=0, threads=1)
        message = decode_message(encode_message(job.as_message()))
        assert message is not None
        assert EvaluationJob.from_message(message) == job
