"""fused=True where there is no C kernel: torch.compile's, on large tensors and gathered small ones.

It is what a GPU gets; a CPU runs it here.
"""

import importlib

import pytest
import torch

from scratchopt.engine import compiled
from tests.shared.cases import CASES, give

# torch's compiler imports a module of torch's that warns.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is:DeprecationWarning"),
]

WITH_RULE = {name: case for name, case in CASES.items() if "compiled" in case.drivers}
SHAPES = [(300, 300), (3, 5), (), (0,), (7,), (260, 256)]


@pytest.fixture(autouse=True)
def _no_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "runs_c", lambda device: False)
    monkeypatch.setattr(compiled, "_KERNELS", {})


def pair(dtype: torch.dtype) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    torch.manual_seed(0)
    start = [torch.randn(shape, dtype=dtype) for shape in SHAPES]
    start.append(torch.randn(40, 30, dtype=dtype).t())
    return [p.clone().requires_grad_() for p in start], [p.clone().requires_grad_() for p in start]


@pytest.mark.parametrize("name", WITH_RULE)
def test_it_equals_list_within_roundings_and_compiles_once(name):
    case = WITH_RULE[name]
    ours, theirs = pair(torch.float32)
    options = {"weight_decay": 0.125, "maximize": True}
    a = case.cls(ours, **case.settings, **options, fused=True)
    b = case.cls(theirs, **case.settings, **options, foreach=True)
    counted, graphs = torch._dynamo.utils.counters["stats"], 0
    for step in range(6):
        for optimizer in (a, b):
            optimizer.param_groups[0]["lr"] = case.settings["lr"] / (1 + step)
        grads = [torch.randn_like(p) for p in ours]
        give(a, ours, grads)
        give(b, theirs, grads)
        if step == 1:
            graphs = counted["unique_graphs"]
    assert counted["unique_graphs"] == graphs > 0
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=16 * torch.finfo(p.dtype).eps, atol=2e-6)


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (torch.float64, {}),
        (torch.complex64, {}),
        (torch.bfloat16, {"compensated": True}),
        (torch.float32, {"compensated": True}),
    ],
    ids=str,
)
def test_dtypes_and_compensation(dtype, options):
    case = WITH_RULE["adam"]
    ours, theirs = pair(dtype)
    a = case.cls(ours, **case.settings, **options, fused=True)
    b = case.cls(theirs, **case.settings, **options, foreach=True)
    for _ in range(4):
        grads = [torch.randn_like(p) for p in ours]
        give(a, ours, grads)
        give(b, theirs, grads)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=32 * torch.finfo(p.dtype).eps, atol=1e-5)


def test_without_a_compiler_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    # Not by monkeypatch, which takes torch's config for a class and deletes the key in the end.
    inductor = importlib.import_module("torch._inductor.config")
    case = WITH_RULE["sgd"]
    p = torch.ones(3, requires_grad=True)
    optimizer = case.cls([p], lr=0.77, fused=True)
    with (
        inductor.patch({"cpp.cxx": ("/nonexistent/c++",)}),
        pytest.raises(
            RuntimeError, match=r"^fused=True needs torch\.compile, which fails here: use"
        ),
    ):
        give(optimizer, [p], [torch.ones(3)])
    assert torch.equal(p, torch.ones(3))
