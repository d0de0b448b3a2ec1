#!/usr/bin/env python3
"""Measures the embedded model and writes the figures into its card, the judge's and the README, between marks.

    card.py            measure all and write; goes on where it was stopped
    card.py --quick    an eighth of the pictures, printed and not written
    card.py --list     the commands, nothing else

What a command has measured is kept in target/card, by the weights' hash: another model is measured anew. The pictures for
the autoencoder and the judge take the drawings of `make icons`. Needs Python 3.9 and nothing from PyPI; build the program
first, the model is in it.
"""
import argparse
import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ICONS = ROOT / "icons/node_modules/@iconify-json"
EVAL = "sdviz eval prompts --model pocket"
SOME = f"{EVAL} --count 128 --unguided 0 --negative 0 --styled 0"
UNSEEN = "sdviz dataset build --out data/unseen --count 1536 --seed 2"
VAE = "sdviz eval vae --data data/unseen --count 512 --model pocket"
STYLED = f"{EVAL} --count 0 --unguided 0 --negative 0 --styled 512"
JUDGE = "sdviz eval judge --data data/unseen --count 512 --model pocket"
STYLES = f"{JUDGE} --of style"
# What it is called in the table, and the command.
COMPARED = [
    ("guidance 3", f"{SOME} -g 3"),
    ("guidance 7.5", f"{SOME} -g 7.5"),
    ("guidance 5, PNDM", f"{SOME} --scheduler pndm"),
    ("guidance 3, PNDM", f"{SOME} --scheduler pndm -g 3"),
]
# At the guidance scale that other programs draw with when nothing is said, by the schedulers' names.
FEW = f"{EVAL} --count 64 --unguided 0 --negative 0 --styled 0 -g 7.5"
LIKENESS = "sdviz eval likeness --data data/unseen --count 512 --model pocket"
# The default counts of `sdviz eval prompts`, for the commands that do not say them.
DEFAULTS = {"--count": 512, "--unguided": 128, "--negative": 64, "--styled": 128}
QUICK = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pictures, printed and not written")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    parser.add_argument("--program", type=Path, default=ROOT / "target/debug/sdviz", help="the sdviz to run")
    options = parser.parse_args()
    if options.list:
        several = [f"{FEW} --scheduler NAME", f"{FEW} --scheduler NAME --steps 10"]
        print("\n".join([EVAL, *(command for _, command in COMPARED), *several, STYLED, UNSEEN, VAE, LIKENESS, JUDGE, STYLES]))
        return
    if not ICONS.is_dir():
        sys.exit("no drawings in icons/: make icons")
    if not options.program.is_file():
        sys.exit(f"no program at {options.program}: cargo build")
    folder = ROOT / "target/card" / fingerprint()
    folder.mkdir(parents=True, exist_ok=True)

    def run(command):
        return measured(command, folder, options)

    whole, compared = run(EVAL), [(name, run(command)) for name, command in COMPARED]
    if not (folder / "data/unseen/metadata.jsonl").is_file():
        execute([*shlex.split(UNSEEN)[1:], "--icons", str(ICONS), "--force"], folder, options)
    names = [json.loads(line)["name"] for line in execute(["schedulers", "--json"], folder, options).splitlines()]
    several = [(name, *(run(f"{FEW} --scheduler {name}{steps}") for steps in ("", " --steps 10"))) for name in names]
    styled = run(STYLED)
    vae, judge, style_judge, likeness = run(VAE), run(JUDGE), run(STYLES), run(LIKENESS)
    blocks = {
        "assets/pocket/README.md": {"measured": prompts(whole, compared) + styles(whole, styled) + schedulers(several) + autoencoder(vae) + alike(likeness)},
        "assets/judge/README.md": {"judge": judged(judge, style_judge)},
        "README.md": {"obeyed": obeyed(whole, styled)},
    }
    for file, named in blocks.items():
        text = (ROOT / file).read_text()
        for name, content in named.items():
            text = fill(file, text, name, content)
            if options.quick:
                print(f"{file}, {name}:{content}\n")
        if not options.quick:
            (ROOT / file).write_text(text)


