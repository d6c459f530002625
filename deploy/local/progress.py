"""How the fetch of Kafka's jars looks on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn
from rich.progress import Progress as ProgressBar

from deploy.local.jars import Progress


def fetch_progress(console: Console) -> Progress | None:
    """Return what draws the progress; None where nobody looks."""
    return _JarProgress(console) if console.is_terminal else None


class _JarProgress:
    """One bar a jar, removed when it is there."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn())
        self._bar = ProgressBar(*columns, console=console, transient=True)

    @contextmanager
    def __call__(self, name: str, size: int) -> Iterator[Callable[[int], None]]:
        """Draw a bar of `size` bytes while the file is fetched."""
        with self._bar:
            task = self._bar.add_task(name, total=size)
            yield lambda count: self._bar.advance(task, count)
            self._bar.remove_task(task)
