"""Settings: runs that differ by the seed only are one setting, drawn as one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scratchopt.config.fields import UserError
from scratchopt.runs.directory import Run, label_runs

SEEDS = ("seed", "task.seed")


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that differ by the seed only.

    Args:
        optimizer: name of the choice in conf/optimizer.
        name: distinguishes it from all other settings, such as "nag, lr=0.1".
        variant: distinguishes it from other settings of its optimizer, such as "lr=0.1"; it may be
            empty, and the same as that of another optimizer's.
        runs: in the order in which they were given.
    """

    optimizer: str
    name: str
    variant: str
    runs: tuple[Run, ...]

    @property
    def style_key(self) -> tuple[str, str]:
        """The optimizer and the variant, by which its line style is chosen."""
        return self.optimizer, self.variant


def group_by_setting(runs: Sequence[Run], without: Sequence[str] = ()) -> list[Setting]:
    """Groups runs by their settings, in order of optimizers, then of what else differs.

    Args:
        runs: of one task.
        without: keys beside the seeds that make no setting of their own, such as `optimizer.lr`.

    Raises:
        UserError: runs of several tasks.
    """
    tasks = sorted({run.task for run in runs})
    if len(tasks) > 1:
        raise UserError(
            f"runs of several tasks ({', '.join(tasks)}) have no common scale; give one"
        )
    same = {*SEEDS, *without}
    groups: dict[str, list[Run]] = {}
    for run in runs:
        decisive = {key: value for key, value in run.settings.items() if key not in same}
        groups.setdefault(json.dumps(decisive, sort_keys=True), []).append(run)
    firsts = [members[0] for members in groups.values()]
    names = label_runs(firsts, without=same)
    variants = label_runs(firsts, without=same | _keys_fixed_by_optimizer(firsts))
    settings = [
        Setting(run.optimizer, name, variant.removeprefix(run.optimizer).removeprefix(", "), own)
        for run, name, variant, own in zip(
            firsts, names, variants, map(tuple, groups.values()), strict=True
        )
    ]
    return sorted(settings, key=_sort_key)


def _keys_fixed_by_optimizer(runs: Sequence[Run]) -> set[str]:
    """The keys that differ, if at all, only because the optimizers do."""
    values: dict[str, dict[str, set[str]]] = {}
    for run in runs:
        for key, value in run.settings.items():
            values.setdefault(key, {}).setdefault(run.optimizer, set()).add(json.dumps(value))
    fixed = {key for key, by in values.items() if all(len(found) == 1 for found in by.values())}
    return fixed - {"optimizer"}


def _sort_key(setting: Setting) -> tuple[Any, ...]:
    numbers = sorted(
        (key, value)
        for key, value in setting.runs[0].settings.items()
        if key.startswith(("optimizer.", "task.")) and isinstance(value, float | int)
    )
    return setting.optimizer, numbers, setting.variant
