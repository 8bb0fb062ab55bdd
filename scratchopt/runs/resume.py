"""`resume=<run directory>`: a command line that goes on with an earlier run."""

import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from scratchopt.config.fields import UserError
from scratchopt.config.paths import quote_override
from scratchopt.runs.checkpoints import CHECKPOINT, is_sound

# What Hydra would obey in a primary configuration; that of a run has values alone.
HYDRAS = ("hydra", "defaults")
PACKAGE = re.compile(r"^\s*#\s*@", re.MULTILINE)


def expand_resume(arguments: list[str]) -> list[str]:
    """Replaces the arguments by those of the run that `resume=` names, if it is among them.

    The configuration is then the one that was saved, whatever has become of conf/ since.

    Raises:
        UserError: a directory that holds no run with a checkpoint, or an argument that would change
            the run.
    """
    given = {key: value for key, _, value in (a.partition("=") for a in arguments)}
    if "+resume" in given:
        given["resume"] = given.pop("+resume")
    directory = given.pop("resume", "null").strip("'\"")
    if directory == "null":
        return arguments
    if not directory:
        raise UserError("resume=: give the directory of a run")
    if changed := [key for key in given if key not in ("max_steps", "max_epochs", "trusted")]:
        raise UserError(
            f"resume={directory}: a run goes on as it was configured; beside it only max_steps, "
            f"max_epochs and trusted may be given, not {', '.join(changed)}"
        )
    path = Path(directory).expanduser().absolute()
    choices = _read_choices(path, directory)
    quoted = quote_override(str(path))
    return [
        "--config-path",
        str(path / ".hydra"),
        "--config-name",
        "config",
        "hydra/job_logging=none",
        "hydra.job.chdir=false",
        f"hydra.run.dir={quoted}",
        *(f"+hydra.runtime.choices.{group}={name}" for group, name in choices.items()),
        f"++resume={quoted}",  # so spelt, it is not taken for a new one by the other ranks of DDP
        f"++trusted={given.pop('trusted', 'false')}",  # whatever the run's own file says
        *(f"{key}={value}" for key, value in given.items()),
    ]


def _read_choices(path: Path, directory: str) -> dict[str, str]:
    """Reads by which choices a run was configured, quoted, and checks that it can be resumed.

    Args:
        path: of the run's directory.
        directory: the same, as it was given.

    Raises:
        UserError: one that cannot be resumed.
    """
    for needed in (".", ".hydra/config.yaml", ".hydra/hydra.yaml", str(CHECKPOINT)):
        if not (path / needed).exists():
            missing = "no such directory" if needed == "." else f"there is no {needed} in it"
            remedy = "; give the directory of a run that has begun to train"
            raise UserError(f"resume={directory}: {missing}{remedy if needed != '.' else ''}")
    if not is_sound(path / CHECKPOINT):
        raise UserError(f"resume={directory}: {CHECKPOINT} is damaged; put back a copy of it")
    try:
        config: Any
        choices: Any = OmegaConf.load(path / ".hydra" / "hydra.yaml").hydra.runtime.choices
        names = {group: quote_override(str(choices[group])) for group in ("task", "optimizer")}
        config = OmegaConf.load(path / ".hydra" / "config.yaml")
        config.task  # noqa: B018  (is it there?)
        commands = PACKAGE.search((path / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
    except (YAMLError, OmegaConfBaseException, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"resume={directory}: a file in its .hydra is damaged") from error
    if config.get("store"):
        raise UserError(
            f"resume={directory}: a run of a store goes on when it is asked for again, and is "
            "longer as another run; give the command that asked for it"
        )
    if commands or any(key in HYDRAS for key in config):
        raise UserError(
            f"resume={directory}: .hydra/config.yaml tells Hydra what to do, as no run has left "
            "it; take hydra, defaults and @package out of that file"
        )
    return names
