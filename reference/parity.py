#!/usr/bin/env python3
"""Writes the parity fixtures: tiny encoders (and one real one) as PyTorch, `transformers` and AdapterHub compute them.

    python reference/parity.py [--out DIR] [--case NAME]... [--minilm MODEL_DIR]

Weights and initial parameters are float32; the expected values are computed from them in float64 and stored rounded to
float32, so a fixture is the true value and not one library's rounding. Each case is checked (`parity_check.py`) before it is
written. The files and the measured float32 error are described in `reference/README.md`.
"""

import argparse
import copy
import hashlib
import json
import logging
import math
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertTokenizerFast

import parity_check
from parity_family import FAMILIES
from parity_model import Choice, Optimizer, ReferenceModel, make_batch, run, trained_names

OUT = Path(__file__).resolve().parent.parent / "crates/grafter/tests/fixtures/parity"
STEPS = 10
SENTENCES = [
    "A gripping, beautifully acted film.",
    "The plot made no sense & I left after 40 minutes!",
    "Naïve but warm: the café scene is worth the ticket.",
    "Dull.",
]


@dataclass
class Case:
    name: str
    seed: int
    bottleneck: int
    adapter_activation: str
    task: str
    pooling: str
    targets: list
    optimizer: Optimizer
    config: dict = field(default_factory=dict)
    lengths: list = field(default_factory=list)
    num_labels: int = 1
    adapter_std: float = 0.2
    prefix: str = ""
    method: str = "houlsby"
    family: str = "bert"
    head: str = "linear"
    freeze_layernorm: bool = False
    # Of a task on words: where the first token of each is, for each sequence; of questions where the candidates are.
    words: list = field(default_factory=list)


def optimizer(**changes) -> Optimizer:
    base = dict(lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.01, max_grad_norm=1.0)
    return Optimizer(**(base | dict(total_steps=10, warmup_steps=3, bias_correction=True) | changes))


# The sizes that several cases share.
BERT_SIZES = dict(
    vocab_size=50, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
    max_position_embeddings=16, type_vocab_size=2, hidden_act="gelu",
)
ROBERTA_SIZES = dict(
    vocab_size=50, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
    max_position_embeddings=18, type_vocab_size=1, hidden_act="gelu", layer_norm_eps=1e-5,
)
DISTILBERT_SIZES = dict(
    vocab_size=37, hidden_size=24, num_attention_heads=4, num_hidden_layers=3, intermediate_size=48,
    max_position_embeddings=16, hidden_act="gelu",
)
ELECTRA_SIZES = dict(
    vocab_size=50, embedding_size=16, hidden_size=16, num_attention_heads=2, num_hidden_layers=2,
    intermediate_size=32, max_position_embeddings=16, type_vocab_size=2, hidden_act="gelu",
)
ELECTRA_SMALL_SIZES = dict(
    vocab_size=50, embedding_size=7, hidden_size=16, num_attention_heads=2, num_hidden_layers=2,
    intermediate_size=32, max_position_embeddings=16, type_vocab_size=2, hidden_act="gelu",
)
MODERNBERT_SIZES = dict(
    vocab_size=40, hidden_size=16, num_attention_heads=2, num_hidden_layers=4, intermediate_size=20, pad_token_id=0,
    max_position_embeddings=32, hidden_act="gelu", local_attention=9, global_attn_every_n_layers=3,
    global_rope_theta=1000.0, local_rope_theta=100.0,
)
MODERNBERT_BIASED_SIZES = dict(
    vocab_size=30, hidden_size=18, num_attention_heads=3, num_hidden_layers=5, intermediate_size=13, pad_token_id=0,
    max_position_embeddings=32, hidden_act="silu", layer_norm_eps=1e-6, local_attention=4, global_attn_every_n_layers=2,
    global_rope_theta=300.0, local_rope_theta=None, attention_bias=True, mlp_bias=True, norm_bias=True,
)
# As the v3 checkpoints are configured, in small: distances up to 4 have a row each, those from 39 on the last one.
DEBERTA_SIZES = dict(
    vocab_size=40, hidden_size=16, num_attention_heads=2, num_hidden_layers=3, intermediate_size=20,
    max_position_embeddings=40, type_vocab_size=0, hidden_act="gelu", relative_attention=True, position_buckets=8,
    norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p", max_relative_positions=-1,
    position_biased_input=False, layer_norm_eps=1e-7, pad_token_id=0,
)
# Without buckets: distances from 6 on have the last row of their side.
DEBERTA_BIASED_SIZES = DEBERTA_SIZES | dict(
    hidden_size=15, num_attention_heads=3, num_hidden_layers=2, type_vocab_size=2, position_buckets=-1, norm_rel_ebd="none",
    max_relative_positions=6, position_biased_input=True, pos_att_type=["c2p", "p2c"], layer_norm_eps=1e-6,
)

