"""Settings of `tcf train` beside one another: those that contradict others, and those that nothing reads then."""

from collections.abc import Mapping
from typing import Any

from tcf.common.errors import ConfigError
from tcf.config.fields import option_name
from tcf.config.losses import LOSSES, loss_info, losses_reading

__all__ = ["check_together", "unread_beside"]

_OF_WHITENING = ("whiten_epsilon", "whiten_form", "whiten_groups", "whiten_sum")
# Ids of zeros alone would all be the same item; ids that start from texts, beside these, would count them twice.
_ITEMS_OF_STARTS = {"text": "id", "zero": "text+id"}
# The first of these that is set is the rate of ids beside texts.
_RATES_OF_IDS = ("id_learning_rate", "item_learning_rate", "learning_rate")
_OF_LOSSES = dict.fromkeys((*(name for loss in LOSSES for name in loss.options), "negatives"))
# Settings that are read only if another setting has one of these values.
_READ_WITH = (
    ("backbone", ("dssm",), ("mlp_layers", "user_tower", "tower_reads", "untrained_users")),
    ("user_tower", ("id",), ("untrained_users",)),
    ("user_tower", ("history",), ("tower_reads",)),
    ("backbone", ("sasrec",), ("blocks", "heads", "norm", "block", "position", "windows")),
    ("block", ("sasrec",), ("norm",)),
    ("similarity", ("cosine",), ("temperature",)),
    ("items", ("text", "text+id"), ("dtl_layers", "whiten", "pca", "normalise", "mix", "table")),
    ("items", ("id", "text+id"), ("id_init",)),
    ("items", ("text+id",), ("id_learning_rate", "id_weight_decay", "id_gate", "id_dropout")),
    *(("loss", losses_reading(name), (name,)) for name in _OF_LOSSES),
    ("schedule", ("step",), ("step_epochs", "step_factor")),
)


def check_together(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Check what the settings' types and minima do not say.

    Args:
        values: all settings, by name.
        defaults: the default of every setting.

    Raises:
        ConfigError: a value is out of range, or settings contradict one another.
    """
    _check_heads(values)
    _check_limits(values)
    _check_whitening(values)
    _check_table(values)
    _refuse_unread(values, defaults)
    _check_first_ids(values)


def unread_beside(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of those settings that nothing reads beside the others.

    Args:
        values: settings by name; those left out have their defaults.
        defaults: the default of every setting.
    """
    read = dict(values)
    while unread := _unread({**defaults, **read}) & read.keys():
        read = {name: value for name, value in read.items() if name not in unread}
    return frozenset(values.keys() - read.keys())


def _unread(given: Mapping[str, Any]) -> set[str]:
    unread = {name for decider, read_with, names in _READ_WITH if given[decider] not in read_with for name in names}
    if given["whiten"] is None:
        unread.update(_OF_WHITENING)
    elif given["whiten_groups"] == 1:
        unread.add("whiten_sum")
    return unread


def _refuse_unread(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse a setting that differs from its default although nothing reads it."""
    for decider, read_with, names in _READ_WITH:
        found = values[decider]
        for name in () if found in read_with else names:
            if values[name] != defaults[name]:
                raise ConfigError(
                    f"{option_name(name)}: expected {option_name(decider)} {' or '.join(read_with)}, found "
                    f"{option_name(decider)} {found}; leave {option_name(name)} out"
                )
    for name in _OF_WHITENING if values["whiten"] is None else ():
        if values[name] != defaults[name]:
            given = option_name(name)
            raise ConfigError(f"{given}: expected --whiten as well, found none; leave {given} out")
    if values["whiten_sum"] and values["whiten_groups"] == 1:
        raise ConfigError("--whiten-sum: expected --whiten-groups of at least 2, found 1; leave --whiten-sum out")


def _check_heads(values: Mapping[str, Any]) -> None:
    """Refuse heads whose width is no whole number or, where numbers are turned in pairs, an odd one."""
    if values["backbone"] != "sasrec":
        return
    width, heads = values["width"], values["heads"]
    if width % heads:
        raise ConfigError(f"--width: expected a multiple of --heads {heads}, found {width}")
    if values["position"] == "rotary" and width // heads % 2:
        raise ConfigError(
            "--position rotary: expected heads of an even width, because numbers are turned in pairs, found "
            f"--width {width} / --heads {heads} = {width // heads}; change --width or --heads"
        )


def _check_limits(values: Mapping[str, Any]) -> None:
    """Check upper limits, and numbers that are positive."""
    for name in ("dropout", "gbce_t", "id_dropout"):
        if values[name] > 1 or (name != "gbce_t" and values[name] == 1):
            bounds = "at least 0 and at most 1" if name == "gbce_t" else "at least 0 and less than 1"
            raise ConfigError(f"{option_name(name)}: expected {bounds}, found {values[name]}")
    for name in ("clip_norm", "step_factor", "temperature"):
        if values[name] == 0:
            raise ConfigError(f"{option_name(name)}: expected more than 0, found 0; leave it out")


def _check_whitening(values: Mapping[str, Any]) -> None:
    """Refuse groups of whitening that are no equal shares, or whose sum is of vectors on different axes."""
    groups, wanted = values["whiten_groups"], values["whiten"]
    if wanted is not None and values["pca"] is not None:
        raise ConfigError("--pca: expected either --pca or --whiten, found both; leave one out")
    if isinstance(wanted, int) and wanted % groups:
        raise ConfigError(
            f"--whiten: expected a multiple of --whiten-groups {groups}, of which each gets an equal share, or "
            f"full, found {wanted}"
        )
    if values["whiten_sum"] and groups > 1 and values["whiten_form"] != "zca":
        raise ConfigError(
            "--whiten-sum: expected --whiten-form zca, which keeps the axes of the vectors that are added up, "
            f"found --whiten-form {values['whiten_form']}; add it, or leave --whiten-sum out"
        )


def _check_table(values: Mapping[str, Any]) -> None:
    """Refuse to read all vectors from files in each step."""
    loss = loss_info(values["loss"])
    if loss.reads_catalogue and values["table"] == "cache":
        raise ConfigError(
            f"--table cache: expected another loss, because --loss {values['loss']} reads every vector in each step; "
            f"train with --loss {' or '.join(loss.instead)}, or leave --table out"
        )


def _check_first_ids(values: Mapping[str, Any]) -> None:
    """Refuse first values of ids that suit other items only, and zeros that stay zero."""
    first, items = values["id_init"], values["items"]
    needed = _ITEMS_OF_STARTS.get(first, items)
    if needed != items:
        raise ConfigError(f"--id-init {first}: expected --items {needed}, found --items {items}; leave --id-init out")
    deciding = next(name for name in _RATES_OF_IDS if values[name] is not None)
    if first == "zero" and values[deciding] == 0:
        raise ConfigError(
            f"--id-init zero: expected ids that learn, found {option_name(deciding)} 0, with which they stay zero; "
            f"change {option_name(deciding)}, or train with --items text"
        )
