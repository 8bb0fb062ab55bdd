"""Newton's method, with the exact Hessian."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scratchopt.hyperparameters import as_number
from scratchopt.optimizer import Optimizer, Params
from scratchopt.recipe import Rule

MAX_PARAMETERS = 1000  # a Hessian of 8 MB in float64, and a thousand backward passes a step


class Newton(Optimizer):
    """Newton's method (Newton, 1669; Raphson, 1690) on the gradient: it seeks a stationary point.

    θ ← θ − lr·(H + damping·I)⁻¹g, with g = ∇f(θ), H = ∇²f(θ).

    Without damping this is the textbook's method: one step on a quadratic, quadratic convergence
    near any non-degenerate stationary point, maxima and saddles included. With damping greater
    than −λmin(H) the step goes downhill.

    It needs the Hessian, so the live loss must pass through it: call `optimizer.backward(loss)` in
    place of `loss.backward()`; under Lightning the callback `scratchopt.lightning.LiveLoss` does
    it for any module. Gradients and Hessians of several micro-batches add up until `zero_grad()`.
    The solve starts from `p.grad`, so gradient clipping acts.

    Where several processes each have a part of the batch, `p.grad` is their mean, and the Hessian
    must be: set `optimizer.average` to a function that takes a tensor to its mean over the
    processes. `LiveLoss` does it under DDP.

    Args:
        params: parameters, or groups of them, up to `MAX_PARAMETERS` numbers in all: the Hessian
            is dense.
        lr: fraction of the full step, lr >= 0.
        damping: added to the diagonal of H; >= 0.
        weight_decay: L2 penalty: adds weight_decay·θ to g and weight_decay to the diagonal of H.
        maximize: treat −f: with damping 0 the step is the same.

    Raises:
        ValueError: a value out of its range, or too many parameters.
        RuntimeError: a step without a Hessian, or a singular one.

    Reference: Nocedal and Wright, "Numerical Optimization" (2nd ed., 2006), chapter 3.

    >>> x = torch.nn.Parameter(torch.tensor([3.0]))
    >>> optimizer = Newton([x])
    >>> optimizer.backward(((x - 1) ** 2).sum())
    >>> optimizer.step()
    >>> x.item()
    1.0
    """

    average: Callable[[Tensor], Tensor] | None = None  # over processes, of what each computed

    _hessian: Tensor | None = None  # (n, n), of the parameters that require a gradient, in order

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        damping: float = 0.0,
        *,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "damping": damping,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group; refuses more parameters than a dense Hessian can serve."""
        super().add_param_group(param_group)
        size = sum(p.numel() for p in self._parameters())
        if size > MAX_PARAMETERS:
            raise ValueError(
                f"Newton's dense Hessian is for up to {MAX_PARAMETERS} parameters, and these are "
                f"{size}: choose a first-order optimizer, such as NAG"
            )

    @classmethod
    def method(cls, group: dict[str, Any]) -> tuple[Rule, tuple[str, ...]]:
        """No rule element by element, and no buffers: the step solves a system."""
        return cls.step, ()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients, as torch does, and the Hessian."""
        super().zero_grad(set_to_none)
        self._hessian = None

    def backward(self, loss: Tensor) -> None:
        """Adds the loss's gradient to `p.grad` and its Hessian to the optimizer's; frees its graph.

        Args:
            loss: 0-dim, with its graph.
        """
        self.add_hessian(loss)
        loss.backward()

    def add_hessian(self, loss: Tensor) -> None:
        """Adds the Hessian of a live loss to the optimizer's; the graph stays for `backward()`."""
        parameters = self._parameters()
        if not parameters:  # as where another optimizer's turn is
            return
        try:
            hessian = self._hessian_of(loss, parameters)
        except RuntimeError as error:
            if "double backward" in str(error) or "donated buffers" in str(error):
                raise RuntimeError(
                    "Newton needs second derivatives, which a compiled model does not have: give "
                    "it the model without torch.compile"
                ) from error
            raise
        self._hessian = hessian if self._hessian is None else self._hessian + hessian

    def _hessian_of(self, loss: Tensor, parameters: list[Tensor]) -> Tensor:
        with torch.enable_grad():
            first = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
            gradient = _flatten(first)
        size = gradient.numel()
        blocks: Any = [None] * len(parameters)
        if size and gradient.requires_grad:  # else the loss is linear
            blocks = torch.autograd.grad(
                gradient,
                parameters,
                torch.eye(size, dtype=gradient.dtype, device=gradient.device),
                retain_graph=True,
                is_grads_batched=True,
                allow_unused=True,
            )
        columns = [
            gradient.new_zeros(size, p.numel()) if block is None else block.reshape(size, -1)
            for p, block in zip(parameters, blocks, strict=True)
        ]
        return torch.cat(columns, dim=1)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one Newton step from `p.grad` and the Hessian gathered since `zero_grad()`.

        Args:
            closure: computes the loss anew, hands it to `backward`, and returns it.

        Returns:
            What the closure returned, or None.

        Raises:
            RuntimeError: no Hessian was gathered, or it is singular.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._hessian is None and any(p.grad is not None for p in self._parameters()):
            raise RuntimeError(
                "Newton needs the Hessian: call optimizer.backward(loss) in place of "
                "loss.backward(); under Lightning add the callback scratchopt.lightning.LiveLoss"
            )
        self._update()
        return loss

    @torch.no_grad()
    def _update(self) -> None:
        hessian, self._hessian = self._hessian, None
        if hessian is None:
            return
        if self.average is not None:
            hessian = self.average(hessian)
        diagonal, gradient, moved, active = [], [], [], []
        for group in self.param_groups:
            decay, sign = group["weight_decay"], -1 if group["maximize"] else 1
            for p in group["params"]:
                if not p.requires_grad:
                    continue
                active.append(torch.full((p.numel(),), p.grad is not None, device=p.device))
                if p.grad is not None:
                    moved.append((p, as_number(group["lr"])))
                    gradient.append(p.grad + sign * decay * p)
                    diagonal.append(torch.full_like(p, sign * (group["damping"] + decay)))
        if not moved:
            return
        rows = torch.cat(active)
        hessian = hessian[rows][:, rows] + torch.diag(_flatten(diagonal))
        direction, failed = torch.linalg.solve_ex(hessian, _flatten(gradient))
        if failed.item() or not direction.isfinite().all():
            raise RuntimeError(
                "Newton's Hessian is singular or not finite here: set damping > 0 "
                f"(now {self.param_groups[0]['damping']})"
            )
        sizes = [p.numel() for p, _ in moved]
        for (p, lr), d in zip(moved, direction.split(sizes), strict=True):
            p -= lr * d.view_as(p)

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"] if p.requires_grad]


def _flatten(tensors: Any) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])
