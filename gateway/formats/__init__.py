"""Formats: events in a tenant's own fields, from their definition to the log."""
