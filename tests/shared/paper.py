"""The papers' pseudo-code in plain float64, for softmax regression: the oracle of the semantics.

It knows NumPy alone: no torch, no Lightning, no class of ours. θ is one flat vector, a method's
lines are those of its paper, and a step is handed `gradient`, which evaluates at any point.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Rounding = Callable[[Any], Any]  # to a narrower floating-point format, and back

CLASSES, FEATURES = 2, 3
_RANDOM = np.random.default_rng(0)
INPUTS = _RANDOM.integers(-8, 9, (48, FEATURES)) / 4  # exact in every format
LABELS = _RANDOM.integers(0, CLASSES, 48)
START = _RANDOM.integers(-4, 5, CLASSES * FEATURES + CLASSES) / 8


TENSORS = slice(CLASSES * FEATURES), slice(CLASSES * FEATURES, None)  # W and b in θ
WHOLE = (...,)


class Skipped(Exception):
    """No gradient was to be had: the step is not made."""


# The problem


def softmax_gradient(
    theta: Vector, rows: Any, to: Rounding = np.float64, scale: float = 1.0
) -> Vector:
    """Gradient of the mean cross entropy of softmax(Wx + b) over some rows of the data.

    Args:
        theta: W row by row, then b.
        rows: of the data.
        to: rounds what matrix products take and give, as autocast does; the rest is exact.
        scale: a factor on the loss.
    """
    x, (w, b) = INPUTS[rows], _split(theta)
    logits = to(to(x) @ to(w).T + to(b))
    error = to((_softmax(logits) - np.eye(CLASSES)[LABELS[rows]]) / len(rows) * scale)
    with np.errstate(invalid="ignore"):  # what overflowed is infinite, and may meet a zero
        return np.concatenate([to(error.T @ to(x)).ravel(), to(error.sum(0))]).astype(float)


def softmax_hessian(theta: Vector, rows: Any) -> NDArray[np.float64]:
    """Its Hessian: the mean of (diag(p) − ppᵀ) ⊗ (x, 1)(x, 1)ᵀ, in θ's order."""
    w, b = _split(theta)
    p = _softmax(INPUTS[rows] @ w.T + b)
    ones = np.ones((len(rows), 1))
    x = np.hstack([INPUTS[rows], ones])
    curvature = np.einsum("ij,jk->ijk", p, np.eye(CLASSES)) - np.einsum("ij,ik->ijk", p, p)
    blocks = np.einsum("njk,na,nb->jakb", curvature, x, x) / len(rows)
    size = CLASSES * (FEATURES + 1)
    order = np.arange(size).reshape(CLASSES, FEATURES + 1)  # a class's weights and its bias
    order = np.concatenate([order[:, :FEATURES].ravel(), order[:, FEATURES]])
    return blocks.reshape(size, size)[np.ix_(order, order)]


def _split(theta: Vector) -> tuple[NDArray[np.float64], Vector]:
    return theta[: CLASSES * FEATURES].reshape(CLASSES, FEATURES), theta[CLASSES * FEATURES :]


def _softmax(logits: Any) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


# The methods. `s` holds what a method remembers, all of it zero at first.


class Memory(SimpleNamespace):
    """What a method remembers, by its letters: 0 where nothing was written yet."""

    def __getattr__(self, letter: str) -> float:
        return 0.0


def sgd(theta, s, gradient, *, lr):
    return theta - lr * gradient(theta)


def momentum(theta, s, gradient, *, lr, momentum):
    g = gradient(theta)
    s.v = momentum * s.v - lr * g
    return theta + s.v


def nag(theta, s, gradient, *, lr, momentum):
    g = gradient(theta + momentum * s.v)
    s.v = momentum * s.v - lr * g
    return theta + s.v


def nag_torch(theta, s, gradient, *, lr, momentum):
    g = gradient(theta)
    s.b = momentum * s.b + g
    return theta - lr * (g + momentum * s.b)


def adagrad(theta, s, gradient, *, lr, eps=1e-10):
    g = gradient(theta)
    s.sum += g**2
    return theta - lr * g / (np.sqrt(s.sum) + eps)


