from pathlib import Path

import pytest

from small.encoders.families import save_family


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama, not to be changed."""
    return save_family("llama", tmp_path_factory.mktemp("quantised") / "llama")
