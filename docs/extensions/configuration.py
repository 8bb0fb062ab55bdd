"""The reference of the configuration, from conf/ and from the schemas that check it.

The directive `configuration` makes a table of the keys of train, compare or comparison, or a
section for each choice of a group. Defaults stand in conf/, ranges in the schema or at the method;
what a key means is said by the docstring of what takes it or of its schema, or by the comment
behind it. A key that none of these explains is a warning.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from docstrings import mark_values
from docutils import nodes
from search_words import make_entries
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from scratchopt.compare.command_keys import CommandKeys
from scratchopt.config.checkout import CHECKOUT, CONF
from scratchopt.config.groups import SCHEMAS, Accelerator, ComparisonConfig
from scratchopt.config.optimizers import optimizer_schema
from scratchopt.config.schedules import SCHEDULES
from scratchopt.config.schema import RunConfig
from scratchopt.method_files import read_class
from scratchopt.optimizer import Optimizer
from scratchopt.ranges import COMMON

logger = logging.getLogger(__name__)

ENTRY = re.compile(r"^(\w+): *(.*?)(?: *# (.*))?$", re.MULTILINE)
ARGUMENT = re.compile(r"^ +(\w+): (.*(?:\n {8,}(?!\w+: ).*)*)", re.MULTILINE)
ELSEWHERE = re.compile(r"\$\{(?:oc\.select:)?(\w+)[^,]*(?:,.*?)??(?:,([^,]*))?\}")
HEAD = "| key | meaning | default | must be |\n|---|---|---|---|"


class Entry(NamedTuple):
    """A line of a YAML file."""

    key: str
    value: str
    comment: str


class Configuration(SphinxDirective):
    """Tables of the keys of train, compare or comparison, or of each choice of a group."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        for path in (*CONF.rglob("*.yaml"), *(CHECKOUT / "scratchopt" / "config").glob("*.py")):
            self.env.note_dependency(path)
        if name == "comparison":
            keys = read_indented((CONF / "task" / "mnist.yaml").read_text("utf-8"), "comparison")
            text = write_table(
                [key._replace(value="", comment="") for key in keys], ComparisonConfig, ""
            )
        elif name in ("train", "compare"):
            schema = RunConfig if name == "train" else CommandKeys
            keys = read_entries(CONF / f"{name}.yaml")
            text = write_table([*read_groups(name), *keys, *read_others(schema)], schema, "")
        else:
            text = "\n\n".join(map(write_choice, sorted((CONF / name).glob("*.yaml"))))
            return self.parse_text_to_nodes(text, allow_section_headings=True)
        tables = self.parse_text_to_nodes(text)
        add_targets(tables, name)
        return tables


def add_targets(tables: list[nodes.Node], name: str) -> None:
    """Has each key of a table found by the search, and linked to: `configuration.html#seed`."""
    for row in tables[0].findall(nodes.row):
        cell = row[0]
        if isinstance(cell, nodes.entry) and isinstance(row.parent, nodes.tbody):
            key = cell.astext() if name == "train" else f"{name}-{cell.astext()}"
            cell["ids"].append(key)
            word = f"comparison.{cell.astext()}" if name == "comparison" else cell.astext()
            cell.insert(0, make_entries((word,), key))


def write_choice(path: Path) -> str:
    """Writes the section of a choice, such as conf/optimizer/nag.yaml."""
    source = path.read_text("utf-8")
    lines = [f"### {path.stem}", f"`{path.relative_to(CHECKOUT)}`"]
    entries = read_entries(path)
    if path.parent.name == "task":
        beside = [f"`{key}: {value}`" for key, value, _ in entries if value and key != "settings"]
        lines.append(f"With it go {', '.join(beside)}.")
        entries = read_indented(source, "task")
    target = next((entry.value for entry in entries if entry.key == "_target_"), "")
    if target:
        lines[1] += f", of `{target}`"
    schema = SCHEMAS.get(target) or SCHEDULES.get(target) or optimizer_schema(target)
    entries = [entry for entry in entries if entry.key[0] != "_"]
    return "\n\n".join([*lines, write_table(entries, schema or Accelerator, target)])


def read_entries(path: Path) -> list[Entry]:
    """The keys of a YAML file that are not indented."""
    return [Entry(*found) for found in ENTRY.findall(path.read_text("utf-8"))]


def read_groups(name: str) -> Iterator[Entry]:
    """The groups of which a file of conf/ makes a choice."""
    source = (CONF / f"{name}.yaml").read_text("utf-8")
    for key, value in re.findall(r"^  - (\w+): (\w+)", source, re.MULTILINE):
        yield Entry(key, value, f"a choice of `conf/{key}`, or a node with `_target_`")


def read_others(schema: type) -> list[Entry]:
    """The keys that some tasks bring, with the comments behind them."""
    keys = re.findall(r"^    (\w+): Any  # (\w.*)$", inspect.getsource(schema), re.MULTILINE)
    return [Entry(key, "", comment) for key, comment in keys]


def read_indented(source: str, key: str) -> list[Entry]:
    """The keys beneath a key of a YAML file."""
    [lines] = re.findall(rf"^{key}:\n((?:  .*\n)+)", source, re.MULTILINE)
    return [Entry(*found) for found in ENTRY.findall(inspect.cleandoc(lines))]


def write_table(entries: list[Entry], schema: type, target: str) -> str:
    """Writes a table of keys."""
    known = {field.name: field for field in fields(schema)}
    meanings = read_meanings(schema, target)
    source = read_class(target) if target else None
    rows = [HEAD]
    for key, value, comment in entries:
        if key in ("defaults", "hydra"):
            continue
        what = known[key].metadata.get("what", "")
        for one in (*(source.ranges() if source else ()), *COMMON):
            if source and one.name == key:
                what = f"{what}, {one.describe()}"
                break
        meaning = meanings.get(key) or comment
        if not meaning:
            logger.warning(f"conf: nothing says what {target or schema.__name__}.{key} means")
        meaning = re.sub(r"<(?=\w)", r"\\<", meaning)
        rows.append(f"| `{key}` | {meaning} | {write_default(value)} | {what} |")
    return "\n".join(rows) + "\n"


def write_default(value: str) -> str:
    """Writes a default as one would type it, or says where it comes from."""
    found = ELSEWHERE.fullmatch(value)
    if not found:
        return f"`{value}`" if value else ""
    return f"`{found[2]}`, or `{found[1]}`'s" if found[2] else f"`{found[1]}`'s"


def read_meanings(schema: type, target: str) -> Mapping[str, str]:
    """The meanings of keys, from docstrings: that of the target before that of a schema."""
    taken = None
    if target:
        module, _, name = target.rpartition(".")
        taken = getattr(import_module(module), name)
    found: dict[str, str] = {}
    for text in read_arguments(schema, Optimizer, taken, getattr(taken, "__init__", None)):
        for name, meaning in ARGUMENT.findall(text):
            found[name] = mark_values(re.sub(r"\s+", " ", meaning)).replace("|", "\\|")
    return found


def read_arguments(*takers: Any) -> Iterator[str]:
    """The arguments in the docstrings of classes and functions."""
    for taker in takers:
        text = inspect.getdoc(taker) or ""
        yield from re.findall(r"^Args:\n((?: .*\n?)+)", text, re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("configuration", Configuration)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
