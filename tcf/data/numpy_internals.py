"""Everything in tcf that relies on undocumented behaviour of NumPy.

Checked with NumPy 2.4. `tests/data/test_numpy_internals.py` has a test for each function, which names what broke.
"""

__all__ = ["is_about_pickles"]


def is_about_pickles(error: BaseException) -> bool:
    """Return whether `np.load` refused a file because it would have to be unpickled.

    NumPy treats any file without its own header as a pickle, and advises loading it as such. The error is a plain
    ValueError, recognised only by a word in its message.
    """
    return "pickle" in str(error)
