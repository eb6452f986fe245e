"""Our own forward passes leave a model as it was, whatever it does to itself while it runs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny
import torch
from conftest import TEXT

import hiddenscope as hs
from hiddenscope.capture import verify
from hiddenscope.errors import ModelError
from hiddenscope.models import (
    evaluation,
    find_structure,
    forward_arguments,
    left_alone,
    load,
    padding_shift,
    plain_ids,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

SHORT = 20
"""Longer than the texts of our own passes, so that only those are short."""
IDS = torch.arange(3, 51).reshape(2, 24)


class Switch(torch.nn.Module):
    """An activation that changes for good when it first reads a short text."""

    def __init__(self, change: Callable[[Switch], object], config: object) -> None:
        super().__init__()
        self.change, self.config = change, config
        self.register_buffer("table", torch.ones(4), persistent=False)
        self.register_buffer("running", torch.ones(4))
        self.weight = torch.nn.Parameter(torch.ones(4))
        self.factor = 1.0
        self.notes = {"factors": [1.0], "tensors": (torch.ones(1),), "odd": set()}
        self.inner = torch.nn.Dropout(0.5)
        config.factor = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] < SHORT:
            self.change(self)
        scale = self.table * self.running * self.weight * self.notes["tensors"][0]
        factor = self.factor * self.notes["factors"][0] * self.config.factor
        return self.inner(torch.tanh(x) * scale.prod() * factor * (1 + len(self.notes["odd"])))


def _through_data(switch: Switch) -> None:
    switch.weight.data[1:].mul_(2)


def _new_data(switch: Switch) -> None:
    switch.weight.data = switch.weight.data * 2


def _statistics(switch: Switch) -> None:
    x = torch.arange(16.0).reshape(4, 4)
    torch.nn.functional.batch_norm(x, switch.running, torch.ones(4), training=True)


def _new_buffer(switch: Switch) -> None:
    del switch.table
    switch.register_buffer("table", torch.full((4,), 2.0))


def _draw(switch: Switch) -> None:
    switch.factor = float(torch.rand(1)) + random.random() + float(np.random.rand())  # noqa: NPY002


CHANGES: dict[str, Callable[[Switch], object]] = {
    "a buffer": lambda s: s.table.mul_(2),
    "a buffer, its view": lambda s: s.table[2:].fill_(3),
    "a buffer, as output": lambda s: torch.add(s.table, 1, out=s.table),
    "several buffers": lambda s: torch._foreach_add_([s.table, s.running], 1.0),
    "another buffer": _new_buffer,
    "running statistics": _statistics,
    "a weight": lambda s: s.weight.mul_(2),
    "a weight through its data": _through_data,
    "another weight": lambda s: s.register_parameter("weight", torch.nn.Parameter(s.weight * 2)),
    "other data of a weight": _new_data,
    "a value": lambda s: setattr(s, "factor", 2.0),
    "a list": lambda s: s.notes["factors"].__setitem__(0, 2.0),
    "a set": lambda s: s.notes["odd"].add(1),
    "a tensor in a tuple": lambda s: s.notes["tensors"][0].fill_(2),
    "a configuration": lambda s: setattr(s.config, "factor", 2.0),
    "a hook": lambda s: s.inner.register_forward_hook(lambda _, __, output: output * 2),
    "random numbers": _draw,
    "another module": lambda s: setattr(s, "inner", torch.nn.ReLU()),
}


def switching(change: Callable[[Switch], object]) -> PreTrainedModel:
    model = tiny.make("gpt2")
    model.h[1].mlp.act = Switch(change, model.config)
    return model.eval()


def run(model: PreTrainedModel, length: int = IDS.shape[1]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS[:, :length]).last_hidden_state.clone()


def everything(model: PreTrainedModel) -> dict[str, object]:
    """What must be as it was, in a form that can be compared."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    modules = dict(model.named_modules())
    switch = model.h[1].mlp.act
    return {
        "bytes": {n: (x.detach().numpy().tobytes(), x.dtype, x.shape) for n, x in tensors},
        "objects": {n: id(x) for n, x in [*tensors, *modules.items()]},
        "saved": sorted(model.state_dict()),
        "training": {n: m.training for n, m in modules.items()},
        "hooks": {
            n: (len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in modules.items()
        },
        "names": {n: sorted(vars(m)) for n, m in modules.items()},
        "values": (switch.factor, repr(switch.notes), model.config.to_dict()),
        "random": (
            torch.random.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
        ),
    }


def check(model: PreTrainedModel) -> None:
    call = forward_arguments(model, IDS[:, :5], torch.ones_like(IDS[:, :5]))
    assert all(c.passed for c in verify(model, find_structure(model), call))


LOOKS: dict[str, Callable[[PreTrainedModel], object]] = {
    "probe": find_structure,
    "padding": lambda model: padding_shift(model, "left"),
    "checks": check,
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_changes_on_a_short_text_computes_what_it_did(change: str, look: str) -> None:
    model = switching(CHANGES[change])
    expected = run(model)
    # Some parts in training, others frozen, and the user's own numbers drawn in between.
    model.train()
    model.h[2].eval()
    before = everything(model)
    LOOKS[look](model)
    after = everything(model)
    assert {key for key in before if before[key] != after[key]} == set()
    assert torch.equal(run(model.eval()), expected)
    # What the user's own passes change is theirs.
    run(model, 5)
    assert not torch.equal(run(model), expected)


@pytest.mark.parametrize("change", CHANGES)
def test_also_after_an_error(change: str) -> None:
    def fail(switch: Switch) -> None:
        CHANGES[change](switch)
        raise ZeroDivisionError

    model = switching(fail)
    expected = run(model)
    model.h[1].train()
    before = everything(model)
    with pytest.raises(ModelError, match="over 6 tokens failed"):
        find_structure(model)
    with pytest.raises(ModelError, match="over 6 tokens failed: ZeroDivisionError"):
        padding_shift(model, "right")
    after = everything(model)
    assert {key for key in before if before[key] != after[key]} == set()
    assert torch.equal(run(model.eval()), expected)


def test_recording_is_left_alone_from_the_first_look_to_the_profile() -> None:
    model = switching(CHANGES["a buffer"])
    expected = run(model)
    model.h[0].train()
    before = everything(model)
    recorder = hs.record(model)
    with recorder:
        model.h[0].eval()
        assert torch.equal(run(model), expected)
        model.h[0].train()
        recorder.profile()
    assert everything(model) == before


def test_every_modules_training_flag_outlives_a_profile() -> None:
    model = tiny.make("gpt2").train()
    for frozen in (model.h[0], model.h[2].mlp, model.wte):
        frozen.eval()
    flags = {name: module.training for name, module in model.named_modules()}
    assert 0 < sum(flags.values()) < len(flags)
    hs.profile(model, tokenizer=load("demo").tokenizer, text=TEXT)
    assert {name: module.training for name, module in model.named_modules()} == flags
    with evaluation(model):
        assert not any(module.training for module in model.modules())
    assert {name: module.training for name, module in model.named_modules()} == flags


def test_weights_that_nothing_writes_to_are_not_copied() -> None:
    model = switching(CHANGES["a buffer"])
    sizes: list[int] = []
    plain = torch.Tensor.clone

    def clone(self: torch.Tensor, **options: object) -> torch.Tensor:
        sizes.append(self.numel())
        return plain(self, **options)

    with pytest.MonkeyPatch.context() as patch, left_alone(model):
        patch.setattr(torch.Tensor, "clone", clone)
        model(input_ids=IDS[:, :5])
    assert sizes == [4]


def test_bytes_are_kept_of_what_is_not_a_number() -> None:
    model = tiny.make("gpt2")
    odd = torch.tensor([0x7FC00001, -1, 0], dtype=torch.int32).view(torch.float32)
    model.register_buffer("odd", odd)
    with left_alone(model):
        model.odd.zero_()
    assert model.odd.view(torch.int32).tolist() == [0x7FC00001, -1, 0]


class TestPlainIds:
    def test_tokens_that_share_an_embedding_are_passed_over(self) -> None:
        model = tiny.make("gpt2")
        with torch.no_grad():
            model.wte.weight[1:90] = model.wte.weight[1]
            model.wte.weight[92] = model.wte.weight[91] + 1e-6
        # Token 0 is special.
        assert plain_ids(model, 4) == [1, 90, 91, 93]

    def test_whether_a_model_looks_ahead_is_told_behind_tokens_never_trained(self) -> None:
        model = tiny.make("bert")
        with torch.no_grad():
            model.embeddings.word_embeddings.weight[:200] = 0.5
        assert not find_structure(model).streams[0].causal

    def test_a_table_of_equal_rows_is_refused(self) -> None:
        model = tiny.make("gpt2")
        torch.nn.init.ones_(model.wte.weight)
        with pytest.raises(
            ModelError, match="1 tokens with unlike embeddings, expected at least 7"
        ):
            find_structure(model)


def test_what_compiles_itself_still_may() -> None:
    # As attention by flex_attention does, which refuses to run otherwise.
    model = tiny.make("gpt2")
    twice = torch.compile(lambda x: x * 2, backend="eager", fullgraph=True)
    with left_alone(model):
        assert float(twice(torch.ones(1))) == 2
