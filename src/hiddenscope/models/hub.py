"""What the hub, or its cache on this machine, has of a model."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from transformers import PreTrainedConfig, dynamic_module_utils
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from hiddenscope.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator


def locate(name: str, revision: str | None) -> tuple[str | None, bool]:
    """Ask the hub once: transformers would go on asking for minutes where there is no network.

    Parameters
    ----------
    name : str
    revision : str or None
        A branch, tag or commit; None for the default branch.

    Returns
    -------
    commit : str or None
        What `revision` stands for now, so that all files come from one commit.
    reachable : bool
        Whether the hub answered; if not, the cache holds the model.

    Raises
    ------
    ModelError
        There is no such revision, or the hub is out of reach and nothing is cached.
    """
    cached = None
    try:
        cached = try_to_load_from_cache(name, "config.json", revision=revision)
        metadata = get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision))
    except RevisionNotFoundError as error:
        msg = (
            f"the repository {name!r} has no revision {revision!r}: expected one of its branches, "
            "tags or commits"
        )
        raise ModelError(msg) from error
    except HfHubHTTPError:
        # The hub answered; what is wrong with the name is said best by transformers.
        return revision, True
    except Exception as error:
        if isinstance(cached, str):
            return Path(cached).parent.name, False
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        what = f"{name!r}{at(revision)}"
        raise not_loaded(what, reason) from error
    return metadata.commit_hash or revision, True


def snapshot(name: str, revision: str | None) -> Path | None:
    """Return the folder of the cache that holds a hub model's files, if there is one."""
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(cached).parent if isinstance(cached, str) else None


def owners_of_code(source: str, where: dict[str, Any]) -> list[str]:
    """Return the repositories whose code a model brings along, without running any.

    Parameters
    ----------
    source : str
        A folder or a name on the hub.
    where : dict
        Options that say which revision and whether to ask the hub.

    Returns
    -------
    list of str
        Empty where transformers itself has all the code.
    """
    config, _ = PreTrainedConfig.get_config_dict(source, **where)
    maps = (config.get("auto_map"), get_tokenizer_config(source, **where).get("auto_map"))
    # "owner/name--module.Class" where the code stands in a repository of its own.
    names = (ref.split("--")[0] if "--" in ref else source for m in maps for ref in _references(m))
    return sorted(set(names))


@contextmanager
def never_prompt() -> Iterator[None]:
    """Let transformers refuse a model's own code where it would ask on standard input.

    ``trust_remote_code=False`` is not passed on to the parts of a composite model: transformers
    would ask a question for them, and a corpus on standard input would answer it.
    """
    seconds = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = seconds


def at(revision: str | None) -> str:
    """Return how a revision reads behind a model's name."""
    return f" at revision {revision!r}" if revision else ""


def not_loaded(what: str, reason: str) -> ModelError:
    """Return the error for a model that is not to be had."""
    return ModelError(
        f"cannot load the model {what}: {reason} (expected 'demo', a local folder, a "
        "GGUF file, or a name on the Hugging Face hub that can be reached or is cached)"
    )


def _references(found: Any) -> Iterator[str]:
    """Go through an auto_map: strings, in lists and dictionaries, with gaps."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict | list):
        for part in found.values() if isinstance(found, dict) else found:
            yield from _references(part)
