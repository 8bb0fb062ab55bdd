"""What models and loops do beside the plainest: right, which is as torch's DDP has it, or refused.

Each case is a loop of a few steps, by two processes in float64, under DDP and under each stage.
"""

import contextlib
import copy
import json
import pickle
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import scratchopt
from scratchopt.zero import Stage1, clip_gradients, gather_parameters, gather_state
from tests.contract.test_zero import STAGES, distance
from tests.shared.two_processes import run_by_two

Found = list[Tensor]
adamw = partial(scratchopt.AdamW, lr=0.05, weight_decay=0.1)


class Loop:
    """A model in training, by a stage or, if that is None, by torch's DDP.

    Args:
        way: the class of the stage, or None.
        model: the model.
        optimizers: makes each of its optimizers.
        unused: whether some of its parameters may have no gradient.
        size: of a bucket, in bytes.
    """

    def __init__(
        self, way: Any, model: nn.Module, *optimizers: Any, unused: bool = False, size: int = 160
    ) -> None:
        self.model, self.unused = model.double() if _is_real(model) else model, unused
        self.optimizers = [make(model) for make in optimizers or (lambda m: adamw(m.parameters()),)]
        self.optimizer: Any = self.optimizers[0]
        self.stage = way and way(model, self.optimizers, bucket_bytes=size)
        self.random = torch.Generator().manual_seed(1 + dist.get_rank())
        self.wrap()

    def wrap(self) -> None:
        """Has DDP see which parameters train."""
        self.net: Any = self.model
        if not self.stage and any(p.requires_grad for p in self.model.parameters()):
            self.net = DistributedDataParallel(self.model, find_unused_parameters=self.unused)

    def batch(self, *size: int) -> Tensor:
        return torch.randn(size or (4, 5), generator=self.random, dtype=torch.float64)

    def accumulate(self, more: bool) -> None:
        """Says whether the next backward pass is not the last of its step."""
        if self.stage:
            self.stage.accumulating = more
        else:
            self.net.require_backward_grad_sync = not more

    def run(self, forward: Callable[..., Any], *args: Any) -> Any:
        return self.stage.run(forward, *args) if self.stage else forward(*args)

    def step(self, *args: Any, **kwargs: Any) -> None:
        """A step with the mean of the squared outputs."""
        self.optimizer.zero_grad()
        self.net(self.batch(), *args, **kwargs).square().mean().backward()
        self.clip()
        self.optimizer.step()

    def clip(self) -> None:
        if self.stage:
            clip_gradients(self.stage, self.optimizer, 0.1)
        else:
            ps = [p for group in self.optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(ps, 0.1)

    def end(self) -> Found:
        """The whole parameters, and the buffers, which under DDP are right in the first process."""
        if self.stage:
            with self.stage.whole():
                found = [p.detach().clone() for p in self.model.parameters()]
            return found + [b.clone() for b in self.model.buffers()]
        for buffer in self.model.buffers():
            dist.broadcast(buffer, 0)
        ps = (*self.model.parameters(), *self.model.buffers())
        return [t.detach().clone() for t in ps]


def _is_real(model: nn.Module) -> bool:
    return all(p.dtype == torch.float32 for p in model.parameters())


class Case(NamedTuple):
    """A loop, and what becomes of it.

    Args:
        train: trains, and returns what it came to.
        refused: by stage, the beginning of the error.
        within: how far from DDP it may end, for its sums are added in another order.
    """

    train: Callable[[Any], Found]
    refused: dict[str, str]
    within: float


CASES: dict[str, Case] = {}


def case(refused: Any = None, within: float = 0.0) -> Any:
    """Puts a loop into the table, under its name.

    Args:
        refused: part of the error of all stages, or by stage.
        within: how far from DDP it may end.
    """
    by_stage = dict.fromkeys(STAGES, refused) if isinstance(refused, str) else refused or {}

    def put(train: Callable[[Any], Found]) -> Callable[[Any], Found]:
        CASES[train.__name__.replace("_", " ")] = Case(train, by_stage, within)
        return train

    return put


def blocks(count: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Sequential(nn.Linear(5, 5), nn.Tanh()) for _ in range(count))
    return nn.Sequential(*layers)


class Body(nn.Module):
    """Blocks in a list, and a layer norm and a linear layer in none."""

    def __init__(self, *inner: nn.Module, call: Any = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.head = nn.LayerNorm(5), nn.Linear(5, 3)
        self.blocks = nn.ModuleList(inner or list(blocks()))
        self.call = call or (lambda block, x: block(x))

    def forward(self, x: Tensor, *, used: int | None = None) -> Tensor:
        for block in self.blocks[:used]:
            x = x + self.call(block, self.norm(x))
        return self.head(x)


# Parameters


class Few(nn.Module):
    """Parameters of 0, 1, 1 and 3 numbers, of which one is 0-dim."""

    def __init__(self) -> None:
        super().__init__()
        self.none = nn.Parameter(torch.zeros(0))
        self.gain, self.shift = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.ones(1))
        self.three = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, :3] * self.three * self.gain + self.shift) + self.none.sum()


