"""The further problems against closed forms, NumPy and what their papers say of them."""

import gzip
import os
import sys
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from matplotlib.figure import Figure
from torch.optim import SGD, Adam

from scratchopt.batches import Draws
from scratchopt.lightning import Checkpoint, RandomState
from tasks import text_data
from tasks.autoencoder import Autoencoder
from tasks.cnn import CNN
from tasks.deep_linear import DeepLinear
from tasks.gpt import Attention
from tasks.logistic_regression import LogisticRegression
from tasks.noisy_quadratic import STEPS, NoisyQuadratic
from tasks.transformer import Transformer
from tests.shared.checkpoints import differences
from tests.shared.trainers import quiet_trainer
from tests.shared.two_processes import run_by_two

descent = partial(SGD, lr=0.01)
HISTORY = {"train/loss": [(0, 2.0), (1, 1.0)], "train/gradnorm": [(0, 1.0), (1, 0.5)]}
# Small ones, whose every option is another than its default.
PROBLEMS: dict[str, Callable[..., LightningModule]] = {
    "logistic_regression": partial(LogisticRegression, batch_size=512, seed=3),
    "noisy_quadratic": partial(NoisyQuadratic, dim=7, noise=1.0, batch_size=4, seed=3),
    "deep_linear": partial(DeepLinear, hidden=(9, 8), gain=0.7, batch_size=512, seed=3),
    "cnn": partial(CNN, channels=(3, 4), batch_size=512, seed=3),
    "transformer": partial(
        Transformer, width=8, layers=1, heads=2, context=10, batch_size=4, seed=3
    ),
    "autoencoder": partial(Autoencoder, hidden=(16,), code=3, batch_size=512, seed=3),
}


def trainer(*callbacks: Callback, **options: Any) -> Trainer:
    options = {"enable_checkpointing": False, "use_distributed_sampler": False} | options
    return quiet_trainer(callbacks, **options)


def gradient(task: LightningModule, batch: Any) -> np.ndarray:
    """The gradient of a batch's loss, all parameters one after another."""
    loss: Any = task.training_step(batch, 0)
    gradients = torch.autograd.grad(loss, list(task.parameters()))
    return np.concatenate([g.flatten().double().numpy() for g in gradients])


# ---- logistic regression


def test_logistic_regression_s_loss_and_gradient_are_numpy_s():
    task, random = LogisticRegression(descent).double(), np.random.default_rng(0)
    x, labels = random.normal(size=(30, 784)), random.integers(10, size=30)
    w, b = random.normal(size=(10, 784)) / 28, random.normal(size=10)
    with torch.no_grad():
        for parameter, value in zip(task.parameters(), (w, b), strict=True):
            parameter.copy_(torch.tensor(value))
    z = x @ w.T + b
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    batch = torch.tensor(x), torch.tensor(labels)
    loss = task.training_step(batch, 0).item()
    assert loss == pytest.approx(-np.log(p[np.arange(30), labels]).mean(), rel=1e-13)
    error = (p - np.eye(10)[labels]) / 30
    by_hand = np.concatenate([(error.T @ x).ravel(), error.sum(axis=0)])
    np.testing.assert_allclose(gradient(task, batch), by_hand, rtol=1e-11, atol=1e-14)


def test_logistic_regression_starts_with_a_tenth_for_each_digit():
    task = LogisticRegression(descent)
    batch = torch.randn(5, 784), torch.arange(5)
    assert task.training_step(batch, 0).item() == pytest.approx(np.log(10), rel=1e-6)


# ---- the noisy quadratic


def matrix(task: NoisyQuadratic) -> np.ndarray:
    """H, by second derivatives."""
    hessian = torch.autograd.functional.hessian(
        lambda theta: torch.func.functional_call(task, {"theta": theta}, ()), task.theta.detach()
    )
    return torch.as_tensor(hessian).numpy()


