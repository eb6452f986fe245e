"""Each check of a run passes where it holds, and fails, in these words, where it does not."""

from __future__ import annotations

import copy
import gc
import math
import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import families
import numpy as np
import pytest
import tiny
import torch
from conftest import TEXT
from tokenizers.processors import TemplateProcessing

import hiddenscope as hs
from hiddenscope.capture import Check, Watch, equations, verify
from hiddenscope.errors import HiddenscopeWarning
from hiddenscope.measuring import streams
from hiddenscope.measuring.findings import check_stream
from hiddenscope.measuring.unread import unread_checks
from hiddenscope.models import Step, Stream, Structure, Tap, find_structure, load
from hiddenscope.models.anatomy import Anatomy

if TYPE_CHECKING:
    from collections.abc import Callable

    from hiddenscope.measuring.recorder import Recorder
    from hiddenscope.profiles import Profile

WIDTH = 5
TRUNK = ["embed", "block.0.resid_post", "block.1.resid_post"]
POINTS = ["block.0.attn_out", "block.1.attn_out"]
STATES = torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(0))


class Sublayer(torch.nn.Module):
    """Returns a multiple of what it reads."""

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class Block(torch.nn.Module):
    """Adds a sublayer's output to the stream, and then whatever a test tells it to."""

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.attn = Sublayer(factor)
        self.error: Any = 0.0
        self.spoils = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added = self.attn(x)
        written = x + added + self.error
        if self.spoils:
            added.mul_(5)
        return written


