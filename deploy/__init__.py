"""Everything around the services: the embedded stack and the command line."""
