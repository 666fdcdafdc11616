"""The course as data: what each lesson teaches, what to read before it, how long and how hard it is, where it stands.

The head of each notebook is made of this (head.py), and a test holds the two together.
Not here: the exercises themselves (exercises/), words (terms.py), the picture (viz/whole.py).
"""

from dataclasses import dataclass
from functools import cache

from v4mini.lessons.places import notebooks
from v4mini.shapes import Refused

WARM_UP, CORE, STRETCH = GRADES = "warm-up", "core", "stretch"
DIFFICULTIES = "easy", "medium", "hard"
WHOLE = "tokens", "streams", "head", "attention", "experts"


@dataclass(frozen=True)
class Lesson:
    """One notebook. `goals` complete the sentence "After this lesson you can ..."."""

    number: str             # "05"
    title: str              # short, for tables
    goals: tuple[str, ...]
    before: tuple[str, ...]                 # lessons to have read
    minutes: int            # to read, run, and solve; see head.estimated_minutes
    difficulty: str
    here: tuple[str, ...]   # parts of the picture of the whole


COURSE = tuple(Lesson(*row) for row in (
    ("00", "Start here",
     ("say what goes into a language model and what comes out", "let a whole V4 write text, and write its loop yourself",
      "turn scores into chances without overflow"), (), 30, "easy", ("tokens", "head")),
    ("01", "Tokens and chat",
     ("cut a word into tokens with a learned table", "say why no text can forge a special token",
      "write a conversation, with thoughts and tool calls, as the one string that V4 reads"),
     ("00",), 75, "medium", ("tokens",)),
    ("02", "Positions as rotation",
     ("bring a row to size 1, and turn its pairs by position", "show that a product of turned rows knows only the distance",
      "work out which pairs YaRN slows down, and why"), ("00",), 75, "medium", ("positions",)),
    ("03", "Window and sink",
     ("compute attention of one head without overflow, with a window and a sink", "say how far news can travel through layers",
      "read a ring buffer in the order of the text"), ("02",), 75, "medium", ("attention", "window and sink")),
    ("04", "One latent row",
     ("tell MHA, GQA, MQA, MLA and V4's attention apart by what a token leaves behind",
      "move a matrix from the rows to the query, and prove that nothing changed",
      "say at how many rows unpacking them pays"), ("02", "03"), 75, "hard", ("latent row", "attention")),
    ("05", "Heavy compression",
     ("pool 128 tokens into one entry, a softmax for each channel", "say which token may read which entry",
      "find what no token can see when the window is narrower than a block"), ("02", "03"), 60, "medium", ("heavy entries",)),
    ("06", "Choosing what to read",
     ("pool blocks that overlap", "score entries as the indexer does, and take the best with ties to the earlier",
      "measure how good a choice is"), ("05",), 75, "hard", ("chosen entries",)),
    ("07", "Experts and routing",
     ("route a token: who is asked, and how much each answer counts", "say what the bias may change and what it must not",
      "compute an expert with its clamp"), ("00",), 60, "medium", ("experts",)),
    ("08", "Hyper-connections",
     ("read from, write to and mix four streams", "make a matrix doubly stochastic, and say why that keeps streams calm",
      "find a mixing matrix that is applied the wrong way round"), ("02", "07"), 75, "hard", ("streams",)),
    ("09", "The whole model",
     ("walk a token through all layers by hand", "find the first layer in which two models differ",
      "say what agreement with golden numbers proves, and what not"), ("03", "05", "06", "07", "08"), 60, "hard", WHOLE),
    ("24", "Your own functions as the model",
     ("run a whole V4 on the functions that you wrote", "find the layer and the operation in which one of them differs"),
     ("02", "03", "05", "06", "07", "08", "09"), 15, "easy", WHOLE),
    ("25", "A V4 on one page",
     ("read a V4 from file to text without any package but NumPy", "say which lesson explains each of its boxes"),
     ("09",), 30, "medium", WHOLE),
    ("10", "The cache",
     ("count the rows and bytes that a text leaves behind", "predict the cache of a million tokens, and check it by running",
      "say when reading the past costs more than the weights"), ("05", "06", "09"), 60, "medium", ("cache",)),
    ("11", "FP8 and FP4",
     ("decode and round a small number format bit by bit", "give blocks of weights a scale, and unpack an expert as it is stored",
      "say where a model is rounded, and what that costs"), ("00",), 90, "medium", ("number formats",)),
    ("12", "From NumPy to Numba",
     ("work out the best time that a machine allows for a loop", "unpack FP4 weights in a compiled loop",
      "say when many tokens at a time are free"), ("11",), 45, "medium", ("kernels",)),
    ("13", "Gradients and Muon",
     ("write an operation backward, and check it with nudges", "read a tape forward and back",
      "bring the singular values of a gradient near 1, as Muon does"), ("02", "07", "09"), 75, "hard", ("gradients",)),
    ("14", "How a choice learns",
     ("balance experts with a bias, and within one text", "teach an indexer from the attention that it chooses for",
      "say what has no gradient, and what is done about it"), ("06", "07", "13"), 60, "hard", ("balance",)),
    ("26", "Watch a model learn",
     ("train a V4 from random weights and read its loss", "compare what it writes before and after",
      "watch balance and recall grow, and say what moves each"), ("00", "13", "14"), 45, "medium", ("gradients", "balance")),
    ("15", "Drafts and speculation",
     ("verify drafts so that the text stays exactly the model's own", "say how many tokens a pass gives, and what it costs",
      "choose how many drafts to make"), ("09", "10"), 60, "hard", ("drafts",)),
    ("16", "Can I run it?",
     ("say whether a model fits into a machine, and how many texts beside it", "count what one token reads and computes",
      "find out which of memory and arithmetic binds"), ("10",), 75, "medium", ("machine",)),
    ("17", "What does it cost?",
     ("compute the bill of an API and of a machine", "find the load from which a machine pays",
      "judge a claim about prices by its date and its arithmetic"), ("16",), 45, "easy", ("money",)),
    ("18", "A kernel",
     ("compute a softmax block by block, without ever holding the row",
      "write a small Triton kernel with masks and clamped addresses",
      "say what a NumPy reader of a kernel proves, what its compiler adds, and what neither tells"),
     ("03", "06", "12"), 90, "hard", ("kernels", "attention")),
    ("19", "Ascend",
     ("work out by pencil which tile fits into a chip's buffer", "write a gather that is safe where masked rows are loaded too",
      "say what is proven of a kernel on a chip that nobody had"), ("11", "17", "18"), 60, "medium", ("kernels",)),
    ("20", "Many machines",
     ("send rows to the processes that hold their experts, and add the answers up to the last bit",
      "count the bytes on the wire, and say when they hide behind the arithmetic",
      "find the rank that died among those that complain"), ("07", "12", "14"), 75, "medium", ("experts",)),
    ("21", "The bug museum",
     ("name twenty true defects of V4 in other projects, and the test that finds each",
      "repair a function by a test that knows the right number"), ("09",), 210, "hard", WHOLE),
    ("22", "The real weights",
     ("find the address of any weight in 160 GB, and decode it", "say what one token reads of them",
      "fetch many tensors in few requests"), ("11",), 75, "medium", ("files",)),
    ("23", "What changed after",
     ("run a round of DSpark by hand, and say who reads what", "show why a scheduler must not look ahead",
      "count a token's cache in V4.1 with a pencil"), ("03", "08", "10", "15"), 105, "hard", ("drafts",)),
))

