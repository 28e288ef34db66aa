"""Holds `grafter export --onnx` against ONNX Runtime: what it computes with the file is what `grafter predict` answers.

    python reference/onnx_check.py --grafter target/release/grafter --work <DIR that is empty or absent> \\
        [--model <DIR of all-MiniLM-L6-v2> --data <DIR with train.tsv and dev.tsv>]

Tiny random encoders of every family are written, with adapters of every method, pooling, form of the head and kind of task
among them; with `--model` and `--data` a real model on real texts, too. Each is trained for some steps, exported twice (the
bytes must be the same), checked by `onnx.checker` with its shapes inferred, and run on texts padded together, the same with
other ids in the padding, and one at a time. Everything comes from the file: names of inputs, labels, thresholds, longest
length. Needs `requirements-onnx.txt`. The files of `--data` have a header, a column `sentence` or `text`, and a column `label`.
"""

import argparse
import csv
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from tokenizers import Tokenizer

# Of a probability, and of a score relative to the largest: both compute in float32, on sums in different orders.
TOLERANCE = 1e-5
# Between a row that is padded and the same alone.
PADDING_TOLERANCE = 1e-5
# What was trained must move a probability by this, or the comparison says nothing about it.
MATTERS = 1e-3
ROWS, STEPS, RATE, SEED = 50, 60, 1e-3, 7
# Of every random number of a tiny encoder: far more than such models begin with, so that each token is seen by all.
NOISE = 0.5
TINY = Path(__file__).resolve().parent.parent / "crates/grafter/tests/fixtures/tiny-bert"
WORDS = "good bad film story music actor scene food room price great awful boring lovely sad happy".split()

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 66}
SIZES_DISTIL = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64}
PADDED = {"pad_token_id": 1}
# Ids of its own vocabulary, which this one is smaller than. Texts of up to 48 tokens are far longer than four on each side.
SIZES_MODERN = SIZES | {"num_hidden_layers": 5, "global_attn_every_n_layers": 3, "local_attention": 8} | {
    f"{name}_token_id": token for name, token in (("pad", 0), ("bos", 2), ("cls", 2), ("eos", 3), ("sep", 3))
}  # fmt: skip
BIASED = {f"{name}_bias": True for name in ("attention", "mlp", "norm")}
# Distances up to four have a row each, and share rows from there on.
SIZES_DEBERTA = SIZES | {
    "type_vocab_size": 0, "relative_attention": True, "position_buckets": 8, "max_relative_positions": -1, "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False, "hidden_act": "gelu",
}  # fmt: skip
# Each distance up to a limit has a row, and the embeddings have positions and types, too.
PLAIN = {"type_vocab_size": 2, "position_buckets": -1, "max_relative_positions": 6, "norm_rel_ebd": "none", "position_biased_input": True}
FAMILIES = {
    "bert": (transformers.BertConfig, transformers.BertModel, SIZES),
    "bert-tanh": (transformers.BertConfig, transformers.BertModel, SIZES | {"hidden_act": "gelu_new"}),
    "roberta": (transformers.RobertaConfig, transformers.RobertaModel, SIZES | PADDED | {"type_vocab_size": 1}),
    "xlm-roberta": (transformers.XLMRobertaConfig, transformers.XLMRobertaModel, SIZES | PADDED | {"type_vocab_size": 1}),
    "distilbert": (transformers.DistilBertConfig, transformers.DistilBertModel, SIZES_DISTIL),
    "electra": (transformers.ElectraConfig, transformers.ElectraModel, SIZES | {"embedding_size": 24, "hidden_act": "relu"}),
    "modernbert": (transformers.ModernBertConfig, transformers.ModernBertModel, SIZES_MODERN),
    "modernbert-biased": (transformers.ModernBertConfig, transformers.ModernBertModel, SIZES_MODERN | BIASED | {"hidden_activation": "silu"}),
    "deberta": (transformers.DebertaV2Config, transformers.DebertaV2Model, SIZES_DEBERTA),
    "deberta-plain": (transformers.DebertaV2Config, transformers.DebertaV2Model, SIZES_DEBERTA | PLAIN),
    "deberta-c2p": (transformers.DebertaV2Config, transformers.DebertaV2Model, SIZES_DEBERTA | {"pos_att_type": ["c2p"]}),
    "deberta-p2c": (transformers.DebertaV2Config, transformers.DebertaV2Model, SIZES_DEBERTA | {"pos_att_type": ["p2c"]}),
    "mpnet": (transformers.MPNetConfig, transformers.MPNetModel, SIZES | PADDED | {"hidden_act": "silu"}),
}


