#!/usr/bin/env python3
"""Writes the fixtures of AdapterHub's folders: adapters and heads as `adapters` saves them, and what it computes with them.

    python reference/adapterhub.py [--out DIR] [--case NAME]...

Each case is a tiny random base, a folder `adapter/` that `save_adapter` of the real library wrote, and the answers that the
library gives after it has loaded that folder again, computed in float64 and stored rounded to float32. Two cases are
rewritten by `as_version_1` to the form of 2020, which the library still reads and no longer writes. Each case is checked
before its expected values are written. The files and the measured float32 error are described in `reference/README.md`.
"""

import argparse
import copy
import hashlib
import json
import logging
import math
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import adapters
import torch
import transformers
from adapters import AutoAdapterModel, DoubleSeqBnConfig, SeqBnConfig
from adapters.methods.modeling import Activation_Function_Class
from safetensors.torch import save_file
from torch.nn import functional
from transformers import AutoModel
from transformers.activations import ACT2FN

from parity import one_line_a_key, random_base, random_sequences
from parity_family import FAMILIES

OUT = Path(__file__).resolve().parent.parent / "crates/grafter/tests/fixtures/adapterhub"
NAME = "task"
# Large, so that no tensor is near one that does nothing; `check_every_tensor_matters` holds it to that.
STD = 0.4
# What a tensor must change in the answers when it is set to zero.
MATTERS = 1e-3
# What the other form of GELU must change: the two differ by 4.8e-4 at most, float32 rounds to 1e-6.
GELU_MATTERS = 5e-5

METHODS = {"houlsby": DoubleSeqBnConfig, "pfeiffer": SeqBnConfig}
# `transformers`' names of the functions -> ours.
ACTIVATIONS = {"relu": "relu", "swish": "silu", "gelu": "gelu", "gelu_new": "gelu-tanh"}

SIZES = dict(
    vocab_size=60, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
    max_position_embeddings=20, type_vocab_size=2,
)  # fmt: skip


@dataclass
class Case:
    name: str
    seed: int
    method: str
    # Settings of the adapter beside the method's own; `reduction_factor` is always one.
    adapter: dict
    # Arguments of `add_classification_head`, or `add_tagging_head`, beside its own; without a head if none.
    head: dict | None = field(default_factory=dict)
    # By id. Not in alphabetical order, which is the order in the file.
    labels: list = field(default_factory=lambda: ["positive", "negative", "mixed"])
    family: str = "bert"
    config: dict = field(default_factory=lambda: SIZES)
    lengths: list = field(default_factory=lambda: [7, 1, 12, 4])
    # A tag for each token; the answers are those of all tokens.
    tagging: bool = False
    # Saved from the bare encoder: no prefix, no head.
    bare: bool = False
    safetensors: bool = True
    # What a file of version 1 says in place of what its adapter was made with.
    version_1: dict | None = None


DISTILBERT = {name: value for name, value in SIZES.items() if name != "type_vocab_size"}
ROBERTA = SIZES | {"type_vocab_size": 1, "layer_norm_eps": 1e-5}

