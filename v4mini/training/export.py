"""From a training run to a model that others can load: the released format, its tokenizer, its card.

Not here: checkpoints to go on from (checkpoint.py), the format itself (weights/write.py).
"""

import numpy as np

from v4mini.config import Config
from v4mini.numerics.matrix import Matrix
from v4mini.text.bpe import tokenizer_config
from v4mini.weights.names import resolve
from v4mini.weights.ours import expect_ours
from v4mini.weights.spec import tensors
from v4mini.weights.store import open_store
from v4mini.weights.write import save

KIND = "trained"
BESIDE = ("tokenizer.json", "tokenizer_config.json", "config.json")


def export(config, params, folder, tokenizer_text, metadata=None):      # -> Path of the folder
    """Write weights as the config's formats ask (FP8, FP4, BF16), config.json, tokenizer.json and tokenizer_config.json.

    Refused if the folder holds files of these names, or a checkpoint, that an export did not write.
    """
    others = {"tokenizer.json": tokenizer_text.encode(), "tokenizer_config.json": tokenizer_config(config.max_seq_len).encode()}
    return save(folder, config, params.__getitem__, metadata, kind=KIND, others=others)


def expect_exportable(folder):
    """Refused, before hours of training, where export would be refused after them."""
    expect_ours(folder, KIND, BESIDE)


def parameters_of(folder):                              # -> Config, {released name: float32 array; tid2eid: int64}
    """A model in the released format, decoded: to measure it as training does, or to go on training it."""
    config = Config.load(folder)
    with open_store(folder) as store:
        found = resolve(store.entries())

        def decoded(spec):
            value = found[spec.name].of(store)
            scale = found.get(spec.name.removesuffix(".weight") + ".scale")
            if scale is not None:
                value = Matrix(value, scale.of(store), name=spec.name).dense()
            return np.array(value, np.int64 if spec.format == "i64" else np.float32)
        return config, {spec.name: decoded(spec) for spec in tensors(config) if not spec.name.endswith(".scale")}
