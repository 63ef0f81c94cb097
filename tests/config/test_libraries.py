"""Libraries that single commands need: found without being imported, or missed with the command to install them."""

import sys
from typing import get_args

import pytest

from tcf.common.errors import TcfError
from tcf.config.libraries import Library, require_library


def test_a_library_that_is_there_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in get_args(Library):
        monkeypatch.delitem(sys.modules, name, raising=False)
        require_library(name, "a test")
        assert name not in sys.modules


@pytest.mark.parametrize("name", get_args(Library))
def test_a_missing_library_comes_with_a_command_to_install_it(name: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        TcfError, match=rf'^--plot: expected the library {name}, found none; .*`pip install [\w"\[\]-]+`$'
    ):
        require_library(name, "--plot")
