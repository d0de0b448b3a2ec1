#!/usr/bin/env python3
"""Puts the pages of the docs' site together, and has it built:

    python3 scripts/site.py            # or make site, which also installs what builds it

Every page that docs/site.yml names, and every file that one of them links to, is copied to target/site-pages at its own place,
so that links are the same there as in the repository. MkDocs makes target/site of them; a warning ends it.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = ROOT / "target/site-pages"


def linked(page):
    """The local files that a page links to or shows."""
    prose = re.sub(r"`[^`]*`", "", page.read_text())
    for target in re.findall(r"\]\(([^)#\s]+)", prose) + re.findall(r'(?:src|href)="([^"#]+)"', prose):
        if "://" not in target:
            yield (page.parent / target).resolve()


def main():
    config = (ROOT / "docs/site.yml").read_text()
    waiting = [ROOT / name for name in re.findall(r": (\S+\.md)$", config, re.MULTILINE)]
    shutil.rmtree(PAGES, ignore_errors=True)
    done = set()
    while waiting:
        file = waiting.pop()
        if file in done:
            continue
        done.add(file)
        if file.is_dir():
            continue
        to = PAGES / file.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)
        if file.suffix == ".md":
            waiting += linked(file)
    print(f"{len(done)} files in {PAGES.relative_to(ROOT)}")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", ROOT / "docs/site.yml"]
    code = subprocess.run(build, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}).returncode
    if code == 0:
        print("target/site/index.html")
    sys.exit(code)


if __name__ == "__main__":
    main()