CASES = [
    Case("bert_houlsby", 101, "houlsby", {"reduction_factor": 4}),
    # 20 // 6 = 3.
    Case(
        "bert_houlsby_pooler", 202, "houlsby", {"reduction_factor": 6, "non_linearity": "relu"},
        head={"layers": 1, "activation_function": None, "use_pooler": True}, labels=["yes", "no"],
        config=SIZES | {"hidden_size": 20},
    ),  # fmt: skip
    Case("bert_pfeiffer", 303, "pfeiffer", {"reduction_factor": 3}, config=SIZES | {"num_hidden_layers": 3}),
    # int(20 // 2.5) = 8, int(20 // 8) = 2.
    Case(
        "bert_pfeiffer_map", 404, "pfeiffer", {"reduction_factor": {"1": 2.5, "default": 8}, "leave_out": [0]},
        labels=["b", "a"], safetensors=False, config=SIZES | {"hidden_size": 20, "num_hidden_layers": 3},
    ),  # fmt: skip
    Case(
        "bert_regression", 505, "houlsby", {"reduction_factor": 8}, labels=["LABEL_0"], safetensors=False,
    ),  # fmt: skip
    # 16 // 24 = 0: one unit is the least.
    Case(
        "bert_bare", 606, "houlsby", {"reduction_factor": 24, "non_linearity": "gelu_new"}, head=None, labels=[], bare=True,
    ),  # fmt: skip
    Case(
        "roberta_houlsby", 707, "houlsby", {"reduction_factor": 4}, labels=["d", "c", "b", "a"], family="roberta",
        config=ROBERTA,
    ),  # fmt: skip
    # A linear head on the first token.
    Case(
        "xlm_roberta_pfeiffer", 808, "pfeiffer", {"reduction_factor": 2, "non_linearity": "gelu"},
        head={"layers": 1, "activation_function": None}, family="xlm-roberta", config=ROBERTA,
    ),  # fmt: skip
    Case(
        "distilbert_pfeiffer", 909, "pfeiffer", {"reduction_factor": 4}, head={"activation_function": "relu"},
        family="distilbert", config=DISTILBERT,
    ),  # fmt: skip
    Case(
        "electra_houlsby", 1010, "houlsby", {"reduction_factor": 4, "non_linearity": "gelu"},
        head={"activation_function": "gelu"}, family="electra", config=SIZES | {"embedding_size": 16},
    ),  # fmt: skip
    Case(
        "bert_tagging", 1313, "houlsby", {"reduction_factor": 4}, head={}, labels=["O", "B-b", "I-b", "B-a", "I-a"],
        tagging=True,
    ),  # fmt: skip
    Case(
        "roberta_tagging_dense", 1414, "pfeiffer", {"reduction_factor": 4}, head={"layers": 2}, labels=["x", "z", "y"],
        tagging=True, family="roberta", config=ROBERTA,
    ),  # fmt: skip
    # Without a version "gelu" is the tanh form ...
    Case(
        "bert_version_1", 1111, "houlsby", {"reduction_factor": 4, "non_linearity": "gelu_new"}, safetensors=False,
        version_1={"non_linearity": "gelu", "invertible_adapter": None},
    ),  # fmt: skip
    # ... and "gelu_orig" the erf form. Version 1 listed an invertible adapter with every task adapter, which had none.
    Case(
        "bert_version_1_inv", 1212, "pfeiffer", {"reduction_factor": 4, "non_linearity": "gelu"}, safetensors=False,
        version_1={
            "non_linearity": "gelu_orig",
            "invertible_adapter": {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2},
        },
    ),  # fmt: skip
]


def main():
    parser = argparse.ArgumentParser(description="Writes the fixtures of AdapterHub's folders.")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--case", action="append", choices=[c.name for c in CASES])
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    logging.getLogger("adapters").setLevel(logging.ERROR)
    for case in CASES:
        if not args.case or case.name in args.case:
            write_case(case, args.out / case.name)


def write_case(case: Case, directory: Path):
    """Makes, saves, loads and checks one case, and prints its row of figures."""
    generator = torch.Generator().manual_seed(case.seed)
    folder = directory / "adapter"
    folder.mkdir(parents=True, exist_ok=True)
    save_base(case, directory, generator)
    model = make_model(case, directory, generator)
    sequences = random_sequences(case, generator)
    made = answers(model, sequences)

    model.save_adapter(folder, NAME, use_safetensors=case.safetensors)
    if case.version_1 is not None:
        as_version_1(case, folder)
    loaded = load_model(case, directory)
    for name, tensor in answers(loaded, sequences).items():
        assert torch.equal(tensor, made[name]), f"{case.name}: {name} differs after saving and loading"

    double = copy.deepcopy(loaded).double()
    expected = answers(double, sequences)
    least = check_every_tensor_matters(case, double, sequences, expected)
    least_gelu = check_form_of_gelu_matters(case, double, sequences, expected)
    if case.head is not None:
        check_head(case, double, expected)
    report(case, made, expected, least, least_gelu)

    save_file(pack(sequences, expected), directory / "expected.safetensors")
    (directory / "case.json").write_text(one_line_a_key(describe(case, loaded, directory)), encoding="utf-8")


def save_base(case: Case, directory: Path, generator):
    """The bare encoder, as `save_pretrained` writes it."""
    family = FAMILIES[case.family]
    config, weights = random_base(case, generator)
    encoder = family.make(config)
    encoder.load_state_dict(weights, strict=True)
    encoder.save_pretrained(directory)


def read_base(case: Case, directory: Path):
    """The base, ready for adapters and, unless it is the bare encoder, for heads."""
    if case.bare:
        model = AutoModel.from_pretrained(directory, attn_implementation="eager")
        adapters.init(model)
    else:
        model = AutoAdapterModel.from_pretrained(directory, attn_implementation="eager")
    # Else the folder of this machine would be written into the files.
    model.config.name_or_path = f"tiny-random-{case.family}"
    return model.eval()


