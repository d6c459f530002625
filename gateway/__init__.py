"""The HTTP service: takes usage events in, manages reference data, answers questions."""
