"""Settings of `tcf train`; their defaults are the study's."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.config.fields import CheckedSettings, option, option_name
from tcf.config.losses import LOSSES, LossInfo, LossName, loss_info, losses_help, losses_reading, negatives_help

__all__ = ["TrainConfig"]


@dataclass(frozen=True)
class TrainConfig(CheckedSettings):
    """Settings of training a recommender; the defaults are the study's."""

    backbone: Literal["sasrec", "dssm"] = option(
        "sasrec", "sasrec: a transformer over the history; dssm: a tower for users and one for items."
    )
    items: Literal["text", "id", "text+id"] = option(
        "text", "Items as cached text vectors (TCF), as learned ids (IDCF), or as the sum of both."
    )
    width: int = option(512, "Width of item vectors and user states inside the model.", minimum=1)
    dtl_layers: int = option(
        2, "Layers (linear, then GELU) from the cached vector's width to the model's; items as text only.", minimum=1
    )
    mlp_layers: int = option(0, "Layers (linear, then GELU) above the item vectors; dssm only.", minimum=0)
    user_tower: Literal["id", "history"] = option(
        "id",
        "Users as learned ids, or as the mean of their history's item vectors, which also serves users and items that "
        "were not trained on; dssm only.",
    )
    blocks: int = option(2, "Transformer blocks of SASRec.", minimum=1)
    heads: int = option(2, "Attention heads in each block.", minimum=1)
    norm: Literal["post", "pre"] = option(
        "post", "Layer norms after each part of a block, as in the study, or before it and at the end; sasrec only."
    )
    history: int = option(20, "Latest items of a user's history that the model reads.", minimum=1)
    dropout: float = option(0.1, "Dropout rate in the DTL and in SASRec.", minimum=0)

    whiten: int | None = option(
        None, "Whiten the cached vectors to this many dimensions, by statistics of the training items.", minimum=1
    )
    whiten_epsilon: float = option(
        1e-5,
        "What --whiten adds to the variance of each dimension before it divides by its root, as a share of the mean "
        "variance.",
        minimum=0,
    )
    pca: int | None = option(
        None, "Project the cached vectors to this many principal components of the training items.", minimum=1
    )
    normalise: bool = option(False, "Scale each cached vector to length 1, after --whiten or --pca.")

    loss: LossName = option("in-batch", losses_help())
    negatives: int | None = option(
        None,
        negatives_help(),
        minimum=1,
    )
    sampling: Literal["popularity", "uniform"] = option(
        "popularity",
        f"How the items of --loss {' or '.join(losses_reading('sampling'))} are drawn: as often as they occur in "
        "training, or all alike.",
    )
    gbce_t: float = option(
        0.75,
        f"Calibration of {' and '.join(losses_reading('gbce_t'))}: 0 is plain binary cross-entropy, 1 the scores of a "
        "softmax.",
        minimum=0,
    )

    batch_size: int = option(
        64, "Users (sasrec) or pairs of user and item (dssm) in each training step, of all devices together.", minimum=2
    )
    learning_rate: float = option(1e-3, "Learning rate of AdamW.", minimum=0)
    weight_decay: float = option(0.1, "Decoupled weight decay of AdamW.", minimum=0)
    item_learning_rate: float | None = option(
        None, "Learning rate of the item tower; --learning-rate if not given.", minimum=0
    )
    item_weight_decay: float | None = option(
        None, "Weight decay of the item tower; --weight-decay if not given.", minimum=0
    )
    schedule: Literal["step", "cosine"] = option(
        "step",
        "Learning rate over time, after --warmup-steps: step multiplies it by --step-factor every --step-epochs; "
        "cosine lowers it to zero at the last of --epochs.",
    )
    warmup_steps: int = option(0, "Steps in which the learning rate rises from zero.", minimum=0)
    step_epochs: int = option(1, "Epochs between two changes of --schedule step.", minimum=1)
    step_factor: float = option(
        1.0, "What --schedule step multiplies the learning rate by; 1 keeps it constant.", minimum=0
    )
    clip_norm: float | None = option(None, "Scale gradients down to this norm at most; not if not given.", minimum=0)
    epochs: int = option(200, "Epochs to train at most.", minimum=1)
    patience: int | None = option(
        None,
        "Stop after this many epochs without a better validation HR@10; 5 for text, 10 for ids if not given.",
        minimum=1,
    )
    validation_users: int = option(
        10_000,
        "Users, drawn by --seed, on whom each epoch is judged; all where there are fewer. The best epoch is measured "
        "on all in the end.",
        minimum=1,
    )
    seed: int = option(0, "Seed of initialisation, batch order, draws and dropout.", minimum=0)

    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "Type of the model's matrix products; auto: bfloat16 on CUDA, float32 on CPU."
    )
    table: Literal["auto", "device", "cache"] = option(
        "auto",
        "Where cached vectors are during training: on the device, or read from the cache's files ahead of each step; "
        "auto: on the device where they take at most a quarter of its memory (cpu: of what a container is allowed).",
    )
    compile: bool = option(False, "Compile the model with torch.compile; meant for long runs on CUDA.")
    deterministic: bool = option(False, "Use only operations that give the same bytes each time; slower on CUDA.")
    devices: str = option(
        "auto",
        "Devices to train on, with commas between them: cpu, cuda, cuda:0,cuda:1, ... auto: the first CUDA device of "
        "this machine, else cpu. A batch is shared by all.",
    )
    save_minutes: float = option(
        10.0,
        "Minutes between two states of training that are saved within an epoch, so that a restart goes on there.",
        minimum=0,
    )

    def __post_init__(self) -> None:
        """Check the settings that depend on one another.

        Raises:
            ConfigError: a value is out of range, or settings contradict one another.
        """
        super().__post_init__()
        if self.backbone == "sasrec" and self.width % self.heads:
            raise ConfigError(f"--width: expected a multiple of --heads {self.heads}, found {self.width}")
        for name in ("dropout", "gbce_t"):
            if getattr(self, name) > 1 or (name == "dropout" and self.dropout == 1):
                most = "less than 1" if name == "dropout" else "at most 1"
                raise ConfigError(f"{option_name(name)}: expected {most}, found {getattr(self, name)}")
        for name in ("clip_norm", "step_factor"):
            if getattr(self, name) == 0:
                raise ConfigError(f"{option_name(name)}: expected more than 0, found 0; leave it out")
        if self.whiten is not None and self.pca is not None:
            raise ConfigError("--pca: expected either --pca or --whiten, found both; leave one out")
        if self.loss_info.reads_catalogue and self.table == "cache":
            raise ConfigError(
                f"--table cache: expected another loss, because --loss {self.loss} reads every vector in each step; "
                f"train with --loss {' or '.join(self.loss_info.instead)}, or leave --table out"
            )
        self._refuse_unused()

    def _refuse_unused(self) -> None:
        """Refuse a setting that differs from its default although nothing reads it."""
        for decider, values, names in _READ_WITH:
            found = getattr(self, decider)
            for name in () if found in values else names:
                if getattr(self, name) != _DEFAULTS[name]:
                    raise ConfigError(
                        f"{option_name(name)}: expected --{decider} {' or '.join(values)}, found --{decider} {found}; "
                        f"leave {option_name(name)} out"
                    )
        if self.whiten is None and self.whiten_epsilon != _DEFAULTS["whiten_epsilon"]:
            raise ConfigError("--whiten-epsilon: expected --whiten as well, found none; leave --whiten-epsilon out")

    @property
    def resolved_patience(self) -> int:
        """Epochs without improvement before training stops (study: 5 for text, 10 for ids)."""
        if self.patience is not None:
            return self.patience
        return 10 if self.items == "id" else 5

    @property
    def resolved_negatives(self) -> int:
        """Number of sampled items per batch or per target; 0 for a loss that samples none."""
        if self.negatives is not None:
            return self.negatives
        return self.loss_info.negatives or 0

    @property
    def loss_info(self) -> LossInfo:
        """Description of the loss."""
        return loss_info(self.loss)

    @property
    def reads_text(self) -> bool:
        """Whether items use cached text vectors."""
        return self.items != "id"


_DEFAULTS = {entry.name: entry.default for entry in dataclasses.fields(TrainConfig)}
_OF_LOSSES = dict.fromkeys((*(name for loss in LOSSES for name in loss.options), "negatives"))
# Settings that are read only if another setting has one of these values.
_READ_WITH = (
    ("backbone", ("dssm",), ("mlp_layers", "user_tower")),
    ("backbone", ("sasrec",), ("blocks", "heads", "norm")),
    ("items", ("text", "text+id"), ("dtl_layers", "whiten", "pca", "normalise", "table")),
    *(("loss", losses_reading(name), (name,)) for name in _OF_LOSSES),
    ("schedule", ("step",), ("step_epochs", "step_factor")),
)
