"""The course's words, each with the lesson that introduces it, and a reader that finds one used too early.

A lesson may use a word of a later one in two ways:
    pointing forward    in the same sentence or table row as that lesson's number: "the window (lesson 03)", "| 01 to 08 | ... |"
    defining it         in *italics* or **bold** where it first comes; from there on it may be used to the end of that lesson

    python -m v4mini.lessons terms      the table below, as markdown

Not here: what a notebook holds besides words (cells.py).
"""

import re
from dataclasses import dataclass

from v4mini.lessons.cells import read_cells

CODE = re.compile(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|<[^>\n]*>", re.S)
EMPHASIS = re.compile(r"\*\*(.+?)\*\*|(?<![*\w])\*([^*\s][^*]*?)\*(?!\*)", re.S)
NUMBER = re.compile(r"(?<!\d)(\d\d)(?: to (\d\d))?(?!\d)")
POINTER = re.compile(r"\blessons? \d\d|\]\(\d\d_\w+\.ipynb\)|^\|\s*\d\d\b", re.I)


@dataclass(frozen=True)
class Term:
    """A word or name. `look_for` finds its uses; the default takes the name as it is, with or without a final s."""

    name: str
    lesson: str             # "03"
    meaning: str            # half a line
    look_for: str | None = None             # a regular expression; "": too plain a word to be looked for

    @property
    def uses(self):         # -> compiled; names with capitals (HCA, RoPE) as they are written, others in any case
        wanted = rf"\b{re.escape(self.name)}s?\b" if self.look_for is None else self.look_for or r"(?!)"
        return re.compile(wanted, re.I if self.name.islower() else 0)


@dataclass(frozen=True)
class TooEarly:
    """A use before its time."""

    notebook: str
    term: Term
    sentence: str

    def __str__(self):
        where = self.term.uses.search(self.sentence).start()
        shown = self.sentence[max(0, where - 50): where + 70].strip()
        return (f"{self.notebook} uses {self.term.name!r}, which lesson {self.term.lesson} introduces: ... {shown} ...\n"
                f"    Say '(lesson {self.term.lesson})' in that sentence, or define it there in *italics*.")


TERMS = tuple(Term(*row) for row in (
    ("cache", "00", "what earlier tokens left behind, so that a new token need not compute it again"),
    ("config", "00", "the numbers that say how large a model is and how it is built"),
    ("weights", "00", "the numbers that training found and a file holds"),

    ("token", "01", "a piece of text that has a number", ""),
    ("special token", "01", "a number without text: who speaks, where a thought ends", ""),
    ("code point", "01", "the number that Unicode gives to a letter or sign", ""),

    ("dot product", "02", "two rows multiplied number by number and summed: large if they point the same way"),
    ("root mean square", "02", "the size of a row: square, take the mean, take the root"),
    ("norm", "02", "brings every row to root mean square 1, then scales each column", r"\bnorms?\b|\bRMSNorm\b"),
    ("RoPE", "02", "rotary position embedding: pairs of numbers turn with the position, so products know distances"),
    ("frequency", "02", "the angle by which a pair turns per token", r"\bfrequenc(y|ies)\b"),
    ("YaRN", "02", "slows the pairs that a longer text would turn to angles never seen in training"),
    ("query", "02", "the row that asks", r"\bquer(y|ies)\b"),
    ("key", "02", "the row that a query is compared with", ""),
    ("value", "02", "the row that is handed out; in V4 the same as the key", ""),

    ("attention", "03", "a token compares its query with rows and takes a mix of them"),
    ("softmax", "03", "scores into shares that sum to 1: exp, divided by the sum"),
    ("sink", "03", "where the share of a softmax goes that no row has earned"),
    ("head", "03", "one of several queries that a token asks at once", r"(?<!your )\bheads?\b"),
    ("window", "03", "the last 128 rows, a token's own included"),
    ("ring buffer", "03", "slots written round and round, each new row over the oldest"),

    ("MHA, MQA, GQA", "04", "attention with keys for each head, with one key for all, with one for each group", ""),
    ("latent row", "04", "one short row a token, from which every head's keys and values can be made", ""),
    ("MLA", "04", "multi-head latent attention: queries are changed instead of keys being unpacked", ""),

    ("entry", "05", "the one row that a full block of tokens leaves behind", r"\bentr(y|ies)\b"),
    ("channel", "05", "one of the numbers of a row; each pools with weights of its own"),
    ("HCA", "05", "heavily compressed attention: 128 tokens an entry, all entries are read"),
    ("needle", "05", "a fact hidden in a long text, to see whether it is found"),

    ("CSA", "06", "compressed sparse attention: 4 tokens an entry, only the best few are read"),
    ("indexer", "06", "a small, cheap copy of attention that scores all entries"),
    ("pick", "06", "an entry that the indexer chose", r"\bpicks\b"),
    ("recall", "06", "the share of attention's weight that falls on the picks"),

    ("expert", "07", "a small feed-forward layer; each token asks a few of many"),
    ("router", "07", "what decides which experts a token asks: the gate, its bias, or the table", r"\brout(er|ing)\b"),
    ("SwiGLU", "07", "the feed-forward layer of three matrices that an expert is"),
    ("shared expert", "07", "the one that every token asks", ""),
    ("affinity", "07", "a score made positive: the root of its softplus", r"\baffinit(y|ies)\b"),
    ("load", "07", "how many tokens ask an expert", ""),
    ("hash layer", "07", "a layer whose experts are looked up by token id"),

    ("residual", "08", "a sub-layer's answer is added to what it read"),
    ("hyper-connection", "08", "several rows per token instead of one; each sub-layer reads, writes and mixes them"),
    ("stream", "08", "one of the four rows that a token carries through the model"),
    ("mHC", "08", "hyper-connections whose mixing is doubly stochastic: manifold-constrained"),
    ("pre, post, comb", "08", "how a sub-layer reads the streams, writes to them, and how they mix", r"\bcomb\b"),
    ("doubly stochastic", "08", "a matrix without negative numbers whose rows and columns all sum to 1"),
    ("Birkhoff polytope", "08", "all doubly stochastic matrices; its corners are the permutations", r"\bBirkhoff\b"),
    ("Sinkhorn", "08", "rows and columns divided by their sums in turn, until both are nearly 1"),
    ("sigmoid", "08", "1 / (1 + exp(-x)): any number, squeezed between 0 and 1"),
    ("logit", "08", "any number that an exp or a sigmoid is about to make positive; of a model, the score of a next token"),
    ("gain", "08", "the largest factor by which a row of mixings can have made a stream grow", ""),
    ("unit", "08", "what computes the 24 numbers pre, post, comb of one sub-layer", ""),

    ("golden number", "09", "a number from outside that you compare yourself with, and never adjust"),

    ("prefill", "10", "reading a text into the cache", ""),
    ("decode", "10", "saying one new token after another", ""),

    ("block scale", "11", "one number that a whole block of weights is multiplied with", ""),
    ("nibble", "11", "half a byte: one FP4 code", ""),

    ("roof", "12", "the best rate that a machine's reading and computing allow", ""),
    ("BLAS", "12", "the library of matrix products that NumPy hands its products to", ""),
    ("LLVM", "12", "the compiler that Numba hands loops to; it writes the processor's own language", ""),
    ("AVX", "12", "instructions of a processor that work on 8 or 16 numbers at once", ""),

    ("loss", "13", "how badly the next token was foretold, in nats", ""),
    ("nat", "13", "a bit is 0.69 of it: surprise by the natural logarithm", ""),
    ("gradient", "13", "by how much the loss changes with each weight", ""),
    ("tape", "13", "remembers every operation, to go back through them in reverse", ""),
    ("nudge", "13", "a weight changed a little, to measure a slope", ""),
    ("singular value", "13", "how long a matrix makes a vector that lies in one of its own directions"),
    ("Newton-Schulz", "13", "a few products that bring all singular values of a matrix near 1"),
    ("Muon", "13", "the optimiser whose updates have singular values near 1"),
    ("momentum", "13", "the fading sum of past gradients", ""),
    ("Nesterov", "13", "momentum that already counts the gradient at hand"),
    ("AdamW", "13", "the optimiser that divides each number's gradient by its usual size", r"\bAdamW\b"),

    ("divergence", "14", "how surprised one distribution is by another (Kullback-Leibler)", ""),
    ("unevenness", "14", "how much one text crowds onto few experts; 1 if not at all", ""),
    ("teacher", "14", "the attention that an indexer learns to foretell", ""),

    ("draft", "15", "a guessed next token that the model verifies in its next pass", ""),
    ("MTP block", "15", "one more layer, trained to guess the token after the next", ""),

    ("roofline", "16", "the bound of a machine drawn over FLOPs a byte: a slope, then a flat top", ""),
    ("utilisation", "17", "the share of its hours in which a machine has work", ""),

    ("online softmax", "18", "a softmax in one pass over blocks, whose sums are rescaled on the way"),

    ("unified buffer", "19", "the vector unit's own memory: 192 KB on a 910B"),

    ("rank", "20", "one of the processes that share a model, and its number", ""),
    ("dispatch", "20", "to send rows to the processes that hold their experts; combine brings the answers back", ""),
    ("all-to-all", "20", "an exchange in which each process has something for each other"),

    ("shard", "22", "one of the files that a checkpoint is cut into", ""),
    ("header", "22", "the table of contents at the beginning of a shard", ""),
    ("DSpark", "23", "three blocks that draft five tokens at once and say how sure they are", ""),
))


def too_early(path, terms=TERMS):           # -> [TooEarly], at most one a term: the first
    """Read one notebook's text, sentence by sentence, for words whose lesson is still to come."""
    ahead = {term for term in terms if term.lesson > path.name[:2]}
    found = []
    for sentence in _text(path):
        pointed = _lessons_pointed_at(sentence)
        plain = CODE.sub(" ", sentence)
        for term in sorted((term for term in ahead if term.uses.search(plain)), key=terms.index):
            if any(term.uses.search(span) for span in emphasised(plain)):
                ahead.discard(term)         # defined here
            elif term.lesson not in pointed:
                found.append(TooEarly(path.stem, term, plain))
                ahead.discard(term)
    return found


def introduces(path, term):                 # -> is the term emphasised somewhere in this notebook, or in a heading?
    return any(term.uses.search(span) for sentence in _text(path) for span in emphasised(CODE.sub(" ", sentence), headings=True))


def emphasised(text, headings=False):       # yields what stands in *italics* or **bold**
    for match in EMPHASIS.finditer(text):
        yield match.group(1) or match.group(2)
    if headings and text.startswith("#"):
        yield text


def sentences(markdown):                    # -> [str]; a heading, a table row, a list item begins a new one
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[*\-|#]|\d+\.) ?)", re.sub(r"```.*?```", "\n\n", markdown, flags=re.S))
    for block in blocks:
        if block.lstrip().startswith("|"):
            yield block.strip()
        else:
            line = " ".join(block.split())
            yield from re.sub(r"([.!?][\"'*)]*) (?=[\"'*(\[]*[A-Z0-9`])", r"\1\n", line).split("\n")


def table(folder_names=(), terms=TERMS):    # -> markdown; folder_names: the notebooks' file names, to link to
    """| term | lesson | meaning |, in the order of the course."""
    links = {name[:2]: f"[{name[:2]}]({name})" for name in folder_names}
    rows = [f"| {term.name} | {links.get(term.lesson, term.lesson)} | {term.meaning} |" for term in terms]
    return "\n".join(["| term | lesson | in short |", "|---|---|---|", *rows])


def _text(path):                            # -> [sentence]
    return [sentence for cell in read_cells(path) if cell["cell_type"] == "markdown" for sentence in sentences(cell["source"])]


def _lessons_pointed_at(sentence):          # "lessons 05 and 06" -> {"05", "06"}; "| 01 to 08 |" -> all eight
    if not POINTER.search(sentence):
        return set()
    pairs = [(int(first), int(last or first)) for first, last in NUMBER.findall(sentence)]
    return {f"{number:02d}" for first, last in pairs for number in range(first, last + 1)}
