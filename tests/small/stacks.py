"""Which of our own functions are on the stack at a place that a test watches."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["OwnFunctions", "functions_between", "noting_stack"]

OwnFunctions = tuple[str, ...]


def noting_stack(function: Callable[..., Any], stacks: list[OwnFunctions]) -> Callable[..., Any]:
    """A function that does the same, and notes at each call which of our functions lead there, the outermost first."""

    def noted(*arguments: Any, **named: Any) -> Any:
        frame: FrameType | None = sys._getframe(1)
        found: list[str] = []
        while frame is not None:
            module = str(frame.f_globals.get("__name__"))
            if module.startswith("tcf."):
                found.append(f"{module}.{frame.f_code.co_qualname}")
            frame = frame.f_back
        stacks.append(tuple(reversed(found)))
        return function(*arguments, **named)

    return noted


def functions_between(stacks: list[OwnFunctions], first: str, within: str) -> set[OwnFunctions]:
    """The stacks from one function on, of those calls that another one leads to."""
    names = [[name.rpartition(".")[2] for name in stack] for stack in stacks]
    return {
        stack[short.index(first) :]
        for stack, short in zip(stacks, names, strict=True)
        if any(name.endswith(within) for name in stack)
    }
