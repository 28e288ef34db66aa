"""Families of encoders as `transformers` and AdapterHub name their parts, one entry each."""

from dataclasses import dataclass, field, replace

from transformers import (
    BertConfig, BertModel, DistilBertConfig, DistilBertModel, ElectraConfig, ElectraModel, MPNetConfig, MPNetModel,
    RobertaConfig, RobertaModel, XLMRobertaConfig, XLMRobertaModel,
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
    # Linear layers beside those of the layers, which methods that train linear layers train too: our name -> the path.
    linears: dict = field(default_factory=dict)
    # What else full fine-tuning trains: our name -> the path in the encoder.
    beside: dict = field(default_factory=dict)
    # Arguments of the model beside its configuration.
    arguments: dict = field(default_factory=dict)

    def configure(self, sizes: dict):
        """The configuration of these sizes, named as BERT names them."""
        return self.config(**{self.fields.get(name, name): value for name, value in sizes.items()}, initializer_range=0.2)

    def make(self, config):
        return self.model(config, **self.arguments)


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
        padding=1,
        beside={"relative_bias.weight": "encoder.relative_attention_bias.weight"},
        arguments={"add_pooling_layer": False},
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
    ),
}
# Its embeddings narrower than the hidden states, as in the small models.
FAMILIES["electra-small"] = replace(FAMILIES["electra"], linears={"embeddings.projection": "embeddings_project"})
FAMILIES["xlm-roberta"] = replace(FAMILIES["roberta"], config=XLMRobertaConfig, model=XLMRobertaModel)
