"""Copies the few drawings that the tests use out of the packages that `make icons` fetches.

    python3 tests/icons/make_test_icons.py
"""

import json
import pathlib
import tomllib

here = pathlib.Path(__file__).parent
packages = here.parent.parent / "icons/node_modules/@iconify-json"
config = tomllib.loads((here / "dataset.toml").read_text())
for style in config["styles"]:
    package = style["package"]
    source, target = packages / package, here / package
    target.mkdir(exist_ok=True)
    whole = json.loads((source / "icons.json").read_text())
    names = [thing["icon"] for thing in config["objects"]]
    small = {key: whole[key] for key in ("prefix", "width", "height") if key in whole}
    small["icons"] = {name: whole["icons"][name] for name in names}
    (target / "icons.json").write_text(json.dumps(small, indent=1) + "\n")
    info = json.loads((source / "info.json").read_text())
    info = {key: info[key] for key in ("prefix", "name", "author", "license")}
    info["version"] = json.loads((source / "package.json").read_text())["version"]
    (target / "info.json").write_text(json.dumps(info, indent=1) + "\n")
