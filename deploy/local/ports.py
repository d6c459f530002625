"""Free TCP ports on the loopback interface."""

import socket
from collections import deque
from typing import Final

LOOPBACK = "127.0.0.1"

#: Ports that the system chose for us lately. Until its server has bound one, it may be chosen
#: again, and no two servers can have the same.
_GIVEN: Final[deque[int]] = deque(maxlen=64)


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(preferred: int | None = None) -> int:
    """Return `preferred` if it is free, else a port chosen by the system.

    Another process may take the port before its server binds it, so every server is also asked
    whether it is ours once it answers.
    """
    if preferred is not None and is_free(preferred):
        return preferred
    while (port := _chosen_port()) in _GIVEN:
        pass
    _GIVEN.append(port)
    return port


def _chosen_port() -> int:
    """Return a port that the system says is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
