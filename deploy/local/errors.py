"""What can go wrong with the embedded stack, as a person should read it."""


class StackError(Exception):
    """The stack cannot start or be found; the message says why and what to do. Exit code 1."""

    exit_code = 1


class StateDirectoryInUse(StackError):
    """Another process holds the state directory. Exit code 3."""

    exit_code = 3


class PortTaken(StackError):
    """A port that was asked for by number is not free. Exit code 4."""

    exit_code = 4


class JarsMissing(StackError):
    """Kafka's jars are not in the cache and could not be fetched. Exit code 5."""

    exit_code = 5


class JarsRefused(StackError):
    """A jar differs from the committed lock, or is unknown to it. Exit code 5."""

    exit_code = 5


class ChildFailed(StackError):
    """A server or service ended or never got ready; the message ends with its log. Exit code 6."""

    exit_code = 6


class StackNotFound(StackError):
    """No stack runs where a command looked for one. Exit code 7."""

    exit_code = 7
