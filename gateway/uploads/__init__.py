"""Usage in CSV files of any size: read while they arrive, published, and answered with a report."""
