"""Families of encoders as `transformers` and AdapterHub name their parts, one entry each."""

from dataclasses import dataclass, field, replace

import torch
from torch import nn
from transformers import (
    BertConfig, BertModel, DebertaV2Config, DebertaV2Model, DistilBertConfig, DistilBertModel, ElectraConfig, ElectraModel, ModernBertConfig, ModernBertModel,
    MPNetConfig, MPNetModel, RobertaConfig, RobertaModel, XLMRobertaConfig, XLMRobertaModel,
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A place with a residual connection and a layer normalisation, by paths in a layer: what is added, the norm, the adapters."""

    dense: str
    norm: str
    adapters: str


@dataclass(frozen=True)
class Family:
    config: type
    model: type
    layers: str
    projections: dict
    sites: dict
    # The arguments of the configuration, by BERT's names.
    fields: dict = field(default_factory=dict)
    types: bool = True
    padding: int = 0
    # The layer normalisation of the embeddings and their tables: our name -> the path in the encoder.
    embeddings_norm: str = "embeddings.LayerNorm"
    tables: dict = field(default_factory=lambda: {
        "words": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings",
        "types": "embeddings.token_type_embeddings",
    })  # fmt: skip
    # Whether layers normalise before each sub-layer: the first has then no norm before its attention, and one follows the last.
    pre_norm: bool = False
    final_norm: str = ""
    # Whether linear layers and layer normalisations have biases.
    biases: bool = True
    # The attention of the float64 model. Eager attention is the plain formula softmax(QK^T / sqrt(head_dim) + mask) V.
    attention: str = "eager"
    # A linear layer of a layer, by its path, that gives queries, keys and values at once.
    fused: str = ""
    # Linear layers beside those of the layers, which methods that train linear layers train too: our name -> the path.
    linears: dict = field(default_factory=dict)
    # A layer normalisation that all layers read from, which methods that train the encoder's own in all layers train too, and
    # those with adapters do not: our name -> the path.
    shared_norms: dict = field(default_factory=dict)
    # What else full fine-tuning trains: our name -> the path in the encoder.
    beside: dict = field(default_factory=dict)
    # Arguments of the model beside its configuration.
    arguments: dict = field(default_factory=dict)

    def configure(self, sizes: dict):
        """The configuration of these sizes, named as BERT names them."""
        return self.config(**{self.fields.get(name, name): value for name, value in sizes.items()}, initializer_range=0.2)

    def make(self, config):
        return self.model(config, **self.arguments)

    def split(self, weights: dict) -> dict:
        """The weights with those of a fused layer in three, as `split_fused` has them in the model."""
        if not self.fused:
            return weights
        parts = {}
        for name, tensor in weights.items():
            path, end = name.rsplit(".", 1)
            if path.endswith(f".{self.fused}"):
                parts |= {f"{path}.{part}.{end}": piece for part, piece in zip(Fused.PARTS, tensor.chunk(3))}
            else:
                parts[name] = tensor
        return parts

    def split_fused(self, encoder):
        """Replaces fused layers by three that compute the same, so that each has gradients under a name of its own."""
        if self.fused:
            parent, name = self.fused.rsplit(".", 1)
            for layer in encoder.get_submodule(self.layers):
                setattr(layer.get_submodule(parent), name, Fused(layer.get_submodule(self.fused)))


class Fused(nn.Module):
    """A linear layer whose outputs are queries, keys and values, as three."""

    PARTS = ("query", "key", "value")

    def __init__(self, whole: nn.Linear):
        super().__init__()
        rows = whole.out_features // 3
        for index, part in enumerate(self.PARTS):
            linear = nn.Linear(whole.in_features, rows, bias=whole.bias is not None)
            linear.load_state_dict({n: t[index * rows : (index + 1) * rows] for n, t in whole.state_dict().items()})
            setattr(self, part, linear)

    def forward(self, x):
        return torch.cat([getattr(self, part)(x) for part in self.PARTS], dim=-1)


BERT = Family(
    config=BertConfig,
    model=BertModel,
    layers="encoder.layer",
    projections={
        "attention.query": "attention.self.query",
        "attention.key": "attention.self.key",
        "attention.value": "attention.self.value",
        "attention.output": "attention.output.dense",
        "feed_forward.intermediate": "intermediate.dense",
        "feed_forward.output": "output.dense",
    },
    sites={
        "attention": Site("attention.output.dense", "attention.output.LayerNorm", "attention.output.adapters"),
        "feed_forward": Site("output.dense", "output.LayerNorm", "output.adapters"),
    },
)

FAMILIES = {
    "bert": BERT,
    # Positions count from the padding's id on, and only tokens that are not padding.
    "roberta": Family(
        config=RobertaConfig, model=RobertaModel, layers=BERT.layers, projections=BERT.projections, sites=BERT.sites,
        padding=1, arguments={"add_pooling_layer": False},
    ),  # fmt: skip
    # Its embeddings as wide as the hidden states, as in the base and large models: no projection between them.
    "electra": Family(
        config=ElectraConfig, model=ElectraModel, layers=BERT.layers, projections=BERT.projections, sites=BERT.sites,
    ),  # fmt: skip
    # A bias by distance in all layers; positions as in RoBERTa. AdapterHub does not know it.
    "mpnet": Family(
        config=MPNetConfig,
        model=MPNetModel,
        layers=BERT.layers,
        projections={
            "attention.query": "attention.attn.q",
            "attention.key": "attention.attn.k",
            "attention.value": "attention.attn.v",
            "attention.output": "attention.attn.o",
            "feed_forward.intermediate": "intermediate.dense",
            "feed_forward.output": "output.dense",
        },
        sites={
            "attention": Site("attention.attn.o", "attention.LayerNorm", ""),
            "feed_forward": Site("output.dense", "output.LayerNorm", ""),
        },
        types=False,
        tables={"words": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings"},
        padding=1,
        beside={"relative_bias.weight": "encoder.relative_attention_bias.weight"},
        arguments={"add_pooling_layer": False},
    ),
    # Attention by content and relative position, in the form of the v3 checkpoints: no positions and no types in the embeddings.
    "deberta": Family(
        config=DebertaV2Config,
        model=DebertaV2Model,
        layers=BERT.layers,
        projections=BERT.projections | {
            f"attention.{part}": f"attention.self.{part}_proj" for part in ("query", "key", "value")
        },
        sites=BERT.sites,
        types=False,
        tables={"words": "embeddings.word_embeddings"},
        shared_norms={"relative_embeddings.layer_norm": "encoder.LayerNorm"},
        beside={"relative_embeddings.weight": "encoder.rel_embeddings.weight"},
    ),
    "distilbert": Family(
        config=DistilBertConfig,
        model=DistilBertModel,
        layers="transformer.layer",
        projections={
            "attention.query": "attention.q_lin",
            "attention.key": "attention.k_lin",
            "attention.value": "attention.v_lin",
            "attention.output": "attention.out_lin",
            "feed_forward.intermediate": "ffn.lin1",
            "feed_forward.output": "ffn.lin2",
        },
        sites={
            "attention": Site("attention.out_lin", "sa_layer_norm", "attention_adapters.adapters"),
            "feed_forward": Site("ffn.lin2", "output_layer_norm", "output_adapters.adapters"),
        },
        fields={
            "hidden_size": "dim",
            "num_attention_heads": "n_heads",
            "num_hidden_layers": "n_layers",
            "intermediate_size": "hidden_dim",
            "hidden_act": "activation",
        },
        types=False,
        tables={"words": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings"},
    ),
    # AdapterHub does not know it either: `parity_model.py` puts its modules where it has them in ViT.
    "modernbert": Family(
        config=ModernBertConfig,
        model=ModernBertModel,
        layers="layers",
        projections={
            "attention.query": "attn.Wqkv.query",
            "attention.key": "attn.Wqkv.key",
            "attention.value": "attn.Wqkv.value",
            "attention.output": "attn.Wo",
            "feed_forward.intermediate": "mlp.Wi",
            "feed_forward.output": "mlp.Wo",
        },
        sites={
            "attention": Site("attn.Wo", "attn_norm", "attention_adapters"),
            "feed_forward": Site("mlp.Wo", "mlp_norm", "output_adapters"),
        },
        fields={"hidden_act": "hidden_activation", "layer_norm_eps": "norm_eps"},
        types=False,
        embeddings_norm="embeddings.norm",
        tables={"words": "embeddings.tok_embeddings"},
        pre_norm=True,
        final_norm="final_norm",
        biases=False,
        fused="attn.Wqkv",
        # Its eager attention takes the softmax in float32, whatever the model is in.
        attention="sdpa",
    ),
}
# With all biases that its configuration can ask for.
FAMILIES["modernbert-biased"] = replace(FAMILIES["modernbert"], biases=True)
# With positions and types in the embeddings too, and nothing between the relative embeddings and the layers.
FAMILIES["deberta-biased"] = replace(FAMILIES["deberta"], types=True, tables=BERT.tables, shared_norms={})
# Its embeddings narrower than the hidden states, as in the small models.
FAMILIES["electra-small"] = replace(FAMILIES["electra"], linears={"embeddings.projection": "embeddings_project"})
FAMILIES["xlm-roberta"] = replace(FAMILIES["roberta"], config=XLMRobertaConfig, model=XLMRobertaModel)
