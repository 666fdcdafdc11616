"""The lessons as a website, or as slides: Sphinx with MyST-NB reads the notebooks as they stand and runs nothing.

Formulas become MathML, which browsers draw themselves, and styles lie beside the pages: nothing is fetched from a network. Every
warning is an error, and links between lessons are checked. Not here: what a slide is (editions.py).
"""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from v4mini.lessons.course import COURSE, file_names
from v4mini.lessons.editions import slides as as_slides
from v4mini.lessons.folders import copy_into, expect_new
from v4mini.lessons.places import notebook_folder
from v4mini.shapes import Refused
from v4mini.writing import make_folder, write_whole

NEEDED = ("sphinx", "myst_nb", "furo", "sphinx_revealjs", "latex2mathml")
PAGE = "TEACHING.md"
LINK = re.compile(r"\[([^\]]*)\]\((\d\d_\w+\.ipynb)\)")
CONF = '''
project = "v4mini"
extensions = ["myst_nb", "sphinx_revealjs", "v4mini.lessons.website"]
html_theme = "furo"
html_title = "v4mini"
html_math_renderer = "mathml"
html_copy_source = False
nb_execution_mode = "off"
nb_mime_priority_overrides = [("revealjs", kind, place) for place, kind in enumerate(
    ("text/html", "image/svg+xml", "image/png", "text/plain"))]
myst_enable_extensions = ["dollarmath"]
revealjs_style_theme = "white"
revealjs_script_conf = {"width": 1280, "height": 800, "hash": True, "slideNumber": True, "center": False}
revealjs_css_files = ["slides.css"]
html_static_path = revealjs_static_path = ["own"]
'''
CSS = '''.reveal { font-size: 24px } .reveal section { text-align: left; max-height: 100%; overflow-y: auto }
.reveal pre { font-size: 0.75em; width: 100%; box-shadow: none }
.reveal img { max-height: 65vh } .reveal table { font-size: 0.8em }
'''


def build_site(target, kind="site", names=()):          # -> [pages]
    """Write the website ("site") or the slides ("slides") of all lessons, or of those numbered `names`, into a new folder.

    Refused where a package is missing, where the folder is not empty, or where Sphinx warns, with what it said.
    """
    missing = [package for package in NEEDED if find_spec(package) is None]
    if missing:
        raise Refused(f'{kind}: {", ".join(missing)} not installed. Run: python -m pip install -e ".[site]"')
    expect_new(target)
    with TemporaryDirectory() as work:
        source, made, pages = Path(work, "source"), Path(work, "made"), Path(work, "pages")
        lay_out(source, kind, names)
        builder = {"site": "html", "slides": "revealjs"}[kind]
        sphinx = [sys.executable, "-m", "sphinx", "-b", builder, "-W", "--keep-going", "-q", "-d", made]
        run = subprocess.run([*sphinx, source, pages], capture_output=True, text=True)
        if run.returncode:
            told = (run.stderr or run.stdout).strip().replace(str(source), "").splitlines()
            raise Refused(f"{kind}: Sphinx found {len(told)} faults: {'; '.join(told[:5])}")
        copy_into(pages, target)
        return sorted(path.name for path in pages.glob("*.html"))


def lay_out(source, kind, names=()):        # a folder, "site" or "slides", numbers of lessons
    """Write the pages' sources as Sphinx wants them: the notebooks, its settings, a front page."""
    import nbformat

    make_folder(source / "own")
    write_whole(source / "own" / "slides.css", CSS)
    write_whole(source / "conf.py", CONF.lstrip())
    files = [name for number, name in file_names().items() if not names or number in names]
    for name in files:
        notebook = nbformat.read(notebook_folder() / name, as_version=4)
        _unlink(notebook, files)
        write_whole(source / name, nbformat.writes(as_slides(notebook) if kind == "slides" else notebook))
    pages = [Path(name).stem for name in files]
    if kind == "site" and not names:
        write_whole(source / PAGE, (notebook_folder() / PAGE).read_bytes())
        pages.append(Path(PAGE).stem)
    write_whole(source / "index.md", front_page(pages))


def _unlink(notebook, files):               # links to lessons that are left out become their text
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(lambda link: link[0] if link[2] in files else link[1], cell.source)


def front_page(pages):                      # -> markdown
    learn = "\n".join(f"* {lesson.number} {lesson.title}: {', '.join(lesson.goals)}" for lesson in COURSE)
    toctree = "```{toctree}\n:maxdepth: 1\n\n" + "\n".join(pages) + "\n```"
    about = "DeepSeek-V4 from an empty notebook cell to the real weights."
    return f"# v4mini\n\n{about}\n\n{toctree}\n\n## What you learn\n\n{learn}\n"


# ---- the Sphinx extension: formulas as MathML ----

def setup(app):                             # Sphinx calls it
    """Registers the renderer that CONF names."""
    from docutils.nodes import SkipNode
    from latex2mathml.converter import convert

    def draw(display):
        def visit(translator, node):
            translator.body.append(convert(node.astext(), display=display))
            raise SkipNode
        return visit, None
    app.add_html_math_renderer("mathml", draw("inline"), draw("block"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
