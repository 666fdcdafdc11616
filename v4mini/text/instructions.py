"""The texts that a chat adds of its own: how to call tools, how to fit a schema, how hard to think.

The released model was trained with two long ones, which stand in its encoding/encoding_dsv4.py and nowhere else. They are read
from there, from the constants of the source: the file is parsed and never run. The bundled model has short ones of its own.

Not here: where they go (chat.py).
"""

import ast
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from v4mini.shapes import Refused
from v4mini.text.marks import MARKS, marked
from v4mini.text.special import DSML, END_THINK, THINK
from v4mini.untrusted import read_file

RELEASED_FILE = Path("encoding") / "encoding_dsv4.py"
LARGEST_FILE = 2**20                            # bytes; the released one has about 30,000
TOKENS = {"dsml_token": MARKS[DSML], "thinking_start_token": MARKS[THINK], "thinking_end_token": MARKS[END_THINK]}


@dataclass(frozen=True)
class Instructions:
    """Templates in the release's spelling. `source` says where they are from."""

    tools: str                                  # with {tool_schemas}, and {dsml_token} and the like for special tokens
    response_format: str                        # with {schema}
    efforts: dict                               # name -> text before the first message in thinking mode; "" adds nothing
    source: str

    def __post_init__(self):
        for name, template, expected in (("tools", self.tools, "tool_schemas"),
                                       ("response_format", self.response_format, "schema")):
            fields = _fields(template)
            if fields is None or expected not in fields or not fields <= {expected, *TOKENS}:
                raise Refused(f"{self.source}: expected {{{expected}}} in the text for {name}, and no field but "
                              f"{', '.join(TOKENS)}; got {sorted(fields or ())}. Is the file DeepSeek-V4's?")

    def with_tools(self, schemas):              # one JSON text a tool -> text with marks, none of them from a schema
        return marked(self.tools).format(tool_schemas="\n".join(schemas), **TOKENS)

    def with_schema(self, schema):              # JSON text -> text with marks
        return marked(self.response_format).format(schema=schema, **TOKENS)


def load_instructions(path):                    # -> Instructions
    """Read those of a release: `path` is its folder, or its encoding_dsv4.py. The file's code is never run. Raises Refused."""
    path = Path(path)
    path = path / RELEASED_FILE if path.is_dir() else path
    constants = _constants(_source(path))
    efforts = constants.get("REASONING_EFFORT_PROMPTS")
    if efforts is None and isinstance(constants.get("REASONING_EFFORT_MAX"), str):          # the first release: one text
        efforts = {"high": "", "max": constants["REASONING_EFFORT_MAX"]}
    found = {name: constants.get(name) for name in ("TOOLS_TEMPLATE", "response_format_template")}
    missing = [name for name, text in found.items() if not isinstance(text, str)]
    if not (isinstance(efforts, dict) and all(isinstance(part, str) for pair in efforts.items() for part in pair)):
        missing.append("REASONING_EFFORT_PROMPTS or REASONING_EFFORT_MAX")
    if missing:
        raise Refused(f"{path}: expected a text called {missing[0]}, got none. "
                      "Is it the encoding_dsv4.py of a DeepSeek-V4 release?")
    return Instructions(found["TOOLS_TEMPLATE"], found["response_format_template"], efforts, str(path))


def instructions_for(folder):                   # -> Instructions
    """Those of the release in this folder; the short ones if it has no encoding/. `source` tells which."""
    return load_instructions(folder) if (Path(folder) / RELEASED_FILE).exists() else MINI


def _source(path):
    hint = "Name a folder of the release, with encoding/encoding_dsv4.py in it."
    if not path.exists():
        raise Refused(f"{path}: no such file. {hint}")
    try:
        return ast.parse(read_file(path, LARGEST_FILE, "encoding", hint).decode("utf-8"))
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:     # Refused is a ValueError too
        if isinstance(error, Refused):
            raise
        raise Refused(f"{path}: expected Python source, got others ({error!s:.80}). Was its download cut short?") from None


def _constants(tree):                           # -> {name: value} of `NAME = literal` at the top of the file
    found = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if len(targets) == 1 and isinstance(targets[0], ast.Name) and getattr(node, "value", None) is not None:
            try:
                found[targets[0].id] = ast.literal_eval(node.value)
            except (ValueError, TypeError, RecursionError):
                continue                        # computed: not one of those that are expected
    return found


def _fields(template):                          # -> {names in braces}, or None if the braces do not match
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        return None
    simple = all(not spec and not conversion for _, field, spec, conversion in parts if field is not None)
    return {field for _, field, _, _ in parts if field is not None} if simple else None


MINI = Instructions(
    tools="""## Tools

To call tools, end the answer with a block like this one:

<{dsml_token}tool_calls>
<{dsml_token}invoke name="NAME">
<{dsml_token}parameter name="KEY" string="true">any text</{dsml_token}parameter>
<{dsml_token}parameter name="KEY" string="false">any other JSON value</{dsml_token}parameter>
</{dsml_token}invoke>
</{dsml_token}tool_calls>

The tools, one schema a line:

{tool_schemas}
""",
    response_format="Reply in JSON that fits this schema:\n{schema}",
    efforts={"low": "", "high": "", "max": "Think as long as it takes, and check every step.\n\n"},
    source="v4mini's own short texts")
