"""What schemathesis has to be told of the API's forms: how a body of lines is written."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def write_lines(_context: object, value: object) -> bytes:
    """Write a text as it is."""
    return str(value).encode("utf-8", "replace")
