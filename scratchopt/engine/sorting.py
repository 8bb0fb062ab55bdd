"""Sorts the parameters of an optimizer's groups into buckets, anew only where something changed."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import Parameter

from scratchopt.engine.buckets import Bucket, are_disjoint
from scratchopt.engine.laws import read_programs
from scratchopt.engine.update import Update

# Elements. Without a kernel θ is read where it was kept by a call for each tensor, which costs more
# than it saves where these are small, or on a GPU.
LARGE = 2**17

Group: TypeAlias = dict[str, Any]


class Away(Protocol):
    """Parameters that are not at θ, and the θ that was kept of them."""

    tensors: list[Tensor]
    copies: list[Tensor]


class Buckets(NamedTuple):
    """The buckets, and all that the sorting depended on."""

    params: list[Tensor]
    kinds: Any
    updates: list[Update]
    states: list[dict[str, Any]]
    away: Sequence[Away]
    rows: list[tuple[int, list[int], Bucket]]  # index of the group, indices of gradients
    from_kept: frozenset[int]  # ids of the parameters whose update starts from the θ that was kept
    addresses: list[int]  # of these

    def fits(
        self,
        params: list[Tensor],
        kinds: Any,
        updates: list[Update],
        state: dict[Any, Any],
        away: Sequence[Away],
    ) -> bool:
        """True if all is as it was: no group added, no gradient late, no state replaced."""
        return (
            len(params) == len(self.params)
            and all(map(is_, params, self.params))
            and kinds == self.kinds
            and updates == self.updates
            and len(state) == len(self.states)
            and all(map(is_, state.values(), self.states))
            and all(bucket.undisturbed for _, _, bucket in self.rows)
            and away == self.away
            and (not self.addresses or self.addresses == _addresses(self.rows))
        )

    def walk(self, grads: list[Any]) -> list[tuple[int, list[Any], Bucket]]:
        """Each bucket with the index of its group before it, and its gradients."""
        if len(self.rows) == 1 and len(self.rows[0][1]) == len(grads):
            return [(self.rows[0][0], grads, self.rows[0][2])]
        return [(i, [grads[j] for j in members], bucket) for i, members, bucket in self.rows]


class Sorting:
    """Puts parameters of a kind together, so that one call serves them."""

    def __init__(self) -> None:
        self._found: Buckets | None = None

    def forget(self) -> None:
        """Sorts the parameters anew the next time."""
        self._found = None

    def sort(
        self,
        groups: list[Group],
        find_grads: Callable[[], list[Any]],
        kinds: Any,
        updates: list[Update],
        state: dict[Any, Any],
        prepare: Callable[[Tensor, Group, Update], dict[str, Any]],
        away: Sequence[Away] = (),
    ) -> Buckets:
        """The buckets of the parameters that take part; the same object while it fits.

        Args:
            groups: of parameters.
            find_grads: finds the gradient of each parameter, or what stands in its place in a
                move; None where the parameter takes no part.
            kinds: changes whenever other parameters take part, or with other dtypes or layouts.
            updates: of the groups.
            state: of the parameters.
            prepare: gives a parameter of a group its state, or refuses it.
            away: the parameters that are not at θ. Where it can, the update starts from the θ that
                was kept of them.
        """
        params = [p for group in groups for p in group["params"]]
        found = self._found
        if found is None or not found.fits(params, kinds, updates, state, away):
            rows = _sort(groups, find_grads(), updates, prepare, away)
            started = [bucket for _, _, bucket in rows if bucket.kept]
            ids = frozenset(id(p) for bucket in started for p in bucket.params)
            found = self._found = Buckets(
                params, kinds, updates, list(state.values()), away, rows, ids, _addresses(rows)
            )
        return found


def kinds_of(tensors: list[Any]) -> tuple[list[Any], list[Any]]:
    """Dtypes and layouts, None where there is no tensor."""
    return (
        [t if t is None else t.dtype for t in tensors],
        [t if t is None else t.layout for t in tensors],
    )


@torch.no_grad()
def _sort(
    groups: list[Group], grads: list[Any], updates: list[Update], prepare: Any, away: Any
) -> list[tuple[int, list[int], Bucket]]:
    """Puts parameters of a kind together, and gives those that are new their state."""
    kept = {id(p): c for some in away for p, c in zip(some.tensors, some.copies, strict=True)}
    params = [p for group in groups for p in group["params"]]
    moving = [p for p, g in zip(params, grads, strict=True) if g is not None or id(p) in kept]
    if kept and not are_disjoint([p for p in moving if _is_plain(p)]):
        kept = {}  # what two parameters share is updated twice, one time after the other
    rows = defaultdict(list)
    numbered = enumerate(grads)
    for index, (group, update) in enumerate(zip(groups, updates, strict=True)):
        for p, (i, g) in zip(group["params"], numbered, strict=False):
            if g is None:
                continue
            state = prepare(p, group, update)
            age = tuple(state[key].item() for key in update.shared_numbers)
            starts = _starts_from(kept.get(id(p)), p, g, update)
            rows[index, p.device, p.dtype, g.dtype, g.layout, age, starts].append((i, p, state))
    return [
        (
            index,
            [i for i, _, _ in members],
            Bucket(
                [p for _, p, _ in members],
                [s for _, _, s in members],
                updates[index],
                read_programs(updates[index], groups[index]),
                [kept[id(p)] for _, p, _ in members] if starts else [],
            ),
        )
        for (index, *_, starts), members in rows.items()
    ]


def _starts_from(kept: Tensor | None, p: Tensor, g: Tensor, update: Update) -> bool:
    """True if the update can read p where its θ was kept, so that θ is not written back before."""
    options = update.options
    return (
        kept is not None
        and (options.fused or (p.device.type == "cpu" and p.numel() >= LARGE))
        and not (options.compensated or update.takes_tensors or update.shape.whole)
        and g.layout == torch.strided
        and _is_plain(p)
        and (p.shape, p.dtype, p.device) == (kept.shape, kept.dtype, kept.device)
    )


def _is_plain(p: Tensor) -> bool:
    return type(p) in (Tensor, Parameter)


def _addresses(rows: list[tuple[int, list[int], Bucket]]) -> list[int]:
    return [p.data_ptr() for _, _, bucket in rows if bucket.kept for p in bucket.params]