def make_model(case: Case, directory: Path, generator):
    """The base with an active adapter and head, every tensor of both random."""
    model = read_base(case, directory)
    model.add_adapter(NAME, config=METHODS[case.method](**case.adapter), set_active=True)
    if case.head is not None:
        add_head = model.add_tagging_head if case.tagging else model.add_classification_head
        add_head(NAME, num_labels=len(case.labels), id2label=dict(enumerate(case.labels)), **case.head)
    for _, parameter in sorted(added(model).items()):
        parameter.data.copy_(STD * torch.randn(parameter.shape, generator=generator))
    return model


def load_model(case: Case, directory: Path):
    """The base with what the folder holds, by the library's own reader, which must miss nothing and leave nothing over."""
    model = read_base(case, directory)
    info = {}
    loaded = model.load_adapter(
        str(directory / "adapter"), set_active=True, use_safetensors=case.safetensors, loading_info=info
    )  # fmt: skip
    assert loaded == NAME and not info["missing_keys"] and not info["unexpected_keys"], (case.name, loaded, info)
    assert case.bare or model.active_head == (NAME if case.head is not None else None)
    return model


def added(model) -> dict:
    """The parameters of the adapter and of the head by their names."""
    return {n: p for n, p in model.named_parameters() if f".adapters.{NAME}." in n or n.startswith(f"heads.{NAME}.")}


def answers(model, sequences) -> dict:
    """The last hidden states of all sequences `[tokens, hidden]`, and the logits `[rows, labels]` if there is a head.

    Each sequence is alone, without padding.
    """
    types = hasattr(model.config, "type_vocab_size")
    hidden, logits = [], []
    with torch.no_grad():
        for sequence in sequences:
            inputs = {"input_ids": torch.tensor([sequence["ids"]])}
            if types:
                inputs["token_type_ids"] = torch.tensor([sequence["type_ids"]])
            output = model(**inputs, output_hidden_states=True)
            hidden.append(output.hidden_states[-1][0])
            if "logits" in output:
                logits.append(output.logits[0])
    rows = [row if row.dim() == 2 else row.unsqueeze(0) for row in logits]
    return {"hidden": torch.cat(hidden)} | ({"logits": torch.cat(rows)} if rows else {})


def as_version_1(case: Case, folder: Path):
    """Rewrites a folder to the form of version 1 (2020): other names of the tensors, fewer settings, no version.

    Names and settings as `adapters` 1.3.0 reads them (`loading.py`: `legacy_weights_mapping`, `_fix_legacy_config`) and as
    `src/transformers/adapter_config.py` of adapter-hub/adapters had them then.
    """
    weights = torch.load(folder / "pytorch_adapter.bin", weights_only=True)
    renamed = {
        n.replace("attention.output.adapters", "attention.output.attention_text_task_adapters")
        .replace("output.adapters", "output.layer_text_task_adapters"): t
        for n, t in weights.items()
    }  # fmt: skip
    torch.save(renamed, folder / "pytorch_adapter.bin")
    keys = """adapter_residual_before_ln leave_out ln_after ln_before mh_adapter non_linearity original_ln_after
        original_ln_before output_adapter reduction_factor residual_before_ln""".split()

    def rewrite(name: str, keep, changes: dict, top: dict):
        described = json.loads((folder / name).read_text(encoding="utf-8"))
        described["config"] = {k: v for k, v in described["config"].items() if k in keep} | changes
        del described["version"]
        described |= {"model_class": "BertModelWithHeads"} | top
        (folder / name).write_text(json.dumps(described, indent=2, sort_keys=True), encoding="utf-8")

    rewrite("adapter_config.json", keys, case.version_1, {"type": "text_task"})
    rewrite("head_config.json", ["activation_function", "head_type", "label2id", "layers", "num_labels"], {}, {})


def check_every_tensor_matters(case: Case, model, sequences, expected: dict) -> float:
    """Each tensor of the adapter and the head, set to zero, moves the answers; returns the least movement."""
    what = "logits" if case.head is not None else "hidden"
    least = math.inf
    for name, parameter in added(model).items():
        was = parameter.data.clone()
        parameter.data.zero_()
        moved = (answers(model, sequences)[what] - expected[what]).abs().max().item()
        parameter.data.copy_(was)
        assert moved > MATTERS, f"{case.name}: {name} moves the {what} by {moved} only"
        least = min(least, moved)
    return least


