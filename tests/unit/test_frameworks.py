"""The examples of docs/how-to/frameworks.md, each against a bare loop, where they can run.

None of them is needed for the project, so they are not in its extras: in an environment beside,
`pip install transformers accelerate pytorch-ignite skorch fastai opacus`.
"""

import copy
import types
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from scratchopt import NAG
from tests.shared.pages import PAGES, blocks

pytestmark = pytest.mark.filterwarnings("ignore")  # the frameworks' own

RANDOM = torch.Generator().manual_seed(0)
INPUTS, TARGETS = torch.randn(64, 2, generator=RANDOM), torch.randn(64, 1, generator=RANDOM)
BATCH = 8
FRAMEWORKS = ("transformers", "accelerate", "ignite", "skorch", "fastai", "opacus")
EXAMPLES = {
    framework: block
    for _, block in blocks(PAGES["docs/how-to/frameworks.md"])
    for framework in FRAMEWORKS
    if f"from {framework}" in block
}


class Net(torch.nn.Module):
    """It takes inputs, and as transformers wants it, labels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
        )

    def forward(self, inputs, labels=None):
        outputs = self.layers(inputs)
        if labels is None:
            return outputs
        return {"loss": torch.nn.functional.mse_loss(outputs, labels), "logits": outputs}


def train_bare(model: Net, batch: int) -> list[torch.Tensor]:
    optimizer = NAG(model.parameters(), lr=0.1, momentum=0.9)
    for i in range(0, len(INPUTS), batch):
        optimizer.lookahead_()
        optimizer.zero_grad()
        model(INPUTS[i : i + batch], TARGETS[i : i + batch])["loss"].backward()
        optimizer.step()
    return [p.detach() for p in model.parameters()]


def things_for(framework: str, model: Net, folder: Any) -> dict[str, Any]:
    """What an example takes for its own."""
    loader = DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=BATCH)
    things: dict[str, Any] = {
        "model": model,
        "loader": loader,
        "loss_function": torch.nn.MSELoss(),
        "inputs": INPUTS,
        "targets": TARGETS,
        "noise": 0.0,
        "largest": 1e6,  # which no gradient reaches
    }
    if framework == "transformers":
        from transformers import TrainingArguments  # pyright: ignore[reportMissingImports]

        things["arguments"] = TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=BATCH // 2,
            gradient_accumulation_steps=2,
            num_train_epochs=1,
            max_grad_norm=1e6,
            lr_scheduler_type="constant",
            train_sampling_strategy="sequential",
            report_to="none",
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
        )
        rows = zip(INPUTS, TARGETS, strict=True)
        things["data"] = [{"inputs": x, "labels": y} for x, y in rows]
    if framework == "fastai":
        from fastai.data.core import DataLoaders  # pyright: ignore[reportMissingImports]

        things["loaders"] = DataLoaders(loader, loader)
    return things


def test_every_example_of_the_page_is_run():
    shown = [block for _, block in blocks(PAGES["docs/how-to/frameworks.md"])]
    rest = [block for block in shown if block not in EXAMPLES.values()]
    assert tuple(EXAMPLES) == FRAMEWORKS
    assert len(rest) == 1
    assert "ZeroRedundancyOptimizer" in rest[0]  # tests/unit/test_zero_redundancy.py


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_example_trains_as_a_bare_loop(framework, tmp_path, monkeypatch):
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    monkeypatch.chdir(tmp_path)
    model = Net()
    expected = train_bare(copy.deepcopy(model), 2 * BATCH if framework == "accelerate" else BATCH)
    module = types.ModuleType("example")
    vars(module).update(things_for(framework, model, tmp_path))
    exec(compile(EXAMPLES[framework], "example", "exec"), vars(module))
    trained = [p.detach() for p in model.parameters()]
    if framework == "skorch":  # which trains a copy
        trained = [p.detach() for p in module.net.module_.parameters()]
    for came, right in zip(trained, expected, strict=True):
        torch.testing.assert_close(came, right, rtol=1e-5, atol=1e-6)
    start = [p.detach() for p in Net().parameters()]
    assert not all(torch.allclose(a, b, atol=1e-2) for a, b in zip(trained, start, strict=True))


@pytest.mark.parametrize("framework", [f for f in FRAMEWORKS if f != "skorch"])
def test_without_its_hook_the_second_step_is_an_error(framework, tmp_path, monkeypatch):
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("example")
    vars(module).update(things_for(framework, Net(), tmp_path))
    without = EXAMPLES[framework].replace("lookahead_()", "restore_()")
    with pytest.raises(RuntimeError, match="needs its gradient at the lookahead point"):
        exec(compile(without, "example", "exec"), vars(module))
