"""Each layout of the table is recognised as itself and nothing else, from header and config; what fits none is said so."""

import json

import pytest
from click.testing import CliRunner
from weights.stored import LAYOUTS, MINI, REFUSED, fields, read, with_dspark, write

from v4mini.cli import main
from v4mini.config import Config
from v4mini.inspection import inspect_checkpoint
from v4mini.inspection.recognise import features, known_layouts, recognise
from v4mini.shapes import Refused
from v4mini.weights.spec import tensors
from v4mini.weights.store import open_store


@pytest.fixture(scope="module")
def released():
    return read()


def seen_in(folder):
    with open_store(folder) as store:
        said = json.loads((folder / "config.json").read_text())
        return recognise(store.entries(), said, store.shards, store.metadata)


@pytest.mark.parametrize("name", LAYOUTS | REFUSED)
def test_a_layout_is_recognised_as_itself_alone(name, released, tmp_path):
    (LAYOUTS | REFUSED)[name](tmp_path / "model", released)
    assert [row["name"] for row in seen_in(tmp_path / "model").rows] == [name]


class Entry:
    def __init__(self, dtype, shape):
        self.dtype, self.shape = dtype, shape


@pytest.mark.parametrize("said", [{"n_routed_experts": [8], "expert_dtype": {}, "transformers_version": 5},
                                  {"n_routed_experts": None},
                                  {"transformers_version": "9" * 5000 + ".1", "expert_dtype": "x" * 9000, "hidden_size": [1]}])
def test_configs_of_strangers_are_no_trouble(said, released):
    held = {name: Entry(dtype, array.shape) for name, (dtype, array) in released.items()}
    held["layers.0.ffn.experts.0.w1.scale"], held["layers.0.ffn.gate.weight"] = Entry("U8", ()), Entry("BF16", ())
    assert len(recognise(held, said).told()) < 1000


@pytest.mark.parametrize("config, changes, drop, name", [
    (Config.flash(), {}, (), "release"), (Config.pro(), {}, (), "release"),
    (Config.flash(), {}, ("expert_dtype",), "first release"),
    (Config.flash().with_dspark(), {}, (), "0731"), (Config.pro().with_dspark(markov_rank=512), {}, (), "0731"),
    (Config.flash().replace(n_routed_experts=192), {}, (), "pruned"),
    (Config.flash().replace(n_routed_experts=104, n_mtp_layers=0), {}, (), "pruned"),
    (Config.flash().replace(dtype="bf16", expert_dtype=None), {"expert_dtype": "fp4"}, (), "BF16 copy")])
def test_sizes_of_the_real_ones(config, changes, drop, name):
    held = {stored: Entry(dtype, shape) for spec in tensors(config) for stored, dtype, shape in spec.stored()}
    said = {field: value for field, value in config.to_released().items() if field not in drop} | changes
    assert [row["name"] for row in recognise(held, said).rows] == [name]


def test_what_fits_no_row_is_said_with_the_nearest(released, tmp_path):
    half = {name: (dtype, array) for name, (dtype, array) in released.items()}
    half["layers.0.attn.wq_a.scale"] = ("F32", released["layers.0.attn.wq_a.scale"][1].astype("float32"))
    write(tmp_path / "model", half, fields())
    seen = seen_in(tmp_path / "model")
    assert seen.rows == [] and seen.told() == ("none that is known here. The nearest is release; what differs is "
                                               "scales: F32 and F8_E8M0.")
    report = inspect_checkpoint(tmp_path / "model")
    assert report["layout"]["name"] is None and report["layout"]["could_be"] == [] and report["problems"] == []


def test_a_part_contradicts_no_rule_that_it_does_not_show(released):
    part = {name: Entry(dtype, array.shape) for name, (dtype, array) in released.items() if ".ffn.gate." in name}
    seen = recognise(part, fields(), whole=False)
    assert {"release", "0731"} < {row["name"] for row in seen.rows}
    assert seen.told().startswith("too little is here to tell") and seen.as_dict()["name"] is None


def test_words_are_told_from_shapes_where_dtypes_are_shared(released):
    held = {name: Entry("U8" if dtype in ("I8", "F8_E4M3", "F8_E8M0") else dtype, array.shape)
            for name, (dtype, array) in released.items()}
    words = features(held, fields(), (), {}, [])
    assert (words["linears"], words["experts"], words["scales"]) == ("fp8 as U8", "fp4 as U8", "U8")
    assert (words["drafts"], words["gates"], words["number of experts"]) == ("MTP", "as the config says", "of another size")


def test_the_command_says_it_in_text_and_json(released, tmp_path):
    write(tmp_path / "model", *with_dspark(released))
    told = CliRunner().invoke(main, ["inspect", str(tmp_path / "model")]).output
    assert "Layout: DeepSeek's release of 31 July 2026 with DSpark" in told
    layout = json.loads(CliRunner().invoke(main, ["inspect", str(tmp_path / "model"), "--json"]).output)["layout"]
    assert layout["name"] == "0731" and layout["read"] == "yes" and layout["features"]["drafts"] == "DSpark"
    assert layout["source"].startswith("https://") and layout["date"] == "2026-07-31"
    assert inspect_checkpoint(MINI)["layout"]["name"] == "v4mini"


def test_a_layout_that_is_not_read_is_named_where_its_config_is_refused(released, tmp_path):
    said = fields(quantization_config={"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"})
    write(tmp_path / "model", {f"{name.removesuffix('.weight')}.weight_packed": pair for name, pair in released.items()}, said)
    with pytest.raises(Refused, match=r"quant_method must be fp8, got 'compressed-tensors'.*quantised by another program"):
        inspect_checkpoint(tmp_path / "model")


def test_a_table_with_a_rule_that_is_no_list_is_refused(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"layouts": [{"name": "a", "title": "a", "when": {"drafts": "MTP"}, "read": "yes",
                                                              "how": "x", "source": "x", "date": "2026-11-29"}]}))
    with pytest.raises(Refused, match=r"when.drafts must be a list of words"):
        known_layouts(tmp_path / "x.json")
