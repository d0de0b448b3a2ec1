#!/usr/bin/env python3
"""Runs the test suite, several parts of it at a time: `make test` calls it.

    python3 scripts/test.py                all of it, as `cargo test` does in one process after another
    python3 scripts/test.py edits eval     the tests of these files of tests/suite (`lessons`, `lib`, `bins`, `doc` are names, too)
    python3 scripts/test.py --list         what ran the last time, with the seconds

Each file's tests run one by one in a process of their own, and as many processes as there are cores: most tests start
programs of one thread, so that no core waits for the last test of a file. The longest come first, by the seconds noted in
target/test-seconds.json.
"""
import argparse
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTED = ROOT / "target/test-seconds.json"
CLOSING = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", re.MULTILINE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="files of tests/suite; all where none is named")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="how many at a time [default: one a core]")
    options = parser.parse_args()
    # A job in a shell's background begins without it, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    files = [path.stem for path in sorted((ROOT / "tests/suite").glob("*.rs"))]
    flags = {"lib": ["--lib"], "bins": ["--bins"], "doc": ["--doc"], "lessons": ["--test", "lessons"]}
    flags |= {name: ["--test", "suite"] for name in files}
    if unknown := [name for name in options.names if name not in flags]:
        sys.exit(f"no tests `{unknown[0]}`; --list has the names")
    noted = json.loads(NOTED.read_text()) if NOTED.is_file() else {}
    names = sorted(options.names or flags, key=lambda name: -noted.get(name, 1e9))
    if options.list:
        for name in filter(noted.get, names):
            print(f"{name:24} {noted[name]:6.1f} s")
        return
    cargo = [os.environ.get("CARGO", "cargo"), "test"]
    # Compiled first, all at once: then nobody waits for another's lock.
    if code := subprocess.run([*cargo, "--no-run", "--quiet"], cwd=ROOT).returncode:
        sys.exit(code)
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "RUST_TEST_THREADS": "1"}
    started, sums, bad = time.monotonic(), [0, 0, 0], []

    suite = subprocess.run([*cargo, "--quiet", "--test", "suite", "--", "--list", "--format", "terse"], cwd=ROOT,
                           env=environment, text=True, stdout=subprocess.PIPE, check=True).stdout
    tests = {name: [] for name in files}
    for line in suite.splitlines():
        if line.endswith(": test"):
            tests[line.split("::")[0]].append(line.removesuffix(": test"))
    names = [name for name in names if tests.get(name, True)]

    def run(name):
        begun = time.monotonic()
        # By their whole names: `edits::` alone would be found in others' names, too.
        own = ["--", "--exact", *tests[name]] if name in tests else []
        done = subprocess.run([*cargo, *flags[name], *own], cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return name, done, time.monotonic() - begun

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run, name) for name in names]):
            name, done, seconds = future.result()
            noted[name] = round(seconds, 1)
            counts = [sum(map(int, column)) for column in zip(*CLOSING.findall(done.stdout))] or [0, 0, 0]
            sums = [a + b for a, b in zip(sums, counts)]
            if done.returncode:
                bad.append(name)
                print(done.stdout)
            print(f"{name}: {counts[0]} passed, {counts[1]} failed, {counts[2]} ignored, {seconds:.1f} s", flush=True)
    NOTED.write_text(json.dumps(dict(sorted(noted.items())), indent=1) + "\n")
    print(f"{(time.monotonic() - started) / 60:.1f} minutes" + (f"; failed: {' '.join(bad)}" if bad else ""))
    print(f"{sums[0]} passed, {max(sums[1], len(bad))} failed, {sums[2]} skipped")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
