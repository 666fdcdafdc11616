"""The map of the code shows the rooms that the house rules know, each on its floor."""

from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from test_house import FLOORS, GARDEN, ROOT

from v4mini.viz import house
from v4mini.viz.style import BLUE


def drawn(**how):
    ax = Figure().subplots()
    house.draw_house(ax, **how)
    return ax


def stands(room):                                       # the rules may know a room that nobody has built yet
    return any(path.exists() for path in (ROOT / "v4mini" / room, ROOT / "v4mini" / f"{room}.py", ROOT / room))


def test_every_room_of_the_map_is_on_the_floor_that_the_rules_give_it():
    from_the_roof = [{room.removesuffix(".py") for room in rooms} for _, rooms in house.FLOORS]
    assert from_the_roof == [set(filter(stands, rooms)) for rooms in reversed(FLOORS)]
    assert {room.removesuffix(".py").rstrip("/") for room in house.GARDEN} <= GARDEN


def test_every_room_has_a_box_and_floors_lie_above_each_other():
    ax = drawn()
    rooms = sum((list(rooms) for _, rooms in house.FLOORS), [*house.GARDEN])
    assert len(ax.patches) - sum(type(patch).__name__ == "FancyArrowPatch" for patch in ax.patches) == len(rooms)
    height = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert height["config"] < height["ops"] < height["layers"] < height["model.py"] < height["inference"]
    assert height["text"] < height["config"]


def test_the_path_of_a_number_is_filled():
    ax = drawn(path=("ops", "layers"))
    filled = [box for box in ax.patches if to_hex(box.get_facecolor()).upper() == BLUE]
    assert len(filled) == 2 and len({box.get_y() for box in filled}) == 2
