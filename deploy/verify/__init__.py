"""The proof that the books are right: every invariant checked on live data, changing nothing."""