# Every exercise that is in neither list is a core one.
WARM_UPS = frozenset((
    "start.probabilities", "tokens.join", "ops.norm.rms_norm", "window.may_read", "lessons.latent.break_even",
    "ops.index.top_k", "ops.route.affinity", "ops.route.gate_weights", "whole_model.first_wrong_layer",
    "training.losses.update_bias", "inference.speculate.residual", "after.round_reads", "after.cache_per_token",
    "museum.one_base", "museum.yarn_in_windows", "museum.hidden_entries", "museum.no_relu", "museum.other_models_k",
    "museum.transposed", "museum.half_gate", "museum.unclamped", "museum.bytes_as_scales", "ladder.from_bits",
    "cost.bill_of_days", "kernel.block",
    "ranks.rows_for"))
STRETCHES = frozenset((
    "chat.encode", "lessons.latent.mla_absorbed", "streams.read", "whole_model.one_block", "formats.decode_fp4",
    "training.muon.newton_schulz", "after.comes_out", "after.pooled_picks", "museum.lost_share", "museum.frozen_indexer",
    "window.merge", "choosing.attend", "kernel.gather_mean"))


def grade_of(name):                         # the name of an exercise -> its grade
    return WARM_UP if name in WARM_UPS else STRETCH if name in STRETCHES else CORE


@cache
def lesson_of(number):                      # "05" -> Lesson
    """Raises Refused for a number that no lesson has."""
    for lesson in COURSE:
        if lesson.number == str(number):
            return lesson
    raise Refused(f"lesson: expected one of {', '.join(lesson.number for lesson in COURSE)}, got {number!r}.")


def file_names(folder=None):                # -> {"05": "05_heavy_compression.ipynb"}
    return {path.name[:2]: path.name for path in notebooks(folder=folder)}
