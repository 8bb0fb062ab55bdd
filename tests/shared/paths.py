"""The places of the checkout's parts, and the names that its configurations offer."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
SCRIPTS = ROOT / "scripts"


def choices_of(group: str) -> list[str]:
    """The names of a group of configurations, such as "optimizer"."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


OPTIMIZERS, TASKS = choices_of("optimizer"), choices_of("task")
