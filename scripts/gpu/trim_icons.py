#!/usr/bin/env python3
"""Copies of the icon packages what a data set's list draws, some hundred kilobytes of 140 MB:

    python3 scripts/gpu/trim_icons.py --icons icons/node_modules/@iconify-json --out .gpu/icons

`sdviz dataset build --icons .gpu/icons` then makes the same pictures. Needs Python 3.11.
"""
import argparse
import json
import pathlib
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def trim(icons, config, out):
    """Gives the bytes written."""
    size = 0
    for style in config["styles"]:
        name = style["package"]
        folder = icons / name
        whole = json.loads((folder / "icons.json").read_text())
        wanted = {thing.get("icons", {}).get(name, thing["icon"]) for thing in config["objects"]}
        aliases = {key: value for key, value in whole.get("aliases", {}).items() if key in wanted}
        wanted |= {value["parent"] for value in aliases.values()}
        kept = {key: value for key, value in whole.items() if key not in ("icons", "aliases")}
        kept |= {"icons": {key: value for key, value in whole["icons"].items() if key in wanted}, "aliases": aliases}
        (out / name).mkdir(parents=True, exist_ok=True)
        (out / name / "icons.json").write_text(json.dumps(kept, separators=(",", ":")))
        info = json.loads((folder / "info.json").read_text())
        about = {key: info.get(key) for key in ("prefix", "name", "author", "license")}
        about["version"] = json.loads((folder / "package.json").read_text())["version"]
        (out / name / "info.json").write_text(json.dumps(about))
        size += sum(file.stat().st_size for file in (out / name).iterdir())
    return size


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--icons", type=pathlib.Path, default=ROOT / "icons/node_modules/@iconify-json")
    parser.add_argument("--config", type=pathlib.Path, default=ROOT / "assets/pocket-dataset.toml")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / ".gpu/icons")
    options = parser.parse_args()
    size = trim(options.icons, tomllib.loads(options.config.read_text()), options.out)
    print(f"{options.out}: {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
