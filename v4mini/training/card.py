"""The model card: what a model was trained on, for how long, and what it can do, as JSON and as text.

    trained     from a run: data, steps, tokens, hours, losses, stages
    measured    from evaluate.py: bits per byte beside xz, needles, router load, lengths, MTP agreement, indexer recall
    ablations   from ablate.py: loss, needles and lengths without each part
    beside      what cards of other models say, that had the same recipe with a part of it left out

Not here: the measuring (evaluate.py), printing (cli/).
"""

import json
import platform
from pathlib import Path

import numpy as np

from v4mini import __version__
from v4mini.planning.counts import total
from v4mini.printable import printable
from v4mini.shapes import Refused
from v4mini.training.evaluate import (
    bits_per_byte,
    index_recall,
    lengths,
    mtp_agreement,
    needles,
    router_load,
    with_random_indexers,
)
from v4mini.training.lengths import UNIT
from v4mini.training.recipe import left_out
from v4mini.training.records import CARD, expect_like
from v4mini.untrusted import is_text, parse_json, read_file
from v4mini.viz.tables import human_bytes, human_count, text_table
from v4mini.weights.spec import tensors
from v4mini.writing import write_whole

NAME = "card.json"
MOST_BYTES = 16 << 20
ROW = 512                               # tokens of held-out text read at once for router load and MTP agreement
WHAT = {"index": "the indexers' training; they stayed random", "balance": "the balance loss and the push on the routers' bias"}
SHARES = {"right": "needles", "lengths": "lengths"}                     # their columns in the table of ablations
SLACK = {"right": 0.02, "lengths": 0.08, "mtp": 0.02}                   # of shares: fewer lost than that may be chance
RECALL_ROW, RECALL_ROWS = 2048, 6       # long enough for many more entries than a token reads


def describe(name, config):             # -> dict
    """The model itself, from its config alone."""
    count = total(config)
    layers = [config.layer_kind(layer) + (" (hash)" if config.is_hash_layer(layer) else "") for layer in range(config.n_layers)]
    return {"name": name, "parameters": count.total, "active": count.active, "layers": layers,
            "experts": [config.n_activated_experts, config.n_routed_experts],
            "bytes": sum(spec.nbytes for spec in tensors(config))}


def training_facts(run, lines, texts):  # Run, log lines, str -> dict
    """What a run was: from itself, its log, and the card of the model that it began from. `texts`: where the text came from."""
    before = run.before or {"stages": [], "texts": texts}
    stages = list(before["stages"])
    began = len(stages)
    for stage in run.recipe.stages[began: run.number + 1]:
        own = [line for line in lines if line["stage"] == stage.name]
        if own:
            stages.append({"name": stage.name, "steps": sum(line["steps"] for line in own), "rows": stage.rows,
                           "length": stage.length, "mix": stage.mix, "layers": run.recipe.config_of(stage).n_layers,
                           "seconds": sum(line["seconds"] for line in own), "losses": own[-1]["losses"]})
    corpus = run.feed.corpus
    if before["texts"] != texts:
        texts = f"{before['texts']}, later {texts}"
    return {"texts": texts, "text_bytes": corpus.nbytes, "text_tokens": len(corpus), "steps": run.step, "tokens": run.tokens,
            "hours": run.seconds / 3600, "seed": run.recipe.seed, "without": left_out(run.recipe), "stages": stages,
            "version": __version__,
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            **_begun(run)}


def _begun(run):                                        # which stages began from weights as they ship
    if not run.before:
        return {}
    return {"from_released": [*run.before.get("from_released", []), run.recipe.stages[len(run.before["stages"])].name]}


