"""Every optimizer under everything a Trainer does, each held to the papers in plain float64.

`python -m tests.programs.semantics` runs all cells and prints them as a table; names of columns
choose some, as in `python -m tests.programs.semantics float64 "accumulate 2"`.
"""

import json
import logging
import os
import re
import sys
import tempfile
import warnings
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.optim import lr_scheduler

from scratchopt.batches import Batches, InOrder
from scratchopt.cli.parser import Parser
from scratchopt.lightning import LiveLoss, Lookahead, MeanGradient
from tests.shared import paper
from tests.shared.cases import CASES
from tests.shared.trainers import quiet_trainer
from tests.shared.two_processes import run_by_two

EPOCHS, BATCH = 2, 6  # 8 micro-batches in an epoch
UNEVEN, WINDOW = 10, 3  # batches of 10, 10, 10 and of 10, 8: a short window, and a small batch
OVERFLOWING = 2.0**19  # a scale at which the first gradients are beyond float16
METHODS = {
    row: paper.of_each_tensor(case.paper) if case.by_tensor else case.paper
    for row, case in CASES.items()
}
METHODS["adam_cautious"] = partial(paper.adam_cautious, tensors=paper.TENSORS)

SETTINGS = {row: dict(CASES[row].settings) for row in METHODS}
SETTINGS["newton"] = {"lr": 1.0, "damping": 1.0}  # six rows a step: less would be chaos
SETTINGS["muon"] |= {"weight_decay": 0.1}
# The gradient of two classes has rank 1, and leaves W's longer side no basis of its own.
SETTINGS["soap"] |= {"betas": (0.95, 0.95), "weight_decay": 0.01}
SETTINGS["soap"] |= {"precondition_frequency": 3, "max_precond_dim": 2}
# Of a linear model the Gauss–Newton matrix is the Hessian.
_CG = {"curvature": "gauss_newton", "solver": "cg", "cg_iters": 100, "cg_tol": 1e-14}
SETTINGS["newton_cg"] = SETTINGS["newton"] | _CG
_NOT_THE_PAPERS = {*_CG, "cautious"}  # settings that its lines have none of


class Softmax(LightningModule):
    """Softmax regression on the paper's data. It knows of no optimizer."""

    def __init__(self, configure: Callable[..., Any], batch_size: int = BATCH) -> None:
        super().__init__()
        self.net = torch.nn.Linear(paper.FEATURES, paper.CLASSES)
        self.configure, self.batch_size = configure, batch_size
        self.validated: list[np.ndarray] = []
        self.without_loss: set[int] = set()  # batches whose training_step returns None
        with torch.no_grad():
            for p, values in zip(self.parameters(), _split(paper.START), strict=True):
                p.copy_(torch.tensor(values))

    def training_step(self, batch, batch_idx):
        return None if batch_idx in self.without_loss else self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.loss(batch)
        self.validated.append(self.theta())

    def loss(self, batch):
        inputs, labels = batch
        return F.cross_entropy(self(inputs.to(self.net.weight.dtype)), labels)

    def forward(self, inputs):
        return self.net(inputs)

    def theta(self) -> np.ndarray:
        whole = [getattr(p, "full_tensor", lambda p=p: p)() for p in self.parameters()]
        return torch.cat([p.detach().double().flatten() for p in whole]).numpy()

    def configure_optimizers(self):
        return self.configure(self.parameters())

    def train_dataloader(self) -> Any:
        data = [torch.tensor(paper.INPUTS), torch.tensor(paper.LABELS)]
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        size = self.batch_size // world_size
        return Batches(data, size, shuffle=False, seed=0, rank=rank, world_size=world_size)

    def val_dataloader(self) -> Any:
        return InOrder([torch.tensor(paper.INPUTS), torch.tensor(paper.LABELS)], BATCH * 8)


class ByHand(Softmax):
    """The same with two optimizers, one of the weights and one of the biases."""

    def __init__(self, configure: Callable[..., Any]) -> None:
        super().__init__(configure)
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [self.configure([p]) for p in self.parameters()]

    def training_step(self, batch, batch_idx):
        optimizers: Any = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        for optimizer in optimizers:
            optimizer.step()


