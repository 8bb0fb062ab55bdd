"""NAG inside torch's ZeroRedundancyOptimizer, by two processes (docs/how-to/frameworks.md)."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch.nn.parallel import DistributedDataParallel

from scratchopt import NAG
from tests.shared.two_processes import run_by_two

SETTINGS: dict[str, Any] = {"lr": 0.1, "momentum": 0.9}
RANDOM = torch.Generator().manual_seed(0)
INPUTS = torch.randn(20, 8, 3, generator=RANDOM, dtype=torch.float64)
TARGETS = torch.randn(20, 8, 1, generator=RANDOM, dtype=torch.float64)


def make_model() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = (torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    return torch.nn.Sequential(*layers).double()


def flat(model: torch.nn.Module) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


def train_alone() -> torch.Tensor:
    model = make_model()
    optimizer = NAG(model.parameters(), **SETTINGS)
    for inputs, targets in zip(INPUTS, TARGETS, strict=True):
        optimizer.lookahead_()
        optimizer.zero_grad()
        (model(inputs) - targets).square().mean().backward()
        optimizer.step()
    return flat(model)


def train_sharded(by_closure: bool, shared: bool) -> torch.Tensor:
    """Trains by the lines of the page; unless `shared`, without the one that shares the point."""
    from torch.distributed.optim import ZeroRedundancyOptimizer  # imports a module that warns

    model: Any = DistributedDataParallel(make_model())
    optimizer: Any = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=NAG, **SETTINGS)
    half = slice(4 * torch.distributed.get_rank(), 4 * torch.distributed.get_rank() + 4)
    for inputs, targets in zip(INPUTS, TARGETS, strict=True):

        def closure(inputs: Any = inputs[half], targets: Any = targets[half]) -> Any:
            if shared:
                optimizer._sync_params()
            optimizer.zero_grad()
            loss = (model(inputs) - targets).square().mean()
            loss.backward()
            return loss

        if by_closure:
            optimizer.step(closure)
        else:
            optimizer.optim.lookahead_()
            closure()
            optimizer.step()
    return flat(model.module)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> list[dict[str, list[float]]]:
    folder = tmp_path_factory.mktemp("two")
    run_by_two(__name__, folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("by", ["closure", "lookahead"])
def test_it_is_exact_if_the_point_is_shared_and_only_then(by, trained):
    alone = train_alone()
    for of_rank in trained:
        shared, parted = (torch.tensor(of_rank[f"{by}, {s}"], dtype=alone.dtype) for s in (1, 0))
        torch.testing.assert_close(shared, alone, rtol=0, atol=1e-12)
        assert (parted - alone).abs().max() > 0.01


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    came = {
        f"{'closure' if by_closure else 'lookahead'}, {int(shared)}": train_sharded(
            by_closure, shared
        ).tolist()
        for by_closure in (True, False)
        for shared in (True, False)
    }
    rank = torch.distributed.get_rank()
    Path(sys.argv[1], f"{rank}.json").write_text(json.dumps(came))
    torch.distributed.destroy_process_group()
