"""Old months of usage events leave the database for Parquet files, and stay provable from there."""
