"""tests/ mirrors v4mini/: the test of v4mini/a/b.py is tests/a/test_b.py, or is named here."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "v4mini"

# Modules whose work is only seen through another's are tested there: options and texts of commands that belong together, checks
# that a reader makes, pictures' parts.
TESTED_IN = {
    "bench/test_bench.py": ("bench/ceiling", "bench/compare", "bench/kernels", "bench/million", "bench/warm", "cli/bench"),
    "cli/test_chat_commands.py": ("text/conversation_file",),
    "cli/test_main.py": ("cli/doctor", "cli/inspect", "cli/lab", "cli/tour", "cli/verify", "inspection/report", "tour"),
    "cli/test_plan.py": ("cli/claims", "cli/cost"),
    "cli/test_streaming.py": ("cli/replay", "cli/synth"),
    "cli/test_train.py": ("cli/card",),
    "inference/streaming/test_model.py": ("inference/streaming/budget", "inference/streaming/weights"),
    "inference/test_cache_file.py": ("weights/checksum",),
    "kernels/test_index.py": ("kernels/candidates",),
    "kernels/test_vector.py": ("kernels/emit",),
    "layers/test_seams.py": ("kernels/whole",),
    "lessons/test_authoring.py": ("lessons/notebooks", "lessons/percent"),
    "lessons/test_check.py": ("lessons/api", "lessons/compare", "lessons/exercise", "lessons/verdict"),
    "lessons/test_course.py": ("lessons/cells", "lessons/head", "lessons/words"),
    "lessons/test_editions.py": ("lessons/folders",),
    "lessons/test_exercises.py": ("lessons/registry", "lessons/verify"),
    "lessons/test_museum.py": ("lessons/planted",),
    "lessons/test_work.py": ("lessons/places",),
    "numerics/test_e4m3.py": ("numerics/minifloat",),
    "planning/test_claims.py": ("planning/checks",),
    "planning/test_models.py": ("planning/v32",),
    "test_config.py": ("config/fields", "config/reading", "config/rotation", "config/rules"),
    "test_machine.py": ("lessons/readiness",),
    "test_untrusted.py": ("printable",),
    "test_wheel.py": ("lessons/wheel",),
    "text/test_bpe.py": ("text/stdlib",),
    "text/test_chat.py": ("text/chat_messages", "text/dsml", "text/special"),
    "text/test_chat_memory.py": ("text/conversation",),
    "text/test_tokenizer.py": ("text/tokenizer_file",),
    "training/backward/test_attention.py": ("kernels/backward/attention",),
    "training/backward/test_compress.py": ("kernels/backward/compress",),
    "training/backward/test_experts.py": ("kernels/backward/experts",),
    "training/backward/test_mix.py": ("kernels/backward/mix",),
    "training/backward/test_norm.py": ("kernels/backward/norm",),
    "training/test_losses.py": ("kernels/backward/losses",),
    "weights/remote/test_fetch.py": ("weights/remote/folder", "weights/remote/plan", "weights/remote/record"),
    "weights/remote/test_hub.py": ("weights/remote/budget", "weights/remote/errors", "weights/remote/responses"),
    "weights/test_export.py": ("cli/export",),
    "weights/test_layouts.py": ("weights/slices",),
    "weights/test_store.py": ("weights/written",),
    "widgets/test_attention.py": ("widgets/explorer", "widgets/looks"),
    "widgets/test_reading.py": ("widgets/corpus", "widgets/packed"),
    "widgets/test_routing.py": ("widgets/page", "widgets/view", "widgets/what_if"),
}
ELSEWHERE = {module: test for test, modules in TESTED_IN.items() for module in modules}
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")
                 if path.stem not in ("__init__", "__main__") and "exercises" not in path.parts)


def own_test(module):                                   # "ops/rope" -> tests/ops/test_rope.py
    path = TESTS / module
    return path.parent / f"test_{path.name}.py"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_test(module):
    if module in ELSEWHERE:
        assert not own_test(module).exists(), f"{module} has a test of its own: it need not stand in TESTED_IN"
        assert (TESTS / ELSEWHERE[module]).exists(), f"{module}: {ELSEWHERE[module]} is not there"
    else:
        assert own_test(module).exists(), f"{module}: expected tests/{module} as test_*.py, or a line in TESTED_IN"


def test_only_modules_that_are_there_stand_in_the_table():
    assert set(ELSEWHERE) <= set(MODULES) and len(ELSEWHERE) == sum(map(len, TESTED_IN.values()))
