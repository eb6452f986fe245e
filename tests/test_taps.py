"""What it means that two tensors are equal bit for bit."""

from __future__ import annotations

import math

import pytest
import torch

from hiddenscope.models import same_bits


@pytest.mark.parametrize("size", [0, 1, 7, 1 << 15], ids=["none", "one", "few", "many"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_equal_bits_and_nothing_else(size: int, dtype: torch.dtype) -> None:
    a = torch.arange(size).to(dtype)
    assert same_bits(a, a.clone())
    assert not same_bits(a, torch.arange(size + 1).to(dtype))
    assert not same_bits(a, torch.arange(size).reshape(1, -1).to(dtype))
    assert not same_bits(a, torch.arange(size).double())
    for place in {0, size // 2, size - 1} - {-1} if size else ():
        b = a.clone()
        b[place] += 1024
        assert not same_bits(a, b)


@pytest.mark.parametrize("size", [3, 1 << 15])
def test_zeros_of_two_signs_differ_and_nan_is_nan(size: int) -> None:
    a = torch.zeros(size)
    assert not same_bits(a, -a)
    nan = torch.full((size,), math.nan)
    assert same_bits(nan, nan.clone())
    assert not same_bits(nan, a)


@pytest.mark.parametrize("size", [4, 200])
def test_the_layout_in_memory_does_not_count(size: int) -> None:
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    assert same_bits(a.T, a.T.contiguous())
    assert same_bits(a[:, ::2], a[:, ::2].clone())
    assert same_bits(a[1:], a[1:].clone())
    assert not same_bits(a[1:], a[:-1])
