"""Muon and SOAP as oracles on tensors: matrices by the papers' lines or torch, the rest by AdamW's.

Their state is kept under our keys, so that both may be compared and edited.
"""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from tests.shared import paper


class MatrixLines(torch.optim.Optimizer):
    """The lines of a method of matrices, on one tensor after another.

    Args:
        params: parameters, or groups of them.
        method: our class, whose defaults it has.
        settings: hyperparameters.
    """

    def __init__(self, params: Any, method: Any, **settings: Any) -> None:
        arguments = inspect.signature(method).parameters.values()
        defaults = {a.name: a.default for a in arguments if a.default is not a.empty}
        super().__init__(params, {"maximize": False, **defaults, **settings})
        self.move_matrix = {"Muon": _move_by_muon, "SOAP": _move_by_soap}[method.__name__]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in sorted(group["params"], key=lambda p: p.dim() < 2):
                if p.grad is not None:
                    g = -p.grad if group["maximize"] else p.grad
                    move = self.move_matrix if p.dim() > 1 else _move_by_adamw
                    state = self.state[p]
                    p.copy_(move(p.flatten(1) if p.dim() > 1 else p, g, state, group).view_as(p))
                    for key in ("momentum_buffer", "exp_avg", "exp_avg_sq"):
                        if key in state:
                            state[key] = state[key].view_as(p)


def _move_by_adamw(p: Tensor, g: Tensor, state: Any, group: dict[str, Any]) -> Tensor:
    moved, step = p.clone(), torch.tensor(float(state.get("step", 0)))
    m, v = (state.get(key, torch.zeros_like(p)).clone() for key in ("exp_avg", "exp_avg_sq"))
    (beta1, beta2), eps = group["adamw_betas"], group["adamw_eps"]
    if "max_momentum" in group and "betas" in group:  # a scheduler's: it has every group's β₁
        beta1 = group["betas"][0]
    numbers: dict[str, Any] = {"lr": float(group["lr"]), "eps": eps}
    numbers |= {"weight_decay": group["weight_decay"]}
    options: dict[str, Any] = {"foreach": True, "amsgrad": False, "maximize": False}
    adamw([moved], [g], [m], [v], [], [step], beta1=beta1, beta2=beta2, **numbers, **options)
    state.update({"step": step, "exp_avg": m, "exp_avg_sq": v})
    return moved


def _move_by_muon(w: Tensor, g: Tensor, state: Any, group: dict[str, Any]) -> Tensor:
    """The paper's in float64, where torch's is in bfloat16; else torch's."""
    g = g.flatten(1)
    b = state.get("momentum_buffer", torch.zeros_like(w)).flatten(1).clone()
    if w.dtype == torch.float64:
        s = paper.Memory(b=b)
        w = paper.muon_of_matrix(
            w, s, g, linalg=torch.linalg, **_taken(paper.muon_of_matrix, group)
        )
        b = s.b
    else:
        from torch.optim._muon import muon  # from torch 2.9 on

        names = ("lr", "weight_decay", "momentum", "nesterov", "ns_coefficients", "ns_steps", "eps")
        w = w.clone()
        numbers = {name: group[name] for name in names}
        muon([w], [g], [b], adjust_lr_fn=None, has_complex=False, **numbers)
    state["momentum_buffer"] = b
    return w


def _move_by_soap(w: Tensor, g: Tensor, state: Any, group: dict[str, Any]) -> Tensor:
    """The paper's, whose M is in W's own basis, and in the state in that of the eigenvectors."""
    sides = ("left_factor", "right_factor", "left_basis", "right_basis")
    s = paper.Memory(t=float(state.get("step", 0)), v=state.get("exp_avg_sq", torch.zeros_like(w)))
    s.v, m = s.v.flatten(1), state.get("exp_avg", torch.zeros_like(w)).flatten(1)
    if s.t:
        s.l, s.r, s.ql, s.qr = (state[key] for key in sides)
        m = torch.linalg.inv(s.ql.T) @ m @ torch.linalg.inv(s.qr)
    s.m = m
    w = paper.soap_of_matrix(
        w, s, g.flatten(1), linalg=torch.linalg, **_taken(paper.soap_of_matrix, group)
    )
    state.update({"step": torch.tensor(s.t), "exp_avg": s.ql.T @ s.m @ s.qr, "exp_avg_sq": s.v})
    state.update(zip(sides, (s.l, s.r, s.ql, s.qr), strict=True))
    return w


def _taken(lines: Any, group: dict[str, Any]) -> dict[str, Any]:
    return {name: group[name] for name in inspect.signature(lines).parameters if name in group}
