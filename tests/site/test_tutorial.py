"""The site's notebooks, its chapters first: each runs top to bottom, and prints what it should.

Sphinx runs them in an empty directory, by a kernel as Jupyter starts it. What is looked for has the
digits that the article prints, in the chapter's words, and what later chapters build upon.
"""

import re
from pathlib import Path

import nbformat
import pytest

from tests.shared.pages import PAGES, blocks

CHAPTERS = [page for page in PAGES if re.match(r"docs/tutorial/\d", page)]
# Lines and parts of lines, in the order in which the cells print them; runs of spaces count as one.
PRINTED = {
    "docs/tutorial/01_newton.md": """
0 -5.94388576 3.45892 -0.71634 -0.75892
1 -7.79433605 3.86580 -0.24579 -0.13283
2 -6.54310103 5.07695 -1.49926 1.19822
3 -5.79428433 4.02422 -0.34221 0.45700
4 -6.81783809 3.82703 -0.27601 -0.26966
5 -6.10875844 4.13875 -0.50312 0.70954
6 2.84660556 3.90524 -0.23693 0.02646
7 -1.42425821 1.10104 -0.38748 -0.09073
8 -1.30751773 -0.78643 -0.13884 1.18928
9 -1.30644014 -0.79458 -0.00126 1.16554
10 -1.30644001 -0.79458 -0.00000 1.16526
11 -1.30644001 -0.79458
from 2.0: x = 1.977383
maximum""",
    "docs/tutorial/02_regression.md": """
loss 20.0717
by autograd -2.2857 2.6574
by the formulas -2.2857 2.6574
[ 0/1000] loss: 20.0717
[ 50/1000] loss: 4.7583
[100/1000] loss: 1.7357
[150/1000] loss: 1.1392
[200/1000] loss: 1.0214
[250/1000] loss: 0.9982
[300/1000] loss: 0.9936
[350/1000] loss: 0.9927
[400/1000] loss: 0.9925
[450/1000] loss: 0.9924
[500/1000] loss: 0.9924
[550/1000] loss: 0.9924
[600/1000] loss: 0.9924
[650/1000] loss: 0.9924
[700/1000] loss: 0.9924
[750/1000] loss: 0.9924
[800/1000] loss: 0.9924
[850/1000] loss: 0.9924
[900/1000] loss: 0.9924
[950/1000] loss: 0.9924
the last gradient: -2.1221e-07 2.3915e-07
least squares 2.96846751 4.22215108""",
    "docs/tutorial/03_convergence.md": """
after 50,000 steps 2.9684675107
4.2221510774
least squares 2.9684675107
4.2221510774
measured ρ = 0.983905
1 − lr·λ ρ = 0.983905""",
    "docs/tutorial/04_sgd.md": """
x: -8.0000, y: 5.4106, dy/dx: -1.7455
x: -6.2545, y: 3.9406, dy/dx: -0.2513
x: -6.0032, y: 3.8802, dy/dx: -0.2396
x: -5.7636, y: 3.8184, dy/dx: -0.2847
x: -5.4789, y: 3.7222, dy/dx: -0.4021
x: -5.0768, y: 3.5117, dy/dx: -0.6590
x: -4.4178, y: 2.9086, dy/dx: -1.1739
x: -3.2439, y: 1.1544, dy/dx: -1.6435
x: -1.6003, y: -0.7435, dy/dx: -0.3496
x: -1.2507, y: -0.7928, dy/dx: 0.0645
x: -1.3152, y: -0.7945, dy/dx: -0.0102
x: -1.3050, y: -0.7946, dy/dx: 0.0017
x: -1.3067, y: -0.7946, dy/dx: -0.0003
x: -1.3064, y: -0.7946, dy/dx: 0.0000
x: -1.3064, y: -0.7946, dy/dx: -0.0000
x: -1.3064, y: -0.7946, dy/dx: 0.0000
x: -1.3064, y: -0.7946, dy/dx: -0.0000
converged after 16 steps
after 20 steps: x = 3.83747, f(x) = 0.83156, dy/dx = 0.0000
lr 1.0 lr·λ = 1.17 1 − lr·λ = -0.17 16 updates
lr 1.75 lr·λ = 2.04 1 − lr·λ = -1.04 not within 250""",
    "docs/tutorial/05_momentum.md": """
Momentum 6.0 GB
step 0: x = 8.0000, f(x) = 7.3894, f′(x) = 1.4545
step 100: x = -1.2908, f(x) = -0.7944, f′(x) = 0.0182
step 200: x = -1.3065, f(x) = -0.7946, f′(x) = -0.0001
converged after 216 evaluations
step 0: x = -8.0000, f(x) = 5.4106, f′(x) = -1.7455
step 100: x = -1.2936, f(x) = -0.7945, f′(x) = 0.0150
step 200: x = -1.3064, f(x) = -0.7946, f′(x) = 0.0001
converged after 222 evaluations""",
    "docs/tutorial/06_nesterov.md": """
Momentum from -8: 222 evaluations
Momentum from 8: 251 evaluations
NAG from -8: 34 evaluations
NAG from 8: 27 evaluations
from -8: 34 evaluations, bit for bit torch's: True
from 8: 27 evaluations, bit for bit torch's: True""",
    "docs/tutorial/07_adaptive.md": """
1 1.00000 1.00000
10 0.6513 0.0100 6.53 1.00""",
    "docs/tutorial/08_under_a_trainer.md": """
NAG got gradients that were taken before its lookahead
tensors equal to the last bit 5 of 5""",
    "docs/tutorial/09_memory.md": """
equal to the last bit: True
bf16 1 − 100·0.001 = 1.0000""",
    "docs/tutorial/10_data_parallel.md": """
the two processes' parameters are equal: True
scratchopt's and torch's parameters are equal: True
and equal to those by hand: True
numbers sent in a step, for each parameter: 2""",
    "docs/tutorial/11_zero.md": """
Stage3 2.00 2.00 4.00
Stage2 reduce-scatter 1.00, all-gather 1.00
Stage3 all-gather 2.00, reduce-scatter 1.00
Stage1 0 Stage2 0 Stage3 0""",
    "docs/tutorial/12_schedule_free_and_beyond.md": """
SOAP 0.4228 0.4228 0.4228""",
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: Path(page).stem)
def test_a_chapter_runs_top_to_bottom_and_prints_what_it_should(page: str, site: Path):
    """As the site was built; the notebook that is part of it has what came of each cell."""
    file = site / "jupyter_execute" / Path(page).relative_to("docs").with_suffix(".ipynb")
    cells = [c for c in nbformat.read(file, as_version=4).cells if c.cell_type == "code"]
    shown = [kind for kind, _ in blocks(PAGES[page]) if kind.startswith("{code-cell}")]
    assert [cell.execution_count for cell in cells] == list(range(1, len(shown) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    streams = [output for output in outputs if output.output_type == "stream"]
    assert [stream.text for stream in streams if stream.name == "stderr"] == []
    printed = " ".join("".join(stream.text for stream in streams).split())
    for line in PRINTED.get(page, "").strip().splitlines():
        assert line in printed, line
        printed = printed[printed.index(line) + len(line) :]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_about_notebooks_runs_top_to_bottom_and_has_its_one_error(site: Path):
    notebook = nbformat.read(site / "jupyter_execute" / "how-to" / "notebook.ipynb", as_version=4)
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    [error] = [out for out in outputs if out.output_type == "error"]
    assert error.traceback == [f"UserError: {error.evalue}"]
    [noise] = [out.text for out in outputs if out.get("name") == "stderr"]
    assert "diverged at step 15" in noise
