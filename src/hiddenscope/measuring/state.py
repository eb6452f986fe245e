"""All that a run has measured: the state that is folded over shards, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hiddenscope.corpus import Tally
from hiddenscope.errors import MergeError
from hiddenscope.measuring.counts import Counts
from hiddenscope.stats import Batch, StreamState

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from hiddenscope.tokens import Tokens


@dataclass(frozen=True)
class Pass:
    """One complete forward pass along a stream.

    Attributes
    ----------
    tokens : Tokens[batch, pos]
    states : mapping of str to Tensor[token, channel]
        By site, gathered.
    counts : Counts
    """

    tokens: Tokens
    states: Mapping[str, torch.Tensor]
    counts: Counts


@dataclass
class RunState:
    """The state of a run, or of one of its shards.

    Attributes
    ----------
    streams : mapping of str to mapping of str to StreamState
        By stream of the model, and by the name under which sites of one width are kept.
    counts : dict of str to Counts
        By stream of the model.
    corpus : Tally
        What was read, where hiddenscope reads the text itself.
    """

    streams: Mapping[str, Mapping[str, StreamState]]
    counts: dict[str, Counts]
    corpus: Tally = field(default_factory=Tally)

    @property
    def states(self) -> dict[str, StreamState]:
        """The accumulators, by the names that a profile gives its streams."""
        return {name: state for held in self.streams.values() for name, state in held.items()}

    @property
    def main(self) -> Counts:
        """Counts of the first stream, which reads the text itself."""
        return next(iter(self.counts.values()))

    def sibling(self) -> RunState:
        """Return a fresh state that can be merged with this one."""
        return RunState(
            {
                stream: {name: state.sibling() for name, state in held.items()}
                for stream, held in self.streams.items()
            },
            {
                stream: Counts(tokens=dict.fromkeys(counts.tokens, 0))
                for stream, counts in self.counts.items()
            },
        )

    def update(self, stream: str, measured: Pass) -> None:
        """Take in a forward pass."""
        for state in self.streams[stream].values():
            states = {site: measured.states[site] for site in state.layout.sites}
            state.update(Batch(state.layout, measured.tokens, states))
        self.counts[stream] = self.counts[stream].merge(measured.counts)

    def merge(self, other: RunState) -> RunState:
        """Join the states of disjoint sets of tokens; neither is changed.

        Raises
        ------
        MergeError
            They have other streams, or streams of another layout.
        """
        mine, theirs = self.states, other.states
        if mine.keys() != theirs.keys():
            msg = f"cannot merge the streams {list(mine)} with {list(theirs)}"
            raise MergeError(msg)
        return replace(
            self,
            streams={
                stream: {name: state.merge(theirs[name]) for name, state in held.items()}
                for stream, held in self.streams.items()
            },
            counts={s: counts.merge(other.counts[s]) for s, counts in self.counts.items()},
            corpus=self.corpus.merge(other.corpus),
        )
