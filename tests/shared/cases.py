"""One table of optimizers that drives the tests: a new method is a new row."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import scratchopt
from scratchopt.matrix_method import MatrixMethod
from tests.shared import paper
from tests.shared.matrix_lines import MatrixLines

DRIVERS: dict[str, dict[str, Any]] = {
    "list": {"foreach": True},
    "loop": {"foreach": False},
    "default": {},
    "compiled": {"fused": True},
}
# Of every method the default tests run these drivers on the core claims, and of these methods all
# drivers on all claims; the rest of the product is marked `full`.
CORE_DRIVERS = ("list", "compiled")
REPRESENTATIVES = ("sgd", "nag", "adam", "adagrad", "newton")
REAL = (torch.float32, torch.float64)
DTYPES = (*REAL, torch.bfloat16, torch.float16, torch.complex64, torch.complex128)


class Case(NamedTuple):
    """An optimizer with settings that work on well-scaled problems, and what to hold it to.

    Its oracles are the paper's lines in float64 under a Trainer, and in the contract its twin in
    torch or, where there is none, the same lines on tensors.
    """

    cls: Callable[..., scratchopt.Optimizer]
    settings: dict[str, Any]
    paper: Callable[..., Any]  # its lines; see `tests.shared.paper`
    equations: int  # of the paper's algorithm, the one that only names the gradient left out
    twin: type[torch.optim.Optimizer] | None = None  # torch's own, bit for bit the same
    by_tensor: bool = False  # whether the lines are those of one tensor, of its own shape
    state: tuple[str, ...] = ()  # keys of a parameter's state
    state_of_vectors: tuple[str, ...] = ()  # of one of fewer than two dimensions, if others
    other_shapes: tuple[str, ...] = ()  # those of its tensors that have another shape than it
    early: bool = False  # whether the state is there before the first step, as in torch
    sparse: bool = False  # takes sparse gradients
    drivers: tuple[str, ...] = tuple(DRIVERS)
    dtypes: tuple[torch.dtype, ...] = DTYPES
    needs_closure: bool = False  # the gradient must be taken where the optimizer says
    differentiable: bool = True
    # In units of eps; 8 are enough but for centred RMSprop, where v − m² cancels.
    roundings: int = 16
    empty: bool = True  # whether the twin takes parameters without elements
    needs_hessian: bool = False  # and the live loss must pass through it
    twin_settings: dict[str, Any] = {}  # of the twin, which make it this method  # noqa: RUF012
    core: bool = True  # whether the default tests run the core claims on it

    @property
    def numbers(self) -> tuple[str, ...]:
        """Keys of the state that are numbers."""
        return ("step", *getattr(self.cls, "kept_numbers", ()))

    @property
    def buffers(self) -> tuple[str, ...]:
        """Keys of the state that are tensors of the parameter's shape."""
        return tuple(key for key in self.state if key not in self.numbers)

    @property
    def alone(self) -> bool:
        """Whether its rule takes no sums over all parameters."""
        return getattr(self.cls, "shape", "") != "global"

    def keys(self, p: Tensor) -> tuple[str, ...]:
        """The keys of a parameter's state."""
        return (p.dim() < 2 and self.state_of_vectors) or self.state

    def oracle(self, params: Any, **settings: Any) -> torch.optim.Optimizer:
        """An optimizer that takes the same steps."""
        if self.twin is not None:
            return self.twin(params, **{**self.twin_settings, **settings})
        if isinstance(self.cls, type) and issubclass(self.cls, MatrixMethod):
            return MatrixLines(params, self.cls, **settings)
        if self.needs_hessian:
            return NewtonOnHalfSquares(params, **settings)
        return PapersLines(params, case=self, **settings)


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


