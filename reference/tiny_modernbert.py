"""Writes a tiny but complete ModernBERT that tests run on: `crates/grafter/tests/fixtures/tiny-modernbert/`.

Its files are those of the published models in small: the tensors of a model with the head of its pretraining, biases nowhere, and a
byte-level BPE tokenizer whose special tokens come last. Unlike theirs, its layers drop in training, so that tests reach every
place where something is dropped. Nothing is expected of what it computes. One machine and the same versions write the same bytes
again.

    python reference/tiny_modernbert.py [--out DIR]
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import ModernBertConfig, ModernBertForMaskedLM

from tiny_bert import INITIALIZER_RANGE, WORDS

OUT = Path(__file__).resolve().parent.parent / "crates/grafter/tests/fixtures/tiny-modernbert"
SEED = 20241218
SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
PIECES = 360


def make_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=PIECES, initial_alphabet=sorted(alphabet), show_progress=False)
    tokenizer.train_from_iterator([WORDS], trainer)
    tokenizer.add_special_tokens([AddedToken(token, lstrip=token == "[MASK]", special=True) for token in SPECIAL])
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def make_model(tokenizer: Tokenizer) -> tuple[ModernBertConfig, dict]:
    """Every tensor is random; the decoder's matrix is that of the words, and is not saved."""
    ids = {f"{name}_token_id": tokenizer.token_to_id(f"[{name.upper()}]") for name in ("cls", "sep", "pad")}
    config = ModernBertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=64, local_attention=8, global_attn_every_n_layers=3,
        embedding_dropout=0.1, attention_dropout=0.1, mlp_dropout=0.1, classifier_dropout=0.1,
        initializer_range=INITIALIZER_RANGE, architectures=["ModernBertForMaskedLM"], classifier_pooling="mean",
        bos_token_id=ids["cls_token_id"], eos_token_id=ids["sep_token_id"], **ids,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(SEED)
    weights = {}
    for name, tensor in sorted(ModernBertForMaskedLM(config).state_dict().items()):
        noise = torch.randn(tensor.shape, generator=generator) * INITIALIZER_RANGE
        weights[name] = (noise + 1.0 if name.endswith("norm.weight") else noise).contiguous()
    del weights["decoder.weight"]
    return config, weights


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    config, weights = make_model(tokenizer)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    config.save_pretrained(out)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    for file in sorted(out.iterdir()):
        print(f"{file.stat().st_size:7} {file.name}")


if __name__ == "__main__":
    main()
