"""v4mini train and v4mini card, as a user meets them."""

import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from click.testing import CliRunner

import v4mini as v4
from v4mini import Config
from v4mini.cli import main
from v4mini.training import ablate, recipe

TEXTS = {name: f"def {name}(x, y):\n    return x + {n}\n\nclass {name.title()}:\n    value = {n * n}\n" * 12
         for n, name in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])}
CONFIG = Config.tiny().replace(vocab_size=300, compress_ratios=(4, 0, 16, 4, 0))


def stdlib_texts(held_out=False):
    return list(TEXTS.items())[:2] if held_out else list(TEXTS.items())[2:]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The command on little text, with a recipe of six steps; gives the path of a config."""
    monkeypatch.setattr("v4mini.text.stdlib.stdlib_texts", stdlib_texts)
    monkeypatch.setattr(recipe, "general", lambda config: recipe.Recipe(config, (
        recipe.Stage("text", 6, 2, 48, {"text": 0.5, "facts": 0.5}, 0.02, difficulty=recipe.Difficulty((1,), gap=2, far=0.0)),)))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG.to_dict()))
    return path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_train_resume_export_and_card(small, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = run("train", "--config", small, "--out", out, "--steps", 4, "--backend", "numpy")
    assert first.exit_code == 0 and "Stopped; --resume goes on: step 4" in first.output, first.output
    assert not (out / "model").exists()
    second = run("train", "--config", small, "--out", out, "--resume", "--backend", "numpy", "--json")
    report = json.loads(second.output)
    assert report["done"] and report["step"] == 6 and report["model"] == str(out / "model")
    assert (out / "log.png").stat().st_size > 1000
    model, tokenizer = v4.load(out / "model", backend="numpy"), v4.Tokenizer.load(out / "model")
    assert np.isfinite(model.logits(tokenizer.encode("def one"))).all()
    told = run("card", out / "model").output
    assert "6 steps" in told and "text 50%, facts 50%" in told and "bits per byte" not in told
    measured = run("card", out / "model", "--measure", "--lengths", 256, "--questions", 4, "--crowded", "2000x2",
                   "--untrained", "256x3", "--backend", "numpy")
    assert measured.exit_code == 0 and "bits per byte; xz -9e" in measured.output and "6 steps" in measured.output
    card = json.loads(run("card", out / "model", "--json").output)
    assert [(n["others"], n["haystacks"]) for n in card["measured"]["needles"]] == [(0, 1), (2, 2), (0, 3)]
    assert card["model"]["layers"] == ["csa (hash)", "window", "hca", "csa"]
    for name, value in (("SKIPPED", 32), ("PARTS", {"sinks": ablate.PARTS["sinks"]}),
                        ("ablations", functools.partial(ablate.ablations, tokens=600, haystack=64))):
        monkeypatch.setattr(ablate, name, value)
    told = run("card", out / "model", "--ablate", "--questions", 2, "--backend", "numpy")
    assert told.exit_code == 0 and f"v4mini card {out / 'model'} --ablate" in told.output, told.output
    again = json.loads(run("card", out / "model", "--json").output)
    assert {name: again[name] for name in card} == card and again["ablations"]["questions"] == 2


def test_what_was_left_out_is_written_down(small, tmp_path):
    out = tmp_path / "out"
    contrast = "--without", "index", "--anticipate", 2
    assert run("train", "--config", small, "--out", out, *contrast, "--steps", 2, "--backend", "numpy").exit_code == 0
    other = run("train", "--config", small, "--out", out, "--resume", "--backend", "numpy")
    assert other.exit_code == 2 and "another recipe" in other.output
    assert run("train", "--config", small, "--out", out, *contrast, "--resume", "--backend", "numpy").exit_code == 0
    assert "Left out, for contrast: the indexers' training; they stayed random." in run("card", out / "model").output
    whole = tmp_path / "whole"
    assert run("train", "--config", small, "--out", whole, "--backend", "numpy").exit_code == 0
    early = run("card", whole / "model", "--beside", out / "model")
    assert early.exit_code == 2 and "Measure it with v4mini card" in early.output
    assert run("card", out / "model", "--measure", "--lengths", 256, "--questions", 4, "--backend", "numpy").exit_code == 0
    told = run("card", whole / "model", "--beside", out / "model").output
    assert "For contrast, a model of the same recipe, 6 of its steps, without one part:\nthe indexers' training" in told
    assert "untrained" in told and " trained " not in told.split("For contrast")[1].split("Facts")[1]
    assert run("card", whole / "model").output == told


def test_a_run_goes_on_where_a_models_recipe_grew(small, tmp_path, monkeypatch):
    out, further = tmp_path / "out", tmp_path / "further"
    assert run("train", "--config", small, "--out", out, "--backend", "numpy").exit_code == 0
    whole = run("train", "--config", small, "--from", out / "model", "--out", further, "--backend", "numpy")
    assert whole.exit_code == 2 and "which had all 1. Leave --from out" in whole.output and not further.exists()
    text = recipe.general(CONFIG).stages[0]
    more = dataclasses.replace(text, name="more", steps=3, length=64, mix={"lengths": 1.0}, first_use=True, sink_rate=10.0)
    monkeypatch.setattr(recipe, "general", lambda config: recipe.Recipe(config, (dataclasses.replace(text, name="other"), more)))
    other = run("train", "--config", small, "--from", out / "model", "--out", further, "--backend", "numpy")
    assert other.exit_code == 2 and "with text. Leave --from out" in other.output
    monkeypatch.setattr(recipe, "general", lambda config: recipe.Recipe(config, (text, more)))
    begun = run("train", "--config", small, "--from", out / "model", "--out", further, "--steps", 8, "--backend", "numpy")
    assert begun.exit_code == 0 and "step 8, " in begun.output, begun.output
    both = run("train", "--config", small, "--from", out / "model", "--out", further, "--resume", "--backend", "numpy")
    assert both.exit_code == 2 and "expected neither --resume nor --tokenizer" in both.output
    report = json.loads(run("train", "--config", small, "--out", further, "--resume", "--backend", "numpy", "--json").output)
    assert report["done"] and (report["step"], report["tokens"]) == (9, 6 * 96 + 3 * 128)
    before, after = (json.loads(run("card", folder / "model", "--json").output)["trained"] for folder in (out, further))
    assert after["stages"][0] == before["stages"][0] and [(s["name"], s["steps"]) for s in after["stages"]][1:] == [("more", 3)]
    assert after["hours"] > before["hours"] and after["from_released"] == ["more"] and "from_released" not in before
    assert "'more' began with the weights of the stage before as they ship" in run("card", further / "model").output


def test_an_unfinished_run_can_be_exported_too(small, tmp_path):
    where = "--out", tmp_path / "out", "--export", tmp_path / "m"
    result = run("train", "--config", small, *where, "--steps", 1, "--backend", "numpy")
    assert result.exit_code == 0 and v4.load(tmp_path / "m", backend="numpy").config == CONFIG


@pytest.mark.parametrize("arguments, words", [
    (("train", "--config", "CONFIG", "--out", "OUT", "--resume"), "--resume: no checkpoint.safetensors in"),
    (("train", "--config", "nowhere.json", "--out", "OUT"), "config: no file nowhere.json"),
    (("train", "--config", "CONFIG", "--out", "OUT", "--tokenizer", "CONFIG"), "tokenizer"),
    (("card", "OUT"), "no file"), (("card", "OUT", "--measure", "--lengths", "many"), "--lengths: expected numbers"),
    (("card", "OUT", "--measure", "--lengths", "0"), "--lengths: expected numbers"),
    (("card", "OUT", "--measure", "--crowded", "4096x"), "--crowded: expected numbers"),
    (("card", "OUT", "--measure", "--untrained", "64x0"), "--untrained: expected numbers")])
def test_a_mistake_is_one_sentence_and_exit_2(small, tmp_path, arguments, words):
    places = {"CONFIG": small, "OUT": tmp_path / "out"}
    result = run(*[places.get(argument, argument) for argument in arguments])
    assert result.exit_code == 2 and words in result.output and result.output.count("\n") == 1, result.output


def test_a_folder_that_holds_a_run_is_not_written_over(small, tmp_path):
    run("train", "--config", small, "--out", tmp_path / "out", "--steps", 1, "--backend", "numpy")
    again = run("train", "--config", small, "--out", tmp_path / "out", "--backend", "numpy")
    assert again.exit_code == 2 and "holds a run already. Add --resume" in again.output


@pytest.mark.parametrize("there", ["model.safetensors", "model-00001-of-00046.safetensors", "tokenizer.json", "log.jsonl"])
def test_a_folder_of_somebody_else_is_refused_before_anything_is_learned(small, tmp_path, there):
    out = tmp_path / "theirs"
    out.mkdir()
    (out / there).write_bytes(b"a stranger's")
    result = run("train", "--config", small, "--out", out, "--steps", 1, "--backend", "numpy")
    assert result.exit_code == 2 and there in result.output and result.output.count("\n") == 1, result.output
    assert (out / there).read_bytes() == b"a stranger's" and not (out / "checkpoint.safetensors").exists()


def test_a_model_that_is_not_ours_is_no_place_for_an_export(small, tmp_path):
    target = tmp_path / "flash"
    target.mkdir()
    names = ["model-00001-of-00046.safetensors", "config.json", "tokenizer.json", "model.safetensors.index.json"]
    for name in names:
        (target / name).write_bytes(b"a stranger's")
    result = run("train", "--config", small, "--out", tmp_path / "out", "--export", target, "--backend", "numpy")
    assert result.exit_code == 2 and "which v4mini did not write there" in result.output
    assert sorted(os.listdir(target)) == sorted(names) and not (tmp_path / "out").exists()
    assert all((target / name).read_bytes() == b"a stranger's" for name in names)


def test_while_one_trains_another_is_refused(small, tmp_path):
    from v4mini.training.loop import only_trainer

    (tmp_path / "out").mkdir()
    with only_trainer(tmp_path / "out"):
        result = run("train", "--config", small, "--out", tmp_path / "out", "--backend", "numpy")
    assert result.exit_code == 2 and "another v4mini train is writing" in result.output
    assert list((tmp_path / "out").iterdir()) == []


def test_a_long_first_step_is_announced_and_stops_at_once(small, tmp_path, monkeypatch):
    from v4mini.training.run import Run

    def compile_for_minutes(self, recall=False):
        time.sleep(0.3)
        signal.raise_signal(signal.SIGTERM)
        time.sleep(60)
    monkeypatch.setattr(Run, "learn", compile_for_minutes)
    monkeypatch.setattr("v4mini.cli.train.QUIET_SECONDS", 0.01)
    result = run("train", "--config", small, "--out", tmp_path / "out", "--backend", "numpy")
    assert result.exit_code == 130, result.output
    assert "compiles kernels" in result.output and "stopped in the first step; nothing was learned" in result.output
    assert not (tmp_path / "out" / "checkpoint.safetensors").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals for other processes")
@pytest.mark.parametrize("one", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_sigterm_saves_and_the_run_goes_on(tmp_path, one):
    """A real process, interrupted in the middle of its steps."""
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        import test_train as here
        from v4mini.text import stdlib
        stdlib.stdlib_texts = here.stdlib_texts
        here.recipe.general = lambda config: here.recipe.Recipe(config, (
            here.recipe.Stage("text", 100000, 2, 48, {{"text": 1.0}}, 0.01),))
        from v4mini.training import run
        learn = run.Run.learn
        def told(self, recall=False):
            print("step", self.step, flush=True)
            return learn(self, recall)
        run.Run.learn = told
        here.main(sys.argv[1:])
    """)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG.to_dict()))
    command = [sys.executable, "-c", script, "train", "--config", str(path), "--out", str(tmp_path / "out"), "--backend", "numpy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line == "step 5\n":
                process.send_signal(one)
                break
        rest = process.stdout.read()
    assert process.returncode == 0 and "Stopped; --resume goes on" in rest
    again = subprocess.run([*command, "--resume", "--steps", "8"], capture_output=True, text=True)
    assert again.returncode == 0 and "step 8, " in again.stdout, again.stderr


def test_a_folder_of_ones_own_is_trained_on(small, tmp_path):
    """Its texts decide the run: none, or others, do not go on with it; what lies in OUT is not text to learn from."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / f"{name}.py").write_text(text + "own = 1\n")
    (folder / "picture.png").write_bytes(b"\x89PNG\xff")
    train = ("train", "--config", small, "--out", folder / "out", "--backend", "numpy")
    first = run(*train, "--text", folder, "--steps", 1)
    assert first.exit_code == 0, first.output
    assert "10 texts of" in first.stderr and "1 file left out, the first picture.png: not UTF-8" in first.stderr
    last = run(*train, "--text", folder, "--resume", "--json")
    assert last.exit_code == 0 and f"Trained on the text files of {folder}" in run("card", folder / "out" / "model").output
    other = run(*train, "--resume")
    assert other.exit_code == 2 and "other texts" in other.stderr
    assert run(*train[:4], tmp_path / "new", "--text", tmp_path / "none").exit_code == 2 and not (tmp_path / "new").exists()