def _each_apart(make: Any) -> Any:
    return lambda m: make([{"params": [p]} for p in m.parameters()])


def _few(make: Any, way: Any) -> Found:
    loop = Loop(way, Few(), _each_apart(make))
    for _ in range(4):
        loop.step()
    return loop.end()


@case()
def sizes_below_the_number_of_processes(way: Any) -> Found:
    return _few(adamw, way)


@case()
def fewer_whole_tensors_than_processes(way: Any) -> Found:
    def make(groups: Any) -> Any:
        return scratchopt.Adafactor([g for g in groups if g["params"][0].numel()], lr=0.05)

    return _few(make, way)


@case()
def matrices_of_odd_sizes(way: Any) -> Found:
    """A processor's product g·gᵀ depends on where g lies in memory; a rule must not see it."""
    torch.manual_seed(0)
    sizes = ((5, 7), (7, 5), (5, 7), (7, 5))
    net = nn.Sequential(nn.Sequential(*(nn.Linear(*size, bias=False) for size in sizes)))
    return _trained(Loop(way, net, lambda m: scratchopt.SOAP(m.parameters(), lr=0.05), size=2**20))


def _trained(loop: Loop, count: int = 4, **options: Any) -> Found:
    for _ in range(count):
        loop.step(**options)
    return loop.end()


@case()
def frozen_parameters(way: Any) -> Found:
    body = Body()
    body.blocks[1].requires_grad_(False)
    body.head.bias.requires_grad_(False)
    return _trained(Loop(way, body))


@case()
def parameters_thawed_and_frozen_later(way: Any) -> Found:
    body = Body()
    body.blocks[1].requires_grad_(False)
    loop = Loop(way, body)
    for step in range(6):
        if step == 2:
            body.blocks[1].requires_grad_(True)
            loop.wrap()
        if step == 4:
            body.blocks[0].requires_grad_(False)
            body.head.bias.requires_grad_(False)
            loop.wrap()
        loop.step()
    return loop.end()


@case()
def a_gradient_that_comes_late_or_never(way: Any) -> Found:
    loop = Loop(way, Body(), unused=True)
    for step in range(5):
        loop.step(used=1 if step < 3 else 2)
    return loop.end()


