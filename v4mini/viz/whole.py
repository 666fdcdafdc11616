"""The whole model as a small picture of letters, with the parts that a lesson is about marked: LIKE THIS, in brackets.

Letters, not an image: the same in JupyterLab, on GitHub, in the dark, on paper, and for a screen reader.
Not here: which lesson marks what (lessons/course.py).
"""

from v4mini.shapes import Refused

_LINES = (
    "text ->{tokens}-> embedding ->{streams}-> 43 layers in Flash ->{head}-> next token ->{drafts}",
    "a layer:      streams -> norm ->{attention}-> streams -> norm ->{experts}-> streams",
    "attention:  {latent row}{positions}{window and sink}{heavy entries}{chosen entries}",
    "it keeps:   {cache}     stored as:  {number formats}{files}     runs on:  {kernels}",
    "learns by:  {gradients}{balance}     needs:  {machine}{money}",
)
PARTS = tuple(piece.split("}")[0] for line in _LINES for piece in line.split("{")[1:])


def picture(*here):                     # names among PARTS -> text of five lines
    """From text to the next token; below it one layer, its attention, and what surrounds the model.

    Raises Refused for a part that is not in the picture.
    """
    unknown = [part for part in here if part not in PARTS]
    if unknown:
        raise Refused(f"picture: expected parts among {', '.join(PARTS)}, got {', '.join(map(repr, unknown))}.")
    named = {part: f" [{part.upper()}] " if part in here else f"  {part}  " for part in PARTS}
    return "\n".join(line.format_map(named).rstrip() for line in _LINES)
