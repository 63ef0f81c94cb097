"""What the files of a run are called, what its manifest must say, and what its settings leave unsaid."""

from collections.abc import Mapping

from tcf.common.errors import RunError
from tcf.common.manifest import Format

__all__ = [
    "CONFIG",
    "EPOCHS",
    "EVENTS",
    "IMPLIED",
    "INPUTS",
    "LEASE",
    "MODEL",
    "OPTIMIZER",
    "RUN",
    "SELECTION",
    "STATE",
]

CONFIG = "config.toml"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
EPOCHS = "epochs.jsonl"
EVENTS = "events"
INPUTS = "inputs.safetensors"
"""The projections fitted to the caches; missing if there are none."""
STATE = "state.safetensors"
"""The state that an interrupted training resumes from; removed when the run is finished."""
LEASE = ".training.claim"
"""Names the process that trains; removed when it ends, unless it is killed."""

SELECTION = "selection"
"""The folder, in that of a refit, of the run that chose the number of epochs; a run of its own."""

IMPLIED: Mapping[str, str | bool | float] = {
    "monitor": "hr@10",
    "refit": False,
    "block": "sasrec",
    "position": "learned",
    "similarity": "dot",
    "temperature": 0.05,
    "whiten_form": "pca",
    "whiten_groups": 1,
    "whiten_sum": False,
    "mix": "concat",
    "id_init": "random",
    "id_dropout": 0.0,
}
"""Values of settings that runs saved before these settings existed do not name."""

RUN = Format(
    name="tcf-run",
    version=1,
    error=RunError,
    made_by="tcf train",
    required={"inputs.dataset": str, f"files.{CONFIG}": dict, f"files.{MODEL}": dict},
)