@pytest.mark.parametrize("rotated", [False, True])
def test_the_quadratic_has_log_spaced_eigenvalues_from_1_to_1_over_the_condition_number(rotated):
    task = NoisyQuadratic(descent, dim=7, condition_number=1e6, rotated=rotated, dtype="float64")
    h = matrix(task)
    np.testing.assert_allclose(np.linalg.eigvalsh(h), np.logspace(-6, 0, 7), rtol=1e-9)
    assert np.allclose(h, np.diag(np.diag(h))) == (not rotated)


@pytest.mark.parametrize("rotated", [False, True])
def test_its_gradient_is_h_theta_and_noise_of_covariance_h(rotated):
    noise, size, count = 0.3, 4, 4000
    task = NoisyQuadratic(
        descent, 5, 30.0, noise, rotated=rotated, batch_size=size, dtype="float64"
    )
    h, draws = matrix(task), Draws(count, size, 5, seed=1)
    with torch.no_grad():
        task.theta.copy_(torch.linspace(-1, 1, 5))
    expected = h @ task.theta.detach().numpy()
    gradients = np.stack([gradient(task, batch) for batch in islice(draws, count)])
    covariance = noise**2 * h / size
    # Means and covariances of so many draws lie within 5 of their standard deviations.
    deviation = np.sqrt(np.diag(covariance) / count)
    assert (np.abs(gradients.mean(axis=0) - expected) < 5 * deviation).all()
    variances = np.diag(covariance)
    spread = np.sqrt((np.outer(variances, variances) + covariance**2) / count)
    assert (np.abs(np.cov(gradients.T) - covariance) < 5 * spread).all()


@pytest.mark.parametrize("rotated", [False, True])
def test_a_draw_shifts_the_gradient_by_the_noise_s_formula(rotated):
    task = NoisyQuadratic(descent, 3, 9.0, 0.5, rotated, batch_size=2, dtype="float64")
    xi = torch.tensor([[1.0, 2.0, 3.0], [-2.0, 0.5, 1.0]], dtype=torch.float64)
    q = np.eye(3) if task.rotation is None else task.rotation.numpy()
    np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-14)
    roots = np.diag([1, 9**-0.25, 1 / 3])
    by_hand = matrix(task) @ task.theta.detach().numpy() + 0.5 * q.T @ roots @ xi.numpy().mean(0)
    np.testing.assert_allclose(gradient(task, (xi,)), by_hand, rtol=1e-13)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("stage", ["val", "test"])
def test_what_is_validated_is_the_expected_loss_without_noise(stage, rotated):
    task = NoisyQuadratic(descent, 3, 100.0, noise=5.0, rotated=rotated, dtype="float64")
    run = trainer()
    (metrics,) = (run.validate if stage == "val" else run.test)(task, verbose=False)
    assert metrics == {f"{stage}/loss": pytest.approx((1 + 0.1 + 0.01) / 2, rel=1e-12)}


def test_gradient_descent_s_expected_loss_follows_the_noisy_quadratic_s_recursion():
    """E[z²] ← (1 − lr·λ)²·E[z²] + lr²·noise²·λ, after the papers; the mean of 500 runs."""
    lr, noise, steps = 0.5, 0.5, 6
    task = NoisyQuadratic(partial(SGD, lr=lr), 4, 10.0, noise, dtype="float64")
    eigenvalues = np.logspace(0, -1, 4)
    second = np.ones(4)
    for _ in range(steps):
        second = (1 - lr * eigenvalues) ** 2 * second + lr**2 * noise**2 * eigenvalues
    start = task.theta.detach().clone()
    losses = []
    for seed in range(500):
        with torch.no_grad():
            task.theta.copy_(start)
        optimizer = task.configure_optimizers()
        for batch in Draws(steps, 1, 4, seed=seed):
            optimizer.zero_grad()
            task.training_step(batch, 0).backward()
            optimizer.step()
        losses.append(task().item())
    deviation = np.std(losses) / np.sqrt(len(losses))
    assert np.mean(losses) == pytest.approx((eigenvalues * second).sum() / 2, abs=4 * deviation)