def rmsprop(theta, s, gradient, *, lr, momentum=0.0, alpha=0.99, eps=1e-8, centered=False):
    g = gradient(theta)
    s.n = alpha * s.n + (1 - alpha) * g**2
    if centered:
        s.g = alpha * s.g + (1 - alpha) * g
    s.b = momentum * s.b + g / (np.sqrt(s.n - s.g**2) + eps)
    return theta - lr * s.b


def adam(theta, s, gradient, *, lr, betas=(0.9, 0.999), eps=1e-8, amsgrad=False):
    return theta - _adams_step(s, gradient(theta), lr, betas, eps, amsgrad)


def _adams_step(s, g, lr, betas, eps, amsgrad=False):
    s.t += 1
    s.m = betas[0] * s.m + (1 - betas[0]) * g
    s.v = betas[1] * s.v + (1 - betas[1]) * g**2
    s.most = np.maximum(s.most, s.v) if amsgrad else s.v
    m, v = s.m / (1 - betas[0] ** s.t), s.most / (1 - betas[1] ** s.t)
    return lr * m / (v**0.5 + eps)


def adamw(theta, s, gradient, *, lr, weight_decay=0.01, **rest):
    return adam(theta, s, gradient, lr=lr, **rest) - lr * weight_decay * theta


def adafactor(theta, s, gradient, *, lr, beta2_decay=-0.8, eps=(2.0**-52, 1e-3), d=1.0):
    """Of one tensor, a matrix or not."""
    g = gradient(theta)
    s.t += 1
    beta2 = 1 - s.t**beta2_decay
    if theta.ndim > 1:
        s.r = beta2 * s.r + (1 - beta2) * (g**2).mean(1, keepdims=True)
        s.c = beta2 * s.c + (1 - beta2) * (g**2).mean(0, keepdims=True)
        v = s.r * s.c / np.maximum(s.r.mean(), eps[0])
    else:
        v = s.v = beta2 * s.v + (1 - beta2) * g**2
    u = g / np.maximum(np.sqrt(v), eps[0])
    alpha = max(eps[1], _rms(theta)) * min(lr, 1 / np.sqrt(s.t))
    return theta - alpha * u / max(1.0, _rms(u) / d)


def _rms(x: Any) -> Any:
    return np.sqrt((x**2).mean())


def nadam(theta, s, gradient, *, lr, betas=(0.9, 0.999), eps=1e-8, momentum_decay=0.004):
    """With Keras's schedule of μ, whose product has single precision, as torch has it."""
    g = gradient(theta)
    s.t += 1
    mu, next_mu = (betas[0] * (1 - 0.96 ** (t * momentum_decay) / 2) for t in (s.t, s.t + 1))
    s.product = np.float32(mu) * (s.product if s.t > 1 else np.float32(1))
    product = float(s.product)
    s.m = betas[0] * s.m + (1 - betas[0]) * g
    s.v = betas[1] * s.v + (1 - betas[1]) * g**2
    m = next_mu * s.m / (1 - product * next_mu) + (1 - mu) * g / (1 - product)
    return theta - lr * m / (np.sqrt(s.v / (1 - betas[1] ** s.t)) + eps)


def radam(theta, s, gradient, *, lr, betas=(0.9, 0.999), eps=1e-8):
    g = gradient(theta)
    s.t += 1
    s.v = betas[1] * s.v + (1 - betas[1]) * g**2
    s.m = betas[0] * s.m + (1 - betas[0]) * g
    m = s.m / (1 - betas[0] ** s.t)
    longest = 2 / (1 - betas[1]) - 1
    length = longest - 2 * s.t * betas[1] ** s.t / (1 - betas[1] ** s.t)
    if length <= 5:  # 4 in the paper, 5 in the authors' code and torch's
        return theta - lr * m
    one_over_root = np.sqrt(1 - betas[1] ** s.t) / (np.sqrt(s.v) + eps)
    fraction = (length - 4) / (longest - 4) * (length - 2) / (longest - 2) * longest / length
    return theta - lr * np.sqrt(fraction) * m * one_over_root


