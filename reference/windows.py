"""Writes the fixture of windows: what Hugging Face's fast tokenizers make of a question and a context that is longer than a sequence.

    python -m venv VENV && VENV/bin/pip install -r reference/requirements-parity.txt
    VENV/bin/python reference/windows.py

Writes `crates/grafter/tests/fixtures/windows/`: two tokenizers, trained here on a few made-up sentences where they are not there yet
(training gives others every time), and `cases.json` with the windows of them and of the WordPiece of `words.py` by `tokenizer(question, context, truncation="only_second", max_length=.., stride=..,
return_overflowing_tokens=True, return_offsets_mapping=True)`: the ids and types of each, and of each token of the context its place
and the characters that it is made of.
"""

import json
from importlib.metadata import version
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, RobertaTokenizerFast

import words

OUT = Path(__file__).resolve().parent.parent / "crates/grafter/tests/fixtures/windows"
QUESTION = "Who? Où?"
LONG = "The river runs from the old town to the sea, and back again. A new engine was built near Hamburg in winter."
CONTEXTS = [
    " \n  Ada Lovelace wrote to Charles  Babbage,\tin London . \n",
    "Ångström saß im Café\u0301 – naïve Crêpes für 3€\u00a0…",
    "She said 👩‍🚀🚀 go! Then 🇩🇪 left…",
    "東京は古い町 and the sea。海",
    "ﬁne ½ Ⅳ\u3000① old ㍿ town",
    LONG,
]


def byte_level():
    """As RoBERTa's: all bytes, and no space put before a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(words.CORPUS, trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("</s>", "<s>")]
    tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=False)
    return tokenizer


def unigram():
    """As XLM-R's, with NFKC for its table of characters: what one character becomes may be several, and runs of spaces are one."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(words.CORPUS, trainer)
    ids = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ids)
    return tokenizer


def tokenizers() -> dict:
    """Those of the files, made where they are missing."""
    for name, make in {"byte-level": byte_level, "unigram": unigram}.items():
        path = OUT / name / "tokenizer.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            make().save(str(path), pretty=False)
    read = lambda folder, name: Tokenizer.from_file(str(folder / name / "tokenizer.json"))
    return {
        "word-piece": PreTrainedTokenizerFast(tokenizer_object=read(words.OUT, "word-piece")),
        "byte-level": RobertaTokenizerFast(tokenizer_object=read(OUT, "byte-level"), add_prefix_space=False),
        "unigram": PreTrainedTokenizerFast(tokenizer_object=read(OUT, "unigram"), model_input_names=["input_ids", "attention_mask"]),
    }


def case(fast, context: str, max_length: int, stride: int) -> dict:
    encoded = fast(
        QUESTION, context, truncation="only_second", max_length=max_length, stride=stride, return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )  # fmt: skip
    # A question that takes more than half of the room is cut, and this does not know that.
    asked = len(fast(QUESTION, add_special_tokens=False)["input_ids"])
    assert asked <= (max_length - fast.num_special_tokens_to_add(pair=True)) // 2
    windows = []
    for index, ids in enumerate(encoded["input_ids"]):
        places = enumerate(zip(encoded.sequence_ids(index), encoded["offset_mapping"][index]))
        tokens = [[place, *characters] for place, (sequence, characters) in places if sequence == 1]
        # RoBERTa and XLM-R have one type, and their tokenizers tell none.
        types = {"type_ids": encoded["token_type_ids"][index]} if "token_type_ids" in encoded else {}
        windows.append({"ids": ids} | types | {"context": tokens})
    return {"text": CONTEXTS.index(context), "max_length": max_length, "stride": stride, "windows": windows}


def cases(fast) -> list:
    """Each context in one window that it fills, with a token too many for that, and some of them in more windows."""
    beside = len(fast(QUESTION, add_special_tokens=False)["input_ids"]) + fast.num_special_tokens_to_add(pair=True)
    made = []
    for context in CONTEXTS:
        tokens = len(fast(context, add_special_tokens=False)["input_ids"])
        made.extend(case(fast, context, beside + room, 0) for room in (tokens, tokens - 1))
    # Several windows, which share at most all tokens but one.
    room = 12
    for context, stride in [(CONTEXTS[0], 1), (CONTEXTS[2], room - 1), (LONG, 0), (LONG, room // 2)]:
        made.append(case(fast, context, beside + room, stride))
    return made


def main():
    written = {"written_by": "reference/windows.py", "versions": {n: version(n) for n in ("tokenizers", "transformers")}}
    written |= {"question": QUESTION, "contexts": CONTEXTS} | {name: cases(fast) for name, fast in tokenizers().items()}
    text = json.dumps(written, ensure_ascii=False, separators=(",", ":"))
    (OUT / "cases.json").write_text(text.replace('{"text"', '\n{"text"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
