"""Results as pandas DataFrames, if pandas is installed."""

from typing import TYPE_CHECKING

import pyarrow as pa

from tcf.common.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["data_frame"]


def data_frame(table: pa.Table) -> "pd.DataFrame":
    """Convert a table to a pandas DataFrame.

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise ConfigError(
            'to_pandas: expected the library pandas, found it not installed; run pip install "text-cf[pandas]"'
        ) from None
    return table.to_pandas()
