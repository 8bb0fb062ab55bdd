"""The table of rates and limits of stability: measured beside closed form."""

from collections.abc import Iterator

import scratchopt
from scratchopt.stability import LIMITS, adam_limit
from scratchopt.theory.closed_forms import TUNED
from scratchopt.theory.measurements import measure_adam_limit, measure_limit, measure_rates

KAPPAS = 10.0, 100.0, 1e4
MOMENTA = 0.0, 0.5, 0.9, 0.99
BETAS = 0.0, 0.5, 0.9, 0.99
RATE_HEADER = """\
| contraction per step | κ | closed form | one step's matrix | difference | long run | difference |
|---|---|---|---|---|---|---|"""
LIMIT_HEADER = """\
| largest stable lr·λ | μ | closed form | bisected | difference |
|---|---|---|---|---|"""


def make_table() -> str:
    """Makes two tables in Markdown; their measurements take some 40 seconds."""
    return "\n".join([RATE_HEADER, *_rates(), "", LIMIT_HEADER, *_limits()])


def _rates() -> Iterator[str]:
    for name, tuned in TUNED.items():
        for method in tuned.methods:
            for kappa in KAPPAS:
                closed = tuned.rate(kappa)
                matrix, run = measure_rates(getattr(scratchopt, method), name, kappa)
                cells = f"{closed:.7f} | {matrix:.7f} | {matrix - closed:.0e}"
                cells = f"{cells} | {run:.7f} | {run - closed:.0e}"
                yield f"| {name}: `{method}` | {kappa:g} | {cells} |"


def _limits() -> Iterator[str]:
    for method, closed_form in LIMITS.items():
        for mu in MOMENTA:
            if method != "SGD":
                bisected = measure_limit(getattr(scratchopt, method), mu)
            elif mu == 0:
                bisected = measure_limit(scratchopt.SGD)
            else:
                continue
            yield _limit(f"`{method}`", f"{mu:g}", bisected, closed_form(mu))
    for beta1 in BETAS:
        bisected = measure_adam_limit(scratchopt.Adam, beta1)
        yield _limit("`Adam`, λ over √v", f"β₁ = {beta1:g}", bisected, adam_limit(beta1))


def _limit(name: str, mu: str, bisected: float, closed: float) -> str:
    return f"| {name} | {mu} | {closed:.7f} | {bisected:.7f} | {bisected - closed:.0e} |"
