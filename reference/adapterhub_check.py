"""Holds `grafter export` and `grafter import` against the `adapters` library itself, on a real model and real texts.

    grafter pull minilm
    python reference/adapterhub_check.py --grafter target/release/grafter --model <DIR of all-MiniLM-L6-v2> \\
        --data <DIR with train.tsv and dev.tsv> --work <DIR that is empty or absent>

There: `grafter train`, `grafter export`, `load_adapter`. Back: some steps of training in PyTorch, `save_adapter`,
`grafter import`, and `grafter export` again, which must give the tensors that came. Each way the probabilities that the
library computes for the same texts are held against those that `grafter predict` prints. The model cards of both folders are
read as the hub's own library reads them. Needs `requirements-parity.txt`. The files have a header, a column `sentence` or
`text`, and a column `label`.
"""

import argparse
import csv
import json
import logging
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from adapters import AutoAdapterModel, DoubleSeqBnConfig, SeqBnConfig
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy

# Of a probability. Both compute in float32, on sums in different orders.
TOLERANCE = 1e-5
# Switching the adapter off must change a probability by this, or the comparison says nothing about it.
MATTERS = 1e-2
NAME = "task"
ROWS, LONGEST = 50, 64
STEPS, BATCH, RATE, SEED = 30, 16, 3e-3, 7


@dataclass
class There:
    """An adapter that grafter trains, and with which flags."""

    name: str
    flags: list
    pooler: bool = False


@dataclass
class Back:
    """An adapter that the library trains: its configuration, the head's arguments, and how it is saved."""

    name: str
    config: object
    head: dict
    safetensors: bool
    pooler: bool = False


THERE = [
    There("houlsby", ["--method=houlsby", "--freeze-layernorm", "--pooling=first", "--head=dense"]),
    There("pfeiffer", ["--method=pfeiffer", "--pooling=cls", "--activation=gelu"], pooler=True),
]
LINEAR = {"layers": 1, "activation_function": None}
BACK = [
    Back("houlsby", DoubleSeqBnConfig(reduction_factor=16), {}, safetensors=True),
    Back("pfeiffer", SeqBnConfig(reduction_factor=16), {}, safetensors=False),
    Back("pfeiffer_pooler", SeqBnConfig(reduction_factor=8), LINEAR | {"use_pooler": True}, safetensors=True, pooler=True),
]


