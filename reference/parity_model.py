"""The reference model: a Hugging Face encoder, AdapterHub's adapters where the method has them, a head, ten optimiser steps.

Sits below `parity.py`, which names the cases and writes the files. Nothing here reads or writes a file.

What AdapterHub computes (`adapters` 1.3.0, `methods/modeling.py` and `methods/bottleneck.py`; 1.2.0 has the same two files):
`BertSelfOutput` and `BertOutput` run `h = dropout(dense(ctx))`, then `bottleneck_layer_forward(h, x, LayerNorm)`, which is
  pre_forward   original_ln_before=False, residual_before_ln=True: the adapter reads h, and its own residual is h
  forward       a = scaling * up(act(down(h))) with scaling=1.0, ln_before=False, ln_after=False, use_gating=False, dropout=0.0,
                stochastic_depth=0.0; adapter_residual_before_ln=False adds h once, after that: h + a
  post_forward  original_ln_after=True: LayerNorm(h + a + x)
so with mh_adapter=True and output_adapter=True each layer is exactly `LN(x + h + up(act(down(h))))`, twice.
Pfeiffer's (`SeqBnConfig`) has output_adapter=True alone and original_ln_before=True: the adapter reads `LN(h + x)`, its own residual
is still h, and the same LayerNorm follows, so the feed-forward block is `LN(x + h + up(act(down(LN(x + h)))))`.
Where layers normalise before each sub-layer, AdapterHub passes no LayerNorm (`ViTLayerWithAdapters`, `GPT2BlockWithAdapters`
through their hooks), so `x + h + up(act(down(h)))`, and of Pfeiffer's adapter, which reads the sum, `s + up(act(down(s)))` with
`s = x + h`. ModernBERT it does not know: its `Adapter` modules are put there by hand (`graft_layers`).
`parity_check.py` recomputes this by hand from hooks and refuses to go on if it is not so.
"""

import math
from dataclasses import dataclass
from types import MethodType

import adapters
import torch
from adapters import DoubleSeqBnConfig, SeqBnConfig
from adapters.methods.modeling import Adapter
from torch import nn
from transformers import get_linear_schedule_with_warmup

from parity_family import Family

ADAPTER = "task"

# The activations of a dense head; with dropout off it is that of RoBERTa (tanh), of ELECTRA (erf GELU) and of DistilBERT (ReLU):
# `RobertaClassificationHead`, `ElectraClassificationHead`, `DistilBertForSequenceClassification`.
HEAD_ACTIVATION = {"dense-tanh": torch.tanh, "dense-gelu": nn.functional.gelu, "dense-relu": torch.relu}

# Ours -> the name in `transformers.activations.ACT2FN`, which AdapterHub asks as it stands. There "gelu" is the erf form and
# "gelu_new" the tanh form; only a *saved* adapter config without a `version` has "gelu" renamed to "gelu_new" on loading.
NON_LINEARITY = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_new", "silu": "swish"}


@dataclass
class Batch:
    """Padded ids, types and mask `[batch, longest]`, and the targets: classes as int64, scores as float, or `[batch, longest]` of tags,
    which stand at the first token of each word; -100 elsewhere, as `BertForTokenClassification` takes them.

    Of choices: for each sequence the number of its row, counted from 1, below 0 for the right choice. Of questions: `[batch, longest]`
    with -100 where no candidate is, and of each candidate 1 if the answer begins there plus 2 if it ends there."""

    ids: torch.Tensor
    types: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor


@dataclass
class Choice:
    """A row of so many sequences, one after another in the batch, of which the one at this place is right."""

    choices: int
    right: int


@dataclass
class Optimizer:
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    max_grad_norm: float
    total_steps: int
    warmup_steps: int
    bias_correction: bool


@dataclass
class Output:
    hidden: tuple  # the embeddings' output, then each layer's, `[batch, longest, hidden]`
    pooled: torch.Tensor
    logits: torch.Tensor
    loss: torch.Tensor


def make_batch(sequences, targets, padding: int) -> Batch:
    """Pads on the right, as Hugging Face does; the mask is 1 on real tokens."""
    longest = max(len(s["ids"]) for s in sequences)
    pad = lambda row, value=0: row + [value] * (longest - len(row))
    if targets and isinstance(targets[0], Choice):
        targets = [-row if place == of.right else row for row, of in enumerate(targets, 1) for place in range(of.choices)]
    elif any("words" in s for s in sequences):
        targets = [[row[s["words"].index(place)] if place in s["words"] else -100 for place in range(longest)]
                   for s, row in zip(sequences, targets)]  # fmt: skip
    return Batch(
        ids=torch.tensor([pad(s["ids"], padding) for s in sequences]),
        types=torch.tensor([pad(s["type_ids"]) for s in sequences]),
        mask=torch.tensor([pad([1] * len(s["ids"])) for s in sequences]),
        targets=torch.tensor(targets),
    )


