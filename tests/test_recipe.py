from pathlib import Path

import pytest
import yaml
from ultralytics.utils import DEFAULT_CFG_DICT

from swin_yolo.engine import recipe
from swin_yolo.engine.recipe import KEYS, OPTIMIZERS, OWN_KEYS, load_recipe, unread_gains
from swin_yolo.errors import InputError

DEFAULT = Path(recipe.__file__).with_name("recipe.yaml")


def hyp(folder: Path, text: str) -> Path:
    file = folder / "hyp.yaml"
    file.write_text(text)
    return file


def test_the_default_recipe_is_the_file_beside_the_module():
    assert load_recipe() == yaml.safe_load(DEFAULT.read_text())
    assert load_recipe()["optimizer"] in OPTIMIZERS


def test_the_default_recipe_is_one_that_hyp_would_take():
    assert load_recipe(DEFAULT) == load_recipe()


def test_hyp_replaces_only_the_keys_it_names(tmp_path):
    replaced = {"lr0": 0.02, "optimizer": "SGD", "cos_lr": False, "drop_path": 0.3, "mixup": 1}
    own = load_recipe(hyp(tmp_path, yaml.safe_dump(replaced)))
    assert own == {**load_recipe(), **replaced}


def test_an_empty_hyp_is_the_default(tmp_path):
    assert load_recipe(hyp(tmp_path, "# nothing yet\n")) == load_recipe()


def test_every_key_of_the_default_may_be_replaced():
    assert load_recipe().keys() <= KEYS


def test_every_own_key_is_in_the_default_with_its_meaning():
    assert OWN_KEYS.keys() <= load_recipe().keys()
    lines = DEFAULT.read_text().splitlines()
    assert all(any(line.startswith(f"{key}: ") and "#" in line for line in lines) for key in OWN_KEYS)


def test_every_other_key_is_one_that_ultralytics_reads():
    assert KEYS - OWN_KEYS.keys() <= DEFAULT_CFG_DICT.keys()
    assert not OWN_KEYS.keys() & DEFAULT_CFG_DICT.keys()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate: 0.1\nlr0: 0.1", r"unknown keys learning_rate; known are .*lr0"),
        ("epochs: 3", r"unknown keys epochs"),
        ("- lr0", r"expected `key: value` lines, got list"),
        ("lr0: [", r"expected a YAML file of recipe keys"),
        ("lr0: fast", r"lr0 expected a number of at least 0.*, got 'fast'"),
        ("lr0: 1e-3", r"lr0 expected a number .* such as 0.001 or 1.0e-3, got '1e-3'"),  # YAML 1.1 reads a string
        ("lr0: true", r"lr0 expected a number .*, got True"),
        ("lr0:", r"lr0 expected a number .*, got None"),
        ("lr0: -0.1", r"lr0 expected a number of at least 0.*, got -0.1"),
        ("box: .nan", r"box expected a number .*, got nan"),
        ("warmup_epochs: .inf", r"warmup_epochs expected a number .*, got inf"),
        ("mosaic: 3", r"'mosaic=3' .* between 0.0 and 1.0"),
        ("close_mosaic: 2.5", r"'close_mosaic=2.5' .* must be an int"),
        ("nbs: 0", r"'nbs=0' .* must be >= 1"),
        ("cos_lr: 1", r"cos_lr expected true or false, got 1"),
        ("drop_path: 1.0", r"drop_path expected a number below 1, got 1.0"),
        ("clip_norm: 0", r"clip_norm expected a number above 0, got 0"),
        ("layer_decay: 0", r"layer_decay expected a number above 0, got 0"),
        ("layer_decay: 1.5", r"layer_decay expected a number of at most 1, got 1.5"),
        ("anchor_t: 1", r"anchor_t expected a number above 1, got 1"),
        ("optimizer: MuSGD", r"optimizer expected one of AdamW, SGD, got 'MuSGD'"),
        ("optimizer: [AdamW]", r"optimizer expected one of AdamW, SGD, got \['AdamW'\]"),
    ],
)
def test_a_wrong_hyp_is_named(tmp_path, text, expected):
    file = hyp(tmp_path, text)
    with pytest.raises(InputError, match=rf"^--hyp {file}: {expected}") as error:
        load_recipe(file)
    assert "\n" not in str(error.value)


def test_a_missing_hyp_is_named(tmp_path):
    with pytest.raises(InputError, match=r"--hyp .*none.yaml: expected a YAML file .*No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_a_hyp_that_is_no_text_is_named(tmp_path):
    (tmp_path / "hyp.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"--hyp .*hyp.yaml: expected a YAML file"):
        load_recipe(tmp_path / "hyp.yaml")


def test_gains_that_only_the_other_head_reads_are_found(tmp_path):
    own = load_recipe(hyp(tmp_path, "anchor_t: 3.0\nanchor_cls: 0.4\nbox: 5.0\nlr0: 0.1\ncls: 0.5"))
    assert unread_gains(own, anchor_based=False) == ["anchor_cls", "anchor_t"]
    assert unread_gains(own, anchor_based=True) == ["box"], "cls is as in the default"
    assert unread_gains(load_recipe(DEFAULT), anchor_based=True) == []
