"""The examples in docstrings. Held by no test before: they print what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import scratchopt

PACKAGE = Path(scratchopt.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text() and path.stem != "vector"  # whose table needs `test_vector`
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_a_docstring_print_what_they_say(module):
    results = doctest.testmod(import_module(module))
    assert results.attempted > 0
    assert results.failed == 0
