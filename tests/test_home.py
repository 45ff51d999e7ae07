"""No test sees the user's home folder: what it finds there would make it pass on one machine alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import SETTINGS

FOLDERS = """
import importlib.util as found, pathlib
from unweave.store import cache_folder
import matplotlib, sklearn.datasets, torch.hub
print(pathlib.Path.home(), cache_folder("models"), matplotlib.get_configdir(), matplotlib.get_cachedir(), sep="\\n")
print(sklearn.datasets.get_data_home(), torch.hub.get_dir(), sep="\\n")
if found.find_spec("huggingface_hub"):
    from huggingface_hub import constants
    print(constants.HF_HOME, constants.HF_HUB_CACHE, constants.HF_TOKEN_PATH, sep="\\n")
"""


def test_everything_that_is_kept_for_a_user_is_in_a_folder_of_the_tests() -> None:
    """Here and in what a test starts."""
    home = Path.home()
    assert home.name.startswith("unweave-tests-") and Path(os.environ["UNWEAVE_CACHE"]).parent == home
    told = subprocess.run([sys.executable, "-c", FOLDERS], capture_output=True, text=True, check=True).stdout
    places = told.splitlines()
    assert places and not [place for place in places if home not in (Path(place), *Path(place).parents)], told


def test_no_setting_of_the_user_is_left() -> None:
    allowed = {"UNWEAVE_CACHE", "UNWEAVE_VECTORS", "UNWEAVE_DATA", "UNWEAVE_TOFU", "UNWEAVE_MODEL", "UNWEAVE_FUZZ"}
    allowed |= {"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "HF_HUB_OFFLINE"}
    assert not [name for name in os.environ if name.startswith(SETTINGS) and name not in allowed]
