"""Tie a process to its parent, then become the command.

Run as a script, before the command itself, so that no code runs between fork and exec in the
(possibly threaded) parent: `launch.py PARENT_PID SIGNAL UID:GID COMMAND...`. On Linux the kernel
then sends SIGNAL to the command when the parent dies, however it dies. UID:GID is `-` to keep the
user. Standard library only: it runs under `python -I -S` for a fast start.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
EXIT_PARENT_GONE = 125


def become_user(user: str) -> None:
    """Give up root for `UID:GID`, with no further groups."""
    uid, gid = (int(part) for part in user.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with_parent(parent_pid: int, signal_number: int) -> None:
    """Ask for the signal at the parent's death, or end now if it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(EXIT_PARENT_GONE)


def main(arguments: list[str]) -> None:
    """Change the user first: the kernel forgets the death signal when credentials change."""
    parent_pid, signal_number, user, *command = arguments
    if user != "-":
        become_user(user)
    die_with_parent(int(parent_pid), int(signal_number))
    os.execv(command[0], command)  # noqa: S606 - the command line is ours


if __name__ == "__main__":
    main(sys.argv[1:])
