"""Tokenizers that the user names beside a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hiddenscope import arguments
from hiddenscope.errors import ModelError
from hiddenscope.models import checkpoint, hub
from hiddenscope.models.calling import vocabulary
from hiddenscope.models.guard import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hiddenscope.models.loaded import LoadedModel


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load a tokenizer by itself.

    Parameters
    ----------
    name : str
        A folder with a tokenizer's files, one ``tokenizer.json``, or the name of a model on the
        hub.
    trust_remote_code : bool
        Run code that comes with it.

    Raises
    ------
    ModelError
        There is none, or it has no vocabulary.
    """
    arguments.check({"name": arguments.TEXT}, {"name": name})
    advice = "name a folder with tokenizer.json, that file, or a model on the Hugging Face hub"
    path = Path(name)
    try:
        is_file, is_folder = path.is_file(), bool(name) and path.is_dir()
    except (OSError, ValueError):  # too long for a path
        is_file = is_folder = False
    if is_folder and not checkpoint.has_tokenizer(path):
        msg = f"{name!r} holds no tokenizer files (such as tokenizer.json): {advice}"
        raise ModelError(msg)
    if not (is_file or is_folder) and (path.is_absolute() or name[:1] in {".", "~", ""}):
        msg = f"there is no tokenizer {name!r}: {advice}"
        raise ModelError(msg)
    source = name
    if (
        is_file
        and path.name == "tokenizer.json"
        and (path.parent / "tokenizer_config.json").is_file()
    ):
        # What its special tokens are for stands in the file beside it.
        source, is_file, is_folder = str(path.parent), False, True
    try:
        with quiet():
            tokenizer: PreTrainedTokenizerBase
            if is_file:
                tokenizer = PreTrainedTokenizerFast(tokenizer_file=source)
            else:
                where: dict[str, Any] = {}
                if not is_folder:
                    commit, reachable = hub.locate(source, None)
                    where = {"revision": commit, "local_files_only": not reachable}
                tokenizer = AutoTokenizer.from_pretrained(
                    source, trust_remote_code=trust_remote_code, **where
                )
    except Exception as error:  # whatever broken files make transformers raise
        said = " ".join(str(error).split()) or type(error).__name__
        msg = f"cannot load the tokenizer {name!r}: {said[:300]}; {advice}"
        raise ModelError(msg) from error
    checkpoint.check_tokenizer(name, tokenizer)
    return tokenizer


def check_fits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer with words that the model does not know.

    Tokens that were added to it later may be unknown: many are never in a text, such as one for
    padding. They are refused where a text has them.

    Raises
    ------
    ModelError
        They do not belong together.
    """
    known, words = vocabulary(model), tokenizer.vocab_size
    if words > known:
        msg = (
            f"the tokenizer has {words:,} tokens, but the model knows {known:,}: they do not "
            "belong together, use the tokenizer that the model was trained with"
        )
        raise ModelError(msg)


def with_tokenizer(loaded: LoadedModel, tokenizer: PreTrainedTokenizerBase | None) -> LoadedModel:
    """Put another tokenizer in place of a model's own, if one is given."""
    if tokenizer is None:
        return loaded
    # What the loader says of the model's own tokenizer does not hold for another.
    kept = {k: v for k, v in loaded.identity.items() if not k.startswith("tokenizer_")}
    return replace(loaded, tokenizer=tokenizer, identity=kept)