def test_no_two_epochs_ranks_or_seeds_have_the_same_noise():
    def drawn(epoch: int, **options: Any) -> torch.Tensor:
        draws = Draws(2, 3, 5, **{"seed": 0} | options)
        draws.set_epoch(epoch)
        return torch.cat([batch for (batch,) in draws])

    ways = [{}, {"seed": 1}, {"rank": 0, "world_size": 2}, {"rank": 1, "world_size": 2}]
    rows = torch.cat([drawn(epoch, **way) for epoch in (0, 1, 2**31) for way in ways[:2]])
    assert len(rows.unique(dim=0)) == len(rows)
    left, right = (drawn(0, **way) for way in ways[2:])
    assert len(torch.cat([left, right]).unique(dim=0)) == 12
    assert torch.equal(drawn(5), drawn(5))


# ---- the deep linear net


def test_the_deep_linear_net_is_the_product_of_its_matrices():
    task = DeepLinear(descent, hidden=(20, 15, 12)).double()
    x = np.random.default_rng(0).normal(size=(6, 784))
    w1, w2, w3, w4 = (parameter.detach().numpy() for parameter in task.parameters())
    product = w4 @ w3 @ w2 @ w1
    np.testing.assert_allclose(task(torch.tensor(x)).detach().numpy(), x @ product.T, rtol=1e-11)
    np.testing.assert_allclose(task.templates().detach().numpy(), product, rtol=1e-11, atol=1e-15)


def test_the_deep_linear_net_s_gradient_is_that_of_least_squares_through_the_factors():
    task = DeepLinear(descent, hidden=(20,)).double()
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(6, 784)), np.arange(6)
    first, second = (parameter.detach().numpy() for parameter in task.parameters())
    error = x @ first.T @ second.T - np.eye(10)[labels]
    batch = torch.tensor(x), torch.tensor(labels)
    loss = task.training_step(batch, 0).item()
    assert loss == pytest.approx((error**2).sum() / 12, rel=1e-13)
    of_product = error.T @ x / 6
    by_hand = np.concatenate([(second.T @ of_product).ravel(), (of_product @ first.T).ravel()])
    np.testing.assert_allclose(gradient(task, batch), by_hand, rtol=1e-9, atol=1e-13)


def test_each_matrix_of_the_deep_linear_net_starts_orthogonal_times_gain():
    task = DeepLinear(descent, hidden=(20, 30), gain=0.7)
    for parameter in task.parameters():
        values = np.linalg.svd(parameter.detach().double().numpy(), compute_uv=False)
        np.testing.assert_allclose(values, 0.7, rtol=1e-5)


# ---- the CNN


def test_the_cnn_is_convolutions_of_5_by_5_in_steps_of_2_by_hand():
    task = CNN(descent, channels=(2, 3)).double()
    images = np.random.default_rng(0).normal(size=(2, 784))
    parameters = [parameter.detach().numpy() for parameter in task.parameters()]
    x = images.reshape(2, 1, 28, 28)
    for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
        side = x.shape[-1] // 2
        corners = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (2, 3))
        places = corners[:, :, ::2, ::2][:, :, :side, :side]
        z = np.einsum("ncijkl,ockl->noij", places, weight) + bias[:, None, None]
        x = np.maximum(z, 0)
    by_hand = x.reshape(2, -1) @ parameters[-2].T + parameters[-1]
    np.testing.assert_allclose(task(torch.tensor(images)).detach().numpy(), by_hand, rtol=1e-10)


