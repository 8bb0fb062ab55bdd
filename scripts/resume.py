"""`resume=<run directory>`: a command line that goes on with an earlier run."""

from pathlib import Path
from zipfile import is_zipfile

from omegaconf import OmegaConf

from scripts.schema import Refusal

CHECKPOINT = Path("checkpoints", "last.ckpt")


def resumed(arguments: list[str]) -> list[str]:
    """The arguments as they are, or where resume= is among them, those of the run that it names.

    The configuration is then the one that Hydra saved, whatever has become of conf/ since. Hydra
    shall not save it again: that could be cut short, and would lose the overrides it came from.

    Raises:
        Refusal: a directory that holds no run with a checkpoint, or an argument that would change
            the run.
    """
    given = {key: value for key, _, value in (a.partition("=") for a in arguments)}
    directory = given.pop("resume", "null").strip("'\"")
    if directory == "null":
        return arguments
    if changed := [key for key in given if key not in ("max_steps", "max_epochs")]:
        raise Refusal(
            f"resume={directory}: a run goes on as it was configured; beside it only max_steps "
            f"and max_epochs may be given, not {', '.join(changed)}"
        )
    path = Path(directory).expanduser().absolute()
    for needed in (".", ".hydra/config.yaml", ".hydra/hydra.yaml", str(CHECKPOINT)):
        if not (path / needed).exists():
            missing = "no such directory" if needed == "." else f"there is no {needed} in it"
            raise Refusal(f"resume={directory}: {missing}")
    if not is_zipfile(path / CHECKPOINT):
        raise Refusal(f"resume={directory}: {CHECKPOINT} is damaged")
    choices = OmegaConf.load(path / ".hydra" / "hydra.yaml").hydra.runtime.choices
    quoted = "'" + str(path).replace("'", r"\'") + "'"
    return [
        "--config-path",
        str(path / ".hydra"),
        "--config-name",
        "config",
        "hydra/job_logging=none",
        "hydra.job.chdir=false",
        "hydra.output_subdir=null",
        f"hydra.run.dir={quoted}",
        *(f"+hydra.runtime.choices.{group}={choices[group]}" for group in ("task", "optimizer")),
        f"++resume={quoted}",  # so spelt, it is not taken for a new one by the other ranks of DDP
        *(f"{key}={value}" for key, value in given.items()),
    ]
