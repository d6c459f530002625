"""The language the services share: pure values and rules, no I/O, no clock, no settings."""
