"""Writes the tiny but complete model that tests run on: `crates/grafter/tests/fixtures/tiny-bert/`.

A random BERT encoder, small enough that a training run takes less than a second, with a WordPiece tokenizer over letters,
digits, punctuation and some common words. Like all-MiniLM-L6-v2's file, `tokenizer.json` asks for padding to 128 and
truncation at 128, which a reader must switch off. Nothing is expected of what the model computes: its tests compare runs
with each other. One machine and the same versions write the same bytes again.

    python reference/tiny_bert.py [--out DIR]
"""

import argparse
import string
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

OUT = Path(__file__).resolve().parent.parent / "crates/grafter/tests/fixtures/tiny-bert"
SEED = 20190613
INITIALIZER_RANGE = 0.2

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """
the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which you were
her all their one there been if more when will would who so no out up into than them can only other time new some could
these two may then do first any my now such like our over me even most made after also did many before must through back
years where much your way well down should because each just those people how too little state good very make world still
own see men work long get here between both life being under never day same another know while last might us great old
year off come since against go came right used take three
film movie book story plot actor scene music food service room price staff bad best worst awful terrible boring dull
wonderful lovely brilliant poor nice hate love liked hated enjoy enjoyed waste fun funny sad happy angry
cat dog bird fish horse cow red blue green yellow black white apple bread milk water car train road city house
what why how when where who yes question answer number
""".split()
PIECES = ["##s", "##ed", "##ing", "##er", "##est", "##ly", "##tion", "##ment", "##ness", "##ful", "##able", "##al", "##en"]


def vocabulary() -> dict:
    """Tokens in a fixed order; every ASCII letter and digit, alone and inside a word, so that no plain word is unknown."""
    characters = string.ascii_lowercase + string.digits
    tokens = SPECIAL + list(string.punctuation) + list(characters) + ["##" + c for c in characters]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens + PIECES + WORDS))}


def make_tokenizer() -> Tokenizer:
    vocab = vocabulary()
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, vocab[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = WordPieceDecoder()
    tokenizer.enable_truncation(max_length=128)
    tokenizer.enable_padding(length=128, pad_id=vocab["[PAD]"], pad_token="[PAD]")
    return tokenizer


def make_model(vocab_size: int) -> tuple[BertConfig, dict]:
    """Every tensor is random, biases and layer normalisations too."""
    config = BertConfig(
        vocab_size=vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
        initializer_range=INITIALIZER_RANGE, architectures=["BertModel"],
    )
    generator = torch.Generator().manual_seed(SEED)
    weights = {}
    for name, tensor in sorted(BertModel(config).state_dict().items()):
        if not tensor.dtype.is_floating_point:
            continue
        noise = torch.randn(tensor.shape, generator=generator) * INITIALIZER_RANGE
        weights[name] = (noise + 1.0 if name.endswith("LayerNorm.weight") else noise).contiguous()
    return config, weights


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    config, weights = make_model(tokenizer.get_vocab_size())
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    (out / "config.json").write_text(config.to_json_string(), encoding="utf-8")
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    for file in sorted(out.iterdir()):
        print(f"{file.stat().st_size:7} {file.name}")


if __name__ == "__main__":
    main()
