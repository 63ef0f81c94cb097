from pathlib import Path

import faiss
import pytest
import torch

from small_trainings import Train, trainings


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small are slower on several threads, all the more beside other tests."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)


@pytest.fixture
def run_train(tmp_path: Path) -> Train:
    """Train on a small dataset below `tmp_path`."""
    return trainings(tmp_path)