def lion(theta, s, gradient, *, lr, betas=(0.9, 0.99), weight_decay=0.0):
    g = gradient(theta)
    c = betas[0] * s.m + (1 - betas[0]) * g
    s.m = betas[1] * s.m + (1 - betas[1]) * g
    return theta - lr * ((c > 0) * 1.0 - (c < 0) * 1.0 + weight_decay * theta)


def ademamix(
    theta,
    s,
    gradient,
    *,
    lr,
    betas=(0.9, 0.999, 0.9999),
    alpha=2.0,
    beta3_warmup=None,
    alpha_warmup=None,
    eps=1e-8,
    weight_decay=0.0,
):
    g = gradient(theta)
    s.t += 1
    if alpha_warmup:
        alpha = min(s.t * alpha / alpha_warmup, alpha)
    beta1, beta2, beta3 = betas
    if beta3_warmup:
        a, first, last = s.t / beta3_warmup, np.log(beta1), np.log(beta3)
        beta3 = min(np.exp(first * last / ((1 - a) * last + a * first)), beta3)
    s.m1 = beta1 * s.m1 + (1 - beta1) * g
    s.m2 = beta3 * s.m2 + (1 - beta3) * g
    s.v = beta2 * s.v + (1 - beta2) * g**2
    m1, v = s.m1 / (1 - beta1**s.t), s.v / (1 - beta2**s.t)
    return theta - lr * ((m1 + alpha * s.m2) / (v**0.5 + eps) + weight_decay * theta)


def adam_cautious(
    theta, s, gradient, *, lr, betas=(0.9, 0.999), eps=1e-8, amsgrad=False, tensors=WHOLE
):
    g = gradient(theta)
    return theta - cautious(_adams_step(s, g, lr, betas, eps, amsgrad), g, tensors)


def nag_cautious(theta, s, gradient, *, lr, momentum, tensors=WHOLE):
    g = gradient(theta + momentum * s.v)
    s.v = momentum * s.v - lr * g
    return theta - cautious(-s.v, g, tensors)


def cautious(step, g, tensors=WHOLE):
    """Masks a step that is subtracted: Liang et al. (2024), algorithm 2, with C-AdamW's factor."""
    mask = 0 * step + (step * g > 0)
    for tensor in tensors:
        mask[tensor] /= max(mask[tensor].mean(), 1e-3)
    return mask * step


def schedule_free_sgd(
    theta, s, gradient, *, lr, momentum=0.9, warmup_steps=0, r=0.0, weight_lr_power=2.0
):
    y, z = _interpolate(theta, s, momentum)
    g = gradient(y)
    gamma, c = _weigh(s, lr, warmup_steps, r, weight_lr_power)
    s.z = z - gamma * g
    return (1 - c) * theta + c * s.z


def schedule_free_adamw(
    theta,
    s,
    gradient,
    *,
    lr,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    warmup_steps=0,
    r=0.0,
    weight_lr_power=2.0,
):
    y, z = _interpolate(theta, s, betas[0])
    g = gradient(y)
    gamma, c = _weigh(s, lr, warmup_steps, r, weight_lr_power)
    s.v = betas[1] * s.v + (1 - betas[1]) * g**2
    step = g / ((s.v / (1 - betas[1] ** s.t)) ** 0.5 + eps)
    s.z = z - gamma * step - gamma * weight_decay * y
    return (1 - c) * theta + c * s.z


def _interpolate(x, s, beta):
    z = s.z if s.t else vars(s).get("start", x)  # z₁ = x₁
    return (1 - beta) * z + beta * x, z


def _weigh(s, lr, warmup_steps, r, weight_lr_power):
    s.t += 1
    gamma = lr * min(1.0, s.t / warmup_steps) if warmup_steps else lr
    s.lr_max = max(s.lr_max, gamma)
    weight = s.t**r * s.lr_max**weight_lr_power
    s.weight_sum += weight
    return gamma, weight / s.weight_sum if s.weight_sum else 0.0