def fingerprint():
    """What the figures hang on: the weights of the model and of the judges."""
    weights = sorted(path for folder in ("pocket", "judge", "style-judge") for path in (ROOT / "assets" / folder).rglob("*.safetensors"))
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in weights)).hexdigest()[:16]


def measured(command, folder, options):
    """What a command prints as JSON, from the last time if it was run before."""
    words = shlex.split(command)[1:]
    if options.quick:
        words = fewer(words)
    kept = folder / (re.sub(r"[^a-z0-9.]+", "-", " ".join(words[1:])) + ".json")
    if not kept.is_file():
        found = execute([*words, "--json"], folder, options)
        json.loads(found)
        kept.write_text(found)
    return json.loads(kept.read_text())


def fewer(words):
    """The command with an eighth of the pictures."""
    counts = dict(DEFAULTS) if words[1] == "prompts" else {}
    counts |= {flag: int(words[at + 1]) for at, flag in enumerate(words) if flag in DEFAULTS}
    rest = [word for at, word in enumerate(words) if word not in DEFAULTS and (at == 0 or words[at - 1] not in DEFAULTS)]
    return rest + [word for flag, count in counts.items() for word in (flag, str(count // QUICK))]


def execute(words, folder, options):
    print("$ sdviz", shlex.join(words), file=sys.stderr, flush=True)
    done = subprocess.run([str(options.program.resolve()), *words], cwd=folder, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"exit status {done.returncode}")
    return done.stdout


def percent(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "–"


def shares(tally):
    return " | ".join(percent(tally[key], tally["pictures"]) for key in ("background_right", "object_right", "both_right"))


def prompts(whole, compared):
    """The table of obeyed prompts, the commands, and what is weakest."""
    guided, unguided, negative = whole["guided"], whole["unguided"], whole["negative"]
    fewest = compared[0][1]["guided"]["pictures"]
    rows = [
        (f"guidance {guided['guidance_scale']:g}", guided),
        (f"without guidance (scale 1; the first {unguided['pictures']} of them)", unguided),
        *((f"{name} (the first {fewest})", found["guided"]) for name, found in compared),
    ]
    asked = f"{guided['pictures']} prompts “a {{object}} on a {{colour}} background”, {whole['steps']} steps"
    lines = ["", "", f"| {asked} | background right | object right | both |", "|---|---|---|---|"]
    lines += [f"| {name} | {shares(tally)} |" for name, tally in rows]
    lines += ["", f"    {EVAL}", *(f"    {command}" for _, command in COMPARED), "", weakest(guided)]
    lines += [
        f"Of {negative['pictures']} pictures drawn without a background in the prompt, {negative['removed']} lost theirs when "
        f"the negative prompt named it; the object was right in {percent(negative['object_right_before'], negative['pictures'])} "
        f"of them before and in {percent(negative['object_right_after'], negative['pictures'])} with the negative prompt."
    ]
    return "\n".join(lines) + "\n"


def weakest(guided):
    """A sentence on the objects that were missed most often, of those that were asked for more than twice."""
    asked = [row for row in guided["by_object"] if row["pictures"] > 2 and row["object_right"] < row["pictures"]]
    asked.sort(key=lambda row: row["object_right"] / row["pictures"])
    named = [f"{row['name']} ({row['object_right']} of {row['pictures']})" for row in asked[:3]]
    return f"The weakest things: {', '.join(named)}." if named else "The judge found every object that it was asked for."


def in_style(styled):
    """Pictures whose prompt names a style, and those that have it."""
    return (sum(style[key] for style in styled["styles"]) for key in ("pictures", "right"))


def styles(whole, styled):
    """How often a style is seen where it is named, and where none is."""
    guided, (pictures, right) = whole["guided"], in_style(styled)
    asked = f"{pictures} prompts “a {{object}} on a {{colour}} background, {{style}} style”, guidance {guided['guidance_scale']:g}"
    return "\n".join([
        "", f"| {asked} | style right | seen in {guided['pictures']} pictures where none is named |", "|---|---|---|",
        *(f"| {named['name']} | {percent(named['right'], named['pictures'])} | {percent(free['unasked'], guided['pictures'])} |"
          for named, free in zip(styled["styles"], whole["styles"])),
        f"| all | {percent(right, pictures)} | |", "", f"    {STYLED}", "",
    ])


def autoencoder(found):
    vae = found["vae"]
    return "\n".join([
        "", f"| {vae['pictures']} unseen compositions, encoded and decoded | |", "|---|---|",
        f"| PSNR | {vae['psnr_mean']:.1f} dB in the mean, {vae['psnr_least']:.1f} to {vae['psnr_greatest']:.1f} |", "",
        f"    {UNSEEN}", f"    {VAE}", "",
    ])


def schedulers(several):
    """How often the object is right with each scheduler."""
    pictures = several[0][1]["guided"]["pictures"]

    def right(found):
        return percent(found["guided"]["object_right"], found["guided"]["pictures"])

    return "\n".join([
        "", f"| object right in {pictures} pictures at guidance 7.5 | 25 steps | 10 steps |", "|---|---|---|",
        *(f"| `{name}` | {right(whole)} | {right(short)} |" for name, whole, short in several), "",
        f"    {FEW} --scheduler NAME", f"    {FEW} --scheduler NAME --steps 10", "",
    ])


def alike(measured):
    """How sharp, how near and how various what is drawn is beside compositions."""
    found = measured["likeness"]
    steep, far, variety = found["sharpness"], found["frechet"], found["variety"]
    rows = [("compositions", "real"), ("… encoded and decoded", "decoded"), ("drawn from their captions", "drawn")]
    real = f"; of compositions of one thing on one background, {variety['real']:.0f}" if variety["real"] else ""
    return "\n".join([
        "", f"| {found['pictures']} pictures | gradient | of the steepest 2 % | Fréchet distance |", "|---|---|---|---|",
        *(f"| {name} | {steep[key]['gradient']:.4f} | {steep[key]['edges']:.3f} | {far[key]:.2f} |" for name, key in rows), "",
        f"    {LIKENESS}", "",
        "The first row's distance is that of as many other compositions. Pictures of one prompt from "
        f"{variety['seeds']} seeds differ by {variety['drawn']:.0f} grey levels (of 255) in the mean of {variety['prompts']} prompts{real}.",
        "", "",
    ])


def judged(things, drawn):
    """Right answers on pictures whose content is known."""
    def row(name, which):
        tallies = things[which], things[which], drawn[which]
        right = (percent(tally[key], tally["pictures"]) for tally, key in zip(tallies, ("background_right", "object_right", "object_right")))
        return f"| {name} | {' | '.join(right)} |"

    head = f"{things['plain']['pictures']} pictures of one thing in its own colour, {drawn['plain']['pictures']} of one thing for the style"
    return "\n".join([
        "", "", f"| {head} | background right | object right | style right |", "|---|---|---|---|",
        row("as they are", "plain"),
        row("encoded and decoded by the pocket model's autoencoder (`--model pocket`)", "decoded"), "", "",
    ])


def obeyed(whole, styled):
    guided, (pictures, right) = whole["guided"], in_style(styled)
    return (f"the background right in {guided['background_right']} and the thing in {guided['object_right']} of {guided['pictures']} "
            f"prompts, another one the style that is named in {right} of {pictures}")


def fill(file, text, name, content):
    """The text with `content` between the mark of that name and the next end of a mark."""
    mark = re.compile(rf"(<!--card {name}-->).*?(<!---->)", re.DOTALL)
    if len(mark.findall(text)) != 1:
        sys.exit(f"{file} needs `<!--card {name}-->…<!---->` once")
    return mark.sub(lambda found: found[1] + content + found[2], text)


if __name__ == "__main__":
    main()
