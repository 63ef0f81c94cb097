"""Everything in tcf that leans on undocumented behaviour of NumPy.

Checked with NumPy 2.4. `tests/data/test_numpy_internals.py` has a test for each function, which names what broke.
"""

__all__ = ["is_about_pickles"]


def is_about_pickles(error: BaseException) -> bool:
    """Whether `np.load` refused a file because it would have to be unpickled.

    NumPy takes whatever does not begin as its own files do for a pickle, and advises to load it. The error is a plain
    ValueError, which is known by a word alone.
    """
    return "pickle" in str(error)
