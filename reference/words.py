"""Writes the fixture of words and their tokens: what Hugging Face's fast tokenizers make of texts that come as words.

    python -m venv VENV && VENV/bin/pip install -r reference/requirements-parity.txt
    VENV/bin/python reference/words.py

Writes `crates/grafter/tests/fixtures/words/`: a tokenizer of each of three kinds, trained here on a few made-up sentences, and
`cases.json` with the tokens of rows of words (`is_split_into_words=True`, for byte-level BPE with `add_prefix_space=True`) and the
token that each word begins with (`word_ids()`).
"""

import json
from importlib.metadata import version
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, RobertaTokenizerFast

OUT = Path(__file__).resolve().parent.parent / "crates/grafter/tests/fixtures/words"
MAX_LENGTH = 12
CORPUS = [
    "Ada Lovelace wrote to Charles Babbage in London .",
    "the river runs from the old town to the sea , and back again",
    "a new engine was built near the harbour of Hamburg in winter",
    "she didn't say whether the train to New Hampshire was late",
] * 4
ROWS = [
    ["Ada", "wrote", "to", "Babbage", "."],
    ["didn't", "she", "say", "unbuildable", "?"],
    ["New-Hampshire", "(", "old", ")", "ünïcödé", "engine"],
    ["the"],
    ["river"] * 14,
    ["from", "London,", "back", "to", "Hamburg", "in", "winter", "and", "again", "overwinteringly", "late"],
]


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids)
    return tokenizer, PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # All 256 bytes would make the file large for nothing: those of the rows are enough.
    trainer = trainers.BpeTrainer(
        vocab_size=150, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False,
        initial_alphabet=sorted({c for row in ROWS for word in row for c in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(" " + word)[0][0]}),
    )  # fmt: skip
    tokenizer.train_from_iterator(CORPUS, trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("</s>", "<s>")]
    tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=False)
    return tokenizer, RobertaTokenizerFast(tokenizer_object=tokenizer, add_prefix_space=True)


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    ids = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ids)
    return tokenizer, PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def case(fast, words):
    encoded = fast(words, is_split_into_words=True, truncation=True, max_length=MAX_LENGTH)
    first = {}
    for place, word in enumerate(encoded.word_ids()):
        if word is not None:
            first.setdefault(word, place)
    assert list(first) == list(range(len(first))), "every word up to where the text was cut has a token"
    return {"words": words, "ids": encoded["input_ids"], "first_tokens": list(first.values())}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    cases = {"written_by": "reference/words.py", "max_length": MAX_LENGTH, "versions": {n: version(n) for n in ("tokenizers", "transformers")}}
    for name, (tokenizer, fast) in {"word-piece": word_piece(), "byte-level": byte_level(), "unigram": unigram()}.items():
        folder = OUT / name
        folder.mkdir(exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        cases[name] = [case(fast, words) for words in ROWS]
    (OUT / "cases.json").write_text(json.dumps(cases, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
