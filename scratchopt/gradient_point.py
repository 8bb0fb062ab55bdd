"""The point where a method takes its gradient, if that is not where its parameters are."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch.nn import UninitializedParameter

from scratchopt.engine.runner import writes_copies
from scratchopt.engine.sorting import Buckets, Group, Sorting
from scratchopt.engine.update import Rule, Update, as_number, as_scalar, number_names
from scratchopt.snapshot import Snapshot

_REMEDY = (
    "call lookahead_() before the forward pass, or step(closure) with a closure that calls "
    "optimizer.zero_grad(); under Lightning add the callback scratchopt.lightning.Lookahead, or, "
    "as its Tuner leaves callbacks out, call lookahead_() in on_train_batch_start of the module"
)


class GradientPoint:
    """Moves parameters to the point of the gradient, keeps the iterate θ meanwhile, and goes back.

    All that it knows lies in this one object, which a copy of the optimizer's `__dict__` shares, as
    Lightning's and Fabric's wrappers make one.

    Args:
        point: p, the buffers and numbers by name, to p at the point, in place; see `Optimizer`.
        name: of the method, for messages.
    """

    def __init__(self, point: Rule, name: str) -> None:
        self._name, self._number_names = name, number_names(point)
        self._sorting = Sorting()
        self.moves = 0  # to the point and back
        self.forget()

    def forget(self) -> None:
        """Forgets the iterate, which is then not given back."""
        self._sorting.forget()
        self._buckets: Buckets | None = None
        self._differentiable = False  # whether autograd goes through any of their moves
        self._count = 0  # of the parameters in the buckets
        self._memory: list[Snapshot] = []  # for the iterate θ of each of the buckets
        self.away: list[Snapshot] = []  # the parameters that are not at θ now, and their θ
        self.ahead = False  # whether the parameters are at the point now
        self._numbers: dict[str, list[Any]] | None = None  # of a move since the last step
        self.zeroed = False  # whether zero_grad was called since the closure began

    def enter(
        self, groups: list[Group], moves: list[Update], state: dict[Any, dict[str, Any]]
    ) -> None:
        """Moves the parameters to the point; does nothing where they are there already.

        Those that do not train, or have not all their buffers yet, stay where they are.

        Args:
            groups: of the optimizer.
            moves: of the groups.
            state: of the parameters.
        """
        now = self._read(groups)
        if self.ahead:
            if self._numbers == now:
                return
            self.leave()
        self._numbers, self.ahead = now, True
        self.moves += 1
        try:
            self._move(groups, moves, state)
        except BaseException:
            self.leave()
            raise

    def leave(self, but: Collection[int] = ()) -> None:
        """Moves the parameters back to θ, bit for bit; does nothing where they are there.

        Args:
            but: ids of parameters that stay away, of those that are.
        """
        if not self.ahead:
            return
        self.moves += 1
        if not but or len(but) < self._count:
            for snapshot in reversed(self.away):  # the first has what two parameters share
                snapshot.give_back(but)
        if not but:
            self.land()

    def land(self) -> None:
        """Leaves the parameters where an update that started from θ has brought them."""
        self.away, self.ahead = [], False

    def evaluate(
        self, closure: Callable[[], Any] | None, enter: Callable[[], None], groups: list[Any]
    ) -> Any:
        """Runs the closure of a step at the point, where the parameters then are.

        Args:
            closure: of the step, or None.
            enter: moves to the point.
            groups: of the optimizer.

        Raises:
            RuntimeError: gradients in the closure from before the move, or a number of the point
                that changed since.
        """
        loss = None
        if closure is not None and self.ahead:
            with torch.enable_grad():
                loss = closure()
        elif closure is not None:
            loss = self._look_ahead_for(closure, enter, groups)
        taken, self._numbers = self._numbers, None
        if taken is not None and taken != (now := self._read(groups)):
            (name, *_) = (name for name in now if taken[name] != now[name])
            raise RuntimeError(
                f"{self._name}'s {name} changed from {tuple(taken[name])} to {tuple(now[name])} "
                "between its lookahead and its step: change it after a step, or call lookahead_() "
                "again"
            )
        return loss

    def refuse_elsewhere(self) -> None:
        """Raises an error: the gradients of a step were not taken at the point."""
        raise RuntimeError(f"{self._name} needs its gradient at the lookahead point: {_REMEDY}")

    def _move(
        self, groups: list[Group], moves: list[Update], state: dict[Any, dict[str, Any]]
    ) -> None:
        params = [p for group in groups for p in group["params"]]
        kinds = [
            (p.requires_grad, p.dtype, None if type(p) is UninitializedParameter else p.shape)
            for p in params
        ]
        buffers = sum(map(len, state.values()))  # grows with each

        def find_movable() -> list[Any]:
            pairs = zip(groups, (set(move.keys) for move in moves), strict=True)
            needed = [keys for group, keys in pairs for _ in group["params"]]
            return [
                p if p.requires_grad and state.get(p, {}).keys() >= keys else None
                for p, keys in zip(params, needed, strict=True)
            ]

        found = self._sorting.sort(
            groups, find_movable, (kinds, buffers), moves, state, lambda p, *_: state.get(p, {})
        )
        if found is not self._buckets or self._differentiable:  # autograd wants new memory
            buckets = [bucket for _, _, bucket in found.rows]
            self._memory = [Snapshot(bucket.params, writes_copies(bucket)) for bucket in buckets]
            self._differentiable = any(move.options.differentiable for move in moves)
            self._buckets, self._count = found, sum(len(b.params) for b in buckets)
        for (index, _, bucket), snapshot in zip(found.rows, self._memory, strict=True):
            move, group = bucket.update, groups[index]
            plain = as_scalar if move.options.differentiable else as_number
            numbers = {name: plain(group[name]) for name in move.names}
            with torch.set_grad_enabled(move.options.differentiable):
                if not snapshot.one_by_one:
                    snapshot.take()
                    self.away.append(snapshot)
                move.driver(bucket, snapshot.copies, numbers)
                if snapshot.one_by_one:  # before, the copies had nothing to give back
                    self.away.append(snapshot)

    def _read(self, groups: list[Any]) -> dict[str, list[Any]]:
        return {name: [as_number(group[name]) for group in groups] for name in self._number_names}

    def _look_ahead_for(
        self, closure: Callable[[], Any], enter: Callable[[], None], groups: list[Any]
    ) -> Any:
        """Runs the closure at the point, and refuses gradients from before it.

        A trainer that accumulates micro-batches has run some of them at θ by now. Their gradients
        show: they are there before the closure, not zero, and still there after it.
        """
        earlier = [(p, p.grad) for group in groups for p in group["params"]]
        earlier = [(p, grad) for p, grad in earlier if grad is not None]
        norms = torch._foreach_norm([grad for _, grad in earlier]) if earlier else []
        self.zeroed = False
        enter()
        with torch.enable_grad():
            loss = closure()
        if not self.zeroed and any(
            p.grad is grad and norm > 0 for (p, grad), norm in zip(earlier, norms, strict=True)
        ):
            raise RuntimeError(
                f"{self._name} got gradients that were taken before its lookahead, at θ: {_REMEDY}"
            )
        return loss