class Check:
    """What all comparisons share: the program, the model, the rows, and the folder for all that is written."""

    def __init__(self, args):
        self.program, self.model, self.data, self.work = args.grafter, args.model, args.data, args.work
        self.work.mkdir(parents=True, exist_ok=True)
        assert not any(self.work.iterdir()), f"{self.work} is not empty"
        self.tokenizer = Tokenizer.from_file(str(self.model / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        with safe_open(self.model / "model.safetensors", "pt") as weights:
            self.has_pooler = any("pooler.dense.weight" in name for name in weights.keys())
        self.train = self.rows("train.tsv", STEPS * BATCH)
        self.texts = [text for text, _ in self.rows("dev.tsv", ROWS)]
        lines = [json.dumps({"text": text}) + "\n" for text in self.texts]
        (self.work / "texts.jsonl").write_text("".join(lines), encoding="utf-8")

    def rows(self, file: str, most: int) -> list:
        """The first texts of a file that nothing cuts off, with their labels."""
        with open(self.data / file, encoding="utf-8", newline="") as lines:
            read = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        column = "sentence" if "sentence" in read[0] else "text"
        short = [(r[column], r["label"]) for r in read if len(self.tokenizer.encode(r[column]).ids) <= LONGEST]
        return short[:most]

    def grafter(self, *arguments) -> str:
        command = [str(self.program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout

    def predicted(self, adapter: Path) -> list:
        """The probabilities by label that `grafter predict` prints for each text."""
        printed = self.grafter("predict", "--adapter", adapter, "--model", self.model, "--input", self.work / "texts.jsonl")
        answers = [json.loads(line) for line in printed.splitlines()]
        assert len(answers) == len(self.texts), f"{len(answers)} answers to {len(self.texts)} texts"
        return [answer["probabilities"] for answer in answers]

    def base(self):
        return AutoAdapterModel.from_pretrained(self.model)

    def inputs(self, texts: list) -> dict:
        """Padded ids, types and mask of some texts."""
        encoded = [self.tokenizer.encode(text) for text in texts]
        longest = max(len(e.ids) for e in encoded)
        pad = lambda row: row + [0] * (longest - len(row))
        rows = {"input_ids": [e.ids for e in encoded], "token_type_ids": [e.type_ids for e in encoded]}
        rows["attention_mask"] = [[1] * len(e.ids) for e in encoded]
        return {name: torch.tensor([pad(row) for row in values]) for name, values in rows.items()}

    def computed(self, model) -> list:
        """The probabilities by label that the library computes for each text, each alone."""
        labels = model.get_labels_dict(NAME)
        model.eval()
        with torch.no_grad():
            rows = [model(**self.inputs([text])).logits[0].softmax(0).tolist() for text in self.texts]
        return [{labels[i]: value for i, value in enumerate(row)} for row in rows]

    def compare(self, what: str, adapter: Path, model):
        """Holds one against the other and prints the largest difference of a probability."""
        computed, predicted = self.computed(model), self.predicted(adapter)
        model.set_active_adapters(None)
        # The head stays: it is the adapter alone that is switched off.
        model.active_head = NAME
        moved = largest_difference(computed, self.computed(model))
        largest = largest_difference(computed, predicted)
        print(f"{what}: probabilities of {len(self.texts)} texts differ by at most {largest:.1e} (without the adapter: {moved:.1e})")
        assert moved > MATTERS, f"{what}: the adapter moves no probability by more than {moved}"
        assert largest <= TOLERANCE, f"{what}: a probability differs by {largest}, more than {TOLERANCE}"

    def there(self, case: There):
        """grafter trains and exports, the library loads."""
        adapter, exported = self.work / f"there-{case.name}", self.work / f"there-{case.name}-exported"
        self.grafter(
            "train", "--train", self.data / "train.tsv", "--dev", self.data / "dev.tsv", "--model", self.model, "--out", adapter,
            "--max-steps", STEPS, "--batch-size", BATCH, "--lr", RATE, "--init-std", 0.05, "--seed", SEED, "--no-report", *case.flags,
        )  # fmt: skip
        self.grafter("export", "--adapter", adapter, "--model", self.model, "--out", exported, "--name", NAME)
        self.compare(f"exported {case.name}", adapter, self.loaded(exported))
        for folder, library, tag in ((adapter, "grafter", "adapter"), (exported, "adapters", "adapter-transformers")):
            described = ModelCard.load(folder / "README.md").data
            assert (described.library_name, tag in described.tags) == (library, True), f"{folder}: {described}"

    def back(self, case: Back):
        """The library trains and saves, grafter imports, answers, and exports again."""
        saved, imported = self.work / f"back-{case.name}", self.work / f"back-{case.name}-imported"
        model = self.trained(case)
        model.save_adapter(str(saved), NAME, use_safetensors=case.safetensors)
        self.grafter("import", saved, "--model", self.model, "--out", imported)
        self.compare(f"imported {case.name}", imported, model)
        again = self.work / f"back-{case.name}-exported"
        self.grafter("export", "--adapter", imported, "--model", self.model, "--out", again, "--name", NAME)
        for stem in ("adapter", "model_head"):
            came, went = tensors(saved, stem), tensors(again, stem)
            assert came.keys() == went.keys(), f"{case.name}: differ in {sorted(came.keys() ^ went.keys())}"
            wrong = [name for name, tensor in came.items() if not torch.equal(tensor, went[name])]
            assert not wrong, f"{case.name}: `{wrong[0]}` was changed by importing and exporting"

    def loaded(self, folder: Path):
        """The base with an exported adapter and its head, of which the library misses nothing and leaves nothing over."""
        model, info = self.base(), {}
        name = model.load_adapter(str(folder), set_active=True, use_safetensors=True, loading_info=info)
        assert name == NAME and model.active_head == NAME, (name, model.active_head)
        assert not info["missing_keys"] and not info["unexpected_keys"], info
        return model

    def trained(self, case: Back):
        """The base with an adapter and a head after some steps of AdamW."""
        torch.manual_seed(SEED)
        model = self.base()
        labels = sorted({label for _, label in self.train})
        model.add_adapter(NAME, config=case.config)
        model.add_classification_head(NAME, num_labels=len(labels), id2label=dict(enumerate(labels)), **case.head)
        model.train_adapter(NAME)
        model.train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE)
        for start in range(0, len(self.train), BATCH):
            texts, targets = zip(*self.train[start : start + BATCH])
            logits = model(**self.inputs(texts)).logits
            optimizer.zero_grad()
            cross_entropy(logits, torch.tensor([labels.index(target) for target in targets])).backward()
            optimizer.step()
        return model.eval()


def largest_difference(some: list, others: list) -> float:
    """Of two lists of probabilities by label; a label that only one has, or a number that is none, is an error."""
    largest = 0.0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys(), f"labels {sorted(one)} and {sorted(other)}"
        for label, value in one.items():
            difference = abs(value - other[label])
            assert difference >= 0.0, f"{value} and {other[label]}"
            largest = max(largest, difference)
    return largest


def tensors(folder: Path, stem: str) -> dict:
    """The tensors of an adapter or a head in either of its files."""
    safe = folder / f"{stem}.safetensors"
    return load_file(safe) if safe.exists() else torch.load(folder / f"pytorch_{stem}.bin", weights_only=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--grafter", type=Path, required=True, help="the program")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.tsv and dev.tsv")
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is written, empty or absent")
    check = Check(parser.parse_args())
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    logging.getLogger("adapters").setLevel(logging.ERROR)
    for case in THERE:
        if check.has_pooler or not case.pooler:
            check.there(case)
    for case in BACK:
        if check.has_pooler or not case.pooler:
            check.back(case)


if __name__ == "__main__":
    main()