@dataclass
class Case:
    """A family, how its adapter is trained, and what the task answers."""

    family: str
    flags: list
    kind: str = "classification"
    pair: bool = False
    more: list = field(default_factory=list)


CASES = [
    Case("bert", ["--method=houlsby", "--pooling=cls"]),
    Case("bert", ["--method=houlsby", "--pooling=mean", "--freeze-layernorm", "--activation=tanh"], kind="regression"),
    Case("bert", ["--method=houlsby", "--pooling=first", "--adapt-from-layer=1", "--activation=silu"], pair=True),
    Case("bert-tanh", ["--method=pfeiffer", "--activation=gelu-tanh", "--head=dense-gelu", "--pooling=first"], more=["--calibrate"]),
    Case("bert", ["--method=full", "--pooling=cls"]),
    Case("roberta", ["--method=houlsby", "--activation=gelu"], kind="multi-label", more=["--fit-thresholds"]),
    Case("roberta", ["--method=top-2", "--head=dense", "--pooling=first"]),
    Case("xlm-roberta", ["--method=bias"], pair=True),
    Case("distilbert", ["--method=layernorm", "--head=dense-relu"], kind="regression"),
    Case("distilbert", ["--method=full"], kind="multi-label"),
    Case("electra", ["--method=full"]),
    Case("electra", ["--method=houlsby", "--pooling=first", "--head=dense-silu"], more=["--calibrate"]),
    Case("modernbert", ["--method=houlsby"], pair=True, more=["--calibrate"]),
    Case("modernbert", ["--method=pfeiffer", "--activation=gelu"], kind="regression"),
    Case("modernbert", ["--method=full", "--head=dense-gelu", "--pooling=first"], kind="multi-label", more=["--fit-thresholds"]),
    Case("modernbert", ["--method=top-2"]),
    Case("modernbert", ["--method=head"]),
    Case("modernbert-biased", ["--method=houlsby", "--pooling=first", "--adapt-from-layer=2", "--freeze-layernorm"]),
    Case("modernbert-biased", ["--method=bias"], kind="multi-label"),
    Case("modernbert-biased", ["--method=layernorm"], kind="regression"),
    Case("deberta", ["--method=houlsby"], pair=True, more=["--calibrate"]),
    Case("deberta", ["--method=full", "--head=dense-gelu", "--pooling=first"], kind="regression"),
    Case("deberta", ["--method=layernorm"], kind="multi-label", more=["--fit-thresholds"]),
    Case("deberta", ["--method=top-2", "--pooling=first"]),
    Case("deberta-plain", ["--method=full"], pair=True),
    Case("deberta-plain", ["--method=bias"], kind="regression"),
    Case("deberta-c2p", ["--method=pfeiffer", "--activation=gelu"]),
    Case("deberta-p2c", ["--method=houlsby", "--adapt-from-layer=1", "--freeze-layernorm"], kind="multi-label"),
    Case("deberta-p2c", ["--method=head"]),
    Case("mpnet", ["--method=full"], kind="regression"),
    Case("mpnet", ["--method=houlsby"], pair=True),
    Case("mpnet", ["--method=head"]),
]
REAL = [
    Case("", ["--method=houlsby"], more=["--calibrate"]),
    Case("", ["--method=pfeiffer"]),
    Case("", ["--method=top-2", "--head=dense"]),
]


