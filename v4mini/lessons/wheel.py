"""A wheel brings data/ and notebooks/ along, in v4mini_course/ beside the package (named in pyproject.toml).

An editable installation has them in its checkout. Not here: how they are found (places.py).
"""

import os

from setuptools.command.build_py import build_py

COURSE = ("data", (".json", ".jsonl", ".md", ".safetensors", ".npz", ".npy")), ("notebooks", (".ipynb", ".cfg", ".md"))


class WithCourse(build_py):
    """setuptools' build_py, which then copies the files of the course; folders of editors and caches stay behind."""

    def run(self):
        super().run()
        if not self.editable_mode:
            for source, into in self._course():
                self.mkpath(os.path.dirname(into))
                self.copy_file(source, into)

    def get_outputs(self, include_bytecode=True):
        """All files of the wheel."""
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else [into for _, into in self._course()])]

    def _course(self):                                  # yields (where a file lies, where it goes)
        for folder, endings in COURSE:
            if not os.path.isdir(folder):
                raise SystemExit(f"{folder}/: not there. Build the wheel in a checkout of the repository.")
            for place, folders, names in os.walk(folder):
                folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
                for name in sorted(names):
                    if name.endswith(endings):
                        yield os.path.join(place, name), os.path.join(self.build_lib, "v4mini_course", place, name)
