"""The meterline command, one file a group of commands."""
