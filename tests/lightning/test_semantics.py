"""Each cell of the semantics matrix, and the table in docs/how-to/lightning.md."""

from typing import Any

import numpy as np
import pytest

from tests.programs import semantics
from tests.shared import commands, paper
from tests.shared.cases import CASES
from tests.shared.paths import ROOT

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*training_step. returned .None."),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.. before .optimizer.step"),
    # torch's compiler imports a module of torch's that warns.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is:DeprecationWarning"),
]


def cells() -> list[Any]:
    """All cells; the default tests run those of one process, or one alone: see tests/README.md."""
    return [
        pytest.param(
            row,
            column,
            marks=[pytest.mark.full]
            * (
                column.startswith(tuple(semantics.STRATEGIES))
                or not (CASES[row].core or column == "float64")
            ),
        )
        for column in semantics.COLUMNS
        for row in semantics.METHODS
    ]


@pytest.mark.parametrize(("row", "column"), cells())
def test_every_cell_is_right_or_refused_as_the_table_says(row, column):
    came = semantics.run(row, column)
    expected = "refused" if (row, column) in semantics.REFUSED else "right"
    assert semantics.verdict(row, column, came) == expected


def test_the_page_has_the_table():
    cells = {
        (row, column): "refused" if (row, column) in semantics.REFUSED else "right"
        for row in semantics.METHODS
        for column in semantics.COLUMNS
    }
    assert semantics.table(cells) in (ROOT / "docs" / "how-to" / "lightning.md").read_text()


def test_the_command_prints_the_table():
    done = commands.run_module("tests.programs.semantics", "float64", "μ schedule")
    assert done.returncode == 0, done.stdout
    *lines, _, end = done.stdout.splitlines()
    rows = len(semantics.METHODS)
    refused = sum(column == "μ schedule" for _, column in semantics.REFUSED)
    assert end == f"{2 * rows} cells: {2 * rows - refused} right, {refused} refused, 0 wrong"
    assert all(line in (ROOT / "docs" / "how-to" / "lightning.md").read_text() for line in lines)


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--help", "names of columns\nchoose some"),
        ("-c", "unrecognized arguments: -c"),
        ("float46", "no column 'float46'; there are float32, float64, "),
    ],
)
def test_the_command_says_which_columns_there_are(argument, says):
    done = commands.run_module("tests.programs.semantics", argument)
    assert done.returncode == (0 if argument == "--help" else 2)
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_matrix_has_every_optimizer_of_the_table():
    assert list(semantics.METHODS) == list(semantics.CASES)


# The oracle itself: its gradient and Hessian by differences, its roundings by their definition


def test_the_oracle_s_derivatives_are_those_of_its_loss():
    def loss(theta):
        w, b = theta[:6].reshape(2, 3), theta[6:]
        logits = paper.INPUTS @ w.T + b
        chosen = logits[np.arange(len(logits)), paper.LABELS]
        return np.mean(np.log(np.exp(logits).sum(1)) - chosen)

    rows = np.arange(len(paper.LABELS))
    theta, h = paper.START + 0.01, 1e-5
    gradient = paper.softmax_gradient(theta, rows)
    hessian = paper.softmax_hessian(theta, rows)
    for i, unit in enumerate(np.eye(8) * h):
        assert (loss(theta + unit) - loss(theta - unit)) / (2 * h) == pytest.approx(
            gradient[i], abs=1e-9
        )
        row = paper.softmax_gradient(theta + unit, rows)
        row = (row - paper.softmax_gradient(theta - unit, rows)) / (2 * h)
        np.testing.assert_allclose(row, hessian[i], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("to", "bits"), [(paper.to_bfloat16, 8), (paper.to_float16, 11)], ids=["bf16", "fp16"]
)
def test_the_oracle_rounds_to_the_nearest_and_halves_to_even(to, bits):
    unit = 2.0 ** (1 - bits)  # between neighbours in [1, 2)
    assert to(1 + 0.49 * unit) == 1
    assert to(1 + 0.51 * unit) == 1 + unit
    assert to(1 + 0.5 * unit) == 1
    assert to(1 + 1.5 * unit) == 1 + 2 * unit