def bare_encoder(family: Family, config, weights: dict):
    """A plain encoder with these base weights (names without a prefix), dropout off."""
    model = family.make(config)
    loaded = model.load_state_dict(weights, strict=True)
    assert not loaded.missing_keys and not loaded.unexpected_keys
    family.split_fused(model)
    return model.eval()


def graft_layers(family: Family, encoder, method: str, bottleneck: int, config):
    """Puts AdapterHub's modules into layers that it does not know, as `ViTLayerWithAdapters` has them."""

    def grafted(h, x, modules):
        if ADAPTER not in modules:
            return h + x
        adapter = modules[ADAPTER]
        read, _, residual = adapter.pre_forward(h, x, None)
        return adapter.post_forward(adapter(read, residual)[0], h, x, None)

    def forward(layer, x, **arguments):
        h = layer.attn(layer.attn_norm(x), **arguments)[0]
        x = grafted(h, x, layer.attention_adapters)
        return (grafted(layer.mlp(layer.mlp_norm(x)), x, layer.output_adapters),)

    hidden = encoder.config.hidden_size
    for layer in encoder.get_submodule(family.layers):
        for site in family.sites.values():
            adapted = method == "houlsby" or site is family.sites["feed_forward"]
            modules = {ADAPTER: Adapter(ADAPTER, hidden, bottleneck, config)} if adapted else {}
            setattr(layer, site.adapters, nn.ModuleDict(modules))
        layer.forward = MethodType(forward, layer)


def adapter_config(method: str, hidden: int, bottleneck: int, activation: str):
    """AdapterHub's configuration, every key that changes the function written out."""
    shared = dict(
        non_linearity=NON_LINEARITY[activation],
        # AdapterHub takes int(hidden // reduction_factor); the half keeps rounding away from m.
        reduction_factor=hidden / (bottleneck + 0.5),
        output_adapter=True, original_ln_after=True, residual_before_ln=True, adapter_residual_before_ln=False,
        ln_before=False, ln_after=False, scaling=1.0, use_gating=False, is_parallel=False, dropout=0.0,
    )  # fmt: skip
    if method == "pfeiffer":
        return SeqBnConfig(mh_adapter=False, original_ln_before=True, **shared)
    return DoubleSeqBnConfig(mh_adapter=True, original_ln_before=False, **shared)