class PapersLines(_Plain):
    """The lines of a case's paper, on tensors in place of NumPy's arrays."""

    def __init__(self, params: Any, case: Case, **settings: Any) -> None:
        arguments = inspect.signature(case.paper).parameters.values()
        defaults = {a.name: a.default for a in arguments if a.default is not a.empty}
        super().__init__(params, **{**defaults, **settings})
        _, *self.kept = case.numbers
        letters = list(inspect.signature(case.cls.rule).parameters)[2:]  # type: ignore[attr-defined]
        self.keys = dict(zip(letters, case.buffers, strict=False))
        self.lines, self.shape = case.paper, case.cls.shape  # type: ignore[attr-defined]
        self.names = inspect.signature(case.paper).parameters.keys()

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        params = [p for group in self.param_groups for p in group["params"]]
        self.starts = {p: p.clone() for p in params if not self.state[p]}
        return self._move_all() if self.shape == "global" else super().step(closure)

    def load_state_dict(self, state_dict: Any) -> None:
        """Loads a state as torch does, but for numbers, which stay what they are."""
        super().load_state_dict(state_dict)
        for state, saved in zip(self.state.values(), state_dict["state"].values(), strict=True):
            state |= {key: saved[key].clone() for key in self.kept if key in saved}

    def _move_all(self) -> None:
        """All parameters as one vector, as a rule has them that takes sums over all."""
        rows = [(p, group) for group in self.param_groups for p in group["params"]]
        rows = [(p, group) for p, group in rows if p.grad is not None]
        if not rows:
            return
        joined = torch.cat([_flat(p) for p, _ in rows])
        grads = [(-1 if g["maximize"] else 1) * _flat(p.grad) for p, g in rows]  # type: ignore[arg-type]
        names = [name for name in (*self.names, "weight_decay") if name in rows[0][1]]
        numbers = {name: _spread([(p, group[name]) for p, group in rows]) for name in names}
        first = self.state[rows[0][0]]  # the numbers that are kept are one for all
        state = {key: first[key] for key in ("step", *self.kept) if key in first}
        for key in self.keys.values():
            buffers = [self.state[p].get(key, torch.zeros_like(p)) for p, _ in rows]
            state[key] = torch.cat([_flat(buffer) for buffer in buffers])
        self.move(joined, torch.cat(grads), 1, state, numbers)
        sizes = [_flat(p).numel() for p, _ in rows]
        for (p, _), part in zip(rows, joined.split(sizes), strict=True):
            p.copy_(_like(part, p))
        for key, value in state.items():
            parts = value.split(sizes) if key in self.keys.values() else [value] * len(rows)
            for (p, _), part in zip(rows, parts, strict=True):
                self.state[p][key] = _like(part, p) if part.dim() else part.clone()

    def move(self, p: Tensor, g: Tensor, sign: int, state: Any, group: dict[str, Any]) -> None:
        pairs = p.is_complex()  # a complex number is a pair of real ones, as for a rule
        if pairs:
            p, g = torch.view_as_real(p), torch.view_as_real(g.resolve_conj())
        numbers = {name: float(state.get(name, 0)) for name in self.kept}
        s = SimpleNamespace(t=float(state.get("step", 0)), **numbers)
        if (start := self.starts.get(p)) is not None:  # before a parameter that shares its memory
            s.start = torch.view_as_real(start) if pairs else start
        for letter, key in self.keys.items():
            buffer = state.get(key, torch.zeros_like(p))
            setattr(s, letter, torch.view_as_real(buffer) if buffer.is_complex() else buffer)
        numbers = {name: group[name] for name in self.names if name in group}
        penalty = 0.0 if "weight_decay" in self.names else group["weight_decay"]
        p.copy_(self.lines(p, s, lambda point: g + penalty * point, **numbers))
        if s.t:
            state["step"] = torch.tensor(s.t)
        for key in self.kept:
            state[key] = torch.as_tensor(getattr(s, key), dtype=torch.float64)
        for letter, key in self.keys.items():
            buffer = getattr(s, letter)
            state[key] = torch.view_as_complex(buffer.contiguous()) if pairs else buffer


def _flat(tensor: Tensor) -> Tensor:
    """All numbers of a tensor, in the order of its shape; of complex ones both parts."""
    tensor = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return tensor.detach().reshape(-1)


def _spread(values: list[tuple[Tensor, Any]]) -> Any:
    """A number where all groups have the same; otherwise that of each element."""
    if len({value if isinstance(value, tuple) else float(value) for _, value in values}) == 1:
        (_, value), *_ = values
        return value if isinstance(value, tuple) else float(value)
    return torch.cat([torch.full_like(_flat(p), float(value)) for p, value in values])


def _like(flat: Tensor, p: Tensor) -> Tensor:
    """The numbers of `_flat` in the shape of p."""
    flat = torch.view_as_complex(flat.view(-1, 2)) if p.is_complex() else flat
    return flat.view(p.shape).to(p.dtype, copy=True)


class NewtonOnHalfSquares(_Plain):
    """Newton's step where the Hessian is the identity, as in `give`."""

    def move(self, p, g, sign, state, group):
        shift = group["damping"] + group["weight_decay"]
        gradient = g + group["weight_decay"] * p
        p.copy_(p - group["lr"] * gradient / (sign * 1 + shift))


