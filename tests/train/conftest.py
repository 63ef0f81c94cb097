import faiss
import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models this small are slower on several threads, all the more beside other tests."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