class Norm(torch.nn.Module):
    """Writes down whether gradients were on in each of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(1, 2, WIDTH))
        self.gradients: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.gradients.append(torch.is_grad_enabled())
        return torch.tanh(x) * self.weight


class Toy(torch.nn.Module):
    """Two blocks and a norm, with places for a test to interfere."""

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block(), Block(-0.25)])
        self.norm = Norm() if norm else None
        # What is done to the stream after each block.
        self.after: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {}
        self.order = [0, 1]
        self.returns: Callable[[torch.Tensor], Any] = lambda x: SimpleNamespace(last_hidden_state=x)
        self.calls: list[dict[str, Any]] = []
        # What is done to the tuple of hidden states before it is returned.
        self.told: Callable[[list[torch.Tensor]], Any] = tuple
        self.eval()

    def forward(self, states: torch.Tensor, **options: Any) -> Any:
        self.calls.append(options | {"states": states})
        held = [states.clone()]
        for i in self.order:
            states = self.blocks[i](states)
            held.append(states.clone())
            states = self.after.get(i, lambda x: x)(states)
        if self.norm is not None:
            states = self.norm(states)
            held[-1] = states if isinstance(states, torch.Tensor) else states[1]
        result = self.returns(states)
        if options.get("output_hidden_states"):
            result.hidden_states = self.told(held)
        return result


def tap(path: str, **known: Any) -> Tap:
    return Tap(**{"path": path, "side": "output", "width": WIDTH} | known)


def stream_of(toy: Toy, **changed: Any) -> Stream:
    width = WIDTH
    norm = None if toy.norm is None else tap("norm")
    anatomies = tuple(
        Anatomy(
            {"attn_out": tap(f"blocks.{i}.attn")},
            (Step(("resid_pre", "attn_out"), "resid_post"),),
            {},
        )
        for i in range(len(toy.blocks))
    )
    blocks = [f"blocks.{i}" for i in range(len(toy.blocks))]
    known: dict[str, Any] = {
        "name": "residual",
        "owner": "",
        "blocks": tuple(tap(path) for path in blocks),
        "entries": tuple(tap(path, side="input") for path in blocks),
        "anatomies": anatomies,
        "output": norm,
        "width": width,
        "causal": True,
        "packs": False,
        "hf": {site: i for i, site in enumerate([*TRUNK[:2], "final_norm" if norm else TRUNK[2]])},
        "hf_tuple": "hidden_states",
        "found": "by name (Block)",
        "calls": {path: 1 for path, _ in toy.named_modules()},
        "crops": False,
    }
    return Stream(**(known | changed))


def watched(
    toy: Toy, sites: list[str] = TRUNK, states: torch.Tensor = STATES, **changed: Any
) -> dict[str, Check]:
    """Run one forward pass under watch, and return its checks by name, in order."""
    with torch.no_grad():
        watch = Watch(toy, stream_of(toy, **changed), sites).__enter__()
        toy(states.clone())
    return {check.name: check for check in watch.checks}


def hooks(module: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def said(held: dict[str, Check]) -> dict[str, tuple[bool, str]]:
    return {name: (check.passed, check.detail) for name, check in held.items()}


class TestResidualStream:
    def test_what_holds_is_said(self) -> None:
        assert said(watched(Toy())) == {
            "residual stream": (
                True,
                "the input of each of 2 blocks is bitwise the output of the one before",
            ),
            "final norm": (
                True,
                "the final norm of the last block's output is bitwise last_hidden_state",
            ),
        }
        assert all(c.level == "check" and c.value is None for c in watched(Toy()).values())

    @pytest.mark.parametrize(
        "change",
        [
            lambda x: x + 0.0 * x.sum() + 1e-6,
            lambda x: x.mul_(3),
            lambda x: torch.where(x == 0, -x, x),
            lambda x: x.double(),
        ],
        ids=["a little", "in place", "the sign of a zero", "the dtype"],
    )
    def test_a_change_between_two_blocks_is_told_by_the_later(
        self, change: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        toy = Toy()
        toy.after[0] = change
        states = STATES.clone()
        states[0, 0, 0] = 0
        check = watched(toy, states=states)["residual stream"]
        assert (check.passed, check.level) == (False, "check")
        assert check.detail == "block 1 does not read what was captured after block 0"

    def test_blocks_in_another_order_are_told_though_their_states_are_equal(self) -> None:
        toy = Toy()
        for block in toy.blocks:
            block.attn.factor = 0.0
        assert watched(toy)["residual stream"].passed
        toy.order = [1, 0]
        check = watched(toy)["residual stream"]
        assert not check.passed
        # Block 1 came first; block 0 came after it, where none should have been.
        assert check.detail == "block 1 does not read what was captured after block 0"

    def test_the_states_are_let_go_afterwards(self) -> None:
        shape = (1, 3, 67)
        toy = Toy(norm=False)
        with torch.no_grad():
            watch = Watch(toy, stream_of(toy, width=67), [*TRUNK, *POINTS]).__enter__()
            toy(torch.ones(shape))
        gc.collect()
        kept = [x for x in gc.get_objects() if type(x) is torch.Tensor]
        assert len(watch.checks) == 3
        # The text itself is in the toy's own list of calls.
        assert sum(x.shape[-1:] == (67,) for x in kept) == 1


class TestPoints:
    def test_are_only_checked_where_any_is_measured(self) -> None:
        toy = Toy()
        toy.blocks[0].error = 1.0
        ends = ["block.0.resid_pre", "block.1.resid_pre", "final_norm", *TRUNK]
        assert "points" not in watched(toy, ends)
        check = watched(toy, [*TRUNK, POINTS[1]])["points"]
        assert check.passed
        assert check.detail.startswith("in 1 blocks resid_post = resid_pre + attn_out: off by ")
        assert not watched(toy, [*TRUNK, POINTS[0]])["points"].passed

    def test_what_holds_is_said(self) -> None:
        check = watched(Toy(), POINTS)["points"]
        assert (check.passed, check.level) == (True, "check")
        assert 0 <= check.value < 2e-7
        assert check.detail == (
            "in 2 blocks resid_post = resid_pre + attn_out: "
            f"off by {check.value:.1e} of the largest magnitude at most"
        )
        assert list(watched(Toy(), POINTS)) == ["residual stream", "points", "final norm"]

    @pytest.mark.parametrize("larger", [0, 1])
    def test_the_first_that_is_wrong_is_named_with_the_largest_error(self, larger: int) -> None:
        toy = Toy(norm=False)
        for block in toy.blocks:
            block.attn.factor = 0.0
        # Sums are 1, and 1 plus both errors: each is off by its share of that.
        errors = [0.25, 0.25]
        errors[larger] = 1.0
        for block, error in zip(toy.blocks, errors, strict=True):
            block.error = error
        check = watched(toy, POINTS, torch.ones(1, 3, WIDTH))["points"]
        assert check.value == max(errors[0] / (1 + errors[0]), errors[1] / (1 + sum(errors)))
        assert (check.passed, check.level) == (False, "check")
        assert check.detail == (
            "resid_post = resid_pre + attn_out does not hold in block 0: "
            f"off by {check.value:.1e} of the largest magnitude"
        )

    def test_the_block_that_is_wrong_is_named(self) -> None:
        toy = Toy()
        toy.blocks[1].error = 1.0
        assert "does not hold in block 1: off by" in watched(toy, POINTS)["points"].detail

    def test_a_model_in_training_is_only_warned_about(self) -> None:
        toy = Toy().train()
        held = watched(toy, POINTS)["points"]
        assert (held.passed, held.level) == (True, "warning")
        toy.blocks[1].error = 1.0
        held = watched(toy, POINTS)["points"]
        assert (held.passed, held.level) == (False, "warning")
        assert held.detail.endswith(
            "of the largest magnitude; the model is in training, where dropout may come between"
        )
        assert "training" not in watched(toy.eval(), POINTS)["points"].detail

    def test_blocks_without_an_equation_pass_and_say_so(self) -> None:
        toy = Toy()
        bare = tuple(replace(a, steps=()) for a in stream_of(toy).anatomies)
        check = watched(toy, POINTS, anatomies=bare)["points"]
        assert (check.passed, check.value) == (True, 0.0)
        assert check.detail == "no equation is known for the blocks whose points are measured"

    @pytest.mark.parametrize("block", [0, 1])
    def test_each_equation_is_named_and_the_largest_error_is_of_any(self, block: int) -> None:
        toy = Toy()
        first, second = stream_of(toy).anatomies
        side = replace(second, steps=(Step(("attn_out", "resid_pre"), "resid_post"),))
        check = watched(toy, POINTS, anatomies=(first, side))["points"]
        assert check.detail.startswith(
            "in 2 blocks resid_post = resid_pre + attn_out and resid_post = attn_out + resid_pre: "
        )
        toy.blocks[block].error = 10.0
        assert watched(toy, POINTS, anatomies=(first, side))["points"].value > 0.5

    def test_blocks_of_which_no_point_is_measured_are_left_aside(self) -> None:
        toy = Toy()
        first, second = stream_of(toy).anatomies
        never = replace(first, taps={"attn_out": tap("unused")})
        assert watched(toy, [POINTS[1]], anatomies=(never, second))["points"].passed

    def test_a_point_that_is_there_only_later_is_not_taken_from_the_block_before(self) -> None:
        toy = Toy()
        first, second = stream_of(toy).anatomies
        late = replace(second, taps={"attn_out": tap("norm")})
        check = watched(toy, POINTS, anatomies=(first, late))["points"]
        assert (check.passed, check.value) == (False, math.inf)
        assert "does not hold in block 1: off by inf" in check.detail

    def test_a_sum_whose_terms_are_changed_in_place_afterwards_holds(self) -> None:
        toy = Toy()
        for block in toy.blocks:
            block.spoils = True
        assert watched(toy, POINTS)["points"].passed

    @pytest.mark.parametrize(("token", "passed"), [(255, False), (256, True)])
    def test_the_first_256_tokens_are_looked_at(self, token: int, *, passed: bool) -> None:
        toy = Toy()
        error = torch.zeros(2, 130, WIDTH)
        error.view(-1, WIDTH)[token] = 1.0
        toy.blocks[0].error = error
        assert watched(toy, POINTS, torch.ones(2, 130, WIDTH))["points"].passed == passed


class TestFinalNorm:
    def test_a_wrong_one_fails(self) -> None:
        toy = Toy()
        toy.returns = lambda x: SimpleNamespace(last_hidden_state=x + 1e-6)
        assert said(watched(toy))["final norm"] == (
            False,
            "does not hold: the final norm of the last block's output is bitwise last_hidden_state",
        )

    def test_where_there_is_none_the_last_block_must_be_the_output(self) -> None:
        toy = Toy(norm=False)
        detail = "the last block's output is bitwise last_hidden_state; there is no final norm"
        assert said(watched(toy))["final norm"] == (True, detail)
        toy.after[1] = lambda x: x * 2
        assert said(watched(toy))["final norm"] == (False, f"does not hold: {detail}")

    def test_an_output_of_another_width_is_named_by_its_path(self) -> None:
        toy = Toy()
        toy.norm = torch.nn.Linear(WIDTH, 3)
        assert said(watched(toy, output=tap("norm", width=3)))["final norm"] == (
            True,
            "norm, which is no site as it changes the width, of the last block's output is "
            "bitwise last_hidden_state",
        )

    def test_the_output_may_be_a_tuple(self) -> None:
        toy = Toy()
        toy.returns = lambda x: (x, x + 1)
        assert watched(toy)["final norm"].passed
        toy.returns = lambda x: (x + 1, x)
        assert not watched(toy)["final norm"].passed

    def test_a_norm_may_return_several_tensors(self) -> None:
        class Pair(Norm):
            def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                return x.mean(-1), super().forward(x)

        toy = Toy()
        toy.norm = Pair()
        toy.returns = lambda pair: SimpleNamespace(last_hidden_state=pair[1])
        assert watched(toy, output=tap("norm", key=1))["final norm"].passed

    def test_is_applied_without_gradients_and_without_the_users_hooks(self) -> None:
        toy = Toy()
        calls: list[int] = []
        toy.norm.register_forward_hook(lambda *_: calls.append(1))
        watch = Watch(toy, stream_of(toy), TRUNK).__enter__()
        toy(STATES.clone().requires_grad_())
        assert watch.checks[-1].passed
        assert toy.norm.gradients == [True, False]
        assert calls == [1]


class TestWatch:
    def test_its_hooks_are_gone_after_one_pass_and_a_second_is_not_checked(self) -> None:
        toy = Toy()
        watch = Watch(toy, stream_of(toy), [*TRUNK, *POINTS])
        assert watch.checks == []
        assert watch.__enter__() is watch
        assert hooks(toy) > 0
        with torch.no_grad():
            toy(STATES.clone())
            assert hooks(toy) == 0
            first = watch.checks
            toy.after[0] = lambda x: x + 1
            toy(STATES.clone())
            assert watch.checks is first
            # Nor is one that is let in by mistake.
            watch.__enter__()
            toy(STATES.clone())
        assert watch.checks is first
        assert hooks(toy) == 0

    def test_its_hooks_can_be_taken_away_before_any_pass(self) -> None:
        toy = Toy()
        watch = Watch(toy, stream_of(toy), TRUNK).__enter__()
        watch.remove()
        assert hooks(toy) == 0
        toy(STATES.clone())
        assert watch.checks == []

    def test_a_pass_that_was_broken_off_is_forgotten(self) -> None:
        toy = Toy()
        watch = Watch(toy, stream_of(toy), [*TRUNK, *POINTS]).__enter__()

        def fail(_: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError

        toy.after = {0: lambda x: x + 1, 1: fail}
        toy.blocks[0].error = toy.blocks[1].error = 1.0
        with torch.no_grad():
            with pytest.raises(ZeroDivisionError):
                toy(STATES.clone())
            assert watch.checks == []
            toy.after = {}
            toy.blocks[0].error = toy.blocks[1].error = 0.0
            toy(STATES.clone())
        assert [c.passed for c in watch.checks] == [True] * 3
        assert watch.checks[1].value < 1e-6

    def test_the_pass_is_bitwise_what_it_is_without(self) -> None:
        toy = Toy()
        expected = toy(STATES.clone()).last_hidden_state
        watch = Watch(toy, stream_of(toy), [*TRUNK, *POINTS]).__enter__()
        assert torch.equal(toy(STATES.clone()).last_hidden_state, expected)
        assert len(watch.checks) == 3

    def test_a_check_as_json_has_all_its_fields(self) -> None:
        assert Check("name", False, "detail", "note", 2.0).as_dict() == {
            "name": "name",
            "passed": False,
            "detail": "detail",
            "level": "note",
            "value": 2.0,
        }


SUM = Step(("a", "b"), "c")
EPSILON = {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-7}


def residue(
    step: Step, a: Any, b: Any, c: Any, *dtypes: torch.dtype, norm: Doubled | None = None
) -> tuple[float, bool]:
    kinds = dtypes or (torch.float32,)
    kinds = kinds * 3 if len(kinds) == 1 else kinds
    values = zip("abc", (a, b, c), kinds, strict=True)
    model = torch.nn.Module()
    model.add_module("doubled", norm or Doubled())
    model.register_buffer("two", torch.tensor(-2.0))
    return equations.residue(model, step, {n: torch.tensor([x], dtype=t) for n, x, t in values})


class Doubled(torch.nn.Module):
    """Doubles, and writes down the dtypes that it reads."""

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.read: list[torch.dtype] = []
        if dtype is not None:
            self.weight = torch.nn.Parameter(torch.ones(1, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.read.append(x.dtype)
        return x * 2


class TestResidue:
    """A sum holds up to two roundings of each of its terms, a norm of it up to four."""

    @pytest.mark.parametrize("dtype", EPSILON)
    @pytest.mark.parametrize("sign", [1, -1])
    def test_of_a_sum(self, dtype: torch.dtype, sign: int) -> None:
        # The magnitudes 3 and 1 are 4 together, though their sum is 2.
        allowed = 2 * 4 * EPSILON[dtype] * sign
        step = 2 * EPSILON[dtype] * sign
        a, b = [3.0, 5.0], [-1.0, -1.0]
        assert residue(SUM, a, b, [2.0, 4.0], dtype) == (0.0, True)
        worst, holds = residue(SUM, a, b, [2.0 + allowed, 4.0], dtype)
        assert (worst, holds) == (abs(allowed) / max(2.0 + allowed, 4.0), True)
        assert not residue(SUM, a, b, [2.0 + allowed + step, 4.0], dtype)[1]

    def test_in_float64_and_as_a_share_of_the_largest_magnitude(self) -> None:
        # In float32 the sum would be 1.
        assert residue(SUM, [1.0], [2.0**-24], [1.0]) == (2.0**-24, True)
        assert residue(SUM, [-1.0, 0.0], [-1.0, 1.0], [-2.5, 1.0]) == (0.2, False)
        assert residue(SUM, [2.0**-40], [2.0**-40], [2.0**-38]) == (0.5, False)

    def test_by_the_coarsest_dtype(self) -> None:
        coarse, fine = torch.bfloat16, torch.float32
        for kinds in ((coarse, fine, fine), (fine, coarse, fine), (fine, fine, coarse)):
            assert residue(SUM, [1.0], [1.0], [2.03125], *kinds)[1]
            assert not residue(SUM, [1.0], [1.0], [2.046875], *kinds)[1]
        assert not residue(SUM, [1.0], [1.0], [2.03125], fine)[1]

    def test_of_a_scaled_sum(self) -> None:
        step = Step(("a", "b"), "c", factor="two")
        # Two roundings of 1 and 1, twice: 2⁻²⁰; the next number from 4 is 2⁻²¹ further.
        assert residue(step, [1.0], [1.0], [-4.0])[1]
        for sign in (1, -1):
            assert residue(step, [1.0], [1.0], [-4.0 + sign * 2.0**-20])[1]
            assert not residue(step, [1.0], [1.0], [-4.0 + sign * (2.0**-20 + 2.0**-21)])[1]
        assert not residue(step, [1.0], [1.0], [4.0])[1]

    def test_of_a_normed_sum_by_its_own_size_and_the_tokens_mean(self) -> None:
        step = Step(("a", "b"), "c", norm="doubled")
        a, b = [[-1.5, 0.5], [0.25, 0.5]], [[-0.5, 0.0], [0.25, 0.0]]
        # Four roundings of the magnitudes 4 and 1 and of their mean, 2.5; then of 1, 1 and 1.
        first, second, third = 6.5 * 2.0**-21, 3.5 * 2.0**-21, 2.0**-20
        c = [[-4.0 + first, 1.0 - second], [1.0 - third, 1.0 + third]]
        assert residue(step, a, b, c)[1]
        for row, channel, off in [
            (0, 0, first + 2.0**-21),
            (0, 1, second + 2.0**-22),
            (1, 0, third + 2.0**-22),
            (1, 1, -third - 2.0**-22),
        ]:
            wrong = [[-4.0, 1.0], [1.0, 1.0]]
            wrong[row][channel] += off
            assert not residue(step, a, b, wrong)[1], (row, channel)

    def test_of_a_sum_with_what_a_norm_and_a_factor_make_of_the_stream(self) -> None:
        step = Step(("a", "b"), "c", base_norm="doubled", base_scale="two")
        assert str(step) == "c = scale × norm(a) + b"
        # -2 · 2 · 3 + 1: the terms are 12 and 1, of which two roundings are 26·2⁻²³.
        assert residue(step, [3.0], [1.0], [-11.0]) == (0.0, True)
        assert residue(step, [3.0], [1.0], [-11.0 + 24 * 2.0**-23])[1]
        assert not residue(step, [3.0], [1.0], [-11.0 + 32 * 2.0**-23])[1]
        assert not residue(step, [3.0], [1.0], [-5.0])[1]
        number = Step(("a", "b"), "c", base_scale=0.5)
        assert residue(number, [3.0], [1.0], [2.5]) == (0.0, True)

    def test_a_norm_reads_its_own_dtype_or_that_of_its_result(self) -> None:
        for norm, expected in [
            (Doubled(torch.float16), torch.float16),
            (Doubled(), torch.bfloat16),
        ]:
            step = Step(("a", "b"), "c", norm="doubled")
            kinds = (torch.float32, torch.float32, torch.bfloat16)
            assert residue(step, [1.0], [1.0], [4.0], *kinds, norm=norm) == (0.0, True)
            assert norm.read == [expected]

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("place", ["term", "result"])
    def test_what_is_not_finite_is_passed_over_and_the_rest_is_not(
        self, bad: float, place: str
    ) -> None:
        a, c = [1.0, 1.0], [2.0, 2.0]
        (a if place == "term" else c)[0] = bad
        assert residue(SUM, a, [1.0, 1.0], c) == (0.0, True)
        c[1] = 4.0
        assert residue(SUM, a, [1.0, 1.0], c) == (0.5, False)

    def test_nothing_finite_is_no_error(self) -> None:
        assert residue(SUM, [math.nan], [1.0], [math.nan]) == (0.0, True)

    def test_a_token_with_a_nan_is_passed_over_where_a_norm_spreads_it(self) -> None:
        step = Step(("a", "b"), "c", norm="doubled")
        a, b = [[math.nan, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]
        assert residue(step, a, b, [[0.0, 9.0], [4.0, 4.0]]) == (0.0, True)
        assert residue(step, a, b, [[0.0, 9.0], [4.0, 5.0]]) == (0.2, False)

    def test_zeros_are_no_error(self) -> None:
        assert residue(SUM, [0.0], [0.0], [0.0]) == (0.0, True)
        assert residue(SUM, [1.0], [-1.0], [0.0]) == (0.0, True)


def verified(toy: Toy, **changed: Any) -> dict[str, Check]:
    structure = Structure((stream_of(toy, **changed),))
    return {c.name: c for c in verify(toy, structure, {"states": STATES})}


class TestVerify:
    def test_what_holds_is_said(self) -> None:
        entries = "all 3 entries of Hugging Face's hidden_states are bitwise what was captured"
        unchanged = (True, "the output with our hooks is bitwise the output without")
        normed = (True, f"{entries}; its last entry is normalised: the output of the final norm")
        assert said(verified(Toy())) == {"hidden_states": normed, "hooks": unchanged}
        last = (True, f"{entries}; its last entry is the output of the last block")
        assert said(verified(Toy(norm=False))) == {"hidden_states": last, "hooks": unchanged}

    def test_an_entry_that_was_not_captured_fails_by_its_number(self) -> None:
        toy = Toy()
        wrong = "entry {} of Hugging Face's hidden_states is not what was captured"
        toy.told = lambda held: (held[0], held[1] + 1e-6, held[2] + 1e-6)
        assert said(verified(toy))["hidden_states"] == (False, wrong.format(1))
        toy.told = lambda held: (*held, held[0])
        assert said(verified(toy))["hidden_states"] == (False, wrong.format(3))
        toy.told = lambda held: (held[0], held[0], held[2])
        assert not verified(toy)["hidden_states"].passed

    @pytest.mark.parametrize("told", [lambda _: (), lambda _: None])
    def test_without_the_tuple_there_is_nothing_to_compare_with(self, told: Any) -> None:
        toy = Toy()
        toy.told = told
        detail = "the model returns no hidden_states to compare with"
        assert said(verified(toy))["hidden_states"] == (False, detail)
        other = verified(Toy(), hf_tuple="encoder_hidden_states")["encoder_hidden_states"]
        assert other.detail == "the model returns no encoder_hidden_states to compare with"

    def test_an_entry_of_another_width_is_the_models_output_and_no_site(self) -> None:
        toy = Toy()
        toy.norm = torch.nn.Linear(WIDTH, 3)
        hf = {"embed": 0, "block.0.resid_post": 1}
        assert said(verified(toy, hf=hf, output=tap("norm", width=3)))["hidden_states"] == (
            True,
            "the 2 entries of hidden_states of the stream's width are bitwise what was captured; "
            "its last entry is the output of norm",
        )
        toy = Toy(norm=False)
        toy.told = lambda held: (*held, held[2][..., :3])
        assert verified(toy)["hidden_states"].passed

    def test_only_the_first_rows_and_tokens_are_run(self) -> None:
        toy = Toy()
        # What a forward pass changes is put back: here, the toy's list of its calls.
        seen: list[dict[str, Any]] = []
        toy.register_forward_pre_hook(lambda _, __, given: seen.append(given), with_kwargs=True)
        call = {"states": torch.randn(3, 200, WIDTH), "mask": torch.ones(3, 200), "cache": "none"}
        verify(toy, Structure((stream_of(toy),)), call)
        plain, hooked = seen
        assert plain.pop("output_hidden_states") is True
        assert plain.keys() == hooked.keys() == {"states", "mask", "cache", "return_dict"}
        for given in seen:
            assert torch.equal(given["states"], call["states"][:2, :128])
            assert given["mask"].shape == (2, 128)
            assert given["cache"] == "none"
            assert given["return_dict"] is True
        assert toy.calls == []

    def test_an_output_that_our_hooks_change_fails(self) -> None:
        toy = Toy(norm=False)
        toy.returns = lambda x: SimpleNamespace(last_hidden_state=x + (hooks(toy) > 0))
        detail = "does not hold: the output with our hooks is bitwise the output without"
        assert said(verified(toy))["hooks"] == (False, detail)
        assert hooks(toy) == 0

    def test_states_that_are_changed_in_place_afterwards_were_copied(self) -> None:
        toy = Toy()
        toy.after = {0: lambda x: x.mul_(3), 1: lambda x: x.mul_(3)}
        assert verified(toy, hf={"embed": 0, "block.0.resid_post": 1, "final_norm": 2})[
            "hidden_states"
        ].passed

    def test_both_passes_start_from_the_model_as_it_is_and_leave_it_so(self) -> None:
        toy = Toy().train()
        toy.blocks[0].eval()

        def once(x: torch.Tensor) -> torch.Tensor:
            toy.blocks[1].error += 1.0
            assert not toy.training
            return x

        toy.after[0] = once
        random = torch.random.get_rng_state()
        assert all(c.passed for c in verified(toy).values())
        assert toy.blocks[1].error == 0.0
        assert toy.norm.gradients == toy.calls == []
        assert [m.training for m in (toy, *toy.blocks)] == [True, False, True]
        assert torch.equal(torch.random.get_rng_state(), random)

    def test_the_streams_of_an_encoder_decoder_are_compared_each_with_its_own_tuple(self) -> None:
        model = families.make("t5")
        structure = find_structure(model)
        ids = torch.arange(3, 15).reshape(2, 6)
        call = {"input_ids": ids, "decoder_input_ids": ids[:, :4], "use_cache": False}
        names = ["encoder_hidden_states", "decoder_hidden_states", "hooks"]
        assert [(c.name, c.passed) for c in verify(model, structure, call)] == [
            (n, True) for n in names
        ]
        encoder, decoder = structure.streams
        swapped = replace(structure, streams=(encoder, replace(decoder, hf=_swapped(decoder.hf))))
        failed = [c for c in verify(model, swapped, call) if not c.passed]
        assert [c.name for c in failed] == ["decoder_hidden_states"]
        assert failed[0].detail.startswith("entry 0 of Hugging Face's decoder_hidden_states is")


def _swapped(hf: dict[str, int]) -> dict[str, int]:
    return hf | {"embed": hf["block.0.resid_post"], "block.0.resid_post": hf["embed"]}


def found(profile: Profile, name: str) -> list[dict[str, Any]]:
    return [check for check in profile.checks if check["name"] == name]


def measured(x: np.ndarray, **options: Any) -> dict[str, dict[str, Any]]:
    """Return the checks of a profile of two sites: these states, and plain ones."""
    plain = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HiddenscopeWarning)
        p = hs.from_states({"embed": plain, "block.0.resid_post": x}, **options)
    return {check["name"]: check for check in p.checks}


def normal(shape: tuple[int, ...] = (3, 20, 8)) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


class TestOfTheNumbers:
    def test_states_without_a_fault_pass(self) -> None:
        held = measured(normal())
        assert {name: (c["passed"], c["level"], c["detail"]) for name, c in held.items()} == {
            "counts": (True, "check", "every site's grid counts sum to tokens × 8 channels"),
            "finite": (True, "warning", "no value is NaN or infinite"),
            "float16 range": (True, "warning", "every finite value fits into float16"),
            "resolution": (True, "warning", "the dtype of the states resolves every channel"),
        }

    def test_counts_that_are_not_those_of_the_tokens_fail(self, demo_profile: Profile) -> None:
        stream = demo_profile.stream
        described = demo_profile.manifest["streams"]["residual"]
        assert check_stream(stream, described, several=False)[0].passed
        for stratum in ("first", "regular"):
            tokens = described["tokens"] | {stratum: described["tokens"][stratum] + 1}
            wrong = check_stream(stream, described | {"tokens": tokens}, several=True)[0]
            assert (wrong.name, wrong.passed, wrong.level) == ("counts", False, "check")
            channels = demo_profile.manifest["model"]["width"]
            assert wrong.detail == (
                f"does not hold: every site's grid counts sum to tokens × {channels} channels "
                "(residual)"
            )

    def test_what_is_not_finite_is_told_by_site_channel_and_document(self) -> None:
        x = normal()
        x[1, 3, 2], x[1, 4, 2], x[2, 5, 7] = np.nan, np.inf, -np.inf
        check = measured(x)["finite"]
        assert (check["passed"], check["level"], check["value"]) == (False, "warning", 3.0)
        assert check["detail"].startswith(
            "3 values are NaN or infinite, first at block.0.resid_post (3; channel 2, 7; "
            "document 1): their tokens are left out"
        )
        x[2, 6, :6] = np.nan
        detail = measured(x)["finite"]["detail"]
        assert "(9; channel 0, 1, 2, 3 and 3 more; document 1)" in detail

    def test_what_float16_cannot_hold_is_counted_on_either_side(self) -> None:
        x = normal()
        x[0, 5, 1], x[0, 6, 1] = 65_504, -65_504
        assert measured(x)["float16 range"]["passed"]
        x[0, 7, 1], x[1, 8, 2], x[1, 9, 3], x[1, 10, 3] = 65_536, -65_536, 3e38, np.inf
        check = measured(x)["float16 range"]
        assert (check["passed"], check["level"], check["value"]) == (False, "warning", 3.0)
        assert check["detail"] == (
            "3 values are beyond 65,504, which float16 could not hold, first at block.0.resid_post"
        )

    @pytest.mark.parametrize(
        ("dtype", "step"), [("float32", 2.0**-24), ("float16", 2.0**-11), ("bfloat16", 2.0**-8)]
    )
    def test_a_channel_within_one_step_of_its_dtype_is_told(self, dtype: str, step: float) -> None:
        x = torch.from_numpy(normal()).to(getattr(torch, dtype))
        wide = x.clone()
        # Half of the tokens one step above one half, or eight of them: so far apart they are seen.
        wide[..., 3] = 0.5
        wide[:, ::2, 3] += 8 * step
        assert measured(wide)["resolution"]["passed"]
        narrow = x.clone()
        narrow[..., 3:5] = 0.5
        narrow[0, 2, 3:5] += step
        check = measured(narrow)["resolution"]
        assert (check["passed"], check["level"], check["value"]) == (False, "warning", 2.0)
        assert check["detail"] == (
            f"2 channels at block.0.resid_post vary by less than one step of {dtype} about the "
            "mean: moments and R² are those of the rounding"
        )


IDS = torch.arange(3, 27).reshape(2, 12)
MASK = torch.ones_like(IDS)


class TestOfTheTokens:
    def recorded(self, kind: str, mask: torch.Tensor, **options: Any) -> Recorder:
        recorder = hs.record(tiny.make(kind), **options)
        with recorder, torch.no_grad():
            recorder.loaded.model(input_ids=IDS, attention_mask=mask)
        return recorder

    def test_tokens_let_through_but_not_counted_fail(self) -> None:
        recorder = self.recorded("gpt2", MASK)
        (check,) = found(recorder.profile(), "padding")
        assert check["passed"]
        assert check["detail"] == "the 24 tokens that the attention masks let through were counted"
        recorder.state.counts["residual"] = replace(recorder.state.main, attended=27)
        with pytest.warns(HiddenscopeWarning, match="padding"):
            (check,) = found(recorder.profile(), "padding")
        assert (check["passed"], check["level"]) == (False, "check")
        assert check["detail"] == "27 tokens were let through by the masks, but 24 counted"

    def test_padding_that_a_model_does_not_mask_fails(self) -> None:
        mask = MASK.clone()
        mask[0, 8:] = 0
        (check,) = found(self.recorded("bert", mask).profile(), "right padding")
        assert check["passed"]
        assert check["detail"] == "padding on the right leaves the states as they are"
        assert check["value"] < 1e-5
        # What reads nothing behind it need not be tried out.
        assert found(self.recorded("gpt2", mask).profile(), "right padding") == []
        recorder = self.recorded("bert", mask)
        embeddings = recorder.loaded.model.embeddings

        def leak(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
            return output + output.mean(1, keepdim=True)

        embeddings.register_forward_hook(leak)
        with pytest.warns(HiddenscopeWarning, match="right padding"):
            (check,) = found(recorder.profile(), "right padding")
        assert (check["passed"], check["level"]) == (False, "check")
        assert check["value"] > 0.01
        assert check["detail"] == (
            f"padding on the right changes this model's states by {check['value']:.0%}: the model "
            "does not mask it: use batches of one length"
        )

    def test_texts_without_the_bos_that_the_tokenizer_adds_fail(self) -> None:
        tokenizer = copy.deepcopy(load("demo").tokenizer)
        opening = "<|endoftext|>"
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{opening} $A", special_tokens=[(opening, 0)]
        )
        with pytest.warns(HiddenscopeWarning, match="BOS"):
            (check,) = found(self.recorded("gpt2", MASK, tokenizer=tokenizer).profile(), "BOS")
        assert (check["passed"], check["level"]) == (False, "check")
        assert check["detail"] == (
            f"the tokenizer adds {opening} before a text; 0 of 2 rows start with one: the model "
            "sees these texts otherwise than it was trained to"
        )
        (check,) = found(hs.profile(tiny.make("gpt2"), tokenizer=tokenizer, text=TEXT), "BOS")
        assert (check["passed"], check["level"]) == (True, "check")
        assert check["detail"].endswith("; 1 of 1 windows start with one")
        options = {"tokenizer": tokenizer, "text": TEXT, "bos": "never"}
        (check,) = found(hs.profile(tiny.make("gpt2"), **options), "BOS")
        assert (check["passed"], check["level"]) == (True, "note")
        assert check["detail"].endswith("; 0 of 1 windows start with one (--bos never)")

    def test_a_tokenizer_that_is_set_to_add_a_bos_and_does_not_is_warned_about(self) -> None:
        tokenizer = copy.deepcopy(load("demo").tokenizer)
        (check,) = found(hs.profile(tiny.make("gpt2"), tokenizer=tokenizer, text=TEXT), "BOS")
        assert check["detail"].startswith("the tokenizer adds no BOS before a text; 0 of 1 windows")
        tokenizer.add_bos_token = True
        (check,) = found(hs.profile(tiny.make("gpt2"), tokenizer=tokenizer, text=TEXT), "BOS")
        assert check["passed"]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
        assert tokenizer("a")["input_ids"][0] != tokenizer.bos_token_id
        with pytest.warns(HiddenscopeWarning, match="BOS: the tokenizer is set to add"):
            p = hs.profile(tiny.make("gpt2"), tokenizer=tokenizer, text=TEXT)
        assert [(c["passed"], c["level"]) for c in found(p, "BOS")] == [
            (False, "warning"),
            (True, "note"),
        ]


WHOLE: dict[str, Any] = {"left_out": {}, "sample": None, "partial": None}
"""What a manifest says of a text that was read whole."""


class TestWhatWasLeftOut:
    def test_nothing_is_said_of_a_model_and_a_text_that_were_read_whole(self) -> None:
        assert unread_checks(WHOLE, {}) == []
        names = ["a", "b", "c", "d"]
        (files,) = unread_checks(WHOLE, {"unread_files": names, "unused_weights": []})
        assert files.name == "checkpoint files"
        assert files.detail.endswith("which were not read: a, b, c and 1 more")
        (weights,) = unread_checks(WHOLE, {"unread_files": [], "unused_weights": names[:1]})
        assert weights.name == "checkpoint"

    def test_tensors_without_a_place_fail_and_the_rest_is_told(self) -> None:
        names = [f"layer.{i}" for i in range(5)]
        identity = {"unused_weights": names, "unread_files": names[:3]}
        folder, weights, files = unread_checks(
            WHOLE | {"left_out": {"texts": "2 pictures are not read"}}, identity
        )
        assert (folder.name, folder.passed, folder.level) == ("folder", True, "note")
        assert folder.detail == "of the files of 'texts': 2 pictures are not read"
        assert (weights.name, weights.passed, weights.level) == ("checkpoint", False, "warning")
        assert weights.value == 5
        assert weights.detail == (
            "the checkpoint holds 5 tensors that the model has no place for (layer.0, layer.1, "
            "layer.2 and 2 more): does config.json count fewer layers than there are?"
        )
        assert (files.name, files.passed, files.level) == ("checkpoint files", True, "note")
        assert files.detail == (
            "the model's folder holds more weights, which were not read: layer.0, layer.1, layer.2"
        )


class Counting:
    """What a run keeps of each site, with a fault in between."""

    @staticmethod
    def aliases(plain: Any, tokens: Any, states: torch.Tensor) -> torch.Tensor:
        # The tokens in order, without a copy.
        del plain, tokens
        return states.detach().reshape(-1, states.shape[-1])

    @staticmethod
    def loses_a_bit(plain: Any, tokens: Any, states: torch.Tensor) -> torch.Tensor:
        held = plain(tokens, states)
        held.view(torch.int32 if held.itemsize == 4 else torch.int16)[5, 3] ^= 1
        return held

    @staticmethod
    def swaps_tokens(plain: Any, tokens: Any, states: torch.Tensor) -> torch.Tensor:
        return plain(tokens, states)[torch.tensor([1, 0, *range(2, tokens.real.sum())])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fault", [None, "aliases", "loses_a_bit", "swaps_tokens"])
def test_what_is_counted_is_what_passed(
    fault: str | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Adds the outputs of attention and MLP up in place.
    model = tiny.make("falcon", **families.LIKE_FALCON | {"vocab_size": 512}).to(dtype)
    if fault is not None:
        plain, faulty = streams.gather, getattr(Counting, fault)
        monkeypatch.setattr(streams, "gather", lambda *args: faulty(plain, *args))
    ids = torch.arange(5, 17)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HiddenscopeWarning)
        with hs.record(model, sites="all") as recorder, torch.no_grad():
            model(input_ids=ids)
            model(input_ids=ids)
        held = [c for c in recorder.profile().checks if c["name"] == "counted states"]
    (check,) = held
    assert check["passed"] == (fault is None)
    if fault is None:
        sites = len(recorder.engine.streams["residual"].sites)
        assert check["detail"] == f"12 tokens at {sites} sites are kept bitwise as they passed"
    else:
        assert "is not what passed there" in check["detail"]
        named = check["detail"].split()[4]
        # In place is changed only what is added.
        assert fault != "aliases" or named.endswith(("attn_out", "mlp_out"))


def test_a_block_input_that_is_taken_from_elsewhere_fails_its_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny.make("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HiddenscopeWarning)
        with hs.record(model, sites="all") as recorder, torch.no_grad():
            same = recorder.engine.streams["residual"].same
            monkeypatch.setitem(same, "block.2.resid_pre", "block.0.resid_post")
            model(input_ids=torch.arange(5, 17)[None])
        held = {c["name"]: c for c in recorder.profile().checks}["counted states"]
    assert not held["passed"]
    assert held["detail"] == "what is counted at block.2.resid_pre is not what passed there"


def test_long_batches_are_compared_at_tokens_all_over_them() -> None:
    watch = Watch(Toy(), stream_of(Toy()), TRUNK)
    watch._begin((), {})
    states = torch.randn(3, 400, WIDTH)
    for name in TRUNK:
        watch._take(name, states)
    order = np.flatnonzero(np.arange(1200) % 7 != 3)
    kept = states.reshape(-1, WIDTH)[order]
    watch.counted(order, dict.fromkeys(TRUNK, kept))
    (check,) = watch.checks
    assert check.passed
    assert check.detail.startswith(f"{(order % 4 == 0).sum()} tokens at 3 sites")
