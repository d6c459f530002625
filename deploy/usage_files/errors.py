"""What stops the sending of a file, as a person should read it."""

from deploy.local.errors import StackError


class GaveUp(StackError):
    """The file could not be sent to its end; a second run can go on. Exit code 2."""

    exit_code = 2


class SourceBroken(GaveUp):
    """The file can't be read any further. Exit code 2."""
