"""``hiddenscope profile``: measure a model on a text, write the profile and its figures."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hiddenscope.cli import runs, terminal
from hiddenscope.cli.plot import draw_all
from hiddenscope.progress import Meter

if TYPE_CHECKING:
    from rich.console import Console

    from hiddenscope.profiles import Profile


def command(
    model: Annotated[
        str,
        typer.Argument(help="'demo', a local folder, a .gguf file, or a name on the hub."),
    ] = "demo",
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            help="sample:NAME, text files, folders, .jsonl and .ndjson, or - for standard input.",
            show_default="sample:mixed",
        ),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("-t", "--text", help="A literal text; may be repeated.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="What to call model and run, in titles and for the folder.",
            show_default="the model's",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="A folder with a tokenizer, a tokenizer.json, or a name on the hub.",
            show_default="the model's own",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder to write.", show_default="a new one"),
    ] = None,
    sites: Annotated[
        str,
        typer.Option(
            help="trunk, hf, linear (what linear layers read), all, or sites and patterns, with "
            "commas between: block.*.attn_out. `hiddenscope sites MODEL` lists them."
        ),
    ] = "trunk",
    view: Annotated[
        str, typer.Option(help="Tokens that figures show: rest, all, first, first+special, …")
    ] = "rest",
    window: Annotated[
        int | None,
        typer.Option(help="Tokens of a window.", show_default="the model's context, ≤ 2048"),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Stop after this many tokens, those at the beginning.")
    ] = None,
    sample_tokens: Annotated[
        int | None,
        typer.Option(help="Measure this many tokens drawn from all over the text instead."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of --sample-tokens.", show_default="0")
    ] = None,
    batch_tokens: Annotated[int, typer.Option(help="Tokens of a batch.")] = 4096,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16.", show_default="as the model says"),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where to run: cpu, cuda, cuda:1, mps or auto.")
    ] = "cpu",
    device_map: Annotated[
        str | None,
        typer.Option(help="auto: spread a large model over devices; needs accelerate."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a model on the hub.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
    column: Annotated[
        str | None,
        typer.Option(help="The key of a JSONL row.", show_default="text, or messages of chats"),
    ] = None,
    split: Annotated[
        str, typer.Option(help="A document is a whole text, or its lines or paragraphs.")
    ] = "document",
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="Sources are JSONL of conversations; tokens are told apart by who wrote them.",
        ),
    ] = False,
    bos: Annotated[
        str,
        typer.Option(help="BOS at the start of windows: auto (as the tokenizer does), add, never."),
    ] = "auto",
    pack: Annotated[
        bool, typer.Option("--pack", help="Join documents and cut them into full windows.")
    ] = False,
    sample_mib: Annotated[float, typer.Option(help="Budget of the sample in MiB.")] = 8.0,
    outlier: Annotated[
        float, typer.Option(help="Magnitude of an outlier where a linear layer reads.")
    ] = 6.0,
    outlier_rms: Annotated[
        float,
        typer.Option(help="The same on the residual stream, in root mean squares of the state."),
    ] = 6.0,
    massive: Annotated[float, typer.Option(help="Least magnitude that is massive.")] = 100.0,
    massive_ratio: Annotated[
        float, typer.Option(help="The same in medians of the site's magnitudes.")
    ] = 1000.0,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw figures and the report.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an earlier result.")] = False,
) -> None:
    """Measure how a model's hidden states are distributed on a text.

    Writes a folder with profile.nc, report.html and figures. Without arguments: the embedded
    demo model on the embedded sample texts, with no network.

    Ctrl-C ends the measurement after the windows that it is at: what was measured so far is
    written, marked as partial, and the exit code is 130. Ctrl-C again stops at once.
    """
    from hiddenscope.errors import HiddenscopeWarning
    from hiddenscope.strata import CHAT, PLAIN

    (CHAT if chat else PLAIN).select(view)
    console = terminal.console()
    meter = Meter(lines=True)
    label = runs.label_of(model) if name is None else name
    with runs.folder_for(output, label, force=force) as folder:
        from hiddenscope import analysis
        from hiddenscope.measuring import profile
        from hiddenscope.models import load_tokenizer
        from hiddenscope.sites import check_patterns

        check_patterns(sites)
        with warnings.catch_warnings(), meter:
            # The table of checks shows them, with more room.
            warnings.simplefilter("ignore", HiddenscopeWarning)
            meter.show(f"loading {model}")
            made = profile(
                model,
                sources or (),
                text=text or (),
                tokenizer=(
                    None
                    if tokenizer is None
                    else load_tokenizer(tokenizer, trust_remote_code=trust_remote_code)
                ),
                name=name,
                sites=sites,
                window=window,
                max_tokens=max_tokens,
                sample_tokens=sample_tokens,
                seed=seed,
                batch_tokens=batch_tokens,
                dtype=dtype,
                device=device,
                device_map=device_map,
                revision=revision,
                trust_remote_code=trust_remote_code,
                column=column,
                split=split,
                chat=chat,
                bos=bos,
                pack=pack,
                sample_mib=sample_mib,
                outlier=outlier,
                outlier_rms=outlier_rms,
                massive=massive,
                massive_ratio=massive_ratio,
                progress=meter,
            )
        measured = (
            f"measured {meter.tokens:,} tokens in {meter.seconds:.1f} s, {meter.rate:,.0f} tokens/s"
        )
        written = [made.save(folder / runs.PROFILE)]
    partial = analysis.partial_words(made.manifest["corpus"])
    kept = f"interrupted: {written[0]} is written"
    if partial:
        kept = f"interrupted: {written[0]} holds what was measured ({partial})"
    # All that there is to write is written before the first word of it is printed.
    try:
        refused: list[str] = []
        runs.remove_figures(folder)
        if figures:
            with meter:
                drawn, refused = draw_all(
                    made.dataset, folder / "figures", {"view": view}, meter.show
                )
                meter.show("writing the report")
                written.append(made.report(folder / runs.REPORT))
            written += drawn
        _print(made, view, measured, console)
    except KeyboardInterrupt:
        kept += ", its figures and report are not complete"
        raise runs.Interrupted(kept) from None
    for reason in refused:
        console.print(reason, style="yellow", markup=False)
    console.print()
    for path in written:
        console.print(str(path), soft_wrap=True, markup=False)
    if partial:
        raise runs.Interrupted(kept)


def _print(made: Profile, view: str, measured: str, console: Console) -> None:
    from hiddenscope.cli.show import print_profile

    console.print(measured)
    print_profile(made, view, console)
