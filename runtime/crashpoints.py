"""Named places at which a test can kill the process, to prove that nothing depends on luck.

`METERLINE_CRASHPOINT=rater.before_commit:3` ends the process with SIGKILL at the third passage of
that point. Without the variable a point costs one comparison.
"""

import os
import signal
from typing import Literal, get_args

CrashPoint = Literal[
    "gateway.before_ack",
    "gateway.after_ack",
    "gateway.after_upload_rows",
    "rater.before_commit",
    "rater.after_commit",
    "rater.after_cut",
    "rater.before_cuts",
    "rater.after_cuts",
    "rater.before_opening",
    "rater.after_opening",
    "rater.before_digests",
    "rater.after_digests",
    "rater.after_backfill_step",
    "rater.before_rollup_commit",
    "rater.after_firing",
    "rater.after_outbox_publish",
    "archive.after_fence",
    "archive.after_file",
    "archive.after_drop",
    "invoicer.before_issue",
    "invoicer.after_issue",
    "invoicer.after_render",
    "invoicer.after_mail",
    "invoicer.before_request",
    "invoicer.after_request",
    "invoicer.before_late",
    "invoicer.before_reminders",
    "invoicer.after_reminders",
    "invoicer.after_webhook",
]
CRASH_POINTS: tuple[str, ...] = get_args(CrashPoint)

_VARIABLE = "METERLINE_CRASHPOINT"


def _armed(setting: str) -> tuple[str, int]:
    """Read `name` or `name:passage`; an unknown name is a mistake worth stopping for."""
    name, _, passage = setting.partition(":")
    if name and name not in CRASH_POINTS:
        raise SystemExit(
            f"{_VARIABLE}: no crash point {name!r}; there are {', '.join(CRASH_POINTS)}"
        )
    return name, int(passage or 1)


_name, _left = _armed(os.environ.get(_VARIABLE, ""))


def crashpoint(name: CrashPoint) -> None:
    """Die here, if this is the point and the passage that were asked for."""
    global _left  # noqa: PLW0603 - one countdown a process is what is meant
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
