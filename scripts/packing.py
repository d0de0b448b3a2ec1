"""What the wheel and the archive have in common: the program as it can be carried to another machine, and its licences."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def fail(text, hint):
    sys.exit(f"error: {text}\nhint: {hint}")


def version():
    """The program's version, as Cargo.toml has it."""
    return re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)


def program(path):
    """The program's bytes without debugging symbols and without this machine's folders among those it looks in."""
    if not path.is_file():
        fail(f"there is no program `{path}`", "cargo build, or name one with --program")
    with tempfile.TemporaryDirectory() as folder:
        stripped = pathlib.Path(folder) / "sdviz"
        subprocess.run(["strip", "-o", stripped, path], check=True)
        return portable(stripped.read_bytes(), path)


def portable(data, path):
    """Leaves, of the folders in which the loader looks, those that go with the program (build.rs names them)."""
    found = list(re.finditer(rb"(?<=\0)[\x21-\x7e]*\$ORIGIN/\.\./lib[\x21-\x7e]*(?=\0)", data))
    if len(found) != 1:
        fail(f"`{path}` looks for libtorch in {len(found)} lists of folders", "build it with this project's build.rs")
    near = b":".join(part for part in found[0].group().split(b":") if part.startswith(b"$ORIGIN"))
    start, end = found[0].span()
    return data[:start] + near.ljust(end - start, b"\0") + data[end:]


def newest_glibc(data):
    """The glibc that the program needs, as (2, 34)."""
    return max(tuple(int(part) for part in found.split(b".")) for found in re.findall(rb"GLIBC_(2\.\d+)\b", data))


def crates():
    """The crates that are linked into the program: name, version, licence, folder, page."""
    asked = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]
    known = json.loads(subprocess.run(asked, check=True, capture_output=True, cwd=ROOT).stdout)
    nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
    packages = {package["id"]: package for package in known["packages"]}

    def is_macro(name):
        return any("proc-macro" in target["kind"] for target in packages[name]["targets"])

    seen, ahead = set(), [known["resolve"]["root"]]
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += [dep["pkg"] for dep in nodes[name]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])
                      and not is_macro(dep["pkg"])]
    linked = [packages[name] for name in seen if name != known["resolve"]["root"]]
    return sorted(((p["name"], p["version"], p["license"] or "", pathlib.Path(p["manifest_path"]).parent,
                    p["repository"] or p["homepage"] or p["documentation"] or "") for p in linked))


def allowed():
    """The licences that deny.toml allows."""
    listed = re.search(r"^allow = \[(.*?)\]", (ROOT / "deny.toml").read_text(), re.M | re.S).group(1)
    return set(re.findall(r'"([^"]+)"', listed))


def is_allowed(expression, known):
    """Whether an SPDX expression can be met with licences out of `known`."""
    words = re.findall(r"\(|\)|[^\s()/]+|/", expression)
    said = []
    while words:
        word = words.pop(0)
        if word in ("(", ")"):
            said.append(word)
        elif word in ("OR", "AND", "/"):
            said.append({"OR": "or", "AND": "and", "/": "or"}[word])
        else:
            if words[:1] == ["WITH"]:
                word = f"{word} WITH {words[1]}"
                del words[:2]
            said.append(str(word in known))
    return bool(said) and eval(" ".join(said), {"__builtins__": {}})  # nothing but True, False, and, or and brackets


def licence_files(folder):
    """The files of a crate that hold its licence: at its root, else those of the sources that it brings along."""
    names = re.compile(r"(licen[cs]e|copying|notice|unlicense)", re.I)
    for places in (folder.iterdir(), folder.glob("*/*"), folder.glob("*/*/*")):
        found = sorted(path for path in places if path.is_file() and names.match(path.name))
        if found:
            return found
    return []


def write_licences(out):
    """A list of all crates, and their licences' texts, a folder for each."""
    lines = ["# What the program is made of", "", "Crates, with their licences' texts beside this file.", "",
             "Where a crate brings none, its licence is named and its author's page linked to.", "",
             "| crate | version | licence | text |", "|---|---|---|---|"]
    found, known = crates(), allowed()
    for name, number, licence, folder, page in found:
        if not is_allowed(licence, known):
            fail(f"`{name}` {number} has the licence `{licence}`, which deny.toml does not allow", "leave the crate, or allow it there")
        texts = licence_files(folder)
        lines.append(f"| {name} | {number} | {licence} | {', '.join(path.name for path in texts) or page} |")
        for path in texts:
            place = out / f"{name}-{number}"
            place.mkdir(parents=True, exist_ok=True)
            (place / path.name).write_bytes(path.read_bytes())
    out.mkdir(parents=True, exist_ok=True)
    (out / "crates.md").write_text("\n".join(lines) + "\n")
    return len(found)


def stamp():
    """The time that packed files have, so that the same files give the same package."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", "1767225600"))