CASES = [
    Case(
        name="tiny_relu", seed=101, bottleneck=4, adapter_activation="relu", task="classification", pooling="cls",
        num_labels=3, lengths=[5, 1, 16, 9], targets=[2, 0, 1, 2], prefix="bert.",
        optimizer=optimizer(max_grad_norm=0.5),
        config=BERT_SIZES,
    ),
    Case(
        name="odd_gelu_pair", seed=202, bottleneck=3, adapter_activation="gelu", task="classification", pooling="cls",
        num_labels=2, lengths=[7, 12, 2], targets=[1, 0, 1],
        optimizer=optimizer(lr=5e-3, weight_decay=0.1, max_grad_norm=0.3, bias_correction=False),
        config=dict(
            vocab_size=37, hidden_size=15, num_attention_heads=3, num_hidden_layers=3, intermediate_size=37,
            max_position_embeddings=20, type_vocab_size=2, hidden_act="gelu_new", layer_norm_eps=1e-7,
        ),
    ),
    Case(
        name="mean_silu_regression", seed=303, bottleneck=5, adapter_activation="silu", task="regression", pooling="mean",
        num_labels=1, lengths=[3, 11, 1, 6], targets=[0.5, 3.25, 5.0, 1.75],
        optimizer=optimizer(lr=2e-2, weight_decay=0.05, max_grad_norm=1.0),
        config=dict(
            vocab_size=40, hidden_size=24, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48,
            max_position_embeddings=16, type_vocab_size=2, hidden_act="relu",
        ),
    ),
    Case(
        name="wide_gelu_tanh", seed=404, bottleneck=7, adapter_activation="gelu_tanh", task="classification", pooling="cls",
        num_labels=7, lengths=[33, 1, 8, 20, 2, 15, 27, 5, 11], targets=[6, 0, 3, 1, 5, 2, 4, 0, 3],
        # Without warm-up and cut off before the schedule ends: the other two edges of the schedule.
        optimizer=optimizer(eps=1e-8, weight_decay=0.05, max_grad_norm=1e3, total_steps=12, warmup_steps=0),
        config=dict(
            vocab_size=60, hidden_size=40, num_attention_heads=5, num_hidden_layers=1, intermediate_size=80,
            max_position_embeddings=40, type_vocab_size=2, hidden_act="gelu", layer_norm_eps=1e-5,
        ),
    ),
    # The other methods. Nothing depends on a key's bias (a softmax is the same when a constant is added to what it reads), so
    # rounding alone decides its gradient: an epsilon far above rounding keeps the optimiser from blowing that up.
    Case(
        name="full_cls", seed=606, method="full", bottleneck=1, adapter_activation="relu", task="classification",
        pooling="cls", num_labels=3, lengths=[6, 1, 13, 9], targets=[1, 2, 0, 1],
        optimizer=optimizer(eps=1e-3, max_grad_norm=0.5),
        config=BERT_SIZES,
    ),
    Case(
        name="top_mean_regression", seed=707, method="top-2", bottleneck=1, adapter_activation="relu", task="regression",
        pooling="mean", num_labels=1, lengths=[3, 11, 1, 6], targets=[0.5, 3.25, 5.0, 1.75],
        optimizer=optimizer(eps=1e-3, weight_decay=0.1),
        config=dict(
            vocab_size=40, hidden_size=15, num_attention_heads=3, num_hidden_layers=3, intermediate_size=37,
            max_position_embeddings=16, type_vocab_size=2, hidden_act="gelu_new",
        ),
    ),
    Case(
        name="bias_cls", seed=808, method="bias", bottleneck=1, adapter_activation="relu", task="classification",
        pooling="cls", num_labels=2, lengths=[7, 12, 2], targets=[1, 0, 1],
        optimizer=optimizer(eps=1e-3, bias_correction=False),
        config=dict(
            vocab_size=37, hidden_size=24, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48,
            max_position_embeddings=16, type_vocab_size=2, hidden_act="gelu",
        ),
    ),
    Case(
        name="pfeiffer_gelu", seed=909, method="pfeiffer", bottleneck=5, adapter_activation="gelu", task="classification",
        pooling="cls", num_labels=3, lengths=[5, 1, 16, 9], targets=[2, 0, 1, 2],
        optimizer=optimizer(weight_decay=0.05, max_grad_norm=0.5),
        config=dict(
            vocab_size=50, hidden_size=20, num_attention_heads=2, num_hidden_layers=3, intermediate_size=32,
            max_position_embeddings=16, type_vocab_size=2, hidden_act="gelu",
        ),
    ),
    Case(
        name="layernorm_mean", seed=1010, method="layernorm", bottleneck=1, adapter_activation="relu",
        task="classification", pooling="mean", num_labels=4, lengths=[8, 4, 15], targets=[3, 0, 2],
        optimizer=optimizer(lr=2e-2),
        config=dict(
            vocab_size=40, hidden_size=16, num_attention_heads=4, num_hidden_layers=2, intermediate_size=40,
            max_position_embeddings=16, type_vocab_size=2, hidden_act="gelu",
        ),
    ),
    # The other families.
    Case(
        name="roberta_gelu", seed=1111, family="roberta", bottleneck=4, adapter_activation="gelu", task="classification",
        pooling="mean", num_labels=3, lengths=[5, 1, 16, 9], targets=[2, 0, 1, 2], prefix="roberta.",
        optimizer=optimizer(max_grad_norm=0.5),
        config=ROBERTA_SIZES,
    ),
    Case(
        name="roberta_full", seed=1212, family="roberta", method="full", bottleneck=1, adapter_activation="relu",
        task="regression", pooling="mean", lengths=[3, 11, 1, 6], targets=[0.5, 3.25, 5.0, 1.75],
        optimizer=optimizer(eps=1e-3, weight_decay=0.1),
        config=dict(
            vocab_size=40, hidden_size=15, num_attention_heads=3, num_hidden_layers=2, intermediate_size=37,
            max_position_embeddings=20, type_vocab_size=1, hidden_act="gelu", layer_norm_eps=1e-5,
        ),
    ),
    Case(
        name="distilbert_relu", seed=1313, family="distilbert", bottleneck=5, adapter_activation="relu", task="classification",
        pooling="mean", num_labels=2, lengths=[7, 12, 2], targets=[1, 0, 1], prefix="distilbert.",
        optimizer=optimizer(weight_decay=0.05),
        config=DISTILBERT_SIZES,
    ),
    Case(
        name="distilbert_full", seed=1414, family="distilbert", method="full", bottleneck=1, adapter_activation="relu",
        task="classification", pooling="mean", num_labels=4, lengths=[8, 4, 15], targets=[3, 0, 2],
        optimizer=optimizer(eps=1e-3, max_grad_norm=0.5),
        config=dict(
            vocab_size=40, hidden_size=16, num_attention_heads=4, num_hidden_layers=2, intermediate_size=40,
            max_position_embeddings=16, hidden_act="gelu",
        ),
    ),
    Case(
        name="electra_gelu", seed=1515, family="electra", bottleneck=3, adapter_activation="gelu", task="classification",
        pooling="mean", num_labels=3, lengths=[6, 1, 13, 9], targets=[1, 2, 0, 1], prefix="electra.",
        optimizer=optimizer(max_grad_norm=0.5),
        config=ELECTRA_SIZES,
    ),
    Case(
        name="mpnet_full", seed=1919, family="mpnet", method="full", bottleneck=1, adapter_activation="relu",
        task="regression", pooling="mean", lengths=[3, 31, 1, 14], targets=[0.5, 3.25, 5.0, 1.75], prefix="mpnet.",
        optimizer=optimizer(eps=1e-3, weight_decay=0.1),
        config=dict(
            vocab_size=40, hidden_size=15, num_attention_heads=3, num_hidden_layers=2, intermediate_size=37,
            max_position_embeddings=40, hidden_act="gelu", layer_norm_eps=1e-5,
        ),
    ),
    Case(
        name="mpnet_layernorm", seed=2020, family="mpnet", method="layernorm", bottleneck=1, adapter_activation="relu",
        task="classification", pooling="first", head="dense-tanh", num_labels=3, lengths=[9, 20, 2], targets=[2, 0, 1],
        optimizer=optimizer(max_grad_norm=0.5),
        config=dict(
            vocab_size=50, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
            max_position_embeddings=30, hidden_act="gelu", layer_norm_eps=1e-5,
        ),
    ),
    Case(
        name="electra_small", seed=2121, family="electra-small", bottleneck=3, adapter_activation="gelu",
        task="classification", pooling="mean", num_labels=3, lengths=[6, 1, 13, 9], targets=[1, 2, 0, 1], prefix="electra.",
        optimizer=optimizer(max_grad_norm=0.5),
        config=ELECTRA_SMALL_SIZES,
    ),
    Case(
        name="electra_small_full", seed=2222, family="electra-small", method="full", bottleneck=1, adapter_activation="gelu",
        task="regression", pooling="first", head="dense-gelu", lengths=[6, 13, 9], targets=[0.5, 3.25, 1.75],
        optimizer=optimizer(eps=1e-3, weight_decay=0.1),
        config=ELECTRA_SMALL_SIZES,
    ),
    # Layers that normalise before each sub-layer, windows shorter than the texts, and texts shorter than the windows.
    Case(
        name="modernbert_gelu", seed=2323, family="modernbert", bottleneck=4, adapter_activation="gelu",
        task="classification", pooling="mean", num_labels=3, lengths=[5, 1, 29, 18], targets=[2, 0, 1, 2], prefix="model.",
        optimizer=optimizer(max_grad_norm=0.5),
        config=MODERNBERT_SIZES,
    ),
    Case(
        name="modernbert_full", seed=2444, family="modernbert", method="full", bottleneck=1, adapter_activation="relu",
        task="regression", pooling="mean", lengths=[3, 22, 1, 14], targets=[0.5, 3.25, 5.0, 1.75], prefix="model.",
        optimizer=optimizer(eps=1e-3, weight_decay=0.1),
        config=MODERNBERT_SIZES,
    ),
    Case(
        name="modernbert_pfeiffer", seed=2525, family="modernbert", method="pfeiffer", bottleneck=5,
        adapter_activation="relu", task="regression", pooling="mean", lengths=[7, 25, 2], targets=[0.5, 3.25, 1.75],
        optimizer=optimizer(weight_decay=0.05),
        config=MODERNBERT_SIZES,
    ),
    Case(
        name="modernbert_layernorm", seed=2656, family="modernbert", method="layernorm", bottleneck=1,
        adapter_activation="relu", task="classification", pooling="first", head="dense-gelu", num_labels=4,
        lengths=[8, 4, 26], targets=[3, 0, 2],
        optimizer=optimizer(lr=2e-2),
        config=MODERNBERT_SIZES,
    ),
    Case(
        name="modernbert_top", seed=2727, family="modernbert", method="top-1", bottleneck=1, adapter_activation="relu",
        task="classification", pooling="first", num_labels=3, lengths=[6, 24, 13, 1], targets=[1, 2, 0, 1],
        optimizer=optimizer(eps=1e-3, max_grad_norm=0.5),
        config=MODERNBERT_SIZES,
    ),
    Case(
        name="modernbert_biased", seed=2828, family="modernbert-biased", bottleneck=3, adapter_activation="silu",
        task="regression", pooling="mean", lengths=[20, 3, 11], targets=[0.5, 3.25, 1.75],
        optimizer=optimizer(eps=1e-3, weight_decay=0.05, bias_correction=False),
        config=MODERNBERT_BIASED_SIZES,
    ),
    Case(
        name="modernbert_biased_top", seed=2949, family="modernbert-biased", method="top-2", bottleneck=1,
        adapter_activation="relu", task="classification", pooling="mean", num_labels=2, lengths=[17, 2, 9],
        targets=[1, 0, 1], optimizer=optimizer(eps=1e-3),
        config=MODERNBERT_BIASED_SIZES,
    ),
    Case(
        name="modernbert_bias", seed=3030, family="modernbert-biased", method="bias", bottleneck=1,
        adapter_activation="relu", task="classification", pooling="mean", num_labels=2, lengths=[7, 12, 21],
        targets=[1, 0, 1], optimizer=optimizer(eps=1e-3, max_grad_norm=0.5),
        config=MODERNBERT_BIASED_SIZES,
    ),
    # Relative embeddings: texts within the distances that have a row each, and beyond.
    Case(
        name="deberta_gelu", seed=3131, family="deberta", bottleneck=4, adapter_activation="gelu", task="classification",
        pooling="mean", num_labels=3, lengths=[4, 1, 29, 18], targets=[2, 0, 1, 2], prefix="deberta.",
        optimizer=optimizer(max_grad_norm=0.5),
        config=DEBERTA_SIZES,
    ),
    Case(
        name="deberta_full", seed=3232, family="deberta", method="full", bottleneck=1, adapter_activation="relu",
        task="regression", pooling="mean", lengths=[3, 33, 1, 14], targets=[0.5, 3.25, 5.0, 1.75], prefix="deberta.",
        optimizer=optimizer(eps=1e-3, weight_decay=0.1),
        config=DEBERTA_SIZES,
    ),
    Case(
        name="deberta_bias", seed=3333, family="deberta", method="bias", bottleneck=1, adapter_activation="relu",
        task="classification", pooling="first", head="dense-gelu", num_labels=2, lengths=[7, 22, 2], targets=[1, 0, 1],
        optimizer=optimizer(eps=1e-3, max_grad_norm=0.5),
        config=DEBERTA_SIZES,
    ),
    Case(
        name="deberta_layernorm", seed=3434, family="deberta", method="layernorm", bottleneck=1, adapter_activation="relu",
        task="classification", pooling="mean", num_labels=4, lengths=[8, 4, 26], targets=[3, 0, 2],
        optimizer=optimizer(lr=2e-2),
        # Without position to content nothing depends on the shift, as nothing does on a key's bias.
        config=DEBERTA_SIZES | dict(pos_att_type="p2c"),
    ),
    Case(
        name="deberta_top", seed=3535, family="deberta", method="top-1", bottleneck=1, adapter_activation="relu",
        task="classification", pooling="first", num_labels=3, lengths=[6, 24, 13, 1], targets=[1, 2, 0, 1],
        optimizer=optimizer(eps=1e-3, max_grad_norm=0.5),
        config=DEBERTA_SIZES | dict(pos_att_type=["c2p"]),
    ),
    Case(
        name="deberta_biased_full", seed=3636, family="deberta-biased", method="full", bottleneck=1,
        adapter_activation="relu", task="classification", pooling="first", head="dense-gelu", num_labels=3,
        lengths=[5, 1, 16, 9], targets=[2, 0, 1, 2], optimizer=optimizer(eps=1e-3, weight_decay=0.05),
        config=DEBERTA_BIASED_SIZES,
    ),
    # The heads of their own.
    Case(
        name="roberta_dense", seed=1616, family="roberta", bottleneck=4, adapter_activation="silu", task="classification",
        pooling="first", head="dense-tanh", freeze_layernorm=True, num_labels=3, lengths=[5, 1, 16, 9], targets=[2, 0, 1, 2],
        prefix="roberta.", optimizer=optimizer(max_grad_norm=0.5),
        config=ROBERTA_SIZES,
    ),
    Case(
        name="electra_dense", seed=1717, family="electra", method="full", bottleneck=1, adapter_activation="gelu",
        task="classification", pooling="first", head="dense-gelu", num_labels=3, lengths=[6, 1, 13, 9], targets=[1, 2, 0, 1],
        optimizer=optimizer(eps=1e-3, max_grad_norm=0.5),
        config=ELECTRA_SIZES,
    ),
    Case(
        name="distilbert_dense", seed=1818, family="distilbert", method="pfeiffer", bottleneck=5, adapter_activation="gelu",
        task="regression", pooling="first", head="dense-relu", lengths=[7, 12, 2], targets=[0.5, 3.25, 1.75],
        optimizer=optimizer(eps=1e-3, weight_decay=0.05),
        config=DISTILBERT_SIZES,
    ),
    # Tags of words: some tokens are no word's first, a sequence has one word, and the two lists have other lengths in each sequence.
    Case(
        name="words_houlsby", seed=1707, bottleneck=3, adapter_activation="gelu", task="tags", pooling="words", num_labels=5,
        lengths=[6, 3, 12, 9], words=[[1, 2, 4], [1], [1, 3, 4, 5, 8, 10], [1, 2, 3, 4, 5, 6, 7]],
        targets=[[0, 1, 2], [4], [0, 0, 3, 4, 4, 1], [2, 0, 0, 1, 0, 3, 0]],
        optimizer=optimizer(max_grad_norm=0.5),
        config=BERT_SIZES,
    ),
    Case(
        name="words_dense_full", seed=1808, family="roberta", method="full", head="dense-tanh", bottleneck=1,
        adapter_activation="relu", task="tags", pooling="words", num_labels=3,
        lengths=[5, 11, 4], words=[[1, 3], [1, 2, 5, 6, 9], [2]], targets=[[2, 0], [1, 1, 0, 2, 0], [1]],
        optimizer=optimizer(eps=1e-3, weight_decay=0.05),
        config=ROBERTA_SIZES,
    ),
    # Choices: rows of two to four sequences. What is added to the logits of all choices changes nothing, so nothing depends on the
    # head's bias nor, below a linear head, on the last LayerNorm's.
    Case(
        name="choices_houlsby", seed=1910, bottleneck=4, adapter_activation="gelu", task="choices", pooling="mean",
        lengths=[9, 16, 12, 14, 7, 16, 15, 3, 13, 16, 11, 16, 8], targets=[Choice(4, 2), Choice(2, 0), Choice(3, 2), Choice(4, 1)],
        optimizer=optimizer(eps=1e-2, max_grad_norm=0.4),
        config=BERT_SIZES,
    ),
    Case(
        name="choices_dense_full", seed=2011, family="roberta", method="full", head="dense-tanh", bottleneck=1,
        adapter_activation="relu", task="choices", pooling="first",
        lengths=[5, 9, 7, 4, 12], targets=[Choice(2, 1), Choice(3, 0)],
        optimizer=optimizer(eps=1e-3, weight_decay=0.05),
        config=ROBERTA_SIZES,
    ),
    # Questions, of which the same holds: windows whose candidates are the first token and those of the context, with an answer of one token, of several, none,
    # and a window with one candidate alone.
    Case(
        name="questions_houlsby", seed=2111, bottleneck=3, adapter_activation="gelu", task="questions", pooling="words", num_labels=2,
        lengths=[16, 11, 15, 6, 13],
        words=[[0, *range(5, 15)], [0, *range(5, 10)], [0, 4, 5, 7, 8, 9, 12, 13], [0], [0, *range(3, 12)]],
        targets=[[0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0], [0, 0, 0, 3, 0, 0, 0, 0], [3], [0, 1, 0, 0, 0, 0, 0, 0, 0, 2]],
        optimizer=optimizer(eps=1e-3, max_grad_norm=0.5),
        config=BERT_SIZES,
    ),
    Case(
        name="questions_full", seed=2212, family="roberta", method="full", bottleneck=1, adapter_activation="relu", task="questions",
        pooling="words", num_labels=2, lengths=[9, 14, 7],
        words=[[0, 4, 5, 6, 7], [0, *range(6, 13)], [0, 5]],
        targets=[[0, 0, 1, 2, 0], [3, 0, 0, 0, 0, 0, 0, 0], [0, 3]],
        optimizer=optimizer(eps=1e-3, weight_decay=0.05),
        config=ROBERTA_SIZES,
    ),
    Case(
        name="minilm", seed=505, bottleneck=4, adapter_activation="relu", task="classification", pooling="cls",
        num_labels=2, targets=[1, 0, 1, 0], adapter_std=0.05,
        # The norm starts above this limit and falls below it: clipping acts on some of the steps only.
        optimizer=optimizer(lr=1e-3, weight_decay=0.1, max_grad_norm=0.7),
    ),
]