def check_form_of_gelu_matters(case: Case, model, sequences, expected: dict) -> float:
    """The other form of GELU, erf for tanh and tanh for erf, moves the answers, in the adapters and in the head.

    Returns the least movement, or infinity without a GELU.
    """
    what = "logits" if case.head is not None else "hidden"
    others = {"GELUActivation": "gelu_new", "NewGELUActivation": "gelu"}
    least = math.inf
    for part in (f"adapters.{NAME}.", f"heads.{NAME}."):
        found = [
            m for n, m in model.named_modules()
            if part in n and isinstance(m, Activation_Function_Class) and type(m.f).__name__ in others
        ]  # fmt: skip
        if not found:
            continue
        was = [module.f for module in found]
        for module in found:
            module.f = ACT2FN[others[type(module.f).__name__]]
        moved = (answers(model, sequences)[what] - expected[what]).abs().max().item()
        for module, function in zip(found, was):
            module.f = function
        assert moved > GELU_MATTERS, f"{case.name}: the form of GELU of `{part}` moves the {what} by {moved} only"
        least = min(least, moved)
    return least


def check_head(case: Case, model, expected: dict):
    """The logits equal the head's formula written by hand, on the hidden states of the first tokens."""
    first = [0]
    for length in case.lengths[:-1]:
        first.append(first[-1] + length)
    state = expected["hidden"] if case.tagging else expected["hidden"][first]
    if case.head.get("use_pooler", False):
        pooler = model.base_model.pooler.dense
        state = torch.tanh(state @ pooler.weight.T + pooler.bias)
    by_name = {n.removeprefix(f"heads.{NAME}."): p for n, p in added(model).items() if n.startswith("heads.")}
    if case.head.get("layers", 1 if case.tagging else 2) == 2:
        function = getattr(functional, case.head.get("activation_function", "tanh"))
        state = function(state @ by_name["1.weight"].T + by_name["1.bias"])
    last = "4" if "4.weight" in by_name else "1"
    logits = state @ by_name[f"{last}.weight"].T + by_name[f"{last}.bias"]
    worst = (logits - expected["logits"]).abs().max().item()
    assert worst < 1e-12, f"{case.name}: the head does not compute its formula: off by {worst}"


def report(case: Case, single: dict, expected: dict, least: float, least_gelu: float):
    """Prints PyTorch float32 against float64: largest absolute, and relative to the largest entry of its tensor."""
    cells = []
    for name in ("hidden", "logits"):
        if name in expected:
            absolute = (single[name].double() - expected[name]).abs().max().item()
            cells.append(f"{absolute:.1e} / {absolute / expected[name].abs().max().item():.1e}")
        else:
            cells.append("")
    gelu = f"{least_gelu:.1e}" if math.isfinite(least_gelu) else ""
    print(f"| `{case.name}` | {' | '.join(cells)} | {least:.1e} | {gelu} |")


def pack(sequences, expected: dict) -> dict:
    """The tensors of `expected.safetensors`: sequence after sequence, numbers rounded to float32."""
    flat = lambda key: torch.tensor([value for sequence in sequences for value in sequence[key]])
    packed = {n: t.to(torch.float32).contiguous() for n, t in expected.items()}
    assert all(t.isfinite().all() for t in packed.values())
    lengths = torch.tensor([len(s["ids"]) for s in sequences])
    return packed | {"input_ids": flat("ids"), "token_type_ids": flat("type_ids"), "lengths": lengths}


def describe(case: Case, model, directory: Path) -> dict:
    """What the files mean, in our names; a test need not take it from what it tests."""
    down = {n: p.shape[0] for n, p in added(model).items() if n.endswith("adapter_down.0.weight")}
    layers = range(model.config.num_hidden_layers)
    used = model.adapters_config.get(NAME)["non_linearity"]
    head = None
    if case.head is not None:
        config = model.heads[NAME].config
        head = {k: config.get(k) for k in ("layers", "activation_function", "use_pooler")} | {"labels": case.labels}
        if case.tagging:
            head |= {"head_type": "tagging"}
    return {
        "family": case.family,
        "method": case.method,
        "activation": ACTIVATIONS[used],
        # By layer: the width of the adapters, 0 where there is none.
        "bottlenecks": [next((m for n, m in down.items() if f".layer.{i}." in n), 0) for i in layers],
        "head": head,
        "versions": {name: version(name) for name in ("torch", "transformers", "adapters")},
        "seed": case.seed,
        "base_sha256": hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest(),
    }


if __name__ == "__main__":
    main()
