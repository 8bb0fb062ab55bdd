"""Errors of Hydra and OmegaConf in a line, with a remedy that works here."""

import re
from difflib import get_close_matches
from functools import cache
from traceback import walk_tb
from typing import Any

from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from scratchopt.config.checkout import CONF

# Errors of what was given on the command line, or in a file of configurations.
GIVEN_WRONG = (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError)
GROUPS = ("task", "optimizer", "schedule", "accelerator")


def one_line(error: BaseException) -> str:
    """Folds the message of an error into a line; puts some of Hydra's into words of our own."""
    message = str(error).partition("Config search path:")[0]
    if found := re.match(r"Could not override '([^']+)'.*use (\S+) ?", message, re.DOTALL):
        return _explain_unknown_key(found[1], found[2])
    if found := re.match(r"Ambiguous value for argument '(.*?)'\n", message):
        remedy = "add -m, or in a notebook call sweep()"
        return f"{found[1]}: several values are a sweep, {remedy}; a list is written [a,b]"
    if found := re.match(r"Error loading '([^']+)'", message):
        return _explain_import(found[1], error.__cause__)
    override = getattr(error, "override", None)  # of a parse error: not always in the message
    if override and override not in message:
        message = f"{override}: {message}"
    if isinstance(error, HydraException) and isinstance(error.__cause__, OmegaConfBaseException):
        message = f"{message} ({str(error.__cause__).splitlines()[0]})"
    if found := re.search(r"\s+full_key: (\S+)\s[\s\S]*$", message):  # OmegaConf's
        message = f"{found[1]}: {message[: found.start()]}"
    file = _file_that_hydra_read(error)
    if file and file not in message:
        message = f"{file}: {message}"
    return " ".join(message.split())


def find_cause(error: Exception) -> Exception:
    """Finds the error because of which Hydra has raised another, if so; else gives it back."""
    made = isinstance(error, InstantiationException) and isinstance(error.__cause__, Exception)
    return error.__cause__ if made else error  # pyright: ignore[reportReturnType]


def _explain_unknown_key(key: str, added: str) -> str:
    """Suggests keys for one that is not known; Hydra advises to add it, which is refused."""
    known = list_keys()
    group, _, last = key.rpartition(".")
    own = f"; an argument of a class of your own is added by {added}" if group in GROUPS else ""
    if key in known:
        shown = f"train.py {group}=… --help shows its keys"
        return f"{key}: the chosen {group} has no such key; {shown}{own}"
    alike = [name for name in known if name.rpartition(".")[2] == last]
    near = [name for name in known if name.startswith(f"{group}.")] if group else known
    alike = alike or get_close_matches(key, near or known, 2)
    if alike:
        return f"{key}: no such key; did you mean {' or '.join(alike[:3])}?{own}"
    return f"{key}: no such key; --help lists them{own}"


@cache
def list_keys() -> list[str]:
    """Lists all keys that can be overridden in some configuration, such as `optimizer.lr`."""
    found = {str(key): None for key in OmegaConf.load(CONF / "train.yaml") if key != "defaults"}
    for group in GROUPS:
        for path in sorted((CONF / group).glob("*.yaml")):
            node: Any = OmegaConf.load(path)
            parts = {key: node[key] for key in ("task", "comparison")} if group == "task" else {}
            for name, part in (parts or {group: node}).items():
                keys = (str(key) for key in part if not str(key).startswith("_"))
                found |= {f"{name}.{key}": None for key in keys}
    return [key for key in found if key != "hydra"]


def _explain_import(target: str, error: BaseException | None) -> str:
    """Says why a target cannot be imported, and what to do."""
    module, _, name = target.rpartition(".")
    if isinstance(error, ModuleNotFoundError) and error.name:
        if target == error.name and "is not a package" in str(error):
            return f"_target_={target}: {module} has no {name}"
        if target.startswith(error.name):
            return (
                f"_target_={target}: there is no module {error.name} here; give the command where "
                "it lies, put that directory on PYTHONPATH, or install its package"
            )
    if isinstance(error, SyntaxError):
        return f"_target_={target}: {error.filename}, line {error.lineno}: {error.msg}"
    return f"_target_={target}: cannot be imported: {type(error).__name__}: {error}"


def _file_that_hydra_read(error: BaseException) -> str | None:
    """The file of a configuration at which an error was raised, as Hydra knows it."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return next((f.f_locals["full_path"] for f in frames if "full_path" in f.f_locals), None)