def main():
    parser = argparse.ArgumentParser(description="Writes the parity fixtures.")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--case", action="append", choices=[c.name for c in CASES])
    parser.add_argument("--minilm", type=Path, help="directory of all-MiniLM-L6-v2; without it that case is skipped")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    # AdapterHub warns of inactive adapters while it is activating them (`set_active_adapters` resets first).
    logging.getLogger("adapters").setLevel(logging.ERROR)
    for case in CASES:
        wanted = case.name in args.case if args.case else case.name != "minilm" or args.minilm
        if wanted:
            write_case(case, args.out / case.name, args.minilm)


def write_case(case: Case, directory: Path, minilm: Path | None):
    """Builds, checks and writes one case, and prints its row of figures."""
    generator = torch.Generator().manual_seed(case.seed)
    directory.mkdir(parents=True, exist_ok=True)
    extra = {}
    if case.name == "minilm":
        config, weights, sequences = real_base(minilm, directory)
        extra["texts"] = SENTENCES
        base_file = minilm / "model.safetensors"
    else:
        config, weights = random_base(case, generator)
        sequences = random_sequences(case, generator)
        for sequence, words in zip(sequences, case.words):
            sequence["words"] = words
        config.save_pretrained(directory)
        base_file = directory / "model.safetensors"
        save_file({case.prefix + n: t for n, t in weights.items()}, base_file, metadata={"format": "pt"})
    task_tensors = random_task(case, config, FAMILIES[case.family].split(weights), generator)
    batch = make_batch(sequences, case.targets, FAMILIES[case.family].padding)

    def make_model(attention="eager"):
        return ReferenceModel(
            FAMILIES[case.family], copy.deepcopy(config), weights, task_tensors, method=case.method, bottleneck=case.bottleneck,
            activation=case.adapter_activation, task=case.task, pooling=case.pooling, head=case.head,
            freeze_layernorm=case.freeze_layernorm, attention=attention,
        )  # fmt: skip

    make_double = lambda: make_model(FAMILIES[case.family].attention).double()
    expected = run(make_double(), batch, case.optimizer, STEPS)
    single = run(make_model(), batch, case.optimizer, STEPS)
    report_checks(case, config, weights, make_double, batch, expected)
    report_error(case, batch, single, expected)

    save_file(task_tensors, directory / "task.safetensors")
    save_file(pack(case, batch, expected), directory / "expected.safetensors")
    described = describe(case, sequences, base_file) | extra
    (directory / "case.json").write_text(one_line_a_key(described), encoding="utf-8")


