"""The embedded stack: real Kafka and real PostgreSQL from Python packages."""
