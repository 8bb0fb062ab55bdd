"""Newton's method, with the exact Hessian or its Gauss–Newton part, dense or by products."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from scratchopt.engine.update import as_number
from scratchopt.optimizer import Optimizer, Params
from scratchopt.ranges import Range
from scratchopt.second_order import curvature
from scratchopt.second_order.flat import unflatten
from scratchopt.second_order.gathered import PRODUCT, GatheredCurvature
from scratchopt.second_order.line_search import Model, Trials, damping_factor, try_step
from scratchopt.second_order.system import Moved, Singular, System, make_system, spread

MAX_PARAMETERS = 1000  # of a dense Hessian: 8 MB in float64, and a thousand backward passes a step
Curvature: TypeAlias = Literal["hessian", "gauss_newton"]
Solver: TypeAlias = Literal["dense", "saddle_free", "cg"]
RAISES = 20  # of a damping that adapts, tenfold each, till a system is not singular
# What holds for the whole system, so for all groups.
_OF_THE_SYSTEM = ("curvature", "solver", "cg_iters", "cg_tol", "adapt_damping", "line_search")
_WHOLE_LOSS = (
    "adapt_damping and line_search need the whole loss in one closure: set "
    "accumulate_grad_batches=1, and a larger batch"
)


class Newton(Optimizer):
    """Newton's method (Newton, 1669; Raphson, 1690) on the gradient: it seeks a stationary point.

    θ ← θ − lr·(H + damping·I)⁻¹g, with g = ∇f(θ), H = ∇²f(θ).

    Without damping this is the textbook's method: one step on a quadratic, quadratic convergence
    near any non-degenerate stationary point, maxima and saddles included. With damping greater
    than −λmin(H) the step goes downhill.

    It needs the curvature, so the live loss must pass through it: call `optimizer.backward(loss)`
    in place of `loss.backward()`; under Lightning the callback `scratchopt.lightning.LiveLoss` does
    it for any module. Gradients and curvatures of several micro-batches add up until `zero_grad()`.
    The solve starts from `p.grad`, so gradient clipping acts. Torch's fused attention has no second
    derivatives: `step(closure)` and `LiveLoss` compute it by the kernel that has; else make the
    forward pass within `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.

    Where several processes each have a part of the batch, `p.grad` is their mean, and the curvature
    must be: set `optimizer.average` to a function that takes a tensor to its mean over the
    processes. `LiveLoss` does it under DDP.

    After a step `optimizer.cost` says what it took in gradient evaluations of the batch: one for
    the gradient, one for a graph of it, two for each product of the curvature with a vector, and
    one for each trial of a step.

    Raises:
        RuntimeError: a step without a curvature, without a closure where it is tried, or with a
            singular matrix.

    Reference: Nocedal and Wright, "Numerical Optimization" (2nd ed., 2006), chapters 3 and 7;
    Martens, "Deep learning via Hessian-free optimization", ICML 2010; Dauphin et al., "Identifying
    and attacking the saddle point problem", arXiv:1406.2572.
    """

    ranges = (Range("damping", 0), Range("cg_iters", 1), Range("cg_tol", 0, 1))

    _gathered: GatheredCurvature  # of the parameters that require a gradient, in order

    def _make_objects(self) -> None:
        super()._make_objects()
        self._gathered = GatheredCurvature()

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        damping: float = 0.0,
        *,
        curvature: Curvature = "hessian",
        solver: Solver = "dense",
        cg_iters: int = 50,
        cg_tol: float = 1e-3,
        adapt_damping: bool = False,
        line_search: bool = False,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        """Creates the optimizer of some parameters.

        Args:
            params: parameters, or groups of them; for a dense solver up to 1000 numbers in all.
            lr: fraction of the full step, lr >= 0.
            damping: added to the diagonal of H; >= 0.
            curvature: "hessian", H; or "gauss_newton", the part JᵀMJ of it that a loss convex in
                the network's outputs makes positive semidefinite: `backward` then wants the outputs
                too.
            solver: "dense", of the whole matrix; "saddle_free", of its absolute value, every |λ| in
                place of λ (Dauphin et al., 2014), so that saddles repel; "cg", conjugate gradients
                from products with vectors, for any number of parameters.
            cg_iters: conjugate gradients at most, >= 1.
            cg_tol: they end at a residual of cg_tol·‖g‖; in [0, 1).
            adapt_damping: raises damping by half where the loss fell by less than a quarter of what
                the quadratic model predicts, lowers it by a third where it fell by more than three
                quarters (Levenberg and Marquardt; Martens, 2010), and takes back a step that raised
                the loss.
            line_search: halves the step until the loss falls by 10⁻⁴ of the slope's promise
                (Armijo).
            weight_decay: L2 penalty: adds weight_decay·θ to g and weight_decay to the diagonal of
                H.
            maximize: treat −f: with damping 0 the step is the same.

        `adapt_damping` and `line_search` try a step before they take it: they need `step(closure)`.
        The closure draws the same random numbers each time; running statistics, as BatchNorm's, see
        the trials too.

        Raises:
            ValueError: a value out of its range, or too many parameters.

        >>> x = torch.nn.Parameter(torch.tensor([3.0]))
        >>> optimizer = Newton([x])
        >>> optimizer.backward(((x - 1) ** 2).sum())
        >>> optimizer.step()
        >>> x.item()
        1.0
        """
        super().__init__(
            params,
            {
                "lr": lr,
                "damping": damping,
                "curvature": curvature,
                "solver": solver,
                "cg_iters": cg_iters,
                "cg_tol": cg_tol,
                "adapt_damping": adapt_damping,
                "line_search": line_search,
            },
            weight_decay=weight_decay,
            maximize=maximize,
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group; refuses what concerns the whole system, and more than a dense one bears."""
        super().add_param_group(param_group)
        first, added = self.param_groups[0], self.param_groups[-1]
        for name, known in (("curvature", get_args(Curvature)), ("solver", get_args(Solver))):
            if added[name] not in known:
                raise ValueError(f"Invalid {name}: {added[name]} (one of {', '.join(known)})")
        for name in _OF_THE_SYSTEM:
            if added[name] != first[name]:
                raise ValueError(
                    f"Invalid {name}: {added[name]} in one group, {first[name]} before"
                )
        if added["adapt_damping"] and not added["damping"] > 0:
            raise ValueError(f"Invalid damping value: {added['damping']} (> 0 with adapt_damping)")
        size = sum(p.numel() for p in self._parameters())
        if first["solver"] != "cg" and size > MAX_PARAMETERS:
            raise ValueError(
                f"Newton's dense Hessian is for up to {MAX_PARAMETERS} parameters, and these are "
                f'{size}: set solver="cg", or choose a first-order optimizer, such as NAG'
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a state; a curvature that was gathered before it is forgotten."""
        super().__setstate__(state)
        self._gathered.forget()

    def state_bytes(self) -> int:
        """Bytes of the Hessian, of n² numbers, or of the five vectors of conjugate gradients."""
        size = sum(p.numel() for p in self._parameters())
        numbers = 5 * size if self.keeps_graphs else size**2
        return numbers * self._parameters()[0].element_size()

    @property
    def average(self) -> Callable[[Tensor], Tensor]:
        """Takes a tensor to its mean over the processes."""
        return self._gathered.average

    @average.setter
    def average(self, average: Callable[[Tensor], Tensor]) -> None:
        self._gathered.average = average

    @property
    def cost(self) -> float:
        """The cost of the last step, in gradient evaluations of the batch."""
        return self._gathered.cost

    @property
    def keeps_graphs(self) -> bool:
        """True if a loss's graph must outlive its `backward()`, till the step."""
        return self.param_groups[0]["solver"] == "cg"

    @property
    def needs_outputs(self) -> bool:
        """True if `backward` must be given the network's outputs."""
        return self.param_groups[0]["curvature"] == "gauss_newton"

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients, as torch does, and the curvature."""
        super().zero_grad(set_to_none)
        if not self._gathered.trying:
            self._gathered.forget()
            self._gathered.zeroed = True

    @torch._disable_dynamo
    def backward(self, loss: Tensor, outputs: Tensor | None = None) -> None:
        """Adds the loss's gradient to `p.grad` and its curvature to the optimizer's.

        Args:
            loss: 0-dim, with its graph.
            outputs: what the network gave, and the loss was computed of; for gauss_newton.
        """
        self.add_curvature(loss, outputs)
        loss.backward(retain_graph=self.keeps_graphs)

    @torch._disable_dynamo
    def add_curvature(self, loss: Tensor, outputs: Tensor | None = None) -> None:
        """Adds the curvature of a live loss; its graph must stay for `loss.backward()`.

        With solver="cg" the graph must stay till the step, so `loss.backward(retain_graph=True)`.

        Raises:
            RuntimeError: no second derivatives, no outputs where they are needed, or a loss that
                was added before.
        """
        if self._gathered.trying:
            return
        parameters = self._parameters()
        if not parameters:  # as where another optimizer's turn is
            return
        if self._gathered.latest is not None and self._gathered.latest() is loss:
            raise RuntimeError(
                "the curvature of this loss was added before: call add_curvature(loss) or "
                "backward(loss), once, and not where LiveLoss does it too"
            )
        self._gathered.cost = 0.0  # of a step that may be left out, as by a GradScaler
        kind = self.param_groups[0]["curvature"]
        with curvature.explain_failure():
            product = curvature.make_product(kind, loss, outputs, parameters)
            self._gathered.add(loss, product, parameters, whole=not self.keeps_graphs)

    def scale_curvature(self, factor: float) -> None:
        """Multiplies what was gathered by a number, as whoever scales `p.grad` must.

        Raises:
            RuntimeError: steps that are tried, by a loss that is not scaled.
        """
        if self._tries:
            raise RuntimeError(_WHOLE_LOSS)
        self._gathered.scale(factor)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one Newton step from `p.grad` and the curvature gathered since `zero_grad()`.

        Args:
            closure: computes the loss anew, hands it to `backward`, and returns it.

        Returns:
            What the closure returned, without its graph, or None.

        Raises:
            RuntimeError: no curvature was gathered, no closure is there to try a step with, or the
                matrix is singular.
        """
        tried, gathered = self._tries, self._gathered
        if tried and closure is None:
            raise RuntimeError(
                "adapt_damping and line_search try a step, so they need step(closure); a Trainer "
                "gives none with a GradScaler or two optimizers"
            )
        trials = Trials() if tried else None
        earlier, gathered.zeroed, gathered.cost, loss = bool(gathered), False, 0.0, None
        if closure is not None:
            with torch.enable_grad(), curvature.twice_differentiable():
                loss = closure()
        if not gathered and any(p.grad is not None for p in self._parameters()):
            raise RuntimeError(
                "Newton needs the curvature: call optimizer.backward(loss) in place of "
                "loss.backward(); under Lightning add the callback scratchopt.lightning.LiveLoss, "
                "or, as its Tuner leaves callbacks out, call add_curvature(loss) in its place in "
                "on_before_backward of the module"
            )
        if tried and earlier and not gathered.zeroed:
            raise RuntimeError(_WHOLE_LOSS)
        if gathered:
            with torch.no_grad(), curvature.twice_differentiable():  # for the trials
                self._move(closure, loss, trials)
        return loss.detach() if isinstance(loss, Tensor) else loss  # its graph may be large

    def _move(self, closure: Any, loss: Any, trials: Trials | None) -> None:
        moved = [
            (group, p)
            for group in self.param_groups
            for p in group["params"]
            if p.requires_grad and p.grad is not None
        ]
        if not moved:
            return
        params = [p for _, p in moved]
        gathered = self._gathered
        matrix = None if gathered.matrix is None else self.average(gathered.matrix)
        system = make_system(moved, self._parameters(), matrix, gathered.products, self.average)
        try:
            with curvature.explain_failure():
                direction, products = self._solve(system)
        except RuntimeError as error:
            if "a second time" in str(error):
                raise RuntimeError(
                    'solver="cg" needs the graph of the loss till the step: call '
                    "optimizer.backward(loss), or loss.backward(retain_graph=True)"
                ) from error
            raise
        whole = 0 if matrix is None else PRODUCT * len(matrix)
        gathered.cost = 2 + whole + products * gathered.price
        step = spread(moved, lambda group: as_number(group["lr"])) * direction
        if trials is None:
            for p, d in zip(params, unflatten(step, params), strict=True):
                p -= d
        else:
            self._try(system, step, moved, lambda: trials(closure, params), loss)
        gathered.forget()

    def _solve(self, system: System) -> tuple[Tensor, int]:
        """The direction and its products; where damping adapts, it does to a singular system."""
        group, raised = self.param_groups[0], 0
        while True:
            try:
                return system.solve(group["solver"], group["cg_iters"], group["cg_tol"])
            except Singular as error:
                if not group["adapt_damping"] or raised == RAISES:
                    damping = group["damping"]
                    raise RuntimeError(f"{error}: raise damping (now {damping})") from error
            raised += 1
            system = system._replace(damping=10 * system.damping)
            self._scale_damping(10)

    def _try(self, system: System, step: Tensor, moved: Moved, evaluate: Any, loss: Any) -> None:
        """Takes the step, or a part of it, if the loss falls; adapts the damping."""
        group, params = self.param_groups[0], [p for _, p in moved]
        model = Model((system.b @ step).item(), (step @ system.product(step)).item())
        start = self._objective(loss, moved)

        def objective() -> float:
            self._gathered.trying = True
            try:
                return self._objective(evaluate(), moved)
            finally:
                self._gathered.trying = False

        pieces = unflatten(step, params)
        taken = try_step(params, pieces, objective, start, model, group["line_search"])
        self._gathered.cost += self._gathered.price + taken.trials
        predicted = model.decrease(taken.part)
        rounding = torch.finfo(system.b.dtype).eps * abs(start)
        if group["adapt_damping"] and abs(predicted) > rounding:  # else there is nothing to go by
            ratio = (start - taken.after) / predicted if predicted > 0 else 0.0
            self._scale_damping(damping_factor(ratio))

    def _scale_damping(self, factor: float) -> None:
        for group in self.param_groups:
            group["damping"] *= factor

    def _objective(self, loss: Any, moved: Moved) -> float:
        """The objective: the loss over all processes, or its negative, with the penalty."""
        value = self.average(torch.as_tensor(loss).detach().clone()).item()
        penalty = sum(group["weight_decay"] * (p**2).sum().item() for group, p in moved) / 2
        return (-value if self.param_groups[0]["maximize"] else value) + penalty

    @property
    def _tries(self) -> bool:
        """True if a step is tried before it is taken."""
        group = self.param_groups[0]
        return group["adapt_damping"] or group["line_search"]

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"] if p.requires_grad]