def measurements(model, tokenizer, texts, params, haystacks, questions=128, progress=None, is_taught=True):     # -> dict
    """All that evaluate.py measures, on held-out `texts`. params: the model's weights, decoded.

    haystacks: one dict for each kind, of tokens; times: how many of them; others: how many more facts lie about, all of them one
    token from another key; random: True to search with untrained indexers, for contrast. questions: in each.
    is_taught: whether the model's own indexers were trained.
    """
    texts = list(texts)
    told = progress or (lambda what: None)
    told("bits per byte")
    measured = {"held_out": bits_per_byte(model, tokenizer, texts)}
    ids = np.concatenate([tokenizer.encode(text) for text in texts]).astype(np.int64)
    rows = [ids[start: start + ROW] for start in range(0, len(ids), ROW)]
    told("router load")
    load = router_load(model, rows)
    measured["router"] = {str(layer): float(share.max()) for layer, share in load.items()}
    if model.weights.mtp is not None:
        told("MTP agreement")
        measured["mtp_agreement"] = mtp_agreement(model, [row for row in rows if len(row) > 2])
    told("lengths")
    measured["lengths"] = lengths(model, tokenizer, ids)
    told("indexer recall")
    long = [row for row in np.split(ids, range(RECALL_ROW, len(ids), RECALL_ROW)) if len(row) == RECALL_ROW][:RECALL_ROWS]
    recall = index_recall(model.config, params, long, model.ops.name) if long else {}
    measured["index_recall"] = {str(layer): share for layer, share in recall.items()}
    measured["needles"] = []
    for hay in haystacks:
        tokens = hay["tokens"]
        others = hay.get("others", 0)
        is_random = hay.get("random", False)
        told(f"needles in {tokens:,} tokens" + f", {others:,} more facts" * bool(others) + ", untrained indexers" * is_random)
        searched = with_random_indexers(model) if is_random else model
        found = needles(searched, tokenizer, ids, tokens, questions, others, 1.0 if others else 0.0, hay.get("times", 1))
        measured["needles"].append({**found, "indexers": "trained" if is_taught and not is_random else "untrained"})
    return measured


def quoted(card):                       # dict -> dict
    """What a card beside this one says of its model. Raises Refused for a model that lacks nothing, or was not measured."""
    trained = card.get("trained", {})
    measured = card.get("measured")
    if not trained.get("without") or measured is None:
        raise Refused("card: expected the measured card of a model that was trained --without something, got another. "
                      "Measure it with v4mini card PATH --measure.")
    return {name: trained[name] for name in ("without", "steps", "tokens")} | {"measured": measured}


def write_card(folder, card):
    """card.json in a model's folder: complete or not at all. Refused where a card.json is that says something else."""
    path = Path(folder) / NAME
    if path.exists():
        read_card(folder)
    text = json.dumps(card, indent=1, ensure_ascii=False)
    write_whole(path, (text if is_text(text) else json.dumps(card, indent=1)) + "\n")     # half a surrogate pair stays one


def read_card(folder):                  # -> dict
    """Raises Refused if the folder has none, or one that does not say what a card says."""
    path = Path(folder) / NAME
    card = parse_json(read_file(path, MOST_BYTES, "card", "Models that v4mini train made have one."), f"card: {path}")
    expect_like(card, CARD, f"card: {path}")
    _expect_two(card["model"]["experts"], path)
    return card


def _expect_two(experts, path):
    if len(experts) != 2:
        raise Refused(f"card: {path}.model.experts: expected two numbers, got {len(experts)}. Was it edited by hand?")


def card_text(card):                    # dict -> text
    """The card as a page to read. What was not measured is not mentioned."""
    parts = [_model_text(card["model"])]
    if "trained" in card:
        parts.append(_trained_text(card["trained"]))
    if "measured" in card:
        parts.append(_measured_text(card["measured"]))
    if "ablations" in card:
        parts.append(ablations_text(card["ablations"]))
    parts += [_beside_text(other) for other in card.get("beside", [])]
    return printable("\n\n".join(parts), keep="\n")     # names in it are a stranger's


def _model_text(model):
    chosen, there = model["experts"]
    return (f"{model['name']}: {human_count(model['parameters'])} parameters, {human_count(model['active'])} active per token, "
            f"{human_bytes(model['bytes'])}\nlayers: {', '.join(model['layers'])}; {chosen} of {there} experts work on a token")


def _trained_text(trained):
    rows = [[s["name"], s["layers"], s["steps"], f"{s['rows']} x {s['length']}",
             ", ".join(f"{kind} {share:.0%}" for kind, share in s["mix"].items()), round(s["seconds"] / 60, 1),
             s["losses"].get("next"), s["losses"].get("mtp")] for s in trained["stages"]]
    table = text_table(["stage", "layers", "steps", "batch", "rows of", "minutes", "loss", "MTP"], rows)
    lacks = "".join(f"\nLeft out, for contrast: {WHAT[part]}." for part in trained.get("without", []))
    again = "".join(f"\n{name!r} began with the weights of the stage before as they ship, and new optimisers"
                    for name in trained.get("from_released", []))
    return (f"Trained on {trained['texts']} ({human_bytes(trained['text_bytes'])}, {trained['text_tokens']:,} tokens)\n"
            f"and on rows made by rules: {trained['tokens']:,} tokens in {trained['steps']:,} steps, "
            f"{trained['hours']:.2f} hours, seed {trained['seed']}, v4mini {trained['version']}, {trained['machine']}"
            f"{lacks}\n{table}{again}")


