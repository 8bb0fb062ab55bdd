"""What an optimizer shows of itself, in a line."""

import math

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from scratchopt import NAG, Adam, AdamW, Muon
from scratchopt.method_files import method_classes


def model():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))


def test_a_line_has_hyperparameters_and_parameters_and_then_the_state():
    net = model()
    optimizer = Adam(net.parameters(), lr=torch.tensor(0.25))
    assert (
        repr(optimizer) == "Adam(lr=0.25, betas=(0.9, 0.999), eps=1e-08): 4 tensors of 21 numbers"
    )
    assert not optimizer.state  # none was made
    for _ in range(2):
        net(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    assert repr(optimizer).endswith(", state of 184 bytes after step 2")


def test_an_option_is_shown_where_it_is_not_the_default():
    p = nn.Parameter(torch.zeros(1))
    assert repr(NAG([p], cautious=True)) == (
        "NAG(lr=0.001, momentum=0.9, cautious=True): 1 tensor of 1 number"
    )
    assert repr(AdamW([p])).startswith("AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_")
    assert "foreach=False" in repr(AdamW([p], foreach=False))


def test_each_group_has_a_line_with_its_name():
    net = model()
    head = {"params": net[1].parameters(), "name": "head", "lr": 0.5}
    optimizer = NAG([{"params": net[0].parameters(), "name": "body"}, head])
    torch.optim.lr_scheduler.StepLR(optimizer, 1)  # leaves values of its own in the groups
    optimizer.lookahead_()
    assert repr(optimizer).splitlines() == [
        "NAG of 2 groups: 4 tensors of 21 numbers, at the gradient point",
        "  name=body, lr=0.001, momentum=0.9: 2 tensors of 16 numbers",
        "  name=head, lr=0.5, momentum=0.9: 2 tensors of 5 numbers",
    ]


def test_a_group_of_another_method_has_the_hyperparameters_of_that():
    rest = {"params": [nn.Parameter(torch.zeros(2))], "method": "adamw", "fused": True}
    optimizer = Muon([{"params": nn.Linear(3, 2).parameters()}, rest], adamw_betas=(0.8, 0.99))
    assert repr(optimizer).splitlines()[2:] == [
        "  method=adamw, lr=0.001, betas=(0.8, 0.99), eps=1e-08, weight_decay=0.1: 1 tensor of 2 "
        "numbers",
        "  method=adamw, lr=0.001, betas=(0.8, 0.99), eps=1e-08, weight_decay=0.1, fused=True: 1 "
        "tensor of 2 numbers",
    ]


class Mine(NAG):
    def __init__(self, params, **others):
        super().__init__(params, momentum=0.5, **others)


def spoilt(key, value):
    p = nn.Parameter(torch.zeros(1))
    optimizer = NAG([p])
    optimizer.state[p] = {key: value, "momentum_buffer": torch.zeros(1)}
    return optimizer


def with_decay(value):
    optimizer = NAG(model().parameters())
    optimizer.param_groups[0]["weight_decay"] = value
    return optimizer


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: NAG(nn.Linear(2, 1, device="meta").parameters()), "NAG("),
        (lambda: NAG(nn.LazyLinear(2).parameters()), "2 of them not made yet"),
        (lambda: NAG([{"params": []}]), "0 tensors"),
        (lambda: Mine(model().parameters(), cautious=True), "Mine(lr=0.001, momentum=0.5, cautio"),
        (lambda: NAG.__new__(NAG), "NAG of 0 groups"),
        (lambda: spoilt("step", math.nan), "state of 4 bytes"),
        (lambda: spoilt("step", torch.ones(2)), "state of 12 bytes"),
        (lambda: spoilt("step", None), "state of 4 bytes"),
        (lambda: with_decay(np.zeros(2)), "weight_decay=[0. 0.]"),
        (lambda: Fabric().setup_optimizers(NAG(model().parameters())), "FabricNAG(lr=0.001, mom"),
    ],
    ids=[
        *("meta", "lazy", "empty", "a user's", "half made"),
        *("step NaN", "several steps", "step None", "array", "Fabric's"),
    ],
)
def test_it_never_fails(make, shown):
    assert shown in repr(make())


@pytest.mark.parametrize("method", method_classes())
def test_every_method_begins_with_its_lr(method):
    optimizer = method_classes()[method](nn.Linear(2, 2).parameters())
    assert "lr=" in repr(optimizer).partition(",")[0] or "method=" in repr(optimizer)