def tiny_model(family: str, folder: Path) -> Path:
    """A random encoder whose every tensor is random, with a tokenizer that fits it in size."""
    config_of, model_of, sizes = FAMILIES[family]
    tokenizer = json.loads((TINY / "tokenizer.json").read_text(encoding="utf-8"))
    config = config_of(vocab_size=len(tokenizer["model"]["vocab"]), **sizes)
    model = model_of(config)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, tensor in sorted(model.state_dict().items()):
            if tensor.dtype.is_floating_point:
                noise = torch.randn(tensor.shape, generator=generator) * NOISE
                tensor.copy_(noise + 1.0 if "norm.weight" in name.lower() else noise)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


class Check:
    """What all comparisons share: the program and the folder for all that is written."""

    def __init__(self, args):
        self.program, self.work = args.grafter.resolve(), args.work
        self.work.mkdir(parents=True, exist_ok=True)
        assert not any(self.work.iterdir()), f"{self.work} is not empty"
        self.largest = {"probability": 0.0, "score": 0.0, "padding": 0.0}

    def grafter(self, *arguments) -> str:
        command = [str(self.program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout

    def case(self, name: str, case: Case, model: Path, rows: list):
        """Trains, exports and compares one adapter. `rows` are texts or pairs with their labels."""
        folder = self.work / name
        folder.mkdir()
        keys = ["text_a", "text_b"] if case.pair else ["text"]
        lines = [json.dumps(dict(zip(keys, texts)) | {"label": label}) + "\n" for texts, label in rows]
        (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")
        adapter, file = folder / "adapter", folder / "model.onnx"
        self.grafter(
            "train", "--train", folder / "train.jsonl", "--dev", folder / "train.jsonl", "--model", model, "--out", adapter,
            "--kind", case.kind, "--max-steps", STEPS, "--batch-size", 16, "--lr", RATE, "--seed", SEED, "--no-report",
            "--max-length", 48, "--init-std", 0.05, "--no-dropout", *case.flags, *case.more,
        )  # fmt: skip
        self.grafter("export", "--adapter", adapter, "--model", model, "--onnx", file)
        again = folder / "again.onnx"
        self.grafter("export", "--adapter", adapter, "--model", model, "--onnx", again)
        assert file.read_bytes() == again.read_bytes(), f"{name}: two exports differ"
        onnx.checker.check_model(str(file), full_check=True)
        printed = self.grafter("predict", "--adapter", adapter, "--model", model, "--input", folder / "train.jsonl")
        answers = [json.loads(line) for line in printed.splitlines()]
        assert len(answers) == len(rows), f"{name}: {len(answers)} answers to {len(rows)} rows"
        runtime = Runtime(file, model)
        texts = [texts for texts, _ in rows]
        together = runtime.run(texts)
        padded = max(largest(together, runtime.run(texts, padding=fill, longest=48)) for fill in (0, 1, 9))
        alone = [runtime.run([text]) for text in texts]
        alone = {output: np.concatenate([row[output] for row in alone]) for output in together}
        padded = max(padded, largest(together, alone))
        self.compare(f"{name} ({case.family} {case.kind} {' '.join(case.flags)})", runtime, together, answers, padded)

    def compare(self, what: str, runtime, outputs: dict, answers: list, padded: float):
        """Holds what the runtime computed against what the program printed."""
        labels = runtime.said("labels")
        if labels is None:
            printed = np.array([answer["score"] for answer in answers])
            scale = np.abs(printed).max()
            differs = np.abs(outputs["logits"][:, 0] - printed).max() / scale
            kind, moved = "score", (printed.max() - printed.min()) / scale
        else:
            printed = np.array([[answer["probabilities"][label] for label in labels] for answer in answers])
            differs, kind = np.abs(outputs["probabilities"] - printed).max(), "probability"
            moved = (printed.max(0) - printed.min(0)).max()
            self.decisions(what, runtime, outputs, answers, labels)
        print(f"{what}: differs by {differs:.1e}, padded by {padded:.1e} (rows apart: {moved:.1e})")
        assert moved > MATTERS, f"{what}: all rows get the same answer"
        assert differs <= TOLERANCE, f"{what}: a {kind} differs by {differs}"
        assert padded <= PADDING_TOLERANCE, f"{what}: padding changes an output by {padded}"
        self.largest[kind] = max(self.largest[kind], float(differs))
        self.largest["padding"] = max(self.largest["padding"], float(padded))

    def decisions(self, what: str, runtime, outputs: dict, answers: list, labels: list):
        """What a program decides by the file's metadata is what was printed, but for a probability on the edge."""
        thresholds = runtime.said("thresholds")
        for row, answer in zip(outputs["probabilities"], answers, strict=True):
            if thresholds is None:
                order = np.sort(row)
                decided, clear = labels[int(row.argmax())] == answer["label"], order[-1] - order[-2] > TOLERANCE
            else:
                decided = [label for label, p, least in zip(labels, row, thresholds) if p >= least] == answer["labels"]
                clear = np.abs(row - np.array(thresholds)).min() > TOLERANCE
            assert decided or not clear, f"{what}: {answer} of {row}"


class Runtime:
    """An exported file in ONNX Runtime, with the tokenizer of its base."""

    def __init__(self, file: Path, model: Path):
        self.session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        self.tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(int(self.metadata["grafter.max_length"]))

    def said(self, name: str):
        text = self.metadata.get(f"grafter.{name}")
        return None if text is None else json.loads(text)

    def run(self, texts: list, padding: int = 0, longest: int = 0) -> dict:
        """The outputs by their names; with ids that stand in the padding, at least so long."""
        encoded = [self.tokenizer.encode(*text) for text in texts]
        longest = max(longest, max(len(e.ids) for e in encoded))
        pad = lambda row, fill: row + [fill] * (longest - len(row))
        inputs = {
            "input_ids": [pad(e.ids, padding) for e in encoded],
            "attention_mask": [pad([1] * len(e.ids), 0) for e in encoded],
            "token_type_ids": [pad(e.type_ids, 0) for e in encoded],
        }
        inputs = {i.name: np.array(inputs[i.name], dtype=np.int64) for i in self.session.get_inputs()}
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs)))


