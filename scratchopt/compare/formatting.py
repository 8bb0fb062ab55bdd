"""Numbers as a reader takes them: as many digits as they are known to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import floor, isfinite, log10
from typing import Any

NOT_REACHED = "not reached"
NONE = "–"


def count(value: float | None) -> str:
    """Evaluations or steps: 12,345; 12.5 where they are few and broken; ∞ was not reached."""
    if value is None or value != value:
        return NONE
    if not isfinite(value):
        return NOT_REACHED
    whole = value == round(value) or abs(value) >= 100
    return f"{value:,.0f}" if whole else f"{value:.3g}"


def number(value: float | None, digits: int = 4) -> str:
    """A value in some digits: 0.9712, 1.2e-7; ∞ is ∞ here, and what is no number a dash."""
    if value is None or value != value:
        return NONE
    if not isfinite(value):
        return "∞" if value > 0 else "−∞"
    if 10**digits <= abs(value) < 1e7:
        return f"{value:,.0f}".replace("-", "−")
    short = re.sub(r"e([+-])0*", r"e\1", f"{value:.{digits}g}").replace("e+", "e")
    return short.replace("-", "−", 1) if value < 0 else short


def p_is(value: float) -> str:
    """How a sentence has it: p = 0.031, p < 0.0001."""
    said = probability(value)
    return f"p {said}" if said.startswith("<") else f"p = {said}"


def probability(value: float | None) -> str:
    """p: 0.0312, 0.00042, < 0.0001."""
    if value is None or value != value:
        return NONE
    if value < 1e-4:
        return "< 0.0001"
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def median_of(spread: Mapping[str, Any]) -> str:
    """Of evaluations or steps: `1,250 [1,100, not reached]`."""
    low, high = spread["low"], spread["high"]
    middle = count(spread["value"])
    if middle == NONE or _nothing(low, high) or low == high == spread["value"]:
        return middle
    return f"{middle} [{count(low)}, {count(high)}]"


def mean_of(spread: Mapping[str, Any]) -> str:
    """Of a metric: `0.9712 [0.9698, 0.9724]`, to two digits of the interval's width."""
    mean, low, high = spread["value"], spread["low"], spread["high"]
    if mean is None or not isfinite(mean) or _nothing(low, high) or low == high:
        return number(mean)
    if not isfinite(high - low):
        return f"{number(mean)} [{number(low)}, {number(high)}]"
    places = 1 - floor(log10(high - low))
    if places > 6 or abs(mean) >= 1e6:
        digits = max(3, places + 1 + floor(log10(max(abs(mean), high - low))))
        return f"{number(mean, digits)} [{number(low, digits)}, {number(high, digits)}]"
    places = max(0, places)
    mean, low, high = (f"{x:.{places}f}".replace("-", "−") for x in (mean, low, high))
    return f"{mean} [{low}, {high}]"


def settings(of: Mapping[str, Any] | None) -> str:
    """`lr 0.1, momentum 0.9`: keys without their group, where no two become the same."""
    if not of:
        return NONE
    last = [key.rsplit(".", 1)[-1] for key in of]
    names = last if len(set(last)) == len(last) else list(of)
    values = [number(v) if isinstance(v, float) else str(v) for v in of.values()]
    return ", ".join(f"{n} {v}" for n, v in zip(names, values, strict=True))


def bytes_of(value: float | None) -> str:
    """Memory: 12.3 MB."""
    if value is None or value != value:
        return NONE
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def _nothing(*values: float | None) -> bool:
    return any(value is None or value != value for value in values)


def target_of(objective: Mapping[str, Any]) -> str:
    """`val/accuracy ≥ 0.97`, or `convergence` where there is no number."""
    if objective["target"] is None:
        return "convergence"
    sign = "≥" if objective["mode"] == "max" else "≤"
    return f"{objective['metric']} {sign} {objective['target']:g}"
