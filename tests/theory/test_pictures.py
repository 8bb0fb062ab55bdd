"""scripts/theory.py: the numbers behind its pictures, its files, its table, what it refuses."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

import scratchopt
from scratchopt.stability import LIMITS, adam_limit
from scratchopt.theory.closed_forms import TUNED, eigenvalues, rate
from scratchopt.theory.figures import draw_adam, draw_oscillation
from scratchopt.theory.measurements import (
    MINIMUM,
    Article,
    measure_momentum_map,
    measure_oscillation,
)
from scratchopt.theory.table import LIMIT_HEADER, RATE_HEADER
from tests.shared import commands
from tests.shared.paths import ROOT

PICTURES = ["theory_map", "theory_rates", "theory_oscillation", "theory_adam"]
PAGE = ROOT / "docs" / "explanation" / "theory.md"


def theory(*arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
    return commands.run("theory", *arguments, cwd=ROOT, **options)


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing torch fails."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "torch.py").write_text("raise ImportError('torch was imported')")
    return {"PYTHONPATH": str(folder)}


@pytest.mark.slow
def test_it_writes_every_picture(tmp_path):
    done = theory(str(tmp_path / "new" / "pictures"), kind="new")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    files = [Path(line) for line in done.stdout.splitlines()]
    assert [file.stem for file in files] == PICTURES
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
        assert 20_000 < file.stat().st_size < 200_000


def test_help_comes_before_torch_is_imported(without_torch):
    done = theory("--help", kind="light", **without_torch)
    assert done.returncode == 0
    assert "--table" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tables", "x"], "unrecognized arguments: --tables"),
        (["a", "b"], "unrecognized arguments: b"),
        (["--table", "a"], "argument directory: a: --table writes no files"),
        ([str(PAGE)], f"argument directory: {PAGE}: File exists"),
        ([f"{PAGE}/new"], f"argument directory: {PAGE}/new: Not a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "says",
)
def test_what_cannot_be_had_ends_in_one_line(arguments, message, without_torch):
    done = theory(*arguments, kind="light", **without_torch)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"theory.py: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("method", ["Momentum", "NAG", "NAGTorch"])
def test_the_measured_map_is_the_closed_form(method):
    """They agree to 0.02 everywhere, at double roots and the limit of stability too, where 200
    steps are few, and to 0.002 in the mean.
    """
    data = measure_momentum_map(method, s=np.linspace(0.1, 4, 40), mu=np.linspace(0, 0.95, 6))
    gap = np.abs(data.measured - data.closed)
    assert gap.max() < 0.02
    assert gap.mean() < 0.002
    diverges = data.s[None, :] > LIMITS[method](data.mu[:, None])
    clear = np.abs(data.s[None, :] - LIMITS[method](data.mu[:, None])) > 0.05
    assert ((data.measured > 1) == diverges)[clear].all()
    assert (data.closed == rate(method, data.s[None, :], data.mu[:, None])).all()


def test_the_article_s_oscillation_follows_the_complex_eigenvalue():
    """|z| = √μ and the angle, a turn in 5.36 steps, found from the late x alone, to 1e-5."""
    x, fitted = measure_oscillation()
    expected, _ = eigenvalues("Momentum", Article().curvature(MINIMUM), 0.9)
    assert abs(fitted - complex(expected)) < 1e-5
    assert abs(fitted) == pytest.approx(0.9**0.5, abs=1e-5)
    assert 2 * np.pi / np.angle(fitted) == pytest.approx(5.36, abs=0.005)
    assert Article().curvature(MINIMUM) == pytest.approx(1.165261, abs=5e-7)
    turns = np.diff(np.sign(x[100:300] - MINIMUM)) != 0
    assert 200 / (turns.sum() / 2) == pytest.approx(5.36, abs=0.1)  # it passes x* twice a turn


@pytest.mark.parametrize("method", ["NAG", "NAGTorch"])
def test_nag_does_not_oscillate_as_its_roots_are_real(method):
    """0.259 and −0.573, the larger of which is found from the late x alone, to 1e-5."""
    x, fitted = measure_oscillation(getattr(scratchopt, method))
    curvature = Article().curvature(MINIMUM)
    first, second = eigenvalues(method, curvature, 0.9)
    assert first == pytest.approx(0.2593952, abs=1e-6)
    assert second == pytest.approx(-0.5733911, abs=1e-6)
    assert fitted == pytest.approx(complex(second), abs=1e-5)
    if method == "NAG":  # PyTorch's θ is the lookahead point
        overshoot = np.flatnonzero(x > MINIMUM + 0.1)  # once, and then never again
        assert (np.diff(overshoot) == 1).all()


def test_a_step_of_nag_takes_back_what_the_velocity_carried_it_too_far():
    """x* + (1 − lr·λ)(y − x*), with y the lookahead point, as the page has it."""
    x, _ = measure_oscillation(scratchopt.NAG)
    late = slice(20, 30)
    y = x[late] + 0.9 * (x[late] - x[19:29])
    np.testing.assert_allclose(x[21:31] - MINIMUM, -0.165261 * (y - MINIMUM), rtol=2e-3)


def test_the_page_s_roots_are_the_closed_form():
    page = PAGE.read_text(encoding="utf-8")
    curvature = Article().curvature(MINIMUM)
    pair = complex(eigenvalues("Momentum", curvature, 0.9)[0])
    larger = abs(pair)
    row = f"z² − {2 * pair.real:.6f}·z + 0.9 | {pair.real:.4f} ± {pair.imag:.4f}i | {larger:.3f} |"
    assert f"| `Momentum` | {row}" in page
    first, second = (complex(z).real for z in eigenvalues("NAG", curvature, 0.9))
    polynomial = f"z² + {-first - second:.6f}·z − {-first * second:.6f}"
    assert f"| `NAG` | {polynomial} | {first:.4f} and −{-second:.4f} | {-second:.3f} |" in page


def test_every_label_of_an_axis_can_be_read():
    """Powers are no mathtext, which the house style does not read."""
    for figure in (draw_oscillation(), draw_adam()):
        figure.canvas.draw()
        texts = [text.get_text() for text in figure.findobj(Text)]
        assert not [text for text in texts if "$" in text]


def test_the_page_shows_every_picture_and_they_are_small():
    shown = re.findall(r"!\[[^\]]+\]\((\S+)\.png\)", PAGE.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(PICTURES)
    for name in shown:
        assert (PAGE.parent / f"{name}.png").stat().st_size < 200_000


def test_the_page_has_the_table_and_every_measured_figure_in_it_is_the_closed_form():
    page = PAGE.read_text(encoding="utf-8")
    cells = [row.strip("| ").split(" | ") for row in _rows(page, RATE_HEADER)]
    of_rates = [(method, name) for name, tuned in TUNED.items() for method in tuned.methods]
    assert [row[:2] for row in cells] == [
        [f"{name}: `{method}`", kappa]
        for method, name in of_rates
        for kappa in ("10", "100", "10000")
    ]
    for label, kappa, closed, matrix, _, run, _ in cells:
        exact = TUNED[label.partition(":")[0]].rate(float(kappa))
        assert closed == f"{exact:.7f}"
        assert float(matrix) == pytest.approx(exact, abs=1e-6)
        assert float(run) == pytest.approx(exact, abs=1e-4)
    limits = [row.strip("| ").split(" | ") for row in _rows(page, LIMIT_HEADER)]
    assert len(limits) == 1 + 3 * 4 + 4
    for label, mu, closed, bisected, _ in limits:
        adam = label.startswith("`Adam`")
        form = adam_limit if adam else LIMITS[label.strip("`")]
        exact = form(float(mu.removeprefix("β₁ = ")))
        assert closed == f"{exact:.7f}"
        assert float(bisected) == pytest.approx(exact, rel=1e-6)


def _rows(page: str, header: str) -> list[str]:
    after = page[page.index(header) + len(header) + 1 :]
    return after.partition("\n\n")[0].splitlines()


@pytest.mark.slow
def test_the_command_prints_the_page_s_table_but_for_the_last_digits():
    done = theory("--table")
    assert done.returncode == 0, done.stderr
    digits = re.compile(r"\d+\.\d+|-?\d+e[+-]\d+")
    page = PAGE.read_text(encoding="utf-8")
    for printed in done.stdout.strip().split("\n\n"):
        rows = _rows(page, "\n".join(printed.splitlines()[:2]))
        for row, shown in zip(printed.splitlines()[2:], rows, strict=True):
            assert digits.sub("0", row) == digits.sub("0", shown)
            assert row.split(" | ")[2] == shown.split(" | ")[2]