def largest(some: dict, others: dict) -> float:
    """The largest difference of two runs; a number that is none is an error."""
    differences = [np.abs(some[name] - others[name]).max() for name in some]
    assert all(np.isfinite(differences)), differences
    return float(max(differences))


def made_rows(case: Case) -> list:
    """Rows of random words whose label is decided by them, one of them longer than texts are cut."""
    random = np.random.default_rng(SEED)
    rows = []
    for row in range(ROWS):
        words = [[WORDS[word] for word in random.integers(len(WORDS), size=random.integers(1, 90 if row == 0 else 20))] for _ in "ab"]
        joined = words[0] + words[1] * case.pair
        good, long = joined.count("good") + joined.count("great") > joined.count("bad"), len(joined) > 10
        label = {
            "classification": ["no", "some", "yes"][int(good) + int(good and long)],
            "regression": 3.5 + 2.0 * (joined.count("good") - joined.count("bad")),
            "multi-label": [name for name, has in (("good", good), ("long", long), ("film", "film" in joined)) if has],
        }[case.kind]
        rows.append(([" ".join(words[0]), " ".join(words[1])][: 1 + case.pair], label))
    return rows


def real_rows(data: Path) -> list:
    with open(data / "train.tsv", encoding="utf-8", newline="") as lines:
        read = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    column = "sentence" if "sentence" in read[0] else "text"
    return [([row[column]], row["label"]) for row in read[: 4 * ROWS]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--grafter", type=Path, required=True, help="the program")
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is written, empty or absent")
    parser.add_argument("--model", type=Path, help="folder of a real model")
    parser.add_argument("--data", type=Path, help="folder with train.tsv")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    check = Check(args)
    models = {family: tiny_model(family, check.work / f"model-{family}") for family in FAMILIES}
    for number, case in enumerate(CASES):
        check.case(f"{number:02}-{case.family}", case, models[case.family], made_rows(case))
    if args.model and args.data:
        for number, case in enumerate(REAL):
            check.case(f"real-{number}", case, args.model, real_rows(args.data))
    told = ", ".join(f"{what} {value:.1e}" for what, value in check.largest.items())
    print(f"largest differences: {told}; onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}")


if __name__ == "__main__":
    main()
