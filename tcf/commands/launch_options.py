"""The options that say where a command's work runs, of those commands that can hand it to others."""

import dataclasses
import shlex
import sys
from dataclasses import dataclass

from tcf.common.errors import ConfigError
from tcf.config.fields import option_name
from tcf.config.launch import LaunchConfig

__all__ = ["Launchable", "is_launched", "this_command"]


@dataclass(frozen=True)
class Launchable:
    """Which settings of `LaunchConfig` a command has.

    Attributes:
        here: those that mean something on this machine as well; the others need `--launcher slurm`.
        without: those that the command does not offer.
    """

    here: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that it offers."""
        return tuple(entry.name for entry in dataclasses.fields(LaunchConfig) if entry.name not in self.without)

    def check(self, launch: LaunchConfig) -> None:
        """Refuse what has no effect.

        Raises:
            ConfigError: a setting needs Slurm.
        """
        if launch.launcher == "slurm":
            return
        for entry in dataclasses.fields(launch):
            value = getattr(launch, entry.name)
            if value != entry.default and entry.name not in self.here:
                raise ConfigError(
                    f"{option_name(entry.name)}: expected --launcher slurm as well, because it has no effect on this "
                    "machine; add it, or leave this option out"
                )


def is_launched(launch: LaunchConfig) -> bool:
    """Whether the work is handed to others; without any of the options it is done in this process."""
    return launch != LaunchConfig()


def this_command() -> str:
    """The command line of this process, for a shell."""
    return shlex.join(["tcf", *sys.argv[1:]])
