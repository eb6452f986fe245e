"""How to read the page: every number with its formula and its source."""

from __future__ import annotations

from dataclasses import dataclass

ARTICLE = "the article"
SUN = ("Sun et al. 2024", "https://arxiv.org/abs/2402.17762")
DETTMERS = ("Dettmers et al. 2022", "https://arxiv.org/abs/2208.07339")
CHAN = ("Chan, Golub and LeVeque 1983", "https://doi.org/10.1080/00031305.1983.10483115")
ELHAGE = ("Elhage et al. 2021", "https://transformer-circuits.pub/2021/framework/index.html")


@dataclass(frozen=True)
class Definition:
    """What a number or a word on the page means.

    Attributes
    ----------
    name, words : str
    formula : str
        May be empty.
    source : (str, str) or None
        Who defined it, and where that can be read.
    """

    name: str
    words: str
    formula: str = ""
    source: tuple[str, str] | None = None


DEFINITIONS = (
    Definition(
        "Hidden state",
        "The vector that stands at one place of the model for one token. Its coordinates are "
        "called channels, and one coordinate of one token is an activation.",
    ),
    Definition(
        "Site",
        "A place in the model. “embed” is what enters the first block, “block 3” is the residual "
        "stream after block 3, and “final norm” is what the output layer reads. In most models "
        "the last entry of Hugging Face's hidden_states is the final norm and not the last block.",
        source=ELHAGE,
    ),
    Definition(
        "View",
        "Which tokens a number speaks of. “rest” leaves out the first token of every window, which "
        "sees no context, and special tokens. A view is chosen when the page is read: nothing is "
        "measured again.",
    ),
    Definition(
        "Mean, standard deviation",
        "Over all tokens and channels of a site at once.",
        "σ² = Σ (x − mean)² ÷ (tokens × channels − 1)",
        CHAN,
    ),
    Definition(
        "Skewness, excess kurtosis",
        "How lopsided a distribution is, and how heavy its tails are. A normal has 0 of both; a "
        "few very large values are enough for a kurtosis of thousands.",
        "m₃ ÷ m₂^1.5 and m₄ ÷ m₂² − 3, with mₖ the mean of (x − mean)ᵏ",
    ),
    Definition(
        "Quantile",
        "The value below which a given share of the activations lies. Values are counted in the "
        "65,536 cells of the float format, so a quantile is right to one cell (0.8 %).",
    ),
    Definition(
        "Norm",
        "The length of a hidden state, or its largest magnitude.",
        "L2 = √(Σ x²), L∞ = max |x|, both over the channels of one token",
    ),
    Definition(
        "Fitted normal, logistic",
        "The normal and the logistic distribution that make the counted values most likely. "
        "Pooling channels of unlike width makes heavy tails by itself.",
        "the location and scale with the largest Σ n(cell) · ln P(cell)",
    ),
    Definition(
        "Covariance, pooled R²",
        "The article's comparison of two sites: their states are flattened over tokens and "
        "channels and correlated. A few loud channels can decide it.",
        "R² = corr(X, Y)²",
    ),
    Definition(
        "R² within channels",
        "The same after each channel's own mean was taken away.",
        "corr(X − mean of its channel, Y − mean of its channel)²",
    ),
    Definition(
        "Loudest channels",
        "Those that hold most of the pooled variance, averaged over the blocks.",
        "(m₂ + n (μ − m)²) ÷ the same summed over channels; μ: mean of the channel, m: of the site",
    ),
    Definition(
        "Massive activation",
        "A single value over 100 that is also over 1,000 times the median magnitude of its site.",
        "|x| > 100 and |x| > 1000 · median |x|",
        SUN,
    ),
    Definition(
        "Outlier channel",
        "A channel that is far out for at least 6 % of the tokens at a quarter of the blocks or "
        "more. Where a linear layer reads, far out is a magnitude of 6; on the residual stream, "
        "6 times the root mean square of the value's own hidden state.",
        "|x| ≥ 6, or |x| ≥ 6 · √(Σ x² ÷ channels)",
        DETTMERS,
    ),
    Definition(
        "Stands out",
        "A channel whose largest magnitude at a site is at least 2.5 times the median channel's.",
    ),
)