def of_each_tensor(lines: Callable[..., Any]) -> Callable[..., Vector]:
    """Lines of one tensor, for the weights and for the biases, each with a memory of its own."""

    def of_both(theta: Vector, s: Any, gradient: Any, **numbers: Any) -> Vector:
        if not s.memories:
            s.memories = Memory(), Memory()
        each = zip(_split(theta), _split(gradient(theta)), s.memories, strict=True)
        moved = [lines(x, own, lambda _, g=g: g, **numbers) for x, g, own in each]
        return np.concatenate([x.ravel() for x in moved])

    return of_both


def newton(theta, s, gradient, *, lr, damping):
    g, hessian = gradient(theta), gradient.hessian(theta)
    return theta - lr * np.linalg.solve(hessian + damping * np.eye(len(theta)), g)


def newton_of_two(theta, s, gradient, *, lr, damping):
    """Two Newtons, of the weights and of the biases: neither knows of their mixed derivatives."""
    g, hessian = gradient(theta), gradient.hessian(theta)
    cut = CLASSES * FEATURES
    hessian[:cut, cut:] = hessian[cut:, :cut] = 0
    return theta - lr * np.linalg.solve(hessian + damping * np.eye(len(theta)), g)


# Methods of matrices: W by the lines of the paper, and b by AdamW. The lines use the linear algebra
# of NumPy, or of torch for tensors.


def _with_adamw(lines: Callable[..., Any]) -> Callable[..., Vector]:
    def method(theta, s, gradient, *, lr, weight_decay, adamw_betas=(0.9, 0.999), **numbers):
        s.matrix, s.rest = s.matrix or Memory(), s.rest or Memory()
        (w, b), (g, h) = _split(theta), _split(gradient(theta))
        w = lines(w, s.matrix, g, lr=lr, weight_decay=weight_decay, **numbers)
        numbers = {"lr": lr, "betas": adamw_betas, "weight_decay": weight_decay}
        b = adamw(b, s.rest, lambda _: h, **numbers)
        return np.concatenate([w.ravel(), b])

    return method


def muon_of_matrix(
    w, s, g, *, lr, momentum=0.95, weight_decay=0.1, nesterov=True, steps=5, linalg=np.linalg
):
    """Jordan's, with the polynomial of the iteration taken of the singular values."""
    s.b = momentum * s.b + (1 - momentum) * g  # his code's; his text's and torch's have a sum
    d = momentum * s.b + (1 - momentum) * g if nesterov else s.b
    u, sigma, v = linalg.svd(d, full_matrices=False)
    sigma = sigma / ((sigma**2).sum() ** 0.5 + 1e-300)
    for _ in range(steps):
        sigma = 3.4445 * sigma - 4.7750 * sigma**3 + 2.0315 * sigma**5
    rows, columns = w.shape
    return w - lr * weight_decay * w - lr * max(1, rows / columns) ** 0.5 * (u * sigma) @ v


def soap_of_matrix(
    w,
    s,
    g,
    *,
    lr,
    betas=(0.95, 0.95),
    eps=1e-8,
    weight_decay=0.01,
    precondition_frequency=10,
    max_precond_dim=10000,
    linalg=np.linalg,
):
    """Algorithm 3 of Vyas et al., whose M is in W's own basis; Q is None where a side has none."""
    s.t += 1
    (rows, columns), t = w.shape, s.t - 1
    if t:
        d = _turned(g, s.ql, s.qr)
        s.m = betas[0] * s.m + (1 - betas[0]) * g
        s.v = betas[1] * s.v + (1 - betas[1]) * d**2
        n = _turned(s.m, s.ql, s.qr) / (s.v**0.5 + eps)
        n = n * (1 - betas[1] ** t) ** 0.5 / (1 - betas[0] ** t)
        n = _turned(n, _transposed(s.ql), _transposed(s.qr))
        w = (1 - lr * weight_decay) * (w - lr * n)
    s.l = betas[1] * s.l + (1 - betas[1]) * (g @ g.T)
    s.r = betas[1] * s.r + (1 - betas[1]) * (g.T @ g)
    if not t:
        s.ql = _eigenvectors(s.l, linalg) if rows <= max_precond_dim else None
        s.qr = _eigenvectors(s.r, linalg) if columns <= max_precond_dim else None
    elif t % precondition_frequency == 0:
        if s.ql is not None:
            order = _descending((s.ql.T @ s.l @ s.ql).diagonal())
            s.v, s.ql = s.v[order], linalg.qr(s.l @ s.ql[:, order])[0]
        if s.qr is not None:
            order = _descending((s.qr.T @ s.r @ s.qr).diagonal())
            s.v, s.qr = s.v[:, order], linalg.qr(s.r @ s.qr[:, order])[0]
    return w


