"""Build hook: the package's dependencies are the lines of requirements/runtime.in."""

from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class RuntimeRequirements(MetadataHookInterface):
    """Give the wheel's metadata the unpinned runtime requirements."""

    def update(self, metadata: dict[str, object]) -> None:
        """Set `dependencies` from the file beside this one."""
        text = (Path(__file__).parent / "runtime.in").read_text()
        metadata["dependencies"] = [
            line.strip() for line in text.splitlines() if line.strip() and line[0] not in "#-"
        ]