class Gated(nn.Module):
    """Blocks in a list, a layer in none, and another whose output counts if it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = blocks(2)
        self.left, self.right = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor, *, both: bool) -> Tensor:
        x = self.blocks(x)
        return self.left(x) + (self.right(x) if both else 0)


@case()
def a_gradient_in_one_process_only(way: Any) -> Found:
    loop = Loop(way, Gated(), unused=True)
    for step in range(5):
        loop.step(both=step > 0 and dist.get_rank() == 1)
    return loop.end()


class Tied(nn.Module):
    """Two units that share a weight, or one that uses it twice."""

    def __init__(self, across: bool) -> None:
        super().__init__()
        net: Any = blocks()
        if across:
            net[2][0].weight = net[0][0].weight
        else:
            inner: Any = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5))
            inner[2].weight = inner[0].weight
            net[1] = inner
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@case()
def a_parameter_shared_within_a_unit(way: Any) -> Found:
    return _trained(Loop(way, Tied(across=False)))


@case({"3": "net.0.0.weight and net.2.0.weight are one parameter"})
def a_parameter_shared_across_units(way: Any) -> Found:
    return _trained(Loop(way, Tied(across=True)))


@case()
def two_groups_with_their_own_lr(way: Any) -> Found:
    def make(m: Any) -> Any:
        norm = {"params": m.norm.parameters(), "lr": 0.01, "weight_decay": 0.0}
        return adamw([norm, {"params": m.blocks.parameters()}, {"params": m.head.parameters()}])

    return _trained(Loop(way, Body(), make))


@case()
def interleaved_groups(way: Any) -> Found:
    def make(m: Any) -> Any:
        biases = [p for p in m.parameters() if p.dim() < 2]
        weights = [p for p in m.parameters() if p.dim() > 1]
        return scratchopt.SGD([{"params": biases, "lr": 0.2}, {"params": weights, "lr": 0.1}])

    return _trained(Loop(way, Body(), make))


class Mixed(nn.Module):
    """Layers of float32, float64 and bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 5).double()
        self.c = nn.Linear(5, 3).bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x.float()).tanh().double()).tanh()
        return self.c(x.bfloat16())


@case(within=1e-15)  # the norms of several dtypes are added in an order of torch's own
def mixed_dtypes(way: Any) -> Found:
    return _trained(Loop(way, Mixed()))


@case()
def buffers_and_running_statistics(way: Any) -> Found:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    loop = Loop(way, net)
    for _ in range(3):
        loop.step()
        loop.net.eval()
        with torch.no_grad():
            loop.net(loop.batch())
        loop.net.train()
    return loop.end()


@case()
def convolutions_in_channels_last(way: Any) -> Found:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 2, 2))
    last: Any = {"memory_format": torch.channels_last}
    loop = Loop(way, net.to(**last))
    for _ in range(3):
        loop.optimizer.zero_grad()
        x = loop.batch(2, 3, 6, 6).to(**last)
        loop.net(x).square().mean().backward()
        loop.clip()
        loop.optimizer.step()
    return loop.end()


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(5, 3, dtype=torch.complex128))

    def forward(self, x: Tensor) -> Tensor:
        return torch.view_as_real(x.to(torch.complex128) @ self.weight)


@case()
def complex_parameters(way: Any) -> Found:
    return _trained(Loop(way, Complex()))


# What is refused


@case("is sparse")
def a_sparse_gradient(way: Any) -> Found:
    torch.manual_seed(0)
    net = nn.Embedding(7, 3, sparse=True)
    loop = Loop(way, net, lambda m: scratchopt.SGD(m.parameters(), lr=0.1))
    loop.net(torch.tensor([1, 2])).sum().backward()
    return loop.end()


@case("0.weight has no shape yet")
def a_lazy_layer(way: Any) -> Found:
    return Loop(
        way, nn.Sequential(nn.LazyLinear(3)), lambda m: scratchopt.SGD(m.parameters(), 0.1)
    ).end()


@case("AdamW was given a parameter of shape (5,) after")
def a_group_that_is_added_later(way: Any) -> Found:
    body = Body()
    loop = Loop(way, body, lambda m: adamw(m.head.parameters()))
    loop.step()
    loop.optimizer.add_param_group({"params": list(body.norm.parameters())})
    loop.step()
    return loop.end()


@case("Newton needs all parameters in each process: use strategy='ddp'")
def newton(way: Any) -> Found:
    return Loop(way, blocks(), lambda m: scratchopt.Newton(m.parameters(), lr=1.0)).end()


