"""A grid of lrs that extends itself at its edges and refines itself around the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

HALF, QUARTER = Fraction(1, 2), Fraction(1, 4)  # decades
FINEST = Fraction(1, 16)  # between neighbours, at last
WIDEST = 9  # points at first: two decades to either side


def first(budget: int) -> list[Fraction]:
    """The exponents to begin with: an odd number of them around 0, about 9/16 of the budget."""
    count = 2 * round((Fraction(9, 16) * budget - 1) / 2) + 1
    count = max(min(count, WIDEST), 3 if budget >= 3 else 1)
    return [HALF * k for k in range(-(count // 2), count // 2 + 1)]


def following(exponents: Sequence[Fraction], order: Sequence[Fraction]) -> list[Fraction]:
    """What to try next, the more promising first: one point beyond an edge, or two midpoints.

    Args:
        exponents: tried so far.
        order: the same, the best first.
    """
    best = order[0]
    if not is_inside(exponents, best):
        return [best - HALF if best == min(exponents) else best + HALF]
    below = max(x for x in exponents if x < best)
    above = min(x for x in exponents if x > best)
    sides = sorted((below, above), key=order.index)
    return [(best + side) / 2 for side in sides if abs(best - side) > FINEST]


def is_inside(exponents: Sequence[Fraction], best: Fraction) -> bool:
    """Whether there are points to both sides."""
    return min(exponents) < best < max(exponents)


def is_settled(exponents: Sequence[Fraction], best: Fraction) -> bool:
    """Whether there are points to both sides, and none is further off than a quarter decade."""
    near = [x for x in exponents if abs(x - best) <= QUARTER]
    return is_inside(near, best)


def walked(
    budget: int, reserve: int, order: Callable[[list[Fraction]], list[Fraction] | None]
) -> tuple[list[Fraction], bool]:
    """The exponents tried, or to be tried now, in order; and whether these are all.

    Args:
        budget: number of points.
        reserve: how many of them are not to be spent on refining beyond a quarter decade.
        order: of points, the best first; None, if that is not known yet.
    """
    exponents = first(budget)
    while True:
        known = order(exponents)
        if known is None:
            return exponents, False
        room = budget - len(exponents) - (reserve if is_settled(exponents, known[0]) else 0)
        more = following(exponents, known)[: max(room, 0)]
        if not more:
            return exponents, True
        exponents = exponents + more