class ReferenceModel(nn.Module):
    """An encoder of which a method's list trains, with that method's adapters, and a head on the pooled output."""

    def __init__(
        self, family, config, weights, task_tensors, *, method, bottleneck, activation, task, pooling, head="linear",
        freeze_layernorm=False, attention="eager",
    ):  # fmt: skip
        super().__init__()
        config._attn_implementation = attention
        self.family = family
        self.encoder = bare_encoder(family, config, weights)
        self.method = method
        added = adapter_config(method, config.hidden_size, bottleneck, activation)
        if method in ("houlsby", "pfeiffer") and family.pre_norm:
            graft_layers(family, self.encoder, method, bottleneck, added)
        elif method in ("houlsby", "pfeiffer"):
            adapters.init(self.encoder)
            self.encoder.add_adapter(ADAPTER, config=added, set_active=True)
            assert self.encoder.active_adapters is not None
        labels, hidden = task_tensors["head.weight"].shape
        self.head = nn.Linear(hidden, labels)
        if head != "linear":
            self.head_dense = nn.Linear(hidden, hidden)
        self.task, self.pooling, self.head_form, self.freeze_layernorm = task, pooling, head, freeze_layernorm
        self.eval()
        self.trained = self._name_and_fill(task_tensors)

    def _name_and_fill(self, task_tensors) -> dict:
        """Freezes all, then unfreezes and fills what trains; returns our name -> parameter, sorted by name."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        layers = self.encoder.config.num_hidden_layers
        ours = trained_names(
            self.family, self.method, layers, self.pooling, head=self.head_form, freeze_layernorm=self.freeze_layernorm
        )
        theirs = dict(self.named_parameters())
        trained = {name: theirs[path] for name, path in sorted(ours.items())}
        assert trained.keys() == task_tensors.keys(), trained.keys() ^ task_tensors.keys()
        for name, parameter in trained.items():
            assert parameter.shape == task_tensors[name].shape, name
            parameter.data.copy_(task_tensors[name])
            parameter.requires_grad = True
        # Nothing that AdapterHub added may be left out of the list, no LayerNorm where they are trained, and nothing at all
        # of a network that is trained as a whole (but a pooler that is not read).
        norm = "norm" if self.family.pre_norm else "layernorm"
        wanted = {"houlsby": ("adapter", norm), "layernorm": (norm,), "bias": ("bias",), "full": ("",)}
        if self.freeze_layernorm:
            wanted = {}
        frozen = {f"encoder.{path}" for path in self.family.shared_norms.values()} if self.method == "houlsby" else set()
        unread = "-" if self.pooling == "cls" else "encoder.pooler"
        left = [
            n for n, p in theirs.items()
            if not p.requires_grad and any(part in n.lower().replace("_", "") for part in wanted.get(self.method, ("adapter",))) and unread not in n
            and n.rsplit(".", 1)[0] not in frozen
        ]  # fmt: skip
        assert not left, left
        return trained

    def forward(self, batch: Batch) -> Output:
        types = {"token_type_ids": batch.types} if self.family.types else {}
        out = self.encoder(input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=True, **types)
        if self.pooling == "cls":
            pooled = out.pooler_output  # tanh(W h_cls + b); frozen, but in the path of the gradient
        elif self.pooling == "first":
            pooled = out.last_hidden_state[:, 0]
        elif self.pooling == "words":
            pooled = out.last_hidden_state[batch.targets != -100]
        else:
            mask = batch.mask.unsqueeze(-1).to(out.last_hidden_state.dtype)
            pooled = (out.last_hidden_state * mask).sum(1) / mask.sum(1)
        read = pooled if self.head_form == "linear" else HEAD_ACTIVATION[self.head_form](self.head_dense(pooled))
        logits = self.head(read)
        if self.task == "classification":
            loss = nn.functional.cross_entropy(logits, batch.targets)
        elif self.task == "tags":
            # The mean over all words of the batch, as of `BertForTokenClassification`.
            loss = nn.functional.cross_entropy(logits, batch.targets[batch.targets != -100])
        elif self.task == "choices":
            loss = choice_loss(logits[:, 0], batch.targets)
        elif self.task == "questions":
            loss = span_loss(logits, batch.targets)
        else:
            loss = nn.functional.mse_loss(logits[:, 0], batch.targets.to(logits.dtype))
        # What the head reads is the last; `transformers` lists what ModernBERT's last layer gives without the norm after it.
        return Output((*out.hidden_states[:-1], out.last_hidden_state), pooled, logits, loss)


def choice_loss(logits, targets):
    """As of `BertForMultipleChoice`: the logits of a row's choices side by side, and the mean over rows. It has as many choices in every
    row; here shorter rows are filled up with logits of minus infinity."""
    rows = targets.abs()
    table = logits.new_full((int(rows.max()), len(logits)), -math.inf)
    right = []
    for row in rows.unique().tolist():
        table[row - 1, : int((rows == row).sum())] = logits[rows == row]
        right.append(int((targets[rows == row] < 0).int().argmax()))
    table = table[[row - 1 for row in rows.unique().tolist()]]
    return nn.functional.cross_entropy(table, torch.tensor(right))


def span_loss(logits, targets):
    """As of `BertForQuestionAnswering`: the mean over windows of the cross entropy of beginnings, with that of ends, halved. There every
    token has logits; here those that are no candidates have minus infinity."""
    candidates = targets != -100
    losses = []
    for end, of_end in enumerate(logits.unbind(1)):
        table = logits.new_full(targets.shape, -math.inf)
        table[candidates] = of_end
        right = (candidates & (targets >> end & 1 == 1)).int()
        assert (right.sum(1) == 1).all()
        losses.append(nn.functional.cross_entropy(table, right.argmax(1)))
    return (losses[0] + losses[1]) / 2


def trained_names(family: Family, method: str, layers: int, pooling: str, *, head="linear", freeze_layernorm=False) -> dict:
    """Our name -> the parameter's path in `ReferenceModel`. Everything is stored `[out, in]` on both sides."""
    names = {"head": "head"} | ({} if head == "linear" else {"head.dense": "head_dense"})
    norms, projections, adapted = {"embeddings.layer_norm": f"encoder.{family.embeddings_norm}"}, {}, {}
    after_all = {"final_layer_norm": f"encoder.{family.final_norm}"} if family.pre_norm else {}
    for i in range(layers):
        mine, theirs = f"layer.{i}", f"encoder.{family.layers}.{i}"
        for ours, site in family.sites.items():
            if not family.pre_norm or i > 0 or ours != "attention":
                norms[f"{mine}.{ours}.layer_norm"] = f"{theirs}.{site.norm}"
            if method == "houlsby" or method == "pfeiffer" and ours == "feed_forward":
                adapted[f"{mine}.{ours}.adapter.down"] = f"{theirs}.{site.adapters}.{ADAPTER}.adapter_down.0"
                adapted[f"{mine}.{ours}.adapter.up"] = f"{theirs}.{site.adapters}.{ADAPTER}.adapter_up"
        for ours, path in family.projections.items():
            projections[f"{mine}.{ours}"] = f"{theirs}.{path}"
    pooler = {"pooler": "encoder.pooler.dense"} if pooling == "cls" else {}
    ends = ("weight", "bias")
    if method in ("houlsby", "layernorm") and not freeze_layernorm:
        names |= norms | after_all
    if method in ("full", "bias", "layernorm"):
        names |= {ours: f"encoder.{path}" for ours, path in family.shared_norms.items()}
    if method in ("full", "bias"):
        names |= norms | after_all | projections | pooler | {ours: f"encoder.{path}" for ours, path in family.linears.items()}
    if method.startswith("top-"):
        upper = {f"layer.{i}" for i in range(layers - int(method.removeprefix("top-")), layers)}
        names |= {n: p for n, p in (norms | projections).items() if ".".join(n.split(".")[:2]) in upper}
        names |= after_all | pooler
    both = {f"{name}.{end}": f"{path}.{end}" for name, path in (names | adapted).items() for end in ends}
    if not family.biases:
        has = lambda n: n.startswith("head.") or ".adapter." in n or not n.endswith(".bias")
        both = {n: p for n, p in both.items() if has(n)}
    if method == "bias":
        both = {n: p for n, p in both.items() if n.endswith(".bias") or n.startswith("head.")}
    if method == "full":
        both |= {f"embeddings.{mine}.weight": f"encoder.{theirs}.weight" for mine, theirs in family.tables.items()}
        both |= {mine: f"encoder.{theirs}" for mine, theirs in family.beside.items()}
    return both