@pytest.mark.parametrize("channels", [(1,), (2, 3, 4), (1, 1, 1, 1, 1, 1)])
def test_a_cnn_of_any_depth_halves_its_sides_down_to_one(channels):
    task = CNN(descent, channels=channels)
    assert task(torch.randn(4, 784)).shape == (4, 10)
    side = -(-28 // 2 ** len(channels))
    *_, weight, _ = task.parameters()
    assert weight.shape == (10, channels[-1] * side**2)


# ---- the transformer


@pytest.mark.parametrize("place", [0, 5, 15])
def test_a_character_changes_no_earlier_logit_and_every_later_one(place):
    torch.manual_seed(0)
    task = Transformer(descent, width=16, layers=3, heads=2, context=16).double()
    for parameter in task.parameters():
        torch.nn.init.normal_(parameter)
    characters = torch.randint(72, (4, 16))
    changed = characters.clone()
    changed[:, place] = (changed[:, place] + 1) % 72
    before, after = task(characters), task(changed)
    assert torch.equal(before[:, :place], after[:, :place])
    assert (before[:, place:] != after[:, place:]).any(dim=2).all()


def test_attention_is_its_formula():
    attention = Attention(width=6, heads=2, context=5).double()
    x = np.random.default_rng(0).normal(size=(1, 4, 6))
    (wi, bi), (wo, bo) = (
        (layer.weight.detach().numpy(), layer.bias.detach().numpy())
        for layer in (attention.inward, attention.out)
    )
    q, k, v = np.split(x[0] @ wi.T + bi, 3, axis=1)
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        weights = np.exp(q[:, part] @ k[:, part].T / 3**0.5) * np.tri(4)
        heads.append(weights / weights.sum(axis=1, keepdims=True) @ v[:, part])
    by_hand = np.concatenate(heads, axis=1) @ wo.T + bo
    np.testing.assert_allclose(attention(torch.tensor(x)).detach().numpy()[0], by_hand, rtol=1e-12)


def test_the_transformer_starts_as_good_as_guessing():
    torch.manual_seed(0)
    task = Transformer(descent)
    given, wanted = task.train_set
    loss = task.training_step((given[:64], wanted[:64]), 0).item()
    assert loss == pytest.approx(np.log(len(task.alphabet)), rel=0.02)


def test_the_text_s_parts_are_apart_and_every_character_but_the_first_is_predicted_once():
    task, (text, _) = Transformer(descent, context=10), text_data.read()
    first, second = len(text) * 8 // 10, len(text) * 9 // 10
    given, wanted = task.train_set
    assert torch.equal(given[:, 0], text[: first - 10])
    assert torch.equal(given[-1], text[first - 11 : first - 1])
    assert torch.equal(wanted[-1], text[first - 10 : first])
    for (_, wanted), part in [
        (task.val_set, text[first:second]),
        (task.test_set, text[second:]),
    ]:
        predicted = wanted.flatten()
        assert torch.equal(predicted, part[1 : 1 + len(predicted)])
        assert len(part) - len(predicted) <= 10


def test_what_is_to_be_predicted_is_the_next_character():
    task = Transformer(descent, context=10).double()
    given, wanted = (part[:3] for part in task.val_set)
    logits = task(given).detach().numpy()
    rows = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    n, t = np.indices((3, 10))
    by_hand = -np.log(rows[n, t, wanted.numpy()]).mean()
    assert task.training_step((given, wanted), 0).item() == pytest.approx(by_hand, rel=1e-12)


def test_the_text_is_carroll_s():
    characters, alphabet = text_data.read()
    text = "".join(alphabet[i] for i in characters.tolist())
    assert text.strip().startswith("ALICE'S ADVENTURES IN WONDERLAND\n\n")
    assert text.endswith("THE END\n")
    assert text.count("Alice") == 395
    assert (len(text), len(alphabet)) == (148_480, 72)
    assert set(alphabet) == set(text)
    assert list(alphabet) == sorted(alphabet)


def test_the_checksum_in_the_readme_is_that_in_the_code():
    readme = (text_data.SHIPPED.parent / "README.md").read_text()
    assert f"{text_data.SHA256}  {text_data.SHIPPED.stem}" in readme


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:1000] + b"x" + b[1001:]])
def test_a_damaged_text_is_named_with_the_remedy(damage, tmp_path):
    path = tmp_path / "alice29.txt.gz"
    path.write_bytes(gzip.compress(damage(gzip.decompress(text_data.SHIPPED.read_bytes()))))
    with pytest.raises(ValueError, match=f"^Damaged text file: {path} .*take tasks/data") as error:
        text_data.read(path)
    assert "\n" not in str(error.value)


def test_a_text_that_is_not_there_is_named_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"^Missing text file: {tmp_path}/a.*take tasks"):
        text_data.read(tmp_path / "a")


# ---- the autoencoder


def linear_layers(task: Any) -> list[torch.nn.Linear]:
    return [layer for layer in task.net if isinstance(layer, torch.nn.Linear)]


