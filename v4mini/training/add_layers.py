"""From a model of a few layers to one of more: new layers begin silent, so that nothing learnt is lost.

Not here: when (recipe.py), first values in general (init.py).
"""

from v4mini.shapes import Refused
from v4mini.training.init import KEPT_WHOLE, initial_values, mix_base
from v4mini.training.optimisers import layer_of


def some_layers(config, layers):                        # -> Config
    """The same model with only these layers of it, in rising order; the MTP block stays."""
    layers = tuple(layers)
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= config.n_layers:
        raise Refused(f"layers: expected some of 0 to {config.n_layers - 1} in rising order, got {list(layers)}.")
    ratios = [config.ratio(layer) for layer in layers] + [0] * config.n_mtp_layers
    return config.replace(n_layers=len(layers), compress_ratios=tuple(ratios),
                          n_hash_layers=sum(config.is_hash_layer(layer) for layer in layers))


def add_layers(config, layers, params, rng, wanted=None, counts=None):        # -> {name: array} for some_layers(config, wanted)
    """Parameters of `layers` of a config, put into a model with more of its layers (all, if `wanted` is None).

    A new layer's attention and experts answer 0 and its mixes leave each stream 99.9 % itself, so at first the larger
    model says what the smaller one said.
    """
    wanted = tuple(range(config.n_layers)) if wanted is None else tuple(wanted)
    if not set(layers) <= set(wanted):
        raise Refused(f"add_layers: expected the layers {list(layers)} among the new ones, got {list(wanted)}.")
    larger = some_layers(config, wanted)
    grown = initial_values(larger, rng, counts)
    old_number = {wanted.index(layer): number for number, layer in enumerate(layers)}
    for name in grown:
        number = layer_of(name, larger)
        if number is None or number >= larger.n_layers:             # embedding, head, MTP
            grown[name] = params[name]
        elif number in old_number:
            grown[name] = params[name.replace(f"layers.{number}.", f"layers.{old_number[number]}.", 1)]
        else:
            grown[name] = _silent(name, grown[name], larger, number)
    return grown


def _silent(name, values, config, layer):
    if name.endswith(("wo_b.weight", "w2.weight")):
        return 0 * values
    if name.endswith("_base"):
        return mix_base(config.hc_mult, 2 * layer + ("hc_ffn" in name), KEPT_WHOLE)
    return values
