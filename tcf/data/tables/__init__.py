"""Large text and Parquet tables read in blocks of rows."""