def _turned(x: Any, left: Any, right: Any) -> Any:
    x = x if left is None else left.T @ x
    return x if right is None else x @ right


def _transposed(x: Any) -> Any:
    return None if x is None else x.T


def _eigenvectors(x: Any, linalg: Any) -> Any:
    values, vectors = linalg.eigh(x)
    return vectors[:, _descending(values)]


def _descending(values: Any) -> list[int]:
    return sorted(range(len(values)), key=lambda i: -float(values[i]))


muon, soap = _with_adamw(muon_of_matrix), _with_adamw(soap_of_matrix)


# The loop around them


def train(
    method: Callable[..., Vector],
    steps: Iterable[list[Any]],
    settings: Callable[[int], dict[str, Any]],
    *,
    to: Rounding = np.float64,
    scaler: "Scaler | None" = None,
    clip: Callable[[Vector], Vector] = lambda g: g,
    divided_by: int | None = None,
) -> list[Vector]:
    """θ before the first step and after each.

    Args:
        method: one of the above.
        steps: for each, the rows of its micro-batches; the gradient is the mean over all of them.
            No micro-batches: a step that is skipped.
        settings: hyperparameters by step, from 0.
        to: the rounding of mixed precision.
        scaler: scales losses.
        clip: what becomes of a gradient before the method sees it.
        divided_by: what a micro-batch's loss is divided by before it is rounded; None: their
            number.
    """
    theta = START.copy()
    s = Memory()
    path = [theta]
    for step, batches in enumerate(steps):

        def gradient(point: Vector, batches: Any = batches) -> Vector:
            if not batches:
                raise Skipped
            scale, k = scaler.scale if scaler else 1.0, divided_by or len(batches)
            each = [softmax_gradient(point, rows, to, scale / k) for rows in batches]
            with np.errstate(invalid="ignore"):  # infinities of both signs
                g = k * np.average(each, axis=0, weights=[len(rows) for rows in batches])
            return clip(scaler.unscale(g) if scaler else g)

        def hessian(point: Vector, batches: Any = batches) -> Any:
            each = [softmax_hessian(point, rows) for rows in batches]
            return np.average(each, axis=0, weights=[len(rows) for rows in batches])

        gradient.hessian = hessian  # type: ignore[attr-defined]
        with suppress(Skipped):
            theta = method(theta, s, gradient, **settings(step))
        path.append(theta)
    return path


class Scaler:
    """Dynamic loss scaling: an overflow skips the step and halves the scale.

    Micikevicius et al., "Mixed precision training", arXiv:1710.03740.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def unscale(self, g: Vector) -> Vector:
        scale = self.scale
        if not np.isfinite(g).all():
            self.scale /= 2
            raise Skipped
        return g / scale


def clip_by_norm(g: Vector, most: float) -> Vector:
    return g * min(1.0, most / (np.linalg.norm(g) + 1e-6))  # torch's, which keeps off 0/0


def clip_by_value(g: Vector, most: float) -> Vector:
    return np.clip(g, -most, most)


def to_bfloat16(x: Any) -> NDArray[np.float64]:
    """The nearest of the numbers with 8 significant bits; of two, the even one."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32).astype(float)


def to_float16(x: Any) -> NDArray[np.float64]:
    """The nearest of IEEE's half-precision numbers; beyond 65,504, infinity."""
    with np.errstate(over="ignore"):
        return np.asarray(x, np.float16).astype(float)
