"""Cards, training logs and routing traces that an editor or a disk changed; each is read and shown as the commands show it."""

import json

from hostile.mutate import change, damaged_bytes

FULL = 1000


def prepare(folder):                                    # -> bytes of a valid card, log and trace
    import numpy as np

    from v4mini import Config
    from v4mini.inference.routing_trace import RoutingTrace
    from v4mini.lessons.places import data_folder

    card = json.loads((data_folder() / "mini" / "card.json").read_text(encoding="utf-8"))
    line = {"step": 10, "stage": "text", "batch": 96, "tokens": 960, "seconds": 1.0, "rate": 0.02, "norm": 1.5,
            "losses": {"next": 2.0}, "load": {"1": 1.2}, "recall": {"3": 0.5}, "steps": 10, "tokens_per_second": 960.0}
    config = Config.tiny()
    blocks, K, E = config.n_layers + config.n_mtp_layers, config.n_activated_experts, config.n_routed_experts
    trace = RoutingTrace(config, 2, np.arange(5), np.array([0, 3, 4, 5]), np.zeros((5, blocks, K), np.int16),
                         np.ones((5, blocks, K), np.float32), np.ones((5, blocks, E), np.float32),
                         np.zeros((blocks, E), np.float32))
    folder.mkdir()
    trace.save(folder / "trace")
    return card, [{**line, "step": n, "tokens": 96 * n} for n in (10, 20, 30)], (folder / "trace").read_bytes()


def case(valid, rng, folder):
    card, lines, trace = valid
    which = rng.random()
    if which < 0.6:
        return bad_card(json.loads(json.dumps(card)), rng, folder)
    return bad_log(json.loads(json.dumps(lines)), rng, folder) if which < 0.8 else bad_trace(trace, rng, folder)


def bad_card(card, rng, folder):
    from v4mini.training.card import card_text, quoted, read_card, write_card

    (folder / "card.json").write_bytes(edited(card, rng))
    found = read_card(folder)
    page = card_text(found)
    write_card(folder, found)
    if read_card(folder) != found or not page or any(ord(c) < 32 and c != "\n" for c in page):
        return "WRONG another card, or a page with control characters"
    if found.get("trained", {}).get("without"):
        quoted(found)
    return "a page of numbers that could be meant"


def bad_log(lines, rng, folder):
    from v4mini.training.loop import read_log
    from v4mini.viz.training import save_training

    raw = b"".join(edited(line, rng) + b"\n" if rng.random() < 0.5 else json.dumps(line).encode() + b"\n" for line in lines)
    (folder / "log.jsonl").write_bytes(raw)
    found = read_log(folder / "log.jsonl")
    if found and rng.random() < 0.1:
        save_training(found, folder / "log.png")
    return "lines of numbers that could be meant"


def bad_trace(raw, rng, folder):
    from v4mini.inference.routing_trace import read_trace

    (folder / "trace").write_bytes(damaged_bytes(raw, rng))
    trace = read_trace(folder / "trace")
    trace.steps()
    return "the same routing" if len(trace.ids) == 5 else "WRONG another routing"


def edited(fields, rng):                                # -> bytes
    if rng.random() < 0.3:
        return damaged_bytes(json.dumps(fields).encode(), rng)
    for _ in range(rng.integers(1, 4)):
        change(fields, rng)
    return json.dumps(fields).encode()
