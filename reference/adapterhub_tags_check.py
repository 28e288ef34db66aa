"""Holds the tags that `grafter` gives words against those of the `adapters` library, which loads the exported adapter.

    grafter pull minilm
    python reference/adapterhub_tags_check.py --grafter target/release/grafter --model <DIR of all-MiniLM-L6-v2> \\
        --data <DIR with train.conll and dev.conll> --work <DIR that is empty or absent>

`grafter train --kind tags` on the first sentences, `grafter export`, `load_adapter`; then the tag and its probability of every word of
the first dev sentences. The library knows tokens alone, so the first of each word is found by the words' `word_ids`. Needs
`requirements-parity.txt`; `adapterhub_check.py` does the same for texts, both ways.
"""

import argparse
import json
import subprocess
from pathlib import Path

import torch
from adapters import AutoAdapterModel
from transformers import AutoTokenizer

# Of a probability. Both compute in float32, on sums in different orders.
TOLERANCE = 1e-5
TRAIN, ROWS = 300, 50


def sentences(path: Path, most: int) -> list:
    """The first sentences of a file, each a block of lines."""
    blocks = [block for block in path.read_text(encoding="utf-8").split("\n\n") if block.strip()]
    return blocks[:most]


def main():
    parser = argparse.ArgumentParser(description="Holds tags of words against the library's.")
    for name in ("grafter", "model", "data", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    assert not any(args.work.iterdir()), f"{args.work} is not empty"
    for name, most in (("train", TRAIN), ("dev", ROWS)):
        blocks = sentences(args.data / f"{name}.conll", most)
        (args.work / f"{name}.conll").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")

    def grafter(*arguments) -> str:
        command = [str(args.grafter), *map(str, arguments), "--model", str(args.model)]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=args.work).stdout

    grafter("train", "--train=train.conll", "--dev=dev.conll", "--kind=tags", "--freeze-layernorm", "--epochs=1", "--out=trained")
    grafter("export", "--adapter=trained", "--out=exported", "--name=task")
    answers = [json.loads(line) for line in grafter("predict", "--adapter=trained", "--input=dev.conll").splitlines()]

    model = AutoAdapterModel.from_pretrained(args.model)
    model.load_adapter(str(args.work / "exported"), use_safetensors=True, set_active=True)
    model.eval()
    labels, tokenizer = model.get_labels_dict("task"), AutoTokenizer.from_pretrained(args.model)
    largest, words = 0.0, 0
    assert len(answers) == ROWS
    for answer in answers:
        encoded = tokenizer(answer["words"], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            probabilities = model(**encoded).logits[0].double().softmax(-1)
        first = {}
        for place, word in enumerate(encoded.word_ids()):
            if word is not None:
                first.setdefault(word, place)
        assert len(first) == len(answer["tags"]), "every word has a token"
        for word, (tag, score) in enumerate(zip(answer["tags"], answer["scores"])):
            row = probabilities[first[word]]
            assert labels[int(row.argmax())] == tag, f"word {word} is {tag} here and {labels[int(row.argmax())]} there"
            largest, words = max(largest, abs(row.max().item() - score)), words + 1
    print(f"{words} words of {ROWS} sentences have the same tags; their probabilities differ by at most {largest:.1e}")
    assert largest <= TOLERANCE


if __name__ == "__main__":
    main()
