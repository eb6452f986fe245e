"""Where a model keeps its blocks, their points and its final norm: by names alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hiddenscope.models.linear import LinearLayers
from hiddenscope.sites import Site, trunk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hiddenscope.models.anatomy import Anatomy
    from hiddenscope.models.taps import Tap

RESIDUAL, ENCODER, DECODER = "residual", "encoder", "decoder"


@dataclass(frozen=True)
class Stream:
    """The sites along one residual stream, by names: it holds nothing of the model itself.

    Attributes
    ----------
    name : {'residual', 'encoder', 'decoder'}
    owner : str
        Name of the module whose forward pass runs through the blocks: it is called with the
        stream's tokens. Empty for the model itself.
    blocks : tuple of Tap
        The output of every block, in the order of calls.
    entries : tuple of Tap
        The input of every block.
    anatomies : tuple of Anatomy
        The points of every block.
    output : Tap or None
        What turns the last block's output into the owner's; None where that is the same.
    width : int
        Channels of the stream.
    causal : bool
        Whether a token's states depend on earlier tokens only.
    packs : bool
        Whether sequences side by side in one row are kept apart where position ids start again,
        in a call with neither mask nor cache.
    hf : dict of str to int
        Site → index in the tuple `hf_tuple`.
    hf_tuple : str
        What Hugging Face calls the tuple: ``hidden_states``, ``encoder_hidden_states``, ….
    found : str
        How the blocks were found, in words.
    calls : dict of str to int
        How often a forward pass calls each module that a tap reads.
    crops : bool
        Whether the owner fills its tokens up and cuts its output back to them (Longformer).
    """

    name: str
    owner: str
    blocks: tuple[Tap, ...]
    entries: tuple[Tap, ...]
    anatomies: tuple[Anatomy, ...]
    output: Tap | None
    width: int
    causal: bool
    packs: bool
    hf: dict[str, int]
    hf_tuple: str
    found: str
    calls: dict[str, int]
    crops: bool

    @property
    def final_norm(self) -> Tap | None:
        """What follows the last block, a site where it keeps the residual stream's width.

        A projection to another width (OPT 350m) is the model's output, but no site.
        """
        wide = self.output is not None and self.output.width != self.width
        return None if wide else self.output

    @property
    def output_site(self) -> str | None:
        """The site whose state is bitwise the owner's output, where there is one."""
        if self.output is None:
            return f"block.{len(self.blocks) - 1}.resid_post"
        return None if self.final_norm is None else "final_norm"

    @property
    def trunk(self) -> tuple[Site, ...]:
        """The default sites."""
        return trunk(len(self.blocks), final_norm=self.final_norm is not None)

    @property
    def taps(self) -> dict[str, Tap]:
        """Every site, in the order of the forward pass."""
        taps = {"embed": self.entries[0]}
        for i, (entry, block, anatomy) in enumerate(
            zip(self.entries, self.blocks, self.anatomies, strict=True)
        ):
            points = {"resid_pre": entry, **anatomy.taps, "resid_post": block}
            taps |= {f"block.{i}.{point}": tap for point, tap in points.items()}
        return taps if self.final_norm is None else {**taps, "final_norm": self.final_norm}

    @property
    def sites(self) -> tuple[Site, ...]:
        """The trunk and the points of every block."""
        return tuple(Site(name) for name in self.taps)

    @property
    def hf_sites(self) -> tuple[Site, ...]:
        """The sites of Hugging Face's tuple, in its order."""
        return tuple(Site(name) for name, _ in sorted(self.hf.items(), key=lambda item: item[1]))

    def width_of(self, site: str) -> int:
        """Return how many channels a site has."""
        parsed = Site.parse(site)
        taps = {} if parsed.block is None else self.anatomies[parsed.block].taps
        tap = taps.get(parsed.point or "")
        return self.width if tap is None else tap.width

    def widths(self, sites: Iterable[str]) -> dict[str, int]:
        """Return how many channels each of some sites has."""
        return {site: self.width_of(site) for site in sites}

    def refusals(self) -> dict[str, str]:
        """Say for each point that some block does not have why that is."""
        refused: dict[str, str] = {}
        for anatomy in self.anatomies:
            refused = anatomy.refused | refused
        return refused


@dataclass(frozen=True)
class Structure:
    """The streams of a model: one, or those of an encoder and a decoder.

    It can be sent to another process, where a model of the same kind has the same names.

    Attributes
    ----------
    streams : tuple of Stream
    linear : LinearLayers
        Which linear layers read which site.
    """

    streams: tuple[Stream, ...]
    linear: LinearLayers = field(default_factory=LinearLayers)

    def linear_sites(self, name: str) -> tuple[Site, ...]:
        """Return the sites of a stream that some linear layer reads."""
        return tuple(Site(site) for site in self.linear.read.get(name, ()))

    def __getitem__(self, name: str) -> Stream:
        return next(s for s in self.streams if s.name == name)