def test_the_sparse_start_has_exactly_15_connections_into_each_unit_from_a_unit_normal():
    torch.manual_seed(0)
    layers = linear_layers(Autoencoder(descent, hidden=(1000, 500), code=30))
    for layer in layers:
        assert (layer.weight != 0).sum(dim=1).tolist() == [15] * layer.out_features
        assert not layer.bias.any()
        sources = (layer.weight != 0).sum(dim=0).double()  # how many units each one leads to
        mean, chance = sources.mean().item(), 15 / layer.in_features
        # Were they not drawn evenly, this would be off by much more than 5 deviations.
        deviation = (layer.out_features * chance * (1 - chance)) ** 0.5
        assert sources.std().item() == pytest.approx(deviation, rel=0.25)
        assert mean == pytest.approx(15 * layer.out_features / layer.in_features)
    drawn = torch.cat([layer.weight[layer.weight != 0] for layer in layers]).double()
    assert abs(drawn.mean()) < 5 / len(drawn) ** 0.5
    assert abs(drawn.var() - 1) < 5 * (2 / len(drawn)) ** 0.5


def test_a_layer_of_fewer_units_than_connections_is_full():
    layers = linear_layers(Autoencoder(descent, hidden=(20,), code=4, incoming=15))
    assert [int((layer.weight != 0).sum(dim=1).min()) for layer in layers] == [15, 15, 4, 15]


def test_the_autoencoder_is_sigmoids_around_a_linear_code():
    task = Autoencoder(descent, hidden=(20, 10), code=4).double()
    x = torch.rand(3, 784, dtype=torch.float64)
    by_hand = x.numpy()
    for i, layer in enumerate(linear_layers(task)):
        by_hand = by_hand @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        if i != 2:
            by_hand = 1 / (1 + np.exp(-by_hand))
    np.testing.assert_allclose(task(x).detach().numpy(), by_hand, rtol=1e-12)
    loss = task.training_step((x, torch.zeros(3)), 0).item()
    assert loss == pytest.approx(((by_hand - x.numpy()) ** 2).sum(axis=1).mean(), rel=1e-12)


def test_the_autoencoder_s_pixels_are_in_0_to_1():
    bytes_ = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(784, 3).T.reshape(3, 28, 28)
    pixels = Autoencoder(descent).pixels(bytes_)
    assert pixels.unique().tolist() == pytest.approx([0, 0.2, 1])
    assert pixels.shape == (3, 784)


# ---- all


class Losses(Callback):
    """The loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs: Any, batch, batch_idx) -> None:
        self.losses.append(outputs["loss"].item())


def train(problem: str, folder: Path, steps: int, **options: Any) -> list[float]:
    """The losses of a run from the folder's checkpoint, if any, to its `steps`-th step."""
    seed_everything(0, verbose=False)
    task, seen = PROBLEMS[problem](partial(Adam, lr=0.01)), Losses()
    run = trainer(
        *(seen, Checkpoint(), RandomState()),
        default_root_dir=folder,
        max_steps=steps,
        limit_val_batches=0,
        enable_checkpointing=True,
        **options,
    )
    saved = folder / "checkpoints" / "last.ckpt"
    run.fit(task, ckpt_path=saved if saved.exists() else None, weights_only=True)
    return seen.losses


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_problem_goes_on_bit_for_bit_in_the_middle_of_an_epoch(problem, tmp_path):
    whole = train(problem, tmp_path / "whole", 12)
    parts = [train(problem, tmp_path / "parts", steps) for steps in (5, 12)]
    assert [len(part) for part in parts] == [5, 7]
    assert [*parts[0], *parts[1]] == whole
    files = [tmp_path / name / "checkpoints" / "last.ckpt" for name in ("whole", "parts")]
    assert not differences(*[torch.load(file, weights_only=True) for file in files])


def test_the_noise_goes_on_beyond_an_epoch(tmp_path):
    whole = train("noisy_quadratic", tmp_path / "whole", STEPS + 20)
    parts = [train("noisy_quadratic", tmp_path / "parts", steps) for steps in (STEPS, STEPS + 20)]
    assert [*parts[0], *parts[1]] == whole
    assert whole[:20] != whole[STEPS:]


