"""Where the parts of the checkout lie, and what there is to choose from."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
SCRIPTS = ROOT / "scripts"


def choices_of(group: str) -> list[str]:
    """The names of a group of configurations, such as "optimizer"."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


OPTIMIZERS, TASKS = choices_of("optimizer"), choices_of("task")
