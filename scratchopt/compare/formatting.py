"""Numbers as a reader takes them: as many digits as they are known to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import floor, isfinite, log10
from typing import Any

from scratchopt.compare.statistics import Interval
from scratchopt.compare.summary import Bounded
from scratchopt.objective import Objective

NOT_REACHED = "not reached"
NONE = "–"


def format_count(value: float | None) -> str:
    """Formats evaluations or steps: 12,345; 12.5 where they are few and broken; ∞: not reached."""
    if value is None or value != value:
        return NONE
    if not isfinite(value):
        return NOT_REACHED
    whole = value == round(value) or abs(value) >= 100
    return f"{value:,.0f}" if whole else f"{value:.3g}"


def format_number(value: float | None, digits: int = 4) -> str:
    """Formats a value in some digits: 0.9712, 1.2e-7; ∞ is ∞ here, and NaN a dash."""
    if value is None or value != value:
        return NONE
    if not isfinite(value):
        return "∞" if value > 0 else "−∞"
    if 10**digits <= abs(value) < 1e7:
        return f"{value:,.0f}".replace("-", "−")
    short = re.sub(r"e([+-])0*", r"e\1", f"{value:.{digits}g}").replace("e+", "e")
    return short.replace("-", "−", 1) if value < 0 else short


def format_p(value: float | None) -> str:
    """Formats a p for a table: 0.0312, 0.00042, < 0.0001."""
    if value is None or value != value:
        return NONE
    if value < 1e-4:
        return "< 0.0001"
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def format_p_clause(value: float) -> str:
    """Formats a p for a sentence: p = 0.031, p < 0.0001."""
    text = format_p(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def format_at_least(value: float | None, reached: float) -> str:
    """Formats evaluations or steps; a number that is greater than `reached` as > 1,050.

    What is only known to be exceeded is rounded down, so that it is.
    """
    if value is None or not isfinite(value) or value <= reached:
        return format_count(value)
    return f"> {format_count(floor(value))}"


def format_cost(found: Bounded) -> str:
    """Formats a median or a mean of evaluations or steps: `1,250 [1,100, not reached]`."""
    low, high = found.low, found.high
    middle, *ends = (format_at_least(x, found.reached) for x in (found.value, low, high))
    if middle == NONE or _any_unknown(low, high) or low == high == found.value:
        return middle
    return f"{middle} [{', '.join(ends)}]"


def format_mean(interval: Interval) -> str:
    """Formats a mean: `0.9712 [0.9698, 0.9724]`, to two digits of the interval's width."""
    mean, low, high = interval.value, interval.low, interval.high
    if low is None or high is None or _any_unknown(low, high) or not isfinite(mean) or low == high:
        return format_number(mean)
    ends = (mean, low, high)
    if not isfinite(high - low):
        return _enclose(*map(format_number, ends))
    places = 1 - floor(log10(high - low))
    if places > 6 or abs(mean) >= 1e6:
        digits = max(3, places + 1 + floor(log10(max(abs(mean), high - low))))
        return _enclose(*(format_number(x, digits) for x in ends))
    places = max(0, places)
    return _enclose(*(f"{x:.{places}f}".replace("-", "−") for x in ends))


def format_settings(values: Mapping[str, Any] | None) -> str:
    """Formats settings: `lr 0.1, momentum 0.9`, by whole keys where two had the same name else."""
    if not values:
        return NONE
    last = [key.rsplit(".", 1)[-1] for key in values]
    names = last if len(set(last)) == len(last) else list(values)
    texts = [format_number(v) if isinstance(v, float) else str(v) for v in values.values()]
    return ", ".join(f"{name} {text}" for name, text in zip(names, texts, strict=True))


def format_bytes(value: float | None) -> str:
    """Formats memory: 12.3 MB."""
    if value is None or value != value:
        return NONE
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def format_target(objective: Objective) -> str:
    """Formats a target: `val/accuracy ≥ 0.97`, or `convergence` where there is no number."""
    if objective.target is None:
        return "convergence"
    sign = "≥" if objective.mode == "max" else "≤"
    return f"{objective.metric} {sign} {objective.target:g}"


def _enclose(middle: str, low: str, high: str) -> str:
    return f"{middle} [{low}, {high}]"


def _any_unknown(*values: float | None) -> bool:
    return any(value is None or value != value for value in values)