@case("LBFGS may need more than a piece of each parameter: use strategy='ddp'")
def lbfgs(way: Any) -> Found:
    return Loop(way, blocks(), lambda m: torch.optim.LBFGS(m.parameters())).end()


@case("Unknown may need more than a piece of each parameter: use strategy='ddp'")
def an_unknown_optimizer(way: Any) -> Found:
    class Unknown(torch.optim.SGD):
        pass

    return Loop(way, blocks(), lambda m: Unknown(m.parameters(), lr=0.1)).end()


# Loops


@case()
def an_optimizer_with_a_state(way: Any) -> Found:
    def make(m: Any) -> Any:
        optimizer = adamw(m.parameters())
        for seed in range(2):
            generator = torch.Generator().manual_seed(seed)
            for p in m.parameters():
                p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            optimizer.step()
        optimizer.zero_grad()
        return optimizer

    return _trained(Loop(way, Body(), make))


@case()
def an_optimizer_of_some_of_the_parameters(way: Any) -> Found:
    return _trained(Loop(way, Body(), lambda m: adamw(m.blocks.parameters())))


class Pair(nn.Module):
    """A generator and a discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = blocks(2), nn.Sequential(nn.Linear(5, 5), nn.Tanh())


@case()
def two_optimizers_that_take_turns(way: Any) -> Found:
    loop = Loop(
        way,
        Pair(),
        lambda m: adamw(m.generator.parameters()),
        lambda m: adamw(m.discriminator.parameters()),
    )
    pair: Any = loop.model
    g, d = pair.generator, pair.discriminator
    if way is None:
        g, d = DistributedDataParallel(g), DistributedDataParallel(d)
    of_g, of_d = loop.optimizers
    for _ in range(4):
        of_d.zero_grad()
        real, noise = loop.batch(), loop.batch()
        with torch.no_grad():
            fake = loop.run(g, noise)
        both = loop.run(d, torch.cat([real, fake])).mean(1)
        (both[4:].square().mean() - both[:4].mean()).backward()
        of_d.step()
        of_g.zero_grad()
        loop.run(lambda z: -d(g(z)).mean(), loop.batch()).backward()
        of_g.step()
    return loop.end()


@case(within=1e-13)
def several_backward_passes_before_a_step(way: Any) -> Found:
    """A stage adds means up, where DDP takes the mean of a sum."""
    loop = Loop(way, Body())
    for _ in range(4):
        loop.optimizer.zero_grad()
        for _ in range(2):
            loop.net(loop.batch()).square().mean().backward()
        loop.clip()
        loop.optimizer.step()
    return loop.end()


def _abandoned(forget: Callable[[Loop], None], way: Any) -> Found:
    loop = Loop(way, Body())
    for _ in range(3):
        loop.step()
        loop.accumulate(more=True)
        loop.net(loop.batch()).square().mean().backward()
        loop.accumulate(more=False)
        forget(loop)
    loop.step()
    return loop.end()


@case()
def accumulated_batches_that_are_given_up(way: Any) -> Found:
    return _abandoned(lambda loop: loop.optimizer.zero_grad(), way)


@case()
def gradients_that_the_module_zeroes(way: Any) -> Found:
    loop = Loop(way, Body())
    for _ in range(4):
        loop.model.zero_grad()
        loop.net(loop.batch()).square().mean().backward()
        loop.optimizer.step()
    return loop.end()


class Failing(torch.autograd.Function):
    """The identity, whose backward pass fails."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise MemoryError


@case()
def a_backward_pass_that_fails(way: Any) -> Found:
    """Of a batch that is left out; it accumulates, so that DDP waits for nothing."""
    loop = Loop(way, Body())
    model: Any = loop.model
    call = model.call
    for _ in range(3):
        loop.step()
        loop.accumulate(more=True)
        model.call = lambda block, x: block(Failing.apply(x))
        with contextlib.suppress(MemoryError):
            loop.net(loop.batch()).square().mean().backward()
        model.call = call
        loop.accumulate(more=False)
    loop.step()
    return loop.end()