def _beside_text(other):
    what = ", ".join(WHAT[part] for part in other["without"])
    measured = other["measured"]
    return (f"For contrast, a model of the same recipe, {other['steps']:,} of its steps, without one part:\n{what}\n"
            f"{measured['held_out']['bits_per_byte']:.3f} bits per byte; {_busiest(measured)}\n{_needles_text(measured)}")


def _busiest(measured):
    return "busiest expert of each layer, in mean loads: " + ", ".join(f"{share:.2f}" for share in measured["router"].values())


def _measured_text(measured):
    text = measured["held_out"]
    lines = [f"Held-out text ({text['bytes']:,} bytes): {text['bits_per_byte']:.3f} bits per byte; xz -9e, which has read "
             f"no other text, needs {text['xz']:.3f}", _busiest(measured).capitalize()]
    if "mtp_agreement" in measured:
        lines.append(f"The MTP block's guess is the model's own next choice: {measured['mtp_agreement']:.1%}")
    if "lengths" in measured:
        told = measured["lengths"]
        each = " ".join(f"{100 * share:.0f}" for share in told["by_letter"])
        lines.append(f"Of {told['questions']} texts of up to {told['longest']:,} tokens it names the length, in doublings of "
                     f"{UNIT}, of {told['right']:.1%}\n(always the commonest: {told['commonest']:.1%}; by answer in %, shortest "
                     f"first: {each})")
    for layer, share in measured["index_recall"].items():
        lines.append(f"Layer {layer}: of the entries that attention weighs most in {RECALL_ROW:,} tokens, "
                     f"its indexer picks {share:.1%}")
    return "\n".join([*lines, _needles_text(measured)])


def ablations_text(found):              # dict -> text
    """The table of what each part is worth to this model, without training it again; and which parts it does not use."""
    whole, rows = found["whole"], found["without"]
    asked = [name for name in SHARES if name in whole]
    lines = [["nothing", "the model as it is", "", f"{whole['loss']:.4f}", "", "", *_shares(whole, asked)]]
    lines += [[one["part"], one["what"], one["operation"], f"{one['loss']:.4f}", f"{one['cost']:+7.4f}", f"{one['error']:.4f}",
               *_shares(one, asked)] for one in rows]
    unused = [one["part"] for one in rows if not _is_used(one, whole)]
    text = (f"Ablations ({found['date']}, {found['command']}): the same weights, one part taken away at a time\n"
            + text_table(["without", "that is", "operation", "loss", "cost", "error", *(SHARES[name] for name in asked)], lines)
            + f"\nloss in nats over {found['tokens']:,} held-out tokens of one context, its first {found['skipped']:,} left out; "
            f"error: standard error of the cost;\nneedles: share of {found['questions']} facts fetched from "
            f"{found['haystack']:,} tokens")
    if "lengths" in asked:
        text += f"; lengths: share of {2 * found['questions']} texts whose length is told"
    for one in rows:
        if "mtp" in one:
            text += (f"\nNo next token depends on the MTP block: its guess is the model's own next choice in {whole['mtp']:.1%}, "
                     f"with it silent in {one['mtp']:.1%}")
    return text + (f"\nNot used by this model, as far as this can tell: {', '.join(unused)}" if unused else "")


def _is_used(one, whole):               # whether taking the part away costs anything beyond doubt
    lost = [whole[share] - one[share] > slack for share, slack in SLACK.items() if share in one and share in whole]
    return one["cost"] > 2 * one["error"] or any(lost)


def _shares(one, asked):
    return [f"{one[name]:6.1%}" if name in one else "" for name in asked]


def _needles_text(measured):
    rows = [[n["tokens"], f"{n['haystacks']} x {n['questions']}", f"{n['right']:.1%}",
             " ".join(f"{100 * share:.0f}" for share in n["by_depth"]), n["others"], n["indexers"],
             round(n["prefill_seconds"], 1), round(1000 * n["question_seconds"], 1)]
            for n in measured["needles"]]
    return "Facts fetched from a haystack, both tokens right (other facts: their keys are one token apart)\n" + text_table(
        ["tokens", "questions", "right", "% by depth, oldest first", "other facts", "indexers", "read (s)", "ask (ms)"], rows)
