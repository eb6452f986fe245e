"""The engine: known tokens in, a state out, and nothing kept beside it."""

from __future__ import annotations

import copy
import pickle
from functools import reduce
from typing import TYPE_CHECKING

import families
import numpy as np
import pytest
import tiny
import torch
from stat_helpers import assert_identical, snapshot

from hiddenscope.errors import MergeError
from hiddenscope.measuring.choose import choose_sites
from hiddenscope.measuring.counts import Counts
from hiddenscope.measuring.engine import Engine
from hiddenscope.measuring.layouts import Options
from hiddenscope.models import find_structure, forward_arguments
from hiddenscope.stats import Fold
from hiddenscope.strata import PLAIN
from hiddenscope.tokens import Tokens

if TYPE_CHECKING:
    from hiddenscope.measuring.state import RunState

REGULAR = PLAIN.index("regular")


def row(document: int, length: int) -> Tokens:
    ids = np.random.default_rng(document).integers(5, 100, length)
    return Tokens.of_window(
        ids,
        np.full(length, REGULAR, np.int8),
        np.arange(length) == 0,
        np.full(length, document),
        window=0,
        digest=document,
    )


def batch(*lengths: int, start: int = 0) -> Tokens:
    return Tokens.join([row(start + i, n) for i, n in enumerate(lengths)])


def engine(kind: str = "llama", sites: str = "all") -> Engine:
    model = tiny.make(kind)
    structure = find_structure(model)
    chosen = choose_sites(sites, structure)
    return Engine(model, structure, chosen, Options(PLAIN), special=frozenset({7}), bos=None)


def measure(engine: Engine, tokens: Tokens, state: RunState) -> None:
    ids, mask = (torch.from_numpy(x) for x in (tokens.input_ids(0), tokens.attention_mask))
    engine.measure(forward_arguments(engine.model, ids, mask), tokens, state)


def assert_same_bits(a: RunState, b: RunState) -> None:
    assert a.counts == b.counts
    assert a.corpus == b.corpus
    assert a.states.keys() == b.states.keys()
    for name, state in a.states.items():
        for one, two in zip(snapshot(state), snapshot(b.states[name]), strict=True):
            assert_identical(one, two)


def test_two_engines_and_any_order_of_batches_give_the_same_states() -> None:
    one, two = engine(), engine()
    batches = [batch(9, 5), batch(7, start=2), batch(6, 6, 3, start=3)]
    states = [one.fresh() for _ in batches]
    for tokens, state in zip(batches, states, strict=True):
        measure(one, tokens, state)
    again = [two.fresh() for _ in batches]
    for tokens, state in list(zip(batches, again, strict=True))[::-1]:
        measure(two, tokens, state)
    for a, b in zip(states, again, strict=True):
        assert_same_bits(a, b)
    fold: Fold[RunState] = Fold()
    for state in states:
        fold.add(state)
    total = fold.result()
    assert_same_bits(total, reduce(lambda a, b: a.merge(b), again))
    real = sum(int(tokens.real.sum()) for tokens in batches)
    assert total.main.total == total.main.attended == real == 36
    assert total.main.padding == sum(t.ids.size for t in batches) - real
    assert total.main.tokens["first"] == 6
    assert total.main.tokens["special"] == sum((t.ids[:, 1:] == 7).sum() for t in batches)


def test_a_state_that_comes_from_another_process_is_the_same() -> None:
    held = engine("t5")
    state = held.fresh()
    measure(held, batch(9, 5), state)
    sent = pickle.loads(pickle.dumps(state))
    assert_same_bits(sent, state)
    later = held.fresh()
    measure(held, batch(7, start=2), later)
    assert_same_bits(sent.merge(later), state.merge(later))
    measure(held, batch(4, start=3), sent)
    assert sent.main.total == state.main.total + 4


# An output scaled by a number and by a parameter of the block; a norm behind the sum; two streams.
@pytest.mark.parametrize("kind", ["granite", "gemma4_unified_text", "bert", "t5"])
def test_a_structure_can_be_sent_to_another_process(kind: str) -> None:
    model = families.make(kind)
    structure = find_structure(model)
    sent = pickle.loads(pickle.dumps(structure))
    assert sent == structure
    chosen = choose_sites("all", structure)
    other = copy.deepcopy(model)
    states = []
    for its, found in ((model, structure), (other, sent)):
        held = Engine(its, found, chosen, Options(PLAIN), special=frozenset(), bos=None)
        state = held.fresh()
        measure(held, batch(9, 5), state)
        states.append(state)
    assert_same_bits(*states)


def test_a_sibling_is_empty_and_the_identity_of_merge() -> None:
    held = engine()
    state = held.fresh()
    measure(held, batch(9, 5), state)
    sibling = state.sibling()
    assert_same_bits(sibling, held.fresh())
    assert_same_bits(sibling.merge(state), state)
    assert_same_bits(state.merge(sibling), state)


def test_a_pass_that_fails_adds_nothing_to_any_stream() -> None:
    held = engine("t5")
    state = held.fresh()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    decoder = held.model.get_submodule(held.structure["decoder"].blocks[-1].path)
    handle = decoder.register_forward_hook(broken)
    with pytest.raises(ZeroDivisionError):
        measure(held, batch(9, 5), state)
    handle.remove()
    assert_same_bits(state, held.fresh())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in held.model.modules())
    measure(held, batch(9, 5), state)
    assert {name: counts.total for name, counts in state.counts.items()} == {
        "encoder": 14,
        "decoder": 14,
    }


def test_states_of_other_streams_are_not_merged() -> None:
    held = engine()
    other = engine(sites="trunk")
    with pytest.raises(MergeError, match=r"cannot merge the streams \['residual', .*\] with \['r"):
        held.fresh().merge(other.fresh())


LEFT, RIGHT = frozenset({"left"}), frozenset({"right"})


def test_counts_add_up() -> None:
    a = Counts(
        {"first": 1, "regular": 4}, 2, 3, 5, frozenset({"left"}), 1, 1, False, {"embed": "a"}
    )
    b = Counts(
        {"first": 2, "regular": 1}, 1, 1, 3, frozenset({"right"}), 2, 0, True, {"block": "b"}
    )
    expected = Counts(
        tokens={"first": 3, "regular": 5},
        padding=3,
        rows=4,
        attended=8,
        padded=LEFT | RIGHT,
        starts=3,
        starts_with_bos=1,
        mixed=True,
        dtypes={"embed": "a", "block": "b"},
    )
    assert a.merge(b) == b.merge(a) == expected
    assert a.merge(Counts()) == Counts().merge(a) == a
    assert expected.total == 8