_SQUARE = ("step", "square_avg")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_SIDES = ("left_factor", "right_factor", "left_basis", "right_basis")


def _rmsprop(equations: int, *keys: str, **settings: Any) -> Case:
    return Case(
        scratchopt.RMSprop,
        {"lr": 0.02, **settings},
        paper.rmsprop,
        equations,
        torch.optim.RMSprop,
        state=(*_SQUARE, *keys),
    )


def _adam(cls: Any, lines: Any, twin: Any, equations: int, *keys: str, **settings: Any) -> Case:
    return Case(cls, {"lr": 0.1, **settings}, lines, equations, twin, state=(*_MOMENTS, *keys))


_newton = partial(
    Case,
    scratchopt.Newton,
    paper=paper.newton,
    equations=1,
    drivers=("default",),
    dtypes=REAL,  # LAPACK's
    needs_hessian=True,
)

CASES = {
    "sgd": Case(
        scratchopt.SGD, {"lr": 0.1}, paper.sgd, 1, torch.optim.SGD, sparse=True
    ),  # Robbins and Monro
    "momentum": Case(
        scratchopt.Momentum, {"lr": 0.05, "momentum": 0.9}, paper.momentum, 2, state=("velocity",)
    ),  # Sutskever et al., (1), (2)
    "nag": Case(
        scratchopt.NAG,
        {"lr": 0.05, "momentum": 0.9},
        paper.nag,
        2,  # Sutskever et al., (3), (4)
        state=("velocity",),
        needs_closure=True,
    ),
    "nag_torch": Case(
        scratchopt.NAGTorch,
        {"lr": 0.05, "momentum": 0.9},
        paper.nag_torch,
        3,  # torch's documentation: b, g, θ
        torch.optim.SGD,
        twin_settings={"nesterov": True},
        state=("momentum_buffer",),
    ),
    "adagrad": Case(
        scratchopt.Adagrad,
        {"lr": 0.5},
        paper.adagrad,
        2,  # Duchi et al., figure 1, diagonal: s and x
        torch.optim.Adagrad,
        state=("step", "sum"),
        early=True,
        sparse=True,
    ),
    "rmsprop": _rmsprop(2),  # Hinton, lecture 6e
    "rmsprop_momentum": _rmsprop(3, "momentum_buffer", momentum=0.5),  # Graves, (38), (40), (41)
    "rmsprop_centered": _rmsprop(3, "grad_avg", centered=True),  # Graves, (38), (39), and θ
    "rmsprop_centered_momentum": _rmsprop(
        4, "grad_avg", "momentum_buffer", centered=True, momentum=0.5
    ),  # Graves, (38) to (41)
    "adam": _adam(scratchopt.Adam, paper.adam, torch.optim.Adam, 5),  # Kingma and Ba, algorithm 1
    "amsgrad": _adam(
        scratchopt.Adam, paper.adam, torch.optim.Adam, 5, "max_exp_avg_sq", amsgrad=True
    ),  # Reddi et al., algorithm 2: m, v, v̂, V̂, x
    "adamw": _adam(
        scratchopt.AdamW, paper.adamw, torch.optim.AdamW, 5
    ),  # Loshchilov and Hutter, algorithm 2, less the schedule
    "adafactor": Case(
        scratchopt.Adafactor,
        {"lr": 0.2},
        paper.adafactor,
        10,  # Shazeer and Stern, algorithms 4 to 6: ρ, α, β̂₂, R, C, two V̂, U, Û, X
        torch.optim.Adafactor,
        state=("step", "row_var", "col_var"),
        state_of_vectors=("step", "variance"),
        by_tensor=True,
        other_shapes=("row_var", "col_var"),
        drivers=("loop", "default"),
        dtypes=(*REAL, torch.bfloat16, torch.float16),
        differentiable=False,
        empty=False,
    ),
    "nadam": Case(
        scratchopt.NAdam,
        {"lr": 0.1},
        paper.nadam,
        7,  # Dozat, algorithm 2: ĝ, m, m̂, n, n̂, m̄, θ
        torch.optim.NAdam,
        twin_settings={"foreach": True},  # torch's loop rounds otherwise
        state=("step", "mu_product", *_MOMENTS[1:]),
        core=False,
    ),
    "radam": Case(
        scratchopt.RAdam,
        {"lr": 0.1},
        paper.radam,
        7,  # Liu et al., algorithm 2: v, m, m̂, ρ, l, r, θ
        torch.optim.RAdam,
        twin_settings={"foreach": True},  # torch's loop rounds otherwise
        state=_MOMENTS,
        core=False,
    ),
    "lion": Case(
        scratchopt.Lion,
        {"lr": 0.06},
        paper.lion,
        3,  # Chen et al., algorithm 2: c, θ, m
        state=("exp_avg",),
        core=False,
    ),
    "ademamix": Case(
        scratchopt.AdEMAMix,
        {"lr": 0.1, "betas": (0.9, 0.999, 0.99), "alpha_warmup": 10, "beta3_warmup": 10},
        paper.ademamix,
        8,  # Pagliardini et al., algorithm 1: α, β₃, m₁, m₂, v, m̂₁, v̂, θ
        state=("step", "exp_avg_fast", "exp_avg_slow", "exp_avg_sq"),
        core=False,
    ),
    "adam_cautious": Case(
        scratchopt.Adam,
        {"lr": 0.1, "betas": (0.9, 0.999), "cautious": True},
        paper.adam_cautious,
        5,  # Liang et al., algorithm 2, whose mask is around the rule
        state=_MOMENTS,
        drivers=("loop", "default"),
        dtypes=(*REAL, torch.bfloat16, torch.float16),
        core=False,
    ),
    "schedule_free_sgd": Case(
        scratchopt.ScheduleFreeSGD,
        {"lr": 0.1, "momentum": 0.9, "warmup_steps": 3},
        paper.schedule_free_sgd,
        3,  # Defazio et al., (3) to (5)
        state=("step", "weight_sum", "lr_max", "z"),
        needs_closure=True,
        core=False,
    ),
    "schedule_free_adamw": Case(
        scratchopt.ScheduleFreeAdamW,
        {"lr": 0.2, "warmup_steps": 3},
        paper.schedule_free_adamw,
        5,  # Defazio et al., algorithm 1: y, v, z, c, x
        state=("step", "weight_sum", "lr_max", "z", "exp_avg_sq"),
        needs_closure=True,
        core=False,
    ),
    "muon": Case(
        scratchopt.Muon,
        {"lr": 0.05, "momentum": 0.9},
        paper.muon,
        4,  # torch's documentation: B, B̃, O, θ
        state=("momentum_buffer",),
        state_of_vectors=_MOMENTS,
        drivers=("default",),
        dtypes=(*REAL, torch.bfloat16, torch.float16),
        empty=False,
        core=False,
    ),
    "soap": Case(
        scratchopt.SOAP,
        # Of a lesser eps rounding would count where there is no gradient.
        {"lr": 0.06, "eps": 0.1, "precondition_frequency": 7},
        paper.soap,
        11,  # Vyas et al., algorithm 3: G′, M, M′, V, N′, N, W, L, R, Q_L, Q_R
        state=(*_MOMENTS, *_SIDES),
        state_of_vectors=_MOMENTS,
        other_shapes=_SIDES,
        drivers=("default",),
        dtypes=REAL,
        differentiable=False,
        roundings=256,  # of products of whole matrices
        empty=False,  # any basis is an eigenbasis of no gradient
        core=False,
    ),
    "newton": _newton(settings={"lr": 1.0, "damping": 0.1}),
    "newton_cg": _newton(
        settings={"lr": 1.0, "damping": 0.1, "solver": "cg", "cg_tol": 0.0},
    ),
}


def row(name: str, *values: Any, driver: str = "", core: bool = False, label: str = "") -> Any:
    """A row of parameters for a method, and a driver, in the tier where it belongs."""
    core = core and CASES[name].core
    drivers = CASES[name].drivers
    chosen = [d for d in drivers if d in CORE_DRIVERS] or drivers[:1]
    in_core = core and (driver in ("", *chosen))
    marks = () if name in REPRESENTATIVES or in_core else pytest.mark.full
    return pytest.param(*values, id=label or name, marks=marks)


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
    if isinstance(optimizer, scratchopt.Optimizer):
        optimizer.lookahead_()
    for p, g in zip(params, grads, strict=True):
        p.grad = None if g is None else g.clone()
    if isinstance(optimizer, scratchopt.Newton):
        optimizer.add_curvature(torch.stack([(p**2).sum() / 2 for p in params]).sum())
    optimizer.step()
