"""From a training run to a model that others can load: the released format, its tokenizer, its card.

Not here: checkpoints to go on from (checkpoint.py), the format itself (weights/write.py).
"""

from pathlib import Path

from v4mini.text.bpe import tokenizer_config
from v4mini.weights.file import replacing
from v4mini.weights.write import save


def export(config, params, folder, tokenizer_text, metadata=None):      # -> Path of the folder
    """Write weights as the config's formats ask (FP8, FP4, BF16), config.json, tokenizer.json and tokenizer_config.json."""
    folder = Path(folder)
    save(folder, config, params.__getitem__, metadata)
    for name, text in (("tokenizer.json", tokenizer_text), ("tokenizer_config.json", tokenizer_config(config.max_seq_len))):
        raw = text.encode()
        with replacing(folder / name, len(raw)) as write:
            write(raw)
    return folder
