"""Checks of the reference itself, run by `parity.py` before a fixture is written. Each one raises if it fails.

Everything here is in float64, so that the limits can be tight.
"""

import copy
import dataclasses
import math

import torch

from parity_model import ADAPTER, bare_encoder, run

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
    seen, handles, kinks = {}, [], []
    real = batch.mask.bool()
    family, config = model.family, model.encoder.config
    layers = model.encoder.get_submodule(family.layers)
    keep = lambda name: lambda module, args, out: seen.update({name: (args[0], out[0] if isinstance(out, tuple) else out)})
    for i, layer in enumerate(layers):
        handles.append(layer.register_forward_hook(keep((i, "layer"))))
        for name in ("attention.query", "feed_forward.intermediate"):
            read = layer.get_submodule(family.projections[name])
            handles.append(read.register_forward_hook(keep((i, name.split(".")[1]))))
        for site in family.sites.values():
            for path in (site.dense, site.norm):
                handles.append(layer.get_submodule(path).register_forward_hook(keep((i, path))))
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    if family.pre_norm:
        return check_pre_norm_formula(model, batch, (method, activation), seen)
    for i, layer in enumerate(layers):
        if getattr(config, family.fields.get("hidden_act", "hidden_act")) == "relu":
            kinks.append(seen[i, "intermediate"][1][real])
        x = seen[i, "layer"][0]
        for name, site in family.sites.items():
            ctx, norm = seen[i, site.dense][0], layer.get_submodule(site.norm)
            dense = layer.get_submodule(site.dense)
            h = ctx @ dense.weight.T + dense.bias
            s = x + h
            if method == "houlsby" or method == "pfeiffer" and name == "feed_forward":
                adapter = layer.get_submodule(site.adapters)[ADAPTER]
                down, up = adapter.adapter_down[0], adapter.adapter_up
                z = (layer_norm(s, norm) if method == "pfeiffer" else h) @ down.weight.T + down.bias
                s = s + ACTIVATION[activation](z) @ up.weight.T + up.bias
                if activation == "relu":
                    kinks.append(z[real])
            out = seen[i, site.norm][1]
            worst = (layer_norm(s, norm) - out).abs().max().item()
            assert worst < 1e-11, f"a sub-layer does not compute the formula of {method}: off by {worst}"
            x = out
    return min((z.abs().min().item() for z in kinks), default=math.inf)


def check_pre_norm_formula(model, batch, method_and_activation, seen) -> float:
    """`check_formula` of layers that normalise before each sub-layer."""
    method, activation = method_and_activation
    family, real, kinks = model.family, batch.mask.bool(), []
    layers = model.encoder.get_submodule(family.layers)
    for i, layer in enumerate(layers):
        x = seen[i, "layer"][0]
        for name, read in (("attention", "query"), ("feed_forward", "intermediate")):
            site = family.sites[name]
            normal = x if (i, name) == (0, "attention") else layer_norm(x, layer.get_submodule(site.norm))
            off = (normal - seen[i, read][0]).abs().max().item()
            ctx, dense = seen[i, site.dense][0], layer.get_submodule(site.dense)
            h = ctx @ dense.weight.T + (0.0 if dense.bias is None else dense.bias)
            s = x + h
            if method == "houlsby" or method == "pfeiffer" and name == "feed_forward":
                adapter = layer.get_submodule(site.adapters)[ADAPTER]
                down, up = adapter.adapter_down[0], adapter.adapter_up
                z = (s if method == "pfeiffer" else h) @ down.weight.T + down.bias
                s = s + ACTIVATION[activation](z) @ up.weight.T + up.bias
                if activation == "relu":
                    kinks.append(z[real])
            x = s
            assert off < 1e-11, f"a sub-layer does not read what is normalised before it: off by {off}"
        worst = (x - seen[i, "layer"][1]).abs().max().item()
        assert worst < 1e-11, f"a layer does not compute the formula of {method}: off by {worst}"
    return min((z.abs().min().item() for z in kinks), default=math.inf)


def layer_norm(s, module):
    centred = s - s.mean(-1, keepdim=True)
    rstd = (centred.square().mean(-1, keepdim=True) + module.eps).rsqrt()
    return centred * rstd * module.weight + (0.0 if module.bias is None else module.bias)


def check_zero_adapters(model, batch, config, weights) -> float:
    """With zero adapters the hidden states are those of an encoder that never met AdapterHub (with our LayerNorms)."""
    zeroed = copy.deepcopy(model)
    assert model.family.pre_norm or zeroed.encoder.active_adapters is not None
    norms = {site.norm for site in model.family.sites.values()} | {model.family.embeddings_norm}
    norms |= {model.family.final_norm} if model.family.pre_norm else set()
    with torch.no_grad():
        for name, p in zeroed.named_parameters():
            if "adapter_" in name:
                p.zero_()
        plain = copy.deepcopy(zeroed)
        plain_config = copy.deepcopy(config)
        plain_config._attn_implementation = model.family.attention
        plain.encoder = bare_encoder(model.family, plain_config, weights).double()
        for name, p in zeroed.encoder.named_parameters():
            if any(name.removesuffix(".weight").removesuffix(".bias").endswith(norm) for norm in norms):
                plain.encoder.get_parameter(name).copy_(p)
        want, got = plain(batch).hidden, zeroed(batch).hidden
    real = batch.mask.bool()
    worst = max((a[real] - b[real]).abs().max().item() for a, b in zip(want, got))
    assert worst < 1e-12, f"zero adapters differ from the bare encoder by {worst}"
    return worst


def check_alone(model, batch) -> float:
    """A sequence alone, without padding, gives the same logits as in the padded batch."""
    worst, first = 0.0, 0
    with torch.no_grad():
        together = model(batch).logits
        for i, length in enumerate(batch.mask.sum(1).tolist()):
            cut = lambda t: t[i : i + 1, :length]
            one = dataclasses.replace(
                batch, ids=cut(batch.ids), types=cut(batch.types), mask=cut(batch.mask),
                targets=cut(batch.targets) if batch.targets.dim() > 1 else batch.targets[i : i + 1],
            )
            alone = model(one).logits
            worst = max(worst, (alone - together[first : first + len(alone)]).abs().max().item())
            first += len(alone)
    assert first == len(together)
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