def random_base(case: Case, generator):
    """A base whose every tensor is random: biases and LayerNorms too, so that none may be forgotten or mixed up."""
    family = FAMILIES[case.family]
    config = family.configure(case.config)
    config.architectures = [family.model.__name__]
    weights = {}
    for name, like in sorted(family.make(config).state_dict().items()):
        noise = torch.randn(like.shape, generator=generator)
        scale = name.lower().endswith("norm.weight")
        weights[name] = 1.0 + 0.1 * noise if scale else config.initializer_range * noise
    return config, weights


def random_sequences(case: Case, generator):
    """Random ids; the second half of a sequence is of type 1 where it has more than two tokens.

    Hugging Face keeps the row of `[PAD]`, id 0, from being trained. No text has that token, so where the rows train it is left
    out here; and always in a family whose positions do not count it.
    """
    padding = FAMILIES[case.family].padding
    least = padding + 1 if case.method == "full" or padding else 0
    sequences = []
    for length in case.lengths:
        ids = torch.randint(least, case.config["vocab_size"], (length,), generator=generator).tolist()
        first = length - length // 2 if length > 2 and case.config.get("type_vocab_size", 1) > 1 else length
        sequences.append({"ids": ids, "type_ids": [0] * first + [1] * (length - first)})
    return sequences


