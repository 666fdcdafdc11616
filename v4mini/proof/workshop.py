"""Is this machine ready for a class? What `v4mini doctor --workshop` adds: each thing is tried, as a reader would use it.

Not here: what every installation needs (installation.py), printing (cli/doctor.py).
"""

import os
import socket
import time
import webbrowser
from pathlib import Path

from v4mini.proof.installation import needs
from v4mini.shapes import Refused

PATIENCE = 60                   # seconds for a notebook's kernel to start and to import v4mini


def workshop(data_folder):              # -> [{"what", "found", "verdict"}]
    """verdict: "ok", "missing: ..." where the class cannot begin, or a note."""
    return [_lab(), _lessons(data_folder), _speaks(data_folder), _kernel(), _port(), _browser(), _progress()]


def _fact(what, found, verdict="ok"):
    return {"what": f"workshop: {what}", "found": found, "verdict": verdict}


def _lab():                             # JupyterLab, figures, sliders
    absent = [need.what for need in needs(("lab",)) if need.extra == "lab" and need.fault]
    advice = 'missing: python -m pip install -e ".[lab]"'
    return _fact("packages of the lessons", ", ".join(absent) or "all there", advice if absent else "ok")


def _lessons(data_folder):
    count = len(list((Path(data_folder).resolve().parent / "notebooks").glob("[0-9][0-9]_*.ipynb")))
    return _fact("lessons", f"{count} notebooks", "ok" if count else "missing: run this in a checkout, or install a wheel")


def _speaks(data_folder):               # one token of the bundled model, by the engine that the lessons use
    import v4mini as v4

    began = time.perf_counter()
    try:
        model = v4.load(Path(data_folder) / "mini", backend="numpy")
        next(iter(v4.generate(model, [model.config.bos_id], max_new_tokens=1, seed=1)))
    except Refused as refused:
        return _fact("a token of the bundled model", "none", f"missing: {refused}")
    return _fact("a token of the bundled model", f"in {time.perf_counter() - began:.1f} s")


def _kernel():                          # a notebook of one cell, run as JupyterLab would
    try:
        import nbformat
        from nbclient import NotebookClient
    except ImportError:
        return _fact("a notebook's kernel", "no nbclient", 'missing: python -m pip install -e ".[lab]"')
    cell = nbformat.v4.new_code_cell("import v4mini; print(v4mini.__version__)")
    began = time.perf_counter()
    try:
        NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=PATIENCE, kernel_name="python3").execute()
    except Exception as error:          # whatever it is, this is where it is told
        return _fact("a notebook's kernel", "does not run", f"missing: {type(error).__name__}: {str(error).splitlines()[0][:80]}")
    return _fact("a notebook's kernel", f"runs v4mini, in {time.perf_counter() - began:.1f} s")


def _port():                            # JupyterLab looks for a free one by itself, but needs leave to listen
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return _fact("a local port", f"{server.getsockname()[1]} could be used")
    except OSError as error:
        return _fact("a local port", "none", f"missing: {error.strerror or error}")


def _browser():
    try:
        return _fact("a browser", webbrowser.get().name if hasattr(webbrowser.get(), "name") else "there is one")
    except webbrowser.Error:
        return _fact("a browser", "none found", "open the address that v4mini lab --no-browser prints, from another machine")


def _progress():                        # where solved exercises are noted
    from v4mini.lessons.solved import place

    try:
        path = place()
    except Refused as refused:
        return _fact("progress", "nowhere", str(refused))
    there = next(folder for folder in path.parents if folder.exists())
    is_free = os.access(there, os.W_OK) and there.is_dir()
    return _fact("progress", str(path), "ok" if is_free else "cannot be written: v4mini lab --work FOLDER keeps it in FOLDER")