def decays(name: str) -> bool:
    """Weight decay acts on matrices and embeddings; never on a bias or a LayerNorm."""
    return name.endswith(".weight") and "layer_norm." not in name


class BertAdamW(torch.optim.Optimizer):
    """AdamW without bias correction: google-research/adapter-bert, `optimization.py`, `AdamWeightDecayOptimizer`."""

    def __init__(self, groups, lr, betas, eps):
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                m = beta1 * state.get("m", torch.zeros_like(p)) + (1.0 - beta1) * p.grad
                v = beta2 * state.get("v", torch.zeros_like(p)) + (1.0 - beta2) * p.grad.square()
                update = m / (v.sqrt() + group["eps"]) + group["weight_decay"] * p
                p -= group["lr"] * update
                state["m"], state["v"] = m, v


def make_optimizer(trained: dict, o: Optimizer):
    """The optimiser and Hugging Face's linear schedule, stepped after each update: t/W for t < W, then (T-t)/max(1, T-W)."""
    groups = [
        {"params": [p for n, p in trained.items() if decays(n)], "weight_decay": o.weight_decay},
        {"params": [p for n, p in trained.items() if not decays(n)], "weight_decay": 0.0},
    ]
    betas = (o.beta1, o.beta2)
    if o.bias_correction:
        optimizer = torch.optim.AdamW(groups, lr=o.lr, betas=betas, eps=o.eps, foreach=False)
    else:
        optimizer = BertAdamW(groups, lr=o.lr, betas=betas, eps=o.eps)
    return optimizer, get_linear_schedule_with_warmup(optimizer, o.warmup_steps, o.total_steps)


def train_steps(model: ReferenceModel, batch: Batch, o: Optimizer, steps: int) -> dict:
    """Takes `steps` updates on this one batch; returns the loss, learning rate and norm before clipping of each."""
    optimizer, schedule = make_optimizer(model.trained, o)
    trace = {"loss": [], "lr": [], "grad_norm": []}
    for t in range(steps):
        optimizer.zero_grad()
        loss = model(batch).loss
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.trained.values(), o.max_grad_norm, foreach=False)
        warm = t / o.warmup_steps if t < o.warmup_steps else None
        factor = warm if warm is not None else (o.total_steps - t) / max(1, o.total_steps - o.warmup_steps)
        lr = optimizer.param_groups[0]["lr"]
        assert math.isclose(lr, o.lr * factor, rel_tol=1e-12, abs_tol=0.0), (t, lr, factor)
        optimizer.step()
        schedule.step()
        for key, value in (("loss", loss.item()), ("lr", lr), ("grad_norm", norm.item())):
            trace[key].append(value)
    return trace


def run(model: ReferenceModel, batch: Batch, o: Optimizer, steps: int) -> dict:
    """One forward and backward, then the steps: hidden, pooled, logits, loss, gradients, trace, parameters after."""
    model.zero_grad()
    out = model(batch)
    out.loss.backward()
    result = {
        "hidden": [h.detach().clone() for h in out.hidden],
        "pooled": out.pooled.detach().clone(),
        "logits": out.logits.detach().clone(),
        "loss": out.loss.detach().reshape(1).clone(),
        "grad": {n: p.grad.detach().clone() for n, p in model.trained.items()},
    }
    result["steps"] = train_steps(model, batch, o, steps)
    result["after"] = {n: p.detach().clone() for n, p in model.trained.items()}
    return result