def real_base(minilm: Path, directory: Path):
    """all-MiniLM-L6-v2: its weights stay where they are, its config is copied, the sentences go through its tokenizer."""
    (directory / "config.json").write_bytes((minilm / "config.json").read_bytes())
    weights = load_file(minilm / "model.safetensors")
    del weights["embeddings.position_ids"]  # a buffer that old versions saved: 0, 1, 2, ...
    tokenizer = BertTokenizerFast.from_pretrained(minilm)
    encoded = tokenizer(SENTENCES, padding=False, truncation=False)
    rows = zip(encoded["input_ids"], encoded["token_type_ids"])
    return BertConfig.from_pretrained(minilm), weights, [{"ids": i, "type_ids": t} for i, t in rows]


def random_task(case: Case, config, weights, generator) -> dict:
    """Initial trained parameters, float32: adapters that matter, a head, no zero bias, the encoder's own near the base's."""
    d, m = config.hidden_size, case.bottleneck
    shapes = {
        "down.weight": (m, d), "down.bias": (m,), "up.weight": (d, m), "up.bias": (d,),
    }  # fmt: skip
    tensors = {}
    names = trained_names(
        FAMILIES[case.family], case.method, config.num_hidden_layers, case.pooling, head=case.head,
        freeze_layernorm=case.freeze_layernorm,
    )  # fmt: skip
    for name, path in sorted(names.items()):
        base = weights.get(path.removeprefix("encoder."))
        if base is not None:
            tensors[name] = base + 0.1 * torch.randn(base.shape, generator=generator)
        elif ".adapter." in name:
            shape = shapes[name.split(".adapter.")[1]]
            tensors[name] = case.adapter_std * torch.randn(shape, generator=generator)
        else:
            outputs = d if ".dense." in name else case.num_labels
            shape = (outputs, d) if name.endswith(".weight") else (outputs,)
            tensors[name] = 0.2 * torch.randn(shape, generator=generator)
    return tensors


