"""What the files of a run are called, and what its manifest must say."""

from tcf.common.errors import RunError
from tcf.common.manifest import Format

__all__ = ["CONFIG", "EPOCHS", "EVENTS", "INPUTS", "LEASE", "MODEL", "OPTIMIZER", "RUN", "STATE"]

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

RUN = Format(
    name="tcf-run",
    version=1,
    error=RunError,
    made_by="tcf train",
    required={"inputs.dataset": str, f"files.{CONFIG}": dict, f"files.{MODEL}": dict},
)