class Twice(Body):
    def forward(self, x: Tensor, *, used: int | None = None) -> Tensor:
        return super().forward(x, used=used) + super().forward(x + 1, used=used)


@case()
def a_unit_that_runs_twice(way: Any) -> Found:
    return _trained(Loop(way, Twice()))


@dataclass
class Output:
    hidden: Tensor
    more: Any = None


class Wrapped(nn.Module):
    """A layer that puts its output into something."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.layer, self.wrap = nn.Linear(5, 5), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.layer(x).tanh())


class Opaque:
    __slots__ = ("hidden",)

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


def _wrapped(wrap: Any, unwrap: Any, way: Any) -> Found:
    torch.manual_seed(0)
    inner = [Wrapped(wrap) for _ in range(3)]
    return _trained(Loop(way, Body(*inner, call=lambda block, x: unwrap(block(x)))))


@case()
def a_unit_that_returns_a_tuple(way: Any) -> Found:
    return _wrapped(lambda y: (y, None), lambda out: out[0], way)


@case()
def a_unit_that_returns_a_dict(way: Any) -> Found:
    return _wrapped(lambda y: {"a": [y, 1]}, lambda out: out["a"][0], way)


@case()
def a_unit_that_returns_a_dataclass(way: Any) -> Found:
    return _wrapped(lambda y: Output(y, (y,)), lambda out: out.hidden + out.more[0], way)


@case({"3": "the unit Wrapped returned Opaque"})
def a_unit_that_returns_what_nobody_can_look_into(way: Any) -> Found:
    return _wrapped(Opaque, lambda out: out.hidden, way)


def _without_grad(block: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        first = block(x)
    return block(x) + first


@case()
def a_unit_without_gradients(way: Any) -> Found:
    return _trained(Loop(way, Body(call=_without_grad)))


@case()
def a_unit_that_is_recomputed(way: Any) -> Found:
    return _trained(Loop(way, Body(call=partial(checkpoint, use_reentrant=False))))


@case()
def a_unit_that_is_recomputed_with_use_reentrant(way: Any) -> Found:
    return _trained(Loop(way, Body(call=partial(checkpoint, use_reentrant=True))))


@case()
def a_penalty_on_a_gradient(way: Any) -> Found:
    loop = Loop(way, Body())
    for _ in range(3):
        loop.optimizer.zero_grad()
        x = loop.batch().requires_grad_()
        y = loop.net(x).square().sum()
        (slope,) = torch.autograd.grad(y, x, create_graph=True)
        (y + slope.square().sum()).backward()
        loop.clip()
        loop.optimizer.step()
    return loop.end()


@case()
def evaluation_in_inference_mode(way: Any) -> Found:
    loop = Loop(way, Body())
    seen = []
    for _ in range(3):
        loop.step()
        with torch.inference_mode():
            seen.append(loop.model(loop.batch()).clone())
    return loop.end() + seen


def _two_points(make: Any, way: Any) -> Found:
    loop = Loop(way, Body(), lambda m: make(m.parameters()))
    seen = []
    for _ in range(4):
        loop.optimizer.lookahead_()
        loop.step()
        loop.optimizer.lookahead_()
        loop.optimizer.zero_grad()
        loop.net(loop.batch()).square().mean().backward()
        loop.optimizer.restore_()
        seen += loop.end()
        with torch.no_grad():
            seen.append(loop.model(loop.batch()))
        loop.optimizer.lookahead_()
        with torch.no_grad():
            seen.append(loop.model(loop.batch()))
        loop.optimizer.step()
    return [t.clone() for t in seen] + loop.end()


@case()
def nag_evaluated_at_the_iterate(way: Any) -> Found:
    return _two_points(partial(scratchopt.NAG, lr=0.05, momentum=0.9), way)


@case()
def schedule_free_evaluated_at_the_average(way: Any) -> Found:
    return _two_points(partial(scratchopt.ScheduleFreeAdamW, lr=0.05), way)


def _by_closure(make: Any, way: Any) -> Found:
    loop = Loop(way, Body(), lambda m: make(m.parameters()))
    losses = []

    def closure() -> Tensor:
        loop.optimizer.zero_grad()
        loss = loop.net(loop.batch()).square().mean()
        loss.backward()
        return loss

    for _ in range(4):
        losses.append(loop.optimizer.step(closure).detach())
    return loop.end() + losses


@case()
def a_step_by_closure(way: Any) -> Found:
    return _by_closure(adamw, way)


@case()
def a_step_by_closure_at_another_point(way: Any) -> Found:
    return _by_closure(partial(scratchopt.NAG, lr=0.05, momentum=0.9), way)


@case()
def copies_of_the_module_when_the_stage_is_closed(way: Any) -> Found:
    loop = Loop(way, Body(call=nn.Module.__call__))
    found = _trained(loop)
    if loop.stage:
        loop.stage.close()
    again: Any = pickle.loads(pickle.dumps(loop.model))
    for model in (copy.deepcopy(loop.model), again):
        found += [p.detach() for p in model.parameters()]
        model(torch.ones(1, 5, dtype=torch.float64)).sum().backward()
        found += [torch.as_tensor(p.grad) for p in model.parameters()]
    return found


@case()
def a_checkpoint_of_the_model_and_its_state(way: Any) -> Found:
    loop = Loop(way, Body())
    for _ in range(3):
        loop.step()
    model, state = loop.model.state_dict, loop.optimizer.state_dict
    if loop.stage:
        model = partial(gather_parameters, loop.stage)
        state = partial(gather_state, loop.stage, loop.optimizer)
    found = list(model().values())
    return found + [moment for each in state()["state"].values() for moment in each.values()]


@case({"3": "Body has only this process's pieces of its parameters"})
def a_state_dict_of_the_module(way: Any) -> Found:
    loop = Loop(way, Body())
    loop.step()
    return list(loop.model.state_dict().values())


@case({"3": "ModuleList has only this process's pieces of its parameters"})
def a_state_dict_of_a_part_of_the_module(way: Any) -> Found:
    body = Body()
    loop = Loop(way, body)
    loop.step()
    if loop.stage:
        with loop.stage.whole():
            body.blocks.state_dict()  # is right, and not refused
    return list(body.blocks.state_dict().values())


@case("AdamW stands alone: give a list, [optimizer]")
def an_optimizer_without_a_list(way: Any) -> Found:
    model = blocks()
    return way(model, adamw(model.parameters()))


@case("NAG is at its gradient point: call restore_()")
def an_optimizer_that_is_ahead(way: Any) -> Found:
    model = blocks()
    optimizer = scratchopt.NAG(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 5)).sum().backward()
    optimizer.step()
    optimizer.lookahead_()
    return way(model, [optimizer])


@case(dict.fromkeys("123", "0.0.weight is shared out already"))
def a_stage_beside_another(way: Any) -> Found:
    loop = Loop(way, blocks())
    if isinstance(loop.stage, Stage1):
        way(loop.model, loop.optimizers)
    return _trained(loop)


@case()
def parameters_that_are_written(way: Any) -> Found:
    loop = Loop(way, Body())
    for _ in range(3):
        loop.step()
        with loop.stage.whole() if loop.stage else torch.no_grad(), torch.no_grad():
            for p in loop.model.parameters():
                p.mul_(0.9)
    return loop.end()


@case()
def parameters_that_are_written_when_the_stage_is_closed(way: Any) -> Found:
    """As by a Trainer that tests a checkpoint after its fit."""
    loop = Loop(way, Body())
    loop.step()
    if loop.stage:
        loop.stage.close()
    with loop.stage.whole() if loop.stage else torch.no_grad(), torch.no_grad():
        for p in loop.model.parameters():
            p.mul_(0.9)
    return [p.detach() for p in loop.model.parameters()]


@case()
def parameters_whose_data_is_set(way: Any) -> Found:
    loop = Loop(way, Body())
    for _ in range(3):
        loop.step()
        for p in loop.model.parameters():
            p.data = p.data.clamp(-0.1, 0.1)
    return loop.end()


class Clamped(Body):
    """A net that keeps its weights small as it runs."""

    def forward(self, x: Tensor, *, used: int | None = None) -> Tensor:
        with torch.no_grad():
            for p in self.parameters():
                p.clamp_(-0.1, 0.1)
        return super().forward(x, used=used)


@case()
def parameters_that_a_forward_pass_writes(way: Any) -> Found:
    return _trained(Loop(way, Clamped()))


@case(refused=dict.fromkeys("123", "shape, dtype and device of a parameter that is shared out"))
def a_model_that_is_cast(way: Any) -> Found:
    loop = Loop(way, Body())
    loop.step()
    loop.model.float()
    loop.net(loop.batch().float())
    return loop.end()


@case(refused={"3": "Linear has only this process's pieces of its parameters"})
def the_state_of_a_layer(way: Any) -> Found:
    loop = Loop(way, blocks())
    loop.step()
    layer: Any = next(m for m in loop.model.modules() if isinstance(m, nn.Linear))
    return [value.clone() for value in layer.state_dict().values()]


@case(refused="make the same model in all processes")
def models_that_differ(way: Any) -> Found:
    return _trained(Loop(way, nn.Sequential(nn.Linear(5, 5, bias=dist.get_rank() == 0))))


class Skips(Body):
    """Three equal blocks, of which each process leaves one out."""

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.ModuleList([nn.Linear(5, 5) for _ in range(3)])

    def forward(self, x: Tensor, *, used: int | None = None) -> Tensor:
        for index, block in enumerate(self.more):
            if index != dist.get_rank():
                x = block(x)
        return super().forward(x, used=used)


@case(refused={"3": "ran the model's units in another order"})
def blocks_that_are_skipped_by_chance(way: Any) -> Found:
    return _trained(Loop(way, Skips(), unused=True))


# By default the third stage runs each case, for it does all that the others do; slow: the others.
TIERS = {"third": ("3",), "others": ("by hand", "1", "2")}
ROWS = [(name, stage) for name in CASES for stage in STAGES]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Callable[[str, str], list[Any]]:
    """What both processes found of a case and a stage."""

    @cache
    def measure_by_two(tier: str) -> list[Any]:
        folder = tmp_path_factory.mktemp(tier)
        run_by_two(__name__, folder, tier)
        return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]

    def find(name: str, stage: str) -> list[Any]:
        tier = next(tier for tier, stages in TIERS.items() if stage in stages)
        return [of_rank[name][stage] for of_rank in measure_by_two(tier)]

    return find


@pytest.mark.parametrize(
    ("name", "stage"),
    [pytest.param(*row, marks=() if row[1] == "3" else pytest.mark.slow) for row in ROWS],
)
def test_a_case_is_right_or_refused_in_one_line(name, stage, found):
    case = CASES[name]
    for value in found(name, stage):
        if stage in case.refused:
            assert case.refused[stage] in value
            assert "\n" not in value
        else:
            assert isinstance(value, float), value
            assert value <= case.within


def measure(name: str, stages: tuple[str, ...]) -> dict[str, Any]:
    """How far each stage ends from DDP, or why not."""
    case, found = CASES[name], {}
    expected = case.train(None) if set(stages) - set(case.refused) else []
    for stage in stages:
        try:
            found[stage] = distance(case.train(STAGES[stage]), expected)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            found[stage] = str(error)
    return found


def _main(out: str, tier: str, *names: str) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*None of the inputs have requires_grad.*")
    found = {name: measure(name, TIERS[tier]) for name in names or CASES}
    Path(out, f"{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    _main(*sys.argv[1:])
