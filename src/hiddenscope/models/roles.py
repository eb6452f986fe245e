"""What the additions of a block are called: the only thing that module names decide."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hiddenscope.models.trace import is_linear

if TYPE_CHECKING:
    from hiddenscope.models.additions import Addition
    from hiddenscope.models.trace import Trace

ROLES = {
    # The order decides where a path matches several.
    "cross": r"cross|encoder_attn|encdec",
    "attn": r"attn|attention",
    "mamba": r"mamba|ssm",
    # Convolutions, recurrences, Fourier transforms.
    "mix": r"lstm|conv(?!1d)|fourier|rwkv|retention|delta|recurrent",
    "mlp": r"mlp|ffn|ff\b|feed_?forward|moe|expert|intermediate|fc\d?\b|dense_4h|relu_?dense",
}
"""What an addition is called, by the path of the module that makes it."""
MIXERS = ("attn", "mamba", "mix")
"""Those that mix the tokens of a text; a block has one of them at most."""
INNER = {role: f"{role}_mix" for role in ("attn", "cross", "mamba")} | {
    role: f"{role}_act" for role in ("mix", "mlp")
}
"""What the last linear layer of an addition reads."""


def roles_of(trace: Trace, path: list[Addition], *, parallel: bool) -> list[str] | None:
    """Name the additions, by the module that makes one or by the linear layers called for it."""
    roles: list[str] = []
    begin = -1
    for source in sorted((a.source for a in path), key=lambda s: s.began):
        linear = {
            role_of(trace.short(s.path))
            for s in trace.seen
            if begin < s.time <= source.time and is_linear(s.module)
        } - {None}
        own = role_of(trace.short(source.path))
        own = own or role_of(type(source.module).__name__, last=True)
        named = linear.pop() if len(linear) == 1 else own
        if named is None or named in roles or len({named, *roles}.intersection(MIXERS)) > 1:
            return None
        roles.append(named)
        begin = source.time
    in_order = [role for role in (*MIXERS, "cross", "mlp") if role in roles]
    return roles if parallel or roles == in_order else None


def role_of(name: str, *, last: bool = False) -> str | None:
    """Return the role that a name indicates.

    If it indicates several, the first one counts in a path, where ``mlp.conv`` is part of an MLP,
    and the last one in the name of a class, where RwkvFeedForward is an MLP.
    """
    found = {
        match.start() + (match.end() if last else 0): role
        for role, names in reversed(ROLES.items())
        for match in re.finditer(names, name, re.IGNORECASE)
    }
    return found[(max if last else min)(found)] if found else None
