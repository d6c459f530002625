"""The consumer that folds usage events into charges, exactly once."""
