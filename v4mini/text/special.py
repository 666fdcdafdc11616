"""Special tokens: each name once, with its id here and in the release.

The bars are U+FF5C and the low lines U+2581, not | and _: look-alikes encode to other ids and nothing complains.
Source: names from the release's encoding_dsv4.py, ids from its tokenizer.json; tests/text/test_released_tokenizer.py compares.
With the real model, ids come from its own tokenizer.json (Tokenizer.special); this table is for the bundled one.
Not here: where a chat puts them, vocabularies.
"""

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
FIM_HOLE, FIM_BEGIN, FIM_END = "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
EOT = "<|EOT|>"                                 # the one with ASCII bars
THINK, END_THINK = "<think>", "</think>"
DSML = "｜DSML｜"                               # no angle brackets: "<｜DSML｜invoke" is '<', this token, 'invoke'
LATEST_REMINDER = "<｜latest_reminder｜>"
ACTION, QUERY, AUTHORITY, DOMAIN, TITLE = "<｜action｜>", "<｜query｜>", "<｜authority｜>", "<｜domain｜>", "<｜title｜>"
EXTRACTED_URL, READ_URL = "<｜extracted_url｜>", "<｜read_url｜>"

SPECIALS = (                                    # (id here, id in the release, name)
    (0, 0, BOS), (1, 1, EOS), (2, 2, PAD),
    (3, 128800, FIM_HOLE), (4, 128801, FIM_BEGIN), (5, 128802, FIM_END),
    (6, 128803, USER), (7, 128804, ASSISTANT), (8, 128805, EOT),
    (9, 128821, THINK), (10, 128822, END_THINK),
    (11, 128825, DSML), (12, 128828, LATEST_REMINDER),
    (13, 128829, ACTION), (14, 128830, QUERY), (15, 128831, AUTHORITY), (16, 128832, DOMAIN),
    (17, 128836, TITLE), (18, 128844, EXTRACTED_URL), (19, 128845, READ_URL),
)

# The bundled file flags these `special`, the release only the first three of them: skip_special leaves them out, while
# <think> and the roles stay readable.
FLAGGED = frozenset({BOS, EOS, PAD, EOT})
