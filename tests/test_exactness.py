"""The numbers against float64 NumPy over all states at once, within the promised tolerances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import hiddenscope as hs
from benchmarks.exactness import LIMITS, direct, errors, set_massive_apart

if TYPE_CHECKING:
    from hiddenscope.models import LoadedModel

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHAPE = (6, 120, 12)


def hold(found: dict[str, float], **wider: float) -> None:
    limits = LIMITS | wider
    assert {k: v for k, v in found.items() if not v <= limits[k]} == {}


def test_the_demo_on_the_sample_corpus(demo: LoadedModel) -> None:
    options = {"window": 256, "batch_tokens": 2048, "max_tokens": 6000}
    profile = hs.profile("demo", "sample:mixed", **options)
    states, strata = direct(demo, "sample:mixed", **options)
    assert np.count_nonzero(strata == 0) + np.count_nonzero(strata == 2) == 6000
    hold(errors(profile, states, strata))


def synthetic(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Three related sites with loud, shifted, heavy-tailed and tiny channels."""
    random = torch.Generator().manual_seed(5)
    x = torch.randn(SHAPE, generator=random)
    x[..., 0] *= 40
    x[..., 1] = 100 + x[..., 1]
    x[..., 2] = torch.sign(x[..., 2]) * x[..., 2].abs() ** 5
    x[..., 3] *= 1e-3
    other = 0.7 * x + torch.randn(SHAPE, generator=random)
    third = torch.where(torch.rand(SHAPE, generator=random) < 0.01, 60 * other, other)
    sites = ("embed", "block.0.resid_post", "block.1.resid_post")
    return {site: y.to(dtype) for site, y in zip(sites, (x, other, third), strict=True)}


def compare(
    states: dict[str, torch.Tensor], mask: torch.Tensor, massive: float = 100.0
) -> dict[str, float]:
    profile = hs.from_states(states, mask=mask.numpy(), massive=massive)
    real = mask.bool()
    strata = torch.where(real.cumsum(1) == 1, 0, 2)[real].numpy()
    held = {k: x[real].float().numpy() for k, x in states.items()}
    return errors(profile, held, set_massive_apart(held, strata, massive))


def padded() -> torch.Tensor:
    """Rows that begin or end with padding."""
    mask = torch.ones(SHAPE[:2], dtype=torch.int64)
    mask[1, 80:] = 0
    mask[2, :37] = 0
    return mask


@pytest.mark.parametrize("dtype", DTYPES)
def test_synthetic_states(dtype: torch.dtype) -> None:
    hold(compare(synthetic(dtype), padded()))


@pytest.mark.parametrize("dtype", DTYPES)
def test_synthetic_states_with_nan_and_infinities(dtype: torch.dtype) -> None:
    states = synthetic(dtype)
    for row, bad in enumerate((torch.nan, torch.inf, -torch.inf)):
        states["block.0.resid_post"][row, 50 + row, 4] = bad
        states["block.1.resid_post"][row + 2, 61, :] = bad
    with pytest.warns(hs.HiddenscopeWarning, match="NaN or infinite"):
        found = compare(states, padded())
    hold(found)


def test_a_channel_whose_mean_is_ten_thousand_times_its_deviation() -> None:
    states = synthetic(torch.float32)
    for x in states.values():
        x[..., 5] = 1e4 + torch.randn(SHAPE[:2], generator=torch.Generator().manual_seed(1))
    hold(compare(states, padded(), massive=1e6))


def test_tokens_with_a_massive_activation_are_a_stratum_of_their_own() -> None:
    random = torch.Generator().manual_seed(2)
    sites = ("embed", "block.0.resid_post", "block.1.resid_post")
    states = {site: torch.randn(SHAPE, generator=random) for site in sites}
    states["embed"][0, 5, 3] = 5e4  # not after a block
    states["block.0.resid_post"][:, 40:60:7, 9] = -5e4
    states["block.1.resid_post"][4, 47:49, 2] = 5e4  # the first of them twice
    states["block.1.resid_post"][5, 50] = 5e4  # in every channel
    states["block.1.resid_post"][0, 0, 2] = 5e4  # a first token stays one
    profile = hs.from_states(states, mask=padded().numpy())
    assert profile.tokens["massive"] == 3 * 6 + 1 + 1
    assert profile.tokens["first"] == 6
    hold(compare(states, padded()))


def test_values_beyond_a_hundred_million() -> None:
    states = synthetic(torch.float32)
    for x in states.values():
        x[..., 6] *= 3e12
    with pytest.warns(hs.HiddenscopeWarning, match="beyond 65,504"):
        found = compare(states, padded(), massive=1e30)
    hold(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantiles_of_bfloat16_states_are_values_that_occur(dtype: torch.dtype) -> None:
    states = synthetic(dtype)
    got = hs.from_states(states).quantiles([0.1, 0.5, 0.9], view="all").values
    occurring = np.unique(torch.stack(list(states.values())).float().numpy())
    assert np.isin(got, occurring).all() == (dtype is torch.bfloat16)
