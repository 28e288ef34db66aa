"""Checks of the reference itself, run by `parity.py` before a fixture is written. Each one raises if it fails.

Everything here is in float64, so that the limits can be tight.
"""

import copy
import dataclasses
import math

import torch

from transformers.models.bert.modeling_bert import BertSelfOutput

from parity_model import ADAPTER, bare_bert, run

# Written out from the formulas, not looked up by name: a wrong entry in `NON_LINEARITY` shows here.
ACTIVATION = {
    "relu": lambda x: torch.clamp(x, min=0.0),
    "gelu": lambda x: 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0))),
    "gelu_tanh": lambda x: 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1.0 + torch.exp(-x)),
}


def check_formula(model, batch, method: str, activation: str) -> float:
    """Each sub-layer equals the method's formula (see `parity_model.py`) written by hand.

    Returns the least magnitude that a ReLU of this model reads on a real token (infinity without a ReLU).
    """
    seen, handles, kinks = [], [], []
    real = batch.mask.bool()
    for layer in model.bert.encoder.layer:
        if model.bert.config.hidden_act == "relu":
            read = lambda module, args, out: kinks.append(out[real])
            handles.append(layer.intermediate.dense.register_forward_hook(read))
        for block in (layer.attention.output, layer.output):
            keep = lambda module, args, out: seen.append((module, args[0], args[1], out))
            handles.append(block.register_forward_hook(keep))
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    assert len(seen) == 2 * len(model.bert.encoder.layer)
    for block, ctx, x, out in seen:
        h = ctx @ block.dense.weight.T + block.dense.bias
        s = x + h
        if method == "houlsby" or method == "pfeiffer" and not isinstance(block, BertSelfOutput):
            adapter = block.adapters[ADAPTER]
            down, up = adapter.adapter_down[0], adapter.adapter_up
            z = (layer_norm(s, block.LayerNorm) if method == "pfeiffer" else h) @ down.weight.T + down.bias
            s = s + ACTIVATION[activation](z) @ up.weight.T + up.bias
            if activation == "relu":
                kinks.append(z[real])
        worst = (layer_norm(s, block.LayerNorm) - out).abs().max().item()
        assert worst < 1e-11, f"a sub-layer does not compute the formula of {method}: off by {worst}"
    return min((z.abs().min().item() for z in kinks), default=math.inf)


def layer_norm(s, module):
    centred = s - s.mean(-1, keepdim=True)
    rstd = (centred.square().mean(-1, keepdim=True) + module.eps).rsqrt()
    return centred * rstd * module.weight + module.bias


def check_zero_adapters(model, batch, config, weights) -> float:
    """With zero adapters the hidden states are those of a `BertModel` that never met AdapterHub (with our LayerNorms)."""
    zeroed = copy.deepcopy(model)
    assert zeroed.bert.active_adapters is not None
    with torch.no_grad():
        for name, p in zeroed.named_parameters():
            if "adapter_" in name:
                p.zero_()
        plain = bare_bert(copy.deepcopy(config), weights).double()
        for name, p in zeroed.bert.named_parameters():
            if "LayerNorm" in name:
                plain.get_parameter(name).copy_(p)
        want = plain(batch.ids, attention_mask=batch.mask, token_type_ids=batch.types, output_hidden_states=True)
        got = zeroed(batch).hidden
    real = batch.mask.bool()
    worst = max((a[real] - b[real]).abs().max().item() for a, b in zip(want.hidden_states, got))
    assert worst < 1e-12, f"zero adapters differ from the bare encoder by {worst}"
    return worst


def check_alone(model, batch) -> float:
    """A sequence alone, without padding, gives the same logits as in the padded batch."""
    worst = 0.0
    with torch.no_grad():
        together = model(batch).logits
        for i, length in enumerate(batch.mask.sum(1).tolist()):
            cut = lambda t: t[i : i + 1, :length]
            one = dataclasses.replace(
                batch, ids=cut(batch.ids), types=cut(batch.types), mask=cut(batch.mask), targets=batch.targets[i : i + 1]
            )
            worst = max(worst, (model(one).logits[0] - together[i]).abs().max().item())
    assert worst < 1e-11, f"padding changes the logits by {worst}"
    return worst


def check_gradients(model, batch, grads, seed: int, step: float = 1e-5) -> float:
    """One entry of every trained parameter against a central difference; returns the worst error relative to 1e-3 + |grad|."""
    generator = torch.Generator().manual_seed(seed)
    worst = 0.0
    for name, p in model.trained.items():
        flat = p.data.view(-1)
        at = int(torch.randint(flat.numel(), (1,), generator=generator))
        was = flat[at].item()
        losses = []
        for sign in (1.0, -1.0):
            flat[at] = was + sign * step
            with torch.no_grad():
                losses.append(model(batch).loss.item())
        flat[at] = was
        difference = (losses[0] - losses[1]) / (2.0 * step)
        got = grads[name].view(-1)[at].item()
        error = abs(difference - got) / (1e-3 + abs(got))
        assert error < 1e-5, f"{name}[{at}]: gradient {got}, central difference {difference}"
        worst = max(worst, error)
    return worst


def check_optimizer_matters(make_model, batch, o, steps: int, after: dict) -> dict:
    """How far each wrong reading of the optimiser moves the parameters: a fixture that cannot tell them apart is no test."""
    wrong = {
        "no clipping": dataclasses.replace(o, max_grad_norm=1e9),
        "no weight decay": dataclasses.replace(o, weight_decay=0.0),
        "bias correction flipped": dataclasses.replace(o, bias_correction=not o.bias_correction),
        "eps ten times": dataclasses.replace(o, eps=o.eps * 10.0),
        "no warm-up": dataclasses.replace(o, warmup_steps=0),
        "one step more in total": dataclasses.replace(o, total_steps=o.total_steps + 1),
    }
    moved = {}
    for what, other in wrong.items():
        got = run(make_model(), batch, other, steps)["after"]
        moved[what] = max((got[n] - after[n]).abs().max().item() for n in after)
    return moved
