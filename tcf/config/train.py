"""Settings of `tcf train`; their defaults are the study's."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tcf.common.integrity.checksums import Verify
from tcf.config.fields import MAIN_OPTIONS, CheckedSettings, option
from tcf.config.losses import LossInfo, LossName, loss_info, losses_help, losses_reading, negatives_help
from tcf.config.train_checks import check_together, unread_beside
from tcf.config.verify import VERIFY_HELP

__all__ = ["Monitor", "TrainConfig", "unread_settings"]

Monitor = Literal["hr@10", "ndcg@10"]
"""Validation metrics that can choose the best epoch of a training and the best trial of a search."""

_MODEL = "Model"
_VECTORS = "Item vectors (with --items text or text+id)"
_IDS = "Item ids (with --items id or text+id)"
_LOSS = "Loss"
_OPTIMISER = "Optimiser"
_VALIDATION = "Validation and stopping"
_RUNNING = "Running"


@dataclass(frozen=True, repr=False)
class TrainConfig(CheckedSettings):
    """Settings for training a recommender; the defaults are those of the study.

    Example:
        >>> import tcf
        >>> tcf.TrainConfig(items="text", width=256, epochs=20)
        TrainConfig(width=256, epochs=20)
        >>> tcf.TrainConfig(backbone="sasrek")
        Traceback (most recent call last):
        tcf.common.errors.ConfigError: --backbone: expected one of sasrec, dssm, found 'sasrek'; did you mean sasrec?
    """

    backbone: Literal["sasrec", "dssm"] = option(
        "sasrec",
        "Architecture: a transformer over the history (sasrec), or a user tower and an item tower (dssm).",
        group=MAIN_OPTIONS,
    )
    items: Literal["text", "id", "text+id"] = option(
        "text", "Item representation: cached text vectors, learned ids, or the sum of both.", group=MAIN_OPTIONS
    )
    width: int = option(512, "Width of item vectors and user states inside the model.", group=_MODEL, minimum=1)
    dtl_layers: int = option(
        2,
        "Dense transformation layers (linear, GELU) from the cached vectors to --width.",
        group=_VECTORS,
        minimum=1,
    )
    mlp_layers: int = option(0, "Layers (linear, GELU) on top of the item vectors; dssm only.", group=_MODEL, minimum=0)
    user_tower: Literal["id", "history"] = option(
        "id",
        "Users as learned ids, or as the mean of the item vectors in their history, which also works for users and "
        "items unseen in training; dssm only.",
        group=_MODEL,
    )
    blocks: int = option(2, "Transformer blocks; sasrec only.", group=_MODEL, minimum=1)
    heads: int = option(2, "Attention heads in each block; sasrec only.", group=_MODEL, minimum=1)
    norm: Literal["post", "pre"] = option(
        "post",
        "Layer norm after each sublayer (post, as in the study), or before it and at the end (pre); --block sasrec "
        "only.",
        group=_MODEL,
    )
    block: Literal["sasrec", "ligr"] = option(
        "sasrec",
        "Form of a transformer block: SASRec's, or LiGR's as in eSASRec, which gates what each sublayer adds, has a "
        "gated SiLU as feed-forward and its norms before each sublayer; sasrec only.",
        group=_MODEL,
    )
    position: Literal["learned", "rotary"] = option(
        "learned",
        "Positions in the history: a learned vector for each, added to the item's (learned), or queries and keys "
        "turned in proportion to their places, so that attention reads distances (rotary); sasrec only.",
        group=_MODEL,
    )
    tower_reads: Literal["all", "earlier"] = option(
        "all",
        "What --user-tower history reads in training: the user's other items, also those after the target (all), or "
        "only those before it (earlier), as in evaluation; dssm only.",
        group=_MODEL,
    )
    history: int = option(20, "Number of a user's latest items that the model reads.", group=_MODEL, minimum=1)
    windows: Literal["last", "all", "random"] = option(
        "last",
        "Of training histories longer than --history + 1, an epoch trains on the latest items (last, as in the study), "
        "on all, in windows that share an item (all), or on one random window (random); sasrec only.",
        group=_MODEL,
    )
    similarity: Literal["dot", "cosine"] = option(
        "dot",
        "Score of an item: inner product of its vector and the user's state (dot), or their cosine, divided by "
        "--temperature (cosine).",
        group=_MODEL,
    )
    temperature: float = option(
        0.05, "Divisor of --similarity cosine: how far apart scores can be is 2 / TEMPERATURE.", group=_MODEL, minimum=0
    )
    dropout: float = option(0.1, "Dropout rate in SASRec and in the DTL layers.", group=_MODEL, minimum=0)
    whiten: int | Literal["full"] | None = option(
        None,
        "Whiten the cached vectors: keep this many principal components of the training items, or all that there are "
        "(full), and scale each to a variance of about 1, as --whiten-epsilon says.",
        group=_VECTORS,
        minimum=1,
    )
    whiten_epsilon: float = option(
        1e-5,
        "Shrinkage E of --whiten: a component of variance s^2 is divided by sqrt(s^2 + E m), where m is the mean "
        "variance of the vectors' dimensions. With 0 all get variance 1; the larger E, the less weight have the small "
        "ones.",
        group=_VECTORS,
        minimum=0,
    )
    whiten_form: Literal["pca", "zca"] = option(
        "pca",
        "Axes of --whiten: the principal components (pca), or these turned back to the axes of the cached vectors "
        "(zca), whose width the result has.",
        group=_VECTORS,
    )
    whiten_groups: int = option(
        1,
        "Cut the cached vectors into so many groups of neighbouring dimensions and whiten each by itself, to an equal "
        "share of --whiten, so that correlations between groups stay (relaxed whitening, WhitenRec).",
        group=_VECTORS,
        minimum=1,
    )
    whiten_sum: bool = option(
        False,
        "Pass the vectors whitened as a whole and those whitened in --whiten-groups through the same DTL, and add the "
        "results up (WhitenRec+); with --whiten-form zca.",
        group=_VECTORS,
    )
    pca: int | None = option(
        None,
        "Project the cached vectors to this many principal components of the training items.",
        group=_VECTORS,
        minimum=1,
    )
    normalise: bool = option(False, "Scale each cached vector to unit length, after --whiten or --pca.", group=_VECTORS)
    mix: Literal["concat", "weights"] = option(
        "concat",
        "Vectors of several --cache: side by side (concat), or added up with learned weights, equal at first, whose "
        "sum is 1 (weights), as for layers of one encoder; --whiten-form zca keeps the axes that these share.",
        group=_VECTORS,
    )
    id_init: Literal["random", "text", "zero"] = option(
        "random",
        "First values of learned ids: random; principal components of the vectors of --init-from (text, with --items "
        "id); or zero, so that ids begin as a correction of the texts (zero, with --items text+id).",
        group=_IDS,
    )
    id_learning_rate: float | None = option(
        None, "Learning rate of the ids of --items text+id; default: that of the item tower.", group=_IDS, minimum=0
    )
    id_weight_decay: float | None = option(
        None, "Weight decay of the ids of --items text+id; default: that of the item tower.", group=_IDS, minimum=0
    )
    id_gate: float | None = option(
        None,
        "Weigh an item's id in --items text+id by n / (n + GATE), where n is the number of its training interactions, "
        "so that cold items rest on their texts; default: 1 for all items.",
        group=_IDS,
        minimum=0,
        metavar="GATE",
    )
    id_dropout: float = option(
        0.0,
        "Rate at which an item's whole id is left out of --items text+id in a training step.",
        group=_IDS,
        minimum=0,
    )
    loss: LossName = option("in-batch", losses_help(), group=MAIN_OPTIONS)
    negatives: int | None = option(None, negatives_help(), group=_LOSS, minimum=1)
    sampling: Literal["popularity", "uniform"] = option(
        "popularity",
        f"Distribution of the negatives of --loss {' or '.join(losses_reading('sampling'))}: by frequency in training, "
        "or uniform.",
        group=_LOSS,
    )
    gbce_t: float = option(
        0.75,
        f"Calibration of {' and '.join(losses_reading('gbce_t'))}: 0 is plain binary cross-entropy, 1 gives the scores "
        "of a softmax.",
        group=_LOSS,
        minimum=0,
    )
    batch_size: int = option(
        64,
        "Users (sasrec) or user-item pairs (dssm) in each training step, over all devices together.",
        group=MAIN_OPTIONS,
        minimum=2,
    )
    learning_rate: float = option(1e-3, "Learning rate of AdamW.", group=MAIN_OPTIONS, minimum=0)
    weight_decay: float = option(0.1, "Decoupled weight decay of AdamW.", group=_OPTIMISER, minimum=0)
    item_learning_rate: float | None = option(
        None, "Learning rate of the item tower; default: --learning-rate.", group=_OPTIMISER, minimum=0
    )
    item_weight_decay: float | None = option(
        None, "Weight decay of the item tower; default: --weight-decay.", group=_OPTIMISER, minimum=0
    )
    schedule: Literal["step", "cosine"] = option(
        "step",
        "Learning rate after the warm-up: multiplied by --step-factor every --step-epochs (step), or lowered to zero "
        "at the last of --epochs (cosine).",
        group=_OPTIMISER,
    )
    warmup_steps: int = option(0, "Steps over which the learning rate rises from zero.", group=_OPTIMISER, minimum=0)
    step_epochs: int = option(1, "Epochs between two changes of --schedule step.", group=_OPTIMISER, minimum=1)
    step_factor: float = option(
        1.0, "Factor of --schedule step; 1 keeps the learning rate constant.", group=_OPTIMISER, minimum=0
    )
    clip_norm: float | None = option(
        None, "Clip gradients to this norm; default: no clipping.", group=_OPTIMISER, minimum=0
    )
    epochs: int = option(200, "Maximum number of epochs.", group=MAIN_OPTIONS, minimum=1)
    monitor: Monitor = option(
        "hr@10",
        "Validation metric that chooses the best epoch and stops training early; in a search, also the best trial.",
        group=_VALIDATION,
    )
    patience: int | None = option(
        None,
        "Stop after this many epochs without a better value of --monitor; default: 5 with text, 10 with ids only.",
        group=_VALIDATION,
        minimum=1,
    )
    validation_users: int = option(
        10_000,
        "Evaluate each epoch on a random sample of this many users; the best epoch is evaluated on all users in the "
        "end.",
        group=_VALIDATION,
        minimum=1,
    )
    refit: bool = option(
        False,
        "Train twice: first as usual, into --out/selection, to find the best epoch; then anew on training and "
        "validation items for as many epochs, into --out.",
        group=_VALIDATION,
    )
    untrained_users: Literal["keep", "leave-out"] = option(
        "keep",
        "Users without a training item, whom --backbone dssm --user-tower id represents by random numbers: evaluate "
        "each epoch with (keep) or without them (leave-out).",
        group=_VALIDATION,
    )
    seed: int = option(0, "Seed of initialisation, batch order, sampling and dropout.", group=MAIN_OPTIONS, minimum=0)
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "Type of matrix products. auto: bfloat16 on CUDA, float32 on the CPU.", group=_RUNNING
    )
    table: Literal["auto", "device", "cache"] = option(
        "auto",
        "Where cached vectors are kept during training: on the device, or in the cache's files, read ahead of each "
        "step. auto: on the device if they take at most a quarter of its memory.",
        group=_VECTORS,
    )
    compile: bool = option(False, "Compile the model with torch.compile; for long runs on CUDA.", group=_RUNNING)
    deterministic: bool = option(
        False, "Use only operations with reproducible results; slower on CUDA.", group=_RUNNING
    )
    devices: str = option(
        "auto",
        "Devices to train on, separated by commas: cpu, cuda, cuda:0,cuda:1, ... They share each batch. auto: the "
        "first CUDA device, or the CPU if there is none.",
        group=MAIN_OPTIONS,
        metavar="DEVICES",
    )
    save_minutes: float = option(
        10.0,
        "Minutes between checkpoints within an epoch, from which an interrupted run resumes.",
        group=_RUNNING,
        minimum=0,
    )
    verify: Verify = option("once", VERIFY_HELP, group=_RUNNING)

    def __post_init__(self) -> None:
        """Check the settings that depend on one another.

        Raises:
            ConfigError: a value is out of range, or settings contradict one another.
        """
        super().__post_init__()
        check_together(vars(self), _DEFAULTS)

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
    def learns_users(self) -> bool:
        """Whether users are represented by learned ids, rather than by their histories."""
        return self.backbone == "dssm" and self.user_tower == "id"

    @property
    def reads_text(self) -> bool:
        """Whether items use cached text vectors."""
        return self.items != "id"

    @property
    def needs_cache(self) -> bool:
        """Whether a training needs cached vectors: items use them, or ids start from them."""
        return self.reads_text or self.id_init == "text"


_DEFAULTS = {entry.name: entry.default for entry in dataclasses.fields(TrainConfig)}


def unread_settings(values: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of those settings that nothing reads beside the others, such as blocks beside a DSSM.

    Args:
        values: settings by name; those left out have their defaults.

    Example:
        >>> sorted(unread_settings({"backbone": "dssm", "items": "id", "heads": 4, "pca": 8, "width": 64}))
        ['heads', 'pca']
    """
    return unread_beside(values, _DEFAULTS)