def pack(case: Case, batch, result: dict) -> dict:
    """The tensors of `expected.safetensors`: real tokens only, sequence after sequence, rounded to float32."""
    real = batch.mask.bool()
    tensors = {n: result[n] for n in ("pooled", "logits", "loss")}
    for k, hidden in enumerate(result["hidden"]):
        if case.name == "minilm":
            tensors[f"hidden_cls.{k}"] = hidden[:, 0]
        else:
            tensors[f"hidden.{k}"] = hidden[real]
    for kind in ("grad", "after"):
        tensors |= {f"{kind}.{n}": t for n, t in result[kind].items()}
    for n, values in result["steps"].items():
        tensors[f"steps.{n}"] = torch.tensor(values, dtype=torch.float64)
    packed = {n: t.to(torch.float32).contiguous() for n, t in tensors.items()}
    assert all(t.isfinite().all() for t in packed.values())
    return packed


# What the targets of each task are called in `case.json`.
TARGETS = {"classification": "classes", "regression": "scores", "tags": "tags", "choices": "choices", "questions": "ends"}


def describe(case: Case, sequences, base_file: Path) -> dict:
    return {
        "bottleneck": case.bottleneck,
        "adapter_activation": case.adapter_activation,
        "task": case.task,
        "num_labels": case.num_labels,
        "pooling": case.pooling,
        "sequences": sequences,
        TARGETS[case.task]: [asdict(target) if isinstance(target, Choice) else target for target in case.targets],
        "optimizer": asdict(case.optimizer),
        "steps": STEPS,
        "versions": {name: version(name) for name in ("torch", "transformers", "adapters")},
        "seed": case.seed,
        "base_sha256": hashlib.sha256(base_file.read_bytes()).hexdigest(),
    } | {
        name: getattr(case, name)
        for name in ("method", "head", "freeze_layernorm")
        if getattr(case, name) != Case.__dataclass_fields__[name].default
    }


