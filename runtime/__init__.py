"""Plumbing without a billing word: clock, logging, metrics, lifecycle, Postgres, Kafka."""
