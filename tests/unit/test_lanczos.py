"""Lanczos against eigendecompositions of whole matrices, and where it must end early."""

from math import inf, isnan

import pytest
import torch

from scratchopt.second_order.lanczos import lanczos


def symmetric(eigenvalues: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """A matrix with these eigenvalues and random eigenvectors."""
    generator = torch.Generator().manual_seed(seed)
    n = len(eigenvalues)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    return q @ torch.diag(eigenvalues.double()) @ q.T


def both_ends(matrix: torch.Tensor, **options):
    n = len(matrix)
    return [
        lanczos(lambda v: matrix @ v, n, largest=largest, dtype=matrix.dtype, **options)
        for largest in (True, False)
    ]


SPECTRA = {
    "evenly spaced": torch.linspace(-1, 3, 150),
    "two outliers": torch.cat([torch.linspace(-0.01, 0.01, 98), torch.tensor([50.0, -20.0])]),
    "a cluster at the top": torch.cat([torch.linspace(0, 1, 100), 2 + 1e-5 * torch.arange(5)]),
    "twelve orders of magnitude": torch.logspace(-6, 6, 120),
    "all negative": -torch.logspace(-3, 2, 80),
    "each twice": torch.linspace(-2, 2, 40).repeat_interleave(2),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_both_ends_of_the_spectrum_are_those_of_an_eigendecomposition(name):
    """To 1e-10 of the largest modulus."""
    values = SPECTRA[name].double()
    scale = values.abs().max().item()
    high, low = both_ends(symmetric(values), tol=1e-12, iterations=200)
    assert high.value == pytest.approx(values.max().item(), rel=0, abs=1e-10 * scale)
    assert low.value == pytest.approx(values.min().item(), rel=0, abs=1e-10 * scale)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("iterations", [3, 12, 40])
def test_the_residual_is_that_of_the_pair_and_bounds_the_error(name, iterations):
    values = SPECTRA[name].double()
    matrix, scale = symmetric(values), values.abs().max().item()
    for found in both_ends(matrix, tol=0.0, iterations=iterations):
        assert found.products <= iterations
        assert found.vector.norm().item() == pytest.approx(1, abs=1e-12)
        true = (matrix @ found.vector - found.value * found.vector).norm().item()
        assert found.residual == pytest.approx(true, rel=1e-6, abs=1e-12 * scale)
        nearest = (values - found.value).abs().min().item()
        assert nearest <= found.residual + 1e-12 * scale
        assert values.min() - 1e-12 * scale <= found.value <= values.max() + 1e-12 * scale


@pytest.mark.parametrize("tol", [0.3, 1e-2, 1e-5])
def test_it_ends_at_the_first_product_whose_residual_is_small_enough(tol):
    matrix = symmetric(SPECTRA["evenly spaced"])
    found, _ = both_ends(matrix, tol=tol)
    assert found.residual <= tol * abs(found.value)
    before, _ = both_ends(matrix, tol=0.0, iterations=found.products - 1)
    assert before.residual > tol * abs(before.value)


@pytest.mark.parametrize("rank", [0, 1, 2, 5])
def test_an_invariant_subspace_ends_it(rank):
    """A matrix of rank r has r + 1 distinct eigenvalues, and a Krylov space of that dimension.

    Where rounding leaves more of the next vector than it takes for rounding, there is one product
    more.
    """
    values = torch.zeros(50, dtype=torch.float64)
    values[:rank] = -torch.arange(1, rank + 1)
    high, low = both_ends(symmetric(values), tol=0.0)
    assert {high.products, low.products} <= {rank + 1, rank + 2}
    assert high.value == pytest.approx(0, abs=1e-13)
    assert low.value == pytest.approx(-rank, abs=1e-12)


def test_a_zero_operator_a_multiple_of_the_identity_and_one_dimension_take_one_product():
    for factor in (0.0, 1.0, -3.0):
        found = lanczos(lambda v, factor=factor: factor * v, 7, dtype=torch.float64)
        assert (found.products, found.residual < 1e-15) == (1, True)
        assert found.value == pytest.approx(factor, abs=1e-15)
    found = lanczos(lambda v: -2.5 * v, 1)
    assert (found.value, found.residual, found.products) == (-2.5, 0.0, 1)
    assert found.vector.abs().item() == 1


def test_as_many_products_as_numbers_are_enough():
    values = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)
    high, low = both_ends(symmetric(values), tol=0.0)
    assert high.products == low.products == 4
    assert (high.value, low.value) == pytest.approx((8, 1), abs=1e-13)


def test_float32_finds_the_value_to_its_rounding():
    matrix = symmetric(SPECTRA["twelve orders of magnitude"]).float()
    high, _ = both_ends(matrix, tol=1e-6)
    assert high.value == pytest.approx(1e6, rel=1e-6)
    assert high.vector.dtype == torch.float32


@pytest.mark.parametrize("bad", [float("nan"), inf])
def test_what_is_not_finite_gives_nan_at_once(bad):
    count = 0

    def product(v):
        nonlocal count
        count += 1
        return v * bad if count == 3 else torch.arange(9.0) * v

    found = lanczos(product, 9, tol=0.0)
    assert isnan(found.value)
    assert (found.residual, found.products, count) == (inf, 3, 3)


def test_no_random_stream_is_touched_and_the_result_is_always_the_same():
    matrix = symmetric(SPECTRA["evenly spaced"])
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, _ = both_ends(matrix, iterations=4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.randn(3)
    second, _ = both_ends(matrix, iterations=4)
    assert first.value == second.value
    other, _ = both_ends(matrix, iterations=4, seed=1)
    assert other.value != first.value


def test_the_operator_may_return_its_argument_or_its_own_memory():
    fixed = torch.ones(5, dtype=torch.float64)
    found = lanczos(lambda v: v, 5, dtype=torch.float64)
    assert found.value == pytest.approx(1, abs=1e-15)
    lanczos(lambda v: fixed, 5, dtype=torch.float64, iterations=2)
    assert (fixed == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "Invalid size: 0"),
        ({"iterations": 0}, "Invalid iterations: 0"),
        ({"tol": -1.0}, "Invalid tol: -1.0"),
        ({"tol": float("nan")}, "Invalid tol: nan"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        lanczos(lambda v: v, **({"size": 3} | options))