def one_line_a_key(described: dict) -> str:
    """JSON with one top-level key a line: short, and still readable in a diff."""
    lines = [f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in described.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def report_checks(case: Case, config, weights, make_double, batch, expected):
    """Runs the checks and prints what they measured."""
    model = make_double()
    margin = parity_check.check_formula(model, batch, case.method, case.adapter_activation)
    # A unit so near the kink that rounding could flip it would make a ReLU gradient a matter of luck.
    assert margin > 1e-5, f"{case.name}: a ReLU reads a value as small as {margin}"
    zero = parity_check.check_zero_adapters(model, batch, config, weights) if has_adapters(case) else math.nan
    alone = parity_check.check_alone(model, batch)
    central = parity_check.check_gradients(model, batch, expected["grad"], case.seed)
    print(f"{case.name}: zero adapters {zero:.1e}, alone {alone:.1e}, central difference {central:.1e}, kink {margin:.1e}")
    moved = parity_check.check_optimizer_matters(make_double, batch, case.optimizer, STEPS, expected["after"])
    print("  parameters moved by: " + ", ".join(f"{k} {v:.1e}" for k, v in moved.items()))
    norms = expected["steps"]["grad_norm"]
    print(f"  gradient norm {min(norms):.3f} to {max(norms):.3f}, loss {expected['steps']['loss'][0]:.4f} to "
          f"{expected['steps']['loss'][-1]:.4f}")  # fmt: skip
    if has_adapters(case):
        adapted = max(t.abs().max().item() for n, t in expected["grad"].items() if ".adapter." in n)
        assert math.isfinite(adapted) and adapted > 0.0


def has_adapters(case: Case) -> bool:
    return case.method in ("houlsby", "pfeiffer")


def report_error(case: Case, batch, single, expected):
    """Prints PyTorch float32 against float64 per kind: largest absolute, and relative to the largest entry of its tensor."""
    real = batch.mask.bool()
    pick = lambda r: {
        "hidden": [h[real] for h in r["hidden"]], "pooled": [r["pooled"]], "logits": [r["logits"]], "loss": [r["loss"]],
        "grad": list(r["grad"].values()), "after": list(r["after"].values()),
    }  # fmt: skip
    cells = []
    for kind, wants in pick(expected).items():
        gots = pick(single)[kind]
        absolute = max((g.double() - w).abs().max().item() for g, w in zip(gots, wants))
        # Rounding is all that there is of the gradient of a key's bias; it has no scale of its own.
        scaled = [(g, w) for g, w in zip(gots, wants) if kind != "grad" or w.abs().max() > 1e-12]
        relative = max(((g.double() - w).abs().max() / w.abs().max()).item() for g, w in scaled)
        cells.append(f"{absolute:.1e} / {relative:.1e}")
    print(f"| `{case.name}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