@pytest.mark.slow
def test_two_processes_see_the_halves_of_one_s_batches(tmp_path):
    run_by_two(__name__, tmp_path)
    for problem in PROBLEMS:
        halves = [torch.load(tmp_path / f"{problem} {rank}") for rank in (0, 1)]
        kept = StoredRun()
        trainer(kept, max_steps=2, limit_val_batches=0).fit(PROBLEMS[problem](descent))
        assert len(kept.batches) == 2
        for one, left, right in zip(kept.batches, *halves, strict=True):
            for whole, *parts in zip(one, left, right, strict=True):
                assert torch.equal(whole, torch.cat(parts))


class StoredRun(Callback):
    """The batches."""

    def __init__(self) -> None:
        self.batches: list[list[torch.Tensor]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.batches.append(list(batch))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_problem_s_pictures_are_figures_by_name(problem):
    task = PROBLEMS[problem](descent)
    trainer(max_steps=1, limit_val_batches=0).fit(task)
    pictures: dict[str, Any] = task.figures(HISTORY)  # pyright: ignore[reportCallIssue]
    assert "curves" in pictures
    assert all(isinstance(picture, Figure) for picture in pictures.values())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(LogisticRegression, batch_size=0), r"Invalid batch_size: 0 \(batch_size >= 1\)"),
        (partial(DeepLinear, hidden=(5, 0)), r"Invalid hidden: \[5, 0\] \(each width >= 1\)"),
        (partial(DeepLinear, gain=0), r"Invalid gain: 0 \(gain > 0\)"),
        (partial(CNN, channels=()), r"Invalid channels: \[\] \(one or more, each >= 1\)"),
        (partial(CNN, channels=(4, 0)), r"Invalid channels: \[4, 0\] \(one or more, each >= 1"),
        (partial(Transformer, width=10), r"Invalid width: 10 \(a multiple of heads, 4\)"),
        (partial(Transformer, layers=0), r"Invalid layers: 0 \(layers >= 1\)"),
        (partial(Transformer, heads=0), r"Invalid heads: 0 \(heads >= 1\)"),
        (partial(Transformer, context=0), r"Invalid context: 0 \(1 <= context <= 10000\)"),
        (partial(Autoencoder, hidden=(5, 0)), r"Invalid hidden: \[5, 0\] \(each width >= 1\)"),
        (partial(Autoencoder, code=0), r"Invalid code: 0 \(code >= 1\)"),
        (partial(Autoencoder, incoming=0), r"Invalid incoming: 0 \(incoming >= 1\)"),
        (partial(NoisyQuadratic, dim=0), r"Invalid dim: 0 \(dim >= 1\)"),
        (partial(NoisyQuadratic, batch_size=0), r"Invalid batch_size: 0 \(batch_size >= 1\)"),
        (partial(NoisyQuadratic, noise=-1), r"Invalid noise: -1 \(noise >= 0\)"),
        (partial(NoisyQuadratic, noise=float("nan")), "Invalid noise: nan"),
        (partial(NoisyQuadratic, condition_number=0.5), r"Invalid condition_number: 0.5 \("),
        (partial(NoisyQuadratic, dtype="half"), r"Invalid dtype: half \(one of float32, float64"),
    ],
)
def test_a_problem_refuses_what_it_cannot_do(make, message):
    with pytest.raises(ValueError, match=message):
        make(descent)


def _process(folder: Path) -> None:
    torch.set_num_threads(1)
    for problem, make in PROBLEMS.items():
        seed_everything(0, verbose=False)
        task, kept = make(descent), StoredRun()
        task.batch_size //= 2  # pyright: ignore[reportOperatorIssue]
        trainer(
            *(kept, RandomState()), max_steps=2, limit_val_batches=1, devices=2, strategy="ddp"
        ).fit(task)
        torch.save(kept.batches, folder / f"{problem} {os.environ['RANK']}")


if __name__ == "__main__":
    _process(Path(sys.argv[1]))
