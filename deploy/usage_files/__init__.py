"""Usage in files: read row by row, mapped to events, sent so that a second run goes on exactly."""
