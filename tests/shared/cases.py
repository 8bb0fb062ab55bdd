"""One table of optimizers that drives the tests: a new method is a new row."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import scratchopt

DRIVERS: dict[str, dict[str, Any]] = {
    "list": {"foreach": True},
    "loop": {"foreach": False},
    "default": {},
    "compiled": {"fused": True},
}
REAL = (torch.float32, torch.float64)
DTYPES = (*REAL, torch.bfloat16, torch.float16, torch.complex64, torch.complex128)


class Case(NamedTuple):
    """An optimizer with settings that work on well-scaled problems, and what to hold it to.

    Its oracle is its twin in torch, and where there is none the paper's lines, spelled out below.
    """

    cls: Callable[..., scratchopt.Optimizer]
    settings: dict[str, Any]
    oracle: Callable[..., torch.optim.Optimizer]
    equations: int  # of the paper's algorithm, the one that only names the gradient left out
    twin: type[torch.optim.Optimizer] | None = None  # torch's own, bit for bit the same
    state: tuple[str, ...] = ()  # keys of a parameter's state
    early: bool = False  # whether the state is there before the first step, as in torch
    sparse: bool = False  # takes sparse gradients
    drivers: tuple[str, ...] = tuple(DRIVERS)
    dtypes: tuple[torch.dtype, ...] = DTYPES
    needs_closure: bool = False  # the gradient must be taken where the optimizer says
    needs_hessian: bool = False  # and the live loss must pass through it


class _Plain(torch.optim.Optimizer):
    """A method's lines on one tensor after another; gradients are taken where the method asks."""

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, {"weight_decay": 0.0, "maximize": False, **settings})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    sign = -1 if group["maximize"] else 1
                    self.move(p, sign * p.grad, sign, self.state[p], group)

    def move(self, p: Tensor, g: Tensor, sign: int, state: Any, group: dict[str, Any]) -> None:
        raise NotImplementedError


class HeavyBall(_Plain):
    """Sutskever et al. (2013), equations 1 and 2."""

    def move(self, p, g, sign, state, group):
        mu, v = group["momentum"], state.get("velocity", torch.zeros_like(p))
        g = g + group["weight_decay"] * self.point(p, mu, v)
        state["velocity"] = mu * v - group["lr"] * g
        p.copy_(p + state["velocity"])

    def point(self, p, mu, v):
        return p


class Nesterov(HeavyBall):
    """Sutskever et al. (2013), equations 3 and 4."""

    def point(self, p, mu, v):
        return p + mu * v


class NewtonOnHalfSquares(_Plain):
    """Newton's step where the Hessian is the identity, as in `give`."""

    def move(self, p, g, sign, state, group):
        shift = group["damping"] + group["weight_decay"]
        gradient = g + group["weight_decay"] * p
        p.copy_(p - group["lr"] * gradient / (sign * 1 + shift))


def _nesterov(params: Any, **settings: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, nesterov=True, **settings)


_SQUARE = ("step", "square_avg")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def _rmsprop(equations: int, *keys: str, **settings: Any) -> Case:
    return Case(
        scratchopt.RMSprop,
        {"lr": 0.02, **settings},
        torch.optim.RMSprop,
        equations,
        torch.optim.RMSprop,
        state=(*_SQUARE, *keys),
    )


def _adam(cls: Any, twin: Any, equations: int, *keys: str, **settings: Any) -> Case:
    return Case(cls, {"lr": 0.1, **settings}, twin, equations, twin, state=(*_MOMENTS, *keys))


CASES = {
    "sgd": Case(
        scratchopt.SGD, {"lr": 0.1}, torch.optim.SGD, 1, torch.optim.SGD, sparse=True
    ),  # Robbins and Monro
    "momentum": Case(
        scratchopt.Momentum, {"lr": 0.05, "momentum": 0.9}, HeavyBall, 2, state=("velocity",)
    ),  # Sutskever et al., (1), (2)
    "nag": Case(
        scratchopt.NAG,
        {"lr": 0.05, "momentum": 0.9},
        Nesterov,
        2,  # Sutskever et al., (3), (4)
        state=("velocity",),
        needs_closure=True,
    ),
    "nag_torch": Case(
        scratchopt.NAGTorch,
        {"lr": 0.05, "momentum": 0.9},
        _nesterov,
        3,  # torch's documentation: b, g, θ
        torch.optim.SGD,
        state=("momentum_buffer",),
    ),
    "adagrad": Case(
        scratchopt.Adagrad,
        {"lr": 0.5},
        torch.optim.Adagrad,
        2,  # Duchi et al., figure 1, diagonal: s and x
        torch.optim.Adagrad,
        state=("step", "sum"),
        early=True,
    ),
    "rmsprop": _rmsprop(2),  # Hinton, lecture 6e
    "rmsprop_momentum": _rmsprop(3, "momentum_buffer", momentum=0.5),  # Graves, (38), (40), (41)
    "rmsprop_centered": _rmsprop(3, "grad_avg", centered=True),  # Graves, (38), (39), and θ
    "rmsprop_centered_momentum": _rmsprop(
        4, "grad_avg", "momentum_buffer", centered=True, momentum=0.5
    ),  # Graves, (38) to (41)
    "adam": _adam(scratchopt.Adam, torch.optim.Adam, 5),  # Kingma and Ba, algorithm 1
    "amsgrad": _adam(
        scratchopt.Adam, torch.optim.Adam, 5, "max_exp_avg_sq", amsgrad=True
    ),  # Reddi et al., algorithm 2: m, v, v̂, V̂, x
    "adamw": _adam(
        scratchopt.AdamW, torch.optim.AdamW, 5
    ),  # Loshchilov and Hutter, algorithm 2, less the schedule
    "newton": Case(
        scratchopt.Newton,
        {"lr": 1.0, "damping": 0.1},
        NewtonOnHalfSquares,
        1,
        drivers=("default",),
        dtypes=REAL,  # LAPACK's
        needs_hessian=True,
    ),
    "newton_cg": Case(
        scratchopt.Newton,
        {"lr": 1.0, "damping": 0.1, "solver": "cg", "cg_tol": 0.0},
        NewtonOnHalfSquares,
        1,
        drivers=("default",),
        dtypes=REAL,
        needs_hessian=True,
    ),
}


def take_step(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> Tensor:
    """One step with any optimizer of the table, or torch's."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        if isinstance(optimizer, scratchopt.Newton):
            optimizer.backward(value)
        else:
            value.backward()
        return value

    return optimizer.step(closure)  # type: ignore[arg-type]  # torch says float, and means this


def give(
    optimizer: torch.optim.Optimizer, params: Sequence[Tensor], grads: Sequence[Tensor | None]
) -> None:
    """One step with these gradients, and with the Hessian of Σ p²/2 where one is needed."""
    if isinstance(optimizer, scratchopt.NAG):
        optimizer.lookahead_()
    for p, g in zip(params, grads, strict=True):
        p.grad = None if g is None else g.clone()
    if isinstance(optimizer, scratchopt.Newton):
        optimizer.add_curvature(torch.stack([(p**2).sum() / 2 for p in params]).sum())
    optimizer.step()
