"""What linear layers read: the selection, the layers by site, and SmoothQuant's scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import families
import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

import hiddenscope as hs
from hiddenscope import analysis
from hiddenscope.errors import InputError, OutputError, ProfileError
from hiddenscope.measuring import choose_sites
from hiddenscope.models import adopt, find_structure, load

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run
    from transformers import PreTrainedModel

    from hiddenscope.profiles import Profile

TEXTS = ["The river had risen in the night, and two ducks swam over the barley.", "Ducks. " * 30]


def headed(kind: str, **options: object) -> PreTrainedModel:
    """Make a tiny random language model with a head that goes with the demo's tokenizer."""
    base = tiny.make(kind, **options)
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(base.config).eval()


def hooked(model: PreTrainedModel, batches: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Run a model and return the largest magnitude of each layer's input, as SmoothQuant does."""
    scales: dict[str, torch.Tensor] = {}

    def keep(name: str, given: torch.Tensor) -> None:
        largest = given.detach().reshape(-1, given.shape[-1]).abs().amax(0).float().cpu()
        scales[name] = torch.max(scales.get(name, largest), largest)

    handles = [
        module.register_forward_pre_hook(lambda _, args, name=name: keep(name, args[0]))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    ]
    with torch.no_grad():
        for ids in batches:
            model(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return scales


def windows(window: int = 32) -> list[torch.Tensor]:
    """Return the windows of the texts, a batch each, as a profile with one row a batch has them."""
    tokenizer = load("demo").tokenizer
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    return [torch.tensor([x[i : i + window]]) for x in ids for i in range(0, len(x), window)]


def measured(model: object, sites: str = "linear") -> Profile:
    options = {} if isinstance(model, str) else {"tokenizer": load("demo").tokenizer}
    return hs.profile(model, text=TEXTS, sites=sites, window=32, batch_tokens=1, **options)


def check_scales(p: Profile, model: PreTrainedModel, path: Path) -> dict[str, torch.Tensor]:
    """Compare a profile's scales with those of a loop of hooks, bit for bit; return them."""
    assert p.export_smoothquant(path) == path
    scales = torch.load(path, weights_only=True)
    direct = hooked(model, windows())
    assert scales.keys() == direct.keys() - p.manifest["linear"]["missing"].keys()
    for name, largest in scales.items():
        assert largest.dtype == torch.float32
        assert largest.shape == direct[name].shape
        assert torch.equal(largest, direct[name]), name
    return scales


def test_scales_of_the_demo_are_those_of_a_loop_of_hooks(tmp_path: Path) -> None:
    p = measured("demo")
    model = AutoModelForCausalLM.from_pretrained(tiny.DEMO).eval()
    scales = check_scales(p, model, tmp_path / "act_scales.pt")
    linear = p.manifest["linear"]
    assert len(scales) == 4 * 12 + 1
    assert len(linear["conv1d"]) == 4 * 12
    assert scales["transformer.h.3.mlp.c_proj"].shape == (512,)
    assert linear["read"]["residual"]["final_norm"] == ["lm_head"]
    assert linear["missing"] == {}
    assert linear["head"].startswith("lm_head is not run by a measurement; called once, ")
    assert "given a tensor that is bitwise the model's output" in linear["head"]


@pytest.mark.parametrize("tied", [False, True])
def test_scales_of_a_llama_are_those_of_a_loop_of_hooks(tied: bool, tmp_path: Path) -> None:
    model = headed("llama", tie_word_embeddings=tied)
    p = measured(model)
    scales = check_scales(p, model, tmp_path / "act_scales.pt")
    assert len(scales) == 7 * 3 + 1
    attention = [scales[f"model.layers.0.self_attn.{name}_proj"] for name in "qkv"]
    assert torch.equal(attention[0], attention[1])
    assert torch.equal(attention[0], attention[2])
    assert p.manifest["linear"]["conv1d"] == []


def test_the_same_model_by_name_has_the_names_that_it_was_saved_with(tmp_path: Path) -> None:
    model = headed("llama")
    p = measured(str(tiny.save(model, tmp_path / "model")))
    assert len(check_scales(p, model, tmp_path / "act_scales.pt")) == 22


def test_a_base_model_has_its_own_names_and_no_head(tmp_path: Path) -> None:
    model = tiny.make("llama")
    p = measured(model)
    assert "final_norm" not in p.sites
    scales = check_scales(p, model, tmp_path / "act_scales.pt")
    assert "layers.0.self_attn.q_proj" in scales
    assert len(scales) == 21


@pytest.mark.parametrize("kind", ["gpt_neox", "phi"])
def test_attention_and_mlp_side_by_side(kind: str, tmp_path: Path) -> None:
    model = headed(kind)
    check_scales(measured(model), model, tmp_path / "act_scales.pt")


def test_a_layer_that_is_shared_has_the_largest_of_all_its_calls(tmp_path: Path) -> None:
    model = tiny.make("albert")
    scales = check_scales(measured(model), model, tmp_path / "act_scales.pt")
    assert len(scales) == 6


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_a_decoders_attention_reads_what_the_encoder_returned(kind: str, tmp_path: Path) -> None:
    model = tiny.make(kind, decoder_start_token_id=0)
    if kind == "t5":
        # As BART does by itself.
        plain, shift = model.forward, model._shift_right
        model.forward = lambda input_ids, **rest: plain(
            input_ids=input_ids, **{"decoder_input_ids": shift(input_ids)} | rest
        )
    p = measured(model)
    scales = check_scales(p, model, tmp_path / "act_scales.pt")
    linear = p.manifest["linear"]
    assert linear["missing"] == {}
    read = linear["read"]["encoder"][p.on("encoder").sites[-1]]
    assert len(read) == 2 * 3
    assert len({scales[name].numpy().tobytes() for name in read}) == 1


def test_fused_experts_and_their_router_are_missing(tmp_path: Path) -> None:
    model = headed("mixtral")
    p = measured(model)
    check_scales(p, model, tmp_path / "act_scales.pt")
    missing = p.manifest["linear"]["missing"]
    assert missing["model.layers.1.mlp.experts"] == "MixtralExperts is no torch.nn.Linear"
    assert missing["model.layers.1.mlp.gate"] == "MixtralTopKRouter is no torch.nn.Linear"
    assert len(missing) == 6
    words = analysis.activation_scales(p.dataset).words()
    assert "missing, MixtralExperts is no torch.nn.Linear (3): model.layers.*.mlp.experts" in words


class Experts(torch.nn.Module):
    """Experts in a list, each of which reads the tokens that it is sent."""

    def __init__(self, few: bool) -> None:
        super().__init__()
        self.few = few
        self.experts = torch.nn.ModuleList(torch.nn.Linear(32, 32) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.experts[0](x)
        return first + (self.experts[1](x[:, :1]) if self.few else self.experts[1](x))


@pytest.mark.parametrize("few", [False, True])
def test_experts_in_a_list_count_only_if_all_of_them_read_every_token(few: bool) -> None:
    torch.manual_seed(0)
    model = families.make("llama")
    for layer in model.layers:
        layer.mlp = Experts(few)
    linear = find_structure(model).linear
    names = [f"layers.0.mlp.experts.{i}" for i in range(2)]
    if few:
        assert {linear.missing[name] for name in names} == {"what it reads is no site"}
    else:
        assert linear.read["residual"]["block.0.mlp_norm"] == names


class Doubled(torch.nn.Module):
    """Two layers, the second of which reads what no module has passed on."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = torch.nn.Linear(32, 32), torch.nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.one(x) + self.other(2 * x)


def test_a_layer_that_reads_anything_but_a_sites_state_is_missing() -> None:
    torch.manual_seed(0)
    model = families.make("llama")
    model.layers[1].mlp = Doubled()
    linear = find_structure(model).linear
    assert linear.read["residual"]["block.1.mlp_norm"] == ["layers.1.mlp.one"]
    assert linear.missing == {"layers.1.mlp.other": "what it reads is no site"}


def test_a_head_that_reads_something_else_is_missing() -> None:
    model = headed("llama")
    plain = model.forward
    head = model.lm_head

    def scaled(*args: object, **kwargs: object) -> object:
        return head(2 * model.model(*args, **kwargs).last_hidden_state)

    model.forward = scaled
    loaded = adopt(model, None)
    linear = find_structure(loaded.model, loaded.outer).linear
    assert linear.missing == {"lm_head": "what it reads is not bitwise the model's output"}
    assert "final_norm" not in linear.read["residual"]
    assert "given no tensor that is bitwise" in linear.head
    model.forward = plain
    assert "forward" not in vars(model.model)
    assert not head._forward_pre_hooks


def test_linear_selects_what_linear_layers_read() -> None:
    loaded = load("demo")
    chosen = choose_sites("linear", find_structure(loaded.model, loaded.outer))
    points = ("attn_norm", "attn_mix", "mlp_norm", "mlp_act")
    blocks = [f"block.{i}.{point}" for i in range(12) for point in points]
    assert chosen == {"residual": [*blocks, "final_norm"]}
    assert choose_sites("linear", find_structure(loaded.model))["residual"] == blocks
    cross = choose_sites("linear", find_structure(families.make("bart")))["decoder"]
    assert cross[2:4] == ["block.0.cross_norm", "block.0.cross_mix"]


def test_a_profile_selects_what_linear_layers_read(tmp_path: Path) -> None:
    p = hs.open(measured("demo", "all").save(tmp_path / "p.nc"))
    found = list(p.histogram(sites="linear")["site"].values)
    assert found[:3] == ["block.0.attn_norm", "block.0.mlp_norm", "block.1.attn_norm"]
    assert found[-1] == "final_norm"
    assert len(found) == 25


def test_what_attention_mixes_is_a_stream_of_its_own() -> None:
    p = measured("demo")
    assert p.streams == ["residual", "attn_mix", "mlp_act"]
    assert p.on("attn_mix").sites == [f"block.{i}.attn_mix" for i in range(12)]
    with pytest.raises(InputError, match="no site of the trunk"):
        p.on("attn_mix").r2()


@pytest.mark.filterwarnings("ignore:resolution")
def test_a_profile_without_what_layers_read_says_how_to_measure_it(
    run: Run, tmp_path: Path
) -> None:
    p = hs.profile("demo", "sample:article", max_tokens=40)
    path = p.save(tmp_path / "p.nc")
    code, _, err = run("export", "smoothquant", path)
    assert code == 2
    assert "lacks sites that linear layers read (block.0.attn_norm, block.0.attn_mix, " in err
    assert "hiddenscope profile demo sample:article --sites trunk,linear`" in err
    assert not (tmp_path / "act_scales.pt").exists()
    states = hs.from_states({"embed": np.ones((1, 4, 3), np.float32)})
    with pytest.raises(ProfileError, match="does not say which linear layers read its sites"):
        states.export_smoothquant(tmp_path / "x.pt")


def test_the_command_says_what_it_wrote_and_what_is_special(run: Run, tmp_path: Path) -> None:
    path = measured("demo").save(tmp_path / "p.nc")
    code, out, _ = run("export", "smoothquant", path, "-o", "out/scales.pt")
    assert code == 0
    assert "49 linear layers, each channel's largest magnitude\n" in out
    assert "48 of them are Conv1D, which SmoothQuant's own loop leaves out: transformer.h.*" in out
    assert out.endswith("out/scales.pt\n")
    assert len(torch.load(tmp_path / "out" / "scales.pt", weights_only=True)) == 49
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["scales.pt"]
    with pytest.raises(OutputError, match="cannot write the activation scales"):
        hs.open(path).export_smoothquant(path / "scales.pt")
    for wrong in (None, 5, [], "scales", tmp_path / "scales.safetensors"):
        with pytest.raises(InputError, match=r"a name that ends in \.pt, \.pth, \.bin: got "):
            hs.open(path).export_smoothquant(wrong)
    code, _, error = run("export", "smoothquant", path, "-o", "scales.npz")
    assert code == 2
    assert "ends in .pt" in error
    assert not [f for f in tmp_path.iterdir() if f.name.startswith("scales")]


def test_values_that_are_not_finite_are_left_out_and_said(tmp_path: Path) -> None:
    model = headed("llama")
    bad = int(windows()[0][0, 3])
    with torch.no_grad():
        model.model.embed_tokens.weight[bad, 0] = torch.nan
    with pytest.warns(hs.HiddenscopeWarning, match="NaN"):
        p = measured(model)
    found = analysis.activation_scales(p.dataset)
    assert all(np.isfinite(values).all() for values in found.scales.values())
    assert found.nonfinite["block.0.attn_norm"] >= 32
    assert (
        "values that are NaN or infinite are left out, at block.0.attn_norm, " in found.words()[-1]
    )


def test_sites_says_which_layers_read_each(run: Run) -> None:
    code, out, _ = run("sites", "demo", "--format", "csv")
    assert code == 0
    assert "residual,final_norm,12,128,ln_f (output),lm_head\n" in out
    assert "h.0.attn.c_attn (input),transformer.h.0.attn.c_attn\n" in out
    _, out, _ = run("sites", "demo", "--sites", "final_norm")
    assert "lm_head is not run by a measurement" in out


def planted(**points: float) -> Profile:
    """Return a profile in which channel 3 of each point has a constant."""
    rng = np.random.default_rng(0)
    states = {}
    for point, value in points.items():
        x = rng.normal(size=(1, 50, 48)).astype(np.float32)
        x[..., 3] = value + 0.01 * x[..., 3]
        states[f"block.0.{point}"] = x
    return hs.from_states(states, causal=False)


def test_outlier_channels_are_judged_at_each_point_separately() -> None:
    p = planted(attn_norm=8, mlp_norm=5)
    table = p.outliers().channels
    assert table[["point", "rule", "sites"]].to_numpy().tolist() == [["attn_norm", "over", 1]]
    words = analysis.channel_words(p.outliers())
    assert words == "1 outlier channel: 3 at attn_norm (|a| ≥ 6 for 6% of tokens at 25% of blocks)"
    none = analysis.channel_words(planted(mlp_norm=5).outliers())
    assert none == "no outlier channels (|a| ≥ 6 for 6% of tokens at 25% of blocks)"


def test_what_the_last_layer_of_an_mlp_reads_is_counted_but_not_by_the_papers_rule() -> None:
    p = planted(mlp_act=8)
    assert p.outliers().channels.index.tolist() == [3]
    often = "(|a| ≥ 6 for 6% of tokens at 25% of blocks)"
    beside = "as far out where the paper's rule does not apply"
    assert analysis.channel_words(p.outliers()) == f"1 channel {beside}: 3 at mlp_act {often}"
    none = analysis.channel_words(planted(mlp_act=5).outliers())
    assert none == f"no channels {beside} {often}"
    assert p.table("outliers")["kind"].tolist() == ["far out"]
    assert "hiddenscope/outlier_channels" not in p.metrics()
    verdict = p.claims().loc["outlier_channels"]
    assert verdict["verdict"] == "cannot be told"
    assert "does not speak of what is read at mlp_act" in verdict["finding"]
    both = planted(attn_norm=8, mamba_norm=8)
    assert analysis.channel_words(both.outliers()) == (
        f"1 outlier channel: 3 at attn_norm {often}; 1 channel {beside}: 3 at mamba_norm {often}"
    )
    assert both.metrics()["hiddenscope/outlier_channels"] == 1