class Expected(NamedTuple):
    """The path that a cell must follow, and how closely."""

    path: list[np.ndarray]  # θ before the first step and after each
    tolerance: float  # on every component of θ


def clipped(g: np.ndarray) -> np.ndarray:
    return paper.clip_by_norm(g, 0.3)


def _split(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cut = paper.CLASSES * paper.FEATURES
    return theta[:cut].reshape(paper.CLASSES, paper.FEATURES), theta[cut:]


def optimizer(row: str) -> Callable[..., Any]:
    """Makes a row's optimizer."""
    return lambda params: CASES[row].cls(params, **SETTINGS[row])


def steps(accumulate: int = 1, batch: int = BATCH) -> list[list[np.ndarray]]:
    """The rows of each step's micro-batches, over all epochs."""
    rows = np.arange(len(paper.LABELS))
    micro = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    return [micro[i : i + accumulate] for i in range(0, len(micro), accumulate)] * EPOCHS


def expect(
    row: str,
    batches: list[list[np.ndarray]] | None = None,
    *,
    method: Callable[..., Any] | None = None,
    tolerance: float = 1e-12,
    settings: Callable[[int, dict[str, Any]], dict[str, Any]] = lambda step, fixed: fixed,
    **options: Any,
) -> Expected:
    """The paper's path for a row."""
    path = paper.train(
        method or METHODS[row],
        batches or steps(),
        lambda step: settings(
            step, {k: v for k, v in SETTINGS[row].items() if k not in _NOT_THE_PAPERS}
        ),
        **options,
    )
    return Expected(path, tolerance)


def fit(module: LightningModule | Any, **options: Any) -> Trainer:
    """Trains under a Trainer with the callbacks that docs/how-to/lightning.md asks for."""
    trainer = quiet_trainer(
        [Lookahead(), MeanGradient(), LiveLoss()],
        max_epochs=EPOCHS,
        use_distributed_sampler=False,
        **{"precision": "64-true", **options},
    )
    trainer.fit(module)
    return trainer


def compare(module: Softmax, expected: Expected) -> float:
    """How far θ is from the paper's, as a fraction of the tolerance."""
    return float(np.abs(module.theta() - expected.path[-1]).max() / expected.tolerance)


# The columns: each trains a row's optimizer its own way and returns the fraction of tolerance


def _plain(row: str, expected: Expected, batch: int = BATCH, **options: Any) -> float:
    module = Softmax(optimizer(row), batch)
    fit(module, **options)
    return compare(module, expected)


def float64(row: str) -> float:
    return _plain(row, expect(row))


def float32(row: str) -> float:
    return _plain(row, expect(row, tolerance=_float32(row)), precision="32-true")


def bf16_mixed(row: str) -> float:
    expected = expect(row, to=paper.to_bfloat16, tolerance=_mixed(row))
    return _plain(row, expected, precision="bf16-mixed")


def grad_scaler(row: str) -> float:
    return _scaled(row, steps())


def grad_scaler_and_more(row: str) -> float:
    return _scaled(row, steps(2), clip=clipped, accumulate_grad_batches=2, gradient_clip_val=0.3)


def grad_scaler_and_short_window(row: str) -> float:
    options = {"batch": UNEVEN, "accumulate_grad_batches": WINDOW, "gradient_clip_val": 0.3}
    batches = steps(WINDOW, UNEVEN)
    return _scaled(row, batches, clip=clipped, init=2.0**21, divided_by=WINDOW, **options)


def _scaled(
    row: str,
    batches: Any,
    clip: Any = lambda g: g,
    init: float = OVERFLOWING,
    divided_by: int | None = None,
    **options: Any,
) -> float:
    ours, theirs = torch.amp.GradScaler("cpu", init_scale=init), paper.Scaler(init)
    rounded = {"to": paper.to_float16, "scaler": theirs, "divided_by": divided_by}
    expected = expect(row, batches, clip=clip, tolerance=_mixed(row), **rounded)
    assert expected.path[2] is expected.path[0], "the first two steps overflow"
    plugins = [MixedPrecision("16-mixed", "cpu", ours)]
    gap = _plain(row, expected, precision=None, plugins=plugins, **options)
    assert ours.get_scale() == theirs.scale
    return gap


def _mixed(row: str) -> float:
    """float32's tolerance; Newton's Hessian is of rounded products, and the paper's is not."""
    return 0.02 if METHODS[row] is paper.newton else _float32(row)


def _float32(row: str) -> float:
    """2e-5; but Muon orthogonalizes in bfloat16, to 0.04 of lr a step."""
    return 0.04 * SETTINGS[row]["lr"] * len(steps()) if METHODS[row] is paper.muon else 2e-5


def accumulate_1(row: str) -> float:
    return _accumulated(row, 1)


def accumulate_2(row: str) -> float:
    return _accumulated(row, 2)


def accumulate_4(row: str) -> float:
    return _accumulated(row, 4)


def _accumulated(row: str, count: int) -> float:
    """Accumulates k micro-batches; to the paper and to us they are one batch k times as large."""
    expected = expect(row, steps(count))
    large = expect(row, steps(batch=BATCH * count))
    np.testing.assert_allclose(expected.path[-1], large.path[-1], rtol=0, atol=1e-13)
    return _plain(row, expected, accumulate_grad_batches=count)


def accumulate_short_window(row: str) -> float:
    """A last step of fewer batches, one of them smaller, is one batch of all their rows."""
    expected = expect(row, steps(WINDOW, UNEVEN))
    large = expect(row, steps(batch=WINDOW * UNEVEN))
    np.testing.assert_allclose(expected.path[-1], large.path[-1], rtol=0, atol=1e-13)
    return _plain(row, expected, UNEVEN, accumulate_grad_batches=WINDOW)


def clip_by_norm(row: str) -> float:
    return _plain(row, expect(row, clip=clipped), gradient_clip_val=0.3)


def clip_by_value(row: str) -> float:
    expected = expect(row, clip=lambda g: paper.clip_by_value(g, 0.1))
    return _plain(row, expected, gradient_clip_val=0.1, gradient_clip_algorithm="value")


def lr_by_step(row: str) -> float:
    return _scheduled(row, "step", 0.8, lambda step: 0.8**step)


def lr_by_epoch(row: str) -> float:
    per_epoch = len(steps()) // EPOCHS
    return _scheduled(row, "epoch", 0.5, lambda step: 0.5 ** (step // per_epoch))


def _scheduled(row: str, interval: str, gamma: float, decay: Callable[[int], float]) -> float:
    module = Softmax(
        lambda params: _with_scheduler(
            optimizer(row)(params), interval, lambda made: lr_scheduler.ExponentialLR(made, gamma)
        )
    )
    fit(module)
    expected = expect(row, settings=lambda step, fixed: fixed | {"lr": fixed["lr"] * decay(step)})
    return compare(module, expected)


def _with_scheduler(made: Any, interval: str, schedule: Callable[[Any], Any]) -> dict[str, Any]:
    scheduler = {"scheduler": schedule(made), "interval": interval}
    return {"optimizer": made, "lr_scheduler": scheduler}


def momentum_schedule(row: str) -> float:
    """OneCycleLR moves lr and μ (Adam: β₁) in opposite directions, linearly."""
    total, most = len(steps()), 2 * SETTINGS[row]["lr"]
    options = {"pct_start": 0.25, "anneal_strategy": "linear"}
    module = Softmax(
        lambda params: _with_scheduler(
            optimizer(row)(params),
            "step",
            lambda made: lr_scheduler.OneCycleLR(made, most, total_steps=total, **options),
        )
    )
    fit(module)
    corners = [0, 0.25 * total - 1, total - 1]

    def settings(step: int, fixed: dict[str, Any]) -> dict[str, Any]:
        lr = np.interp(step, corners, [most / 25, most, most / 25e4])
        mu = np.interp(step, corners, [0.95, 0.85, 0.95])
        made = CASES[row].cls([torch.ones(1, requires_grad=True)], **fixed)
        betas = made.defaults.get("betas")
        own = {"betas": (mu, *betas[1:])} if betas else {"momentum": mu}
        rest = {"adamw_betas": (mu, 0.999)} if METHODS[row] is paper.soap else {}
        return fixed | {"lr": lr} | own | rest

    return compare(module, expect(row, settings=settings))


def no_loss(row: str) -> float:
    """A training_step that returns None makes no step."""
    module, batches = Softmax(optimizer(row)), steps()
    module.without_loss = {0, 2, 5}
    per_epoch = len(batches) // EPOCHS
    batches = [[] if i % per_epoch in module.without_loss else b for i, b in enumerate(batches)]
    fit(module)
    return compare(module, expect(row, batches))


def validation_mid_epoch(row: str) -> float:
    """Validation sees θ after every second step."""
    module, expected = Softmax(optimizer(row)), expect(row)
    fit(module, val_check_interval=2)
    seen = np.array(module.validated) - np.array(expected.path[2::2])
    return max(compare(module, expected), float(np.abs(seen).max() / expected.tolerance))


def of_two_processes(strategy: str, kind: str, row: str) -> float:
    """The same by two processes, each with half of every batch."""
    came = two_processes()[f"{strategy}, {kind}"][row]
    if isinstance(came, str):
        raise RuntimeError(came)
    batches, _, _, options = KINDS[kind]
    expected = expect(row, batches(), **options)
    return float(np.abs(np.array(came) - expected.path[-1]).max() / expected.tolerance)


@cache
def two_processes() -> dict[str, dict[str, Any]]:
    """θ at the end of two gloo processes, or an error's message, by run and row."""
    with tempfile.TemporaryDirectory() as folder:
        run_by_two("tests.programs.semantics", "process", folder)
        ranks = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0] == ranks[1], "both processes end at the same θ"
    return ranks[0]


def _process(folder: str) -> None:
    """One of the two processes."""
    torch.set_num_threads(1)
    came: dict[str, dict[str, Any]] = {}
    for strategy, (kind, (_, batch, options, _)) in product(STRATEGIES.values(), KINDS.items()):
        of_rows = came[f"{strategy}, {kind}"] = {}
        for row in METHODS:
            module = Softmax(optimizer(row), batch)
            try:
                fit(module, strategy=strategy, devices=2, **options)
                assert isinstance(module.net.weight, DTensor) == (strategy == "fsdp2")
                of_rows[row] = module.theta().tolist()
            except RuntimeError as error:
                of_rows[row] = str(error)
    Path(folder, f"{os.environ['RANK']}.json").write_text(json.dumps(came))


def compiled_model(row: str) -> float:
    module, expected = Softmax(optimizer(row)), expect(row)
    fit(torch.compile(module))
    return compare(module, expected)


def two_optimizers_by_hand(row: str) -> float:
    module = ByHand(optimizer(row))
    fit(module)
    method = paper.newton_of_two if METHODS[row] is paper.newton else None
    return compare(module, expect(row, method=method))


# The batches that each step is held to; the size of one, the Trainer's options, the paper's.
_MORE = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.3, "val_check_interval": 2}
_CLIP = {"clip": clipped}
_UNEVEN = UNEVEN, {"accumulate_grad_batches": WINDOW, "gradient_clip_val": 0.3}, _CLIP
KINDS: dict[str, tuple[Any, ...]] = {
    "": (steps, BATCH, {}, {}),
    ", accumulate 2, clipped, validated": (partial(steps, 2), BATCH, _MORE, _CLIP),
    ", accumulate 3, last step short, clipped": (partial(steps, WINDOW, UNEVEN), *_UNEVEN),
}
STRATEGIES = {
    "DDP": "ddp",
    "FSDP2": "fsdp2",
    "ZeRO 1": "zero1",
    "ZeRO 2": "zero2",
    "ZeRO 3": "zero3",
}
COLUMNS: dict[str, Callable[[str], float]] = {
    "float32": float32,
    "float64": float64,
    "bf16-mixed": bf16_mixed,
    "16-mixed, GradScaler": grad_scaler,
    "GradScaler, accumulate 2, clipped": grad_scaler_and_more,
    "GradScaler, accumulate 3, last step short, clipped": grad_scaler_and_short_window,
    "accumulate 1": accumulate_1,
    "accumulate 2": accumulate_2,
    "accumulate 4": accumulate_4,
    "accumulate 3, last step short": accumulate_short_window,
    "clip by norm": clip_by_norm,
    "clip by value": clip_by_value,
    "lr by step": lr_by_step,
    "lr by epoch": lr_by_epoch,
    "μ schedule": momentum_schedule,
    "step without loss": no_loss,
    "validation mid-epoch": validation_mid_epoch,
    **{
        f"{name}{kind}": partial(of_two_processes, strategy, kind)
        for name, strategy in STRATEGIES.items()
        for kind in KINDS
    },
    "torch.compile": compiled_model,
    "two optimizers": two_optimizers_by_hand,
}
# Cells that are refused, with what the message says. All others are right.
_WHOLE = "Newton needs all parameters in each process"
_NO_MOMENTUM = "must support momentum or beta1"  # torch's words
REFUSED = {
    ("sgd", "μ schedule"): _NO_MOMENTUM,
    ("adagrad", "μ schedule"): _NO_MOMENTUM,
    ("adafactor", "μ schedule"): _NO_MOMENTUM,
    **{
        (row, column): message
        for row in ("newton", "newton_cg")
        for column, message in {
            "μ schedule": _NO_MOMENTUM,
            **{f"{name}{kind}": _WHOLE for name in STRATEGIES for kind in KINDS if name != "DDP"},
            "torch.compile": "Newton needs second derivatives",
        }.items()
    },
}


def run(row: str, column: str) -> float | str:
    """A cell: the fraction of its tolerance, or the message that refused it."""
    try:
        return COLUMNS[column](row)
    except (RuntimeError, ValueError) as error:
        return str(error)


def verdict(row: str, column: str, came: float | str) -> str:
    """`right`, `refused`, or what went wrong."""
    if isinstance(came, str):
        expected = re.search(REFUSED.get((row, column), "(?!)"), came)
        return "refused" if expected else f"error: {came.splitlines()[0]}"
    return "right" if came <= 1 else f"wrong: {came:.3g} of the tolerance"


def table(cells: dict[tuple[str, str], str], columns: Iterable[str] = COLUMNS) -> str:
    """The verdicts in Markdown, a line for each column here: there are more of these."""
    signs = {"right": "✓", "refused": "refused"}
    lines = ["| | " + " | ".join(f"`{row}`" for row in METHODS) + " |"]
    lines.append("|---" * (len(METHODS) + 1) + "|")
    for column in columns:
        shown = [signs.get(cells[row, column], cells[row, column]) for row in METHODS]
        lines.append(f"| {column} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _column(name: str) -> str:
    if name not in COLUMNS:
        raise ArgumentTypeError(f"no column {name!r}; there are {', '.join(COLUMNS)}")
    return name


def main() -> None:
    """Prints the table, and how many cells are right, refused and wrong."""
    if sys.argv[1:2] == ["process"]:
        _process(sys.argv[2])
        return
    parser = Parser(__doc__)
    parser.add_argument(
        "columns", nargs="*", type=_column, help=f"of {', '.join(COLUMNS)}; by default all"
    )
    columns = parser.parse_args().columns or list(COLUMNS)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    cells = {
        (row, column): verdict(row, column, run(row, column))
        for row in METHODS
        for column in columns
    }
    print(table(cells, columns))
    counts = {kind: sum(v == kind for v in cells.values()) for kind in ("right", "refused")}
    wrong = len(cells) - sum(counts.values())
    print(
        f"\n{len(cells)} cells: {counts['right']} right, {counts['refused']} refused, {wrong} wrong"
    )
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
