"""One thread at a time within transformers' builder and loader."""

import threading

__all__ = ["LOADER_LOCK"]

# While they run, they exchange functions of modules and classes (`transformers.initialization.no_tie_weights`,
# `guard_torch_init_functions`) and torch's default type, for the whole process. Two threads within them at once can put
# the other's exchange back for good: no weights are tied from then on, for instance.
LOADER_LOCK = threading.RLock()
