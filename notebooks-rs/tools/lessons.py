#!/usr/bin/env python3
"""The lessons: one source each, and what is made of it.

    lessons.py make              notebooks in English and Chinese, and the programs that `cargo test --test lessons` runs
    lessons.py check             fail if one of them is not what its source says, or was executed with other code
    lessons.py run [01 …]        execute the notebooks with the Rust kernel; fail on the first error
    lessons.py outputs [01 …]    fill the notebooks with what the programs' cells show
    lessons.py lecture           execute the lecturer's notebook, which is Python and runs `sdviz`, and keep its outputs
    lessons.py course            the whole course as one page, course.html

A source is `lessons/NN-slug.rs` in jupytext's percent format. Its code cells belong to both languages, its markdown
cells say theirs: `// %% [markdown] lang="zh"`. The code of an exercise's answer is a cell `// %% answer="2"`: markdown
shows it where it says `{answer 2}` on a line of its own, and the program runs it after the cells and the answers above it.
"""
import argparse
import difflib
import hashlib
import itertools
import json
import pathlib
import re
import sys
import textwrap

import jupytext
import nbformat

HOME = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = HOME.parent / "tests" / "lessons"
LANGUAGES = {"en": "", "zh": ".zh"}
KERNEL = {"name": "sdviz-rust", "display_name": "Rust (sdviz)", "language": "rust"}
READER = {"name": "sdviz-reader", "display_name": "Rust (sdviz without libtorch)", "language": "rust"}
PYTHON = {"name": "python3", "display_name": "Python 3", "language": "python"}
LECTURE = HOME / "lecture.ipynb"
LARGEST = 1_500_000
ANSWER = re.compile(r"^ *\{answer (\w+)\}$", re.MULTILINE)


# The lessons that the suite runs: among the quickest, a minute of processor time together. It compiles the others, and
# `make test-lessons` runs all.
IN_THE_SUITE = {"05", "07", "12"}
# Those that only read what was recorded: their kernel has no libtorch.
READERS = {"12"}


class Lesson:
    """A source with what is made of it."""

    def __init__(self, source):
        self.source = source
        self.name = source.stem
        self.number = self.name[:2]
        self.kernel = READER if self.number in READERS else KERNEL
        cells = jupytext.reads(source.read_text(), fmt="rs:percent").cells
        self.steps = [cell for cell in cells if cell.source.strip()]
        self.cells = [cell for cell in self.steps if "answer" not in cell.metadata]
        answers = {cell.metadata["answer"]: cell.source for cell in self.steps if "answer" in cell.metadata}
        unsaid = {(language, number) for language in LANGUAGES for number in answers}
        for cell in self.cells:
            if cell.cell_type == "markdown" and cell.metadata.get("lang") not in LANGUAGES:
                sys.exit(f"{source}: a markdown cell without lang=\"en\" or lang=\"zh\": {cell.source[:60]!r}")
            if cell.cell_type == "markdown":
                unsaid -= {(cell.metadata["lang"], number) for number in ANSWER.findall(cell.source)}
                cell.source = ANSWER.sub(lambda place: as_listing(answers[place[1]]), cell.source)
        if unsaid:
            sys.exit(f"{source}: nothing says {{answer …}} for {sorted(unsaid)}")

    def title(self, language="en"):
        first = next(c for c in self.cells if c.cell_type == "markdown" and c.metadata["lang"] == language)
        return first.source.splitlines()[0].lstrip("# ")

    def path(self, language="en"):
        return HOME / f"{self.name}{LANGUAGES[language]}.ipynb"

    def code(self):
        return [cell.source for cell in self.cells if cell.cell_type == "code"]

    def code_hash(self):
        return hashlib.sha256("\n\n".join(self.code()).encode()).hexdigest()[:16]

    def read(self):
        """The English notebook as it lies there, or None."""
        return nbformat.read(self.path(), as_version=4) if self.path().exists() else None

    def notebook(self, language, executed):
        """A notebook in one language, with the outputs of the same code in `executed`."""
        outputs, of_code = {}, None
        if executed:
            of_code = executed.metadata.get("sdviz", {}).get("executed")
            outputs = {c.source: c.outputs for c in executed.cells if c.cell_type == "code"}
        cells = []
        for place, cell in enumerate(self.cells):
            if cell.cell_type == "code":
                metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
                cell = nbformat.v4.new_code_cell(cell.source, metadata=metadata, outputs=outputs.get(cell.source, []))
            elif cell.metadata["lang"] == language:
                cell = nbformat.v4.new_markdown_cell(cell.source)
            else:
                continue
            cell.id = f"cell-{place:02}"
            cells.append(cell)
        metadata = {"kernelspec": self.kernel, "language_info": {"name": "rust", "file_extension": ".rs"}}
        metadata["sdviz"] = {"source": f"lessons/{self.source.name}", "executed": of_code}
        return nbformat.v4.new_notebook(cells=cells, metadata=metadata)

    def program(self):
        """The cells one after the other in a test function."""
        place = 0
        lines = [
            f"//! Lesson {int(self.number)} as a program: made from `notebooks-rs/lessons/{self.source.name}` by `make lessons`.",
            "",
            "use super::{Plain, show};",
            "",
            "#[test]",
            *([] if self.number in IN_THE_SUITE else ['#[ignore = "long: make test-lessons"]']),
            "fn lesson() -> Result<(), Box<dyn std::error::Error>> {",
            "    super::go_to_the_notebooks()?;",
        ]
        coded = [cell for cell in self.steps if cell.cell_type == "code"]
        for answers, cells in itertools.groupby(coded, lambda cell: "answer" in cell.metadata):
            if answers:
                # In a scope of their own, as each reader begins where the lesson ends; notebooks show nothing of them.
                lines += ["", "    if !super::outputs_are_wanted() {"]
                for cell in cells:
                    lines += [f"        // The answer to exercise {cell.metadata['answer']}."]
                    lines += textwrap.indent(as_statements(cell.source), "        ").splitlines()
                lines += ["    }"]
                continue
            for cell in cells:
                lines += ["", f'    super::cell("{place}");']
                lines += textwrap.indent(as_statements(cell.source), "    ").splitlines()
                place += 1
        return "\n".join(lines + ["", '    super::cell("end");', "    Ok(())", "}"]) + "\n"


def as_listing(code):
    """An answer's code as it stands in an item of a list."""
    return textwrap.indent(f"```rust\n{code.rstrip()}\n```", "   ")


def as_statements(code):
    """A cell's code with its last expression, which the notebook shows, shown.

    That expression is what follows the last line which ends a statement or an item: lessons are written so.
    """
    lines = code.rstrip().splitlines()
    ends = [i for i, line in enumerate(lines) if line.endswith(";") or line.startswith("}")]
    begin = ends[-1] + 1 if ends else 0
    while begin < len(lines) and (not lines[begin] or lines[begin].startswith(("//", "use "))):
        begin += 1
    if begin == len(lines):
        return code
    return "\n".join([*lines[:begin], f"show!({lines[begin]}", *lines[begin + 1 :]]) + ");"


def lecture():
    """The lecturer's notebook, without outputs."""
    cells = jupytext.read(HOME / "lessons" / "lecture.py", fmt="py:percent").cells
    for place, cell in enumerate(cells):
        cell.id, cell.metadata = f"cell-{place:02}", {}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": PYTHON, "language_info": {"name": "python"}})


def lessons(numbers=()):
    found = [Lesson(source) for source in sorted((HOME / "lessons").glob("[0-9][0-9]-*.rs"))]
    unknown = set(numbers) - {lesson.number for lesson in found}
    if unknown:
        sys.exit(f"no lesson {', '.join(sorted(unknown))}")
    return [lesson for lesson in found if not numbers or lesson.number in numbers]


def made():
    """Every file that is made, with its text."""
    files, modules = {}, []
    for lesson in lessons():
        executed = lesson.read()
        for language in LANGUAGES:
            files[lesson.path(language)] = as_text(lesson.notebook(language, executed))
        files[PROGRAMS / f"lesson_{lesson.number}.rs"] = lesson.program()
        modules.append(f"#[rustfmt::skip]\nmod lesson_{lesson.number};\n")
    head = (PROGRAMS / "main.rs").read_text().split("#[rustfmt::skip]")[0]
    files[PROGRAMS / "main.rs"] = head + "".join(modules)
    return files


def as_text(notebook):
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def make():
    for path, text in made().items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(path.relative_to(HOME.parent))


def check():
    wrong = []
    for path, text in made().items():
        old = path.read_text() if path.exists() else ""
        if old != text:
            parted = list(difflib.unified_diff(old.splitlines(), text.splitlines(), "is", "should be", n=1, lineterm=""))
            wrong.append(f"{path.name} is not what its source says: `make lessons`\n" + "\n".join(parted[:12]))
    for lesson in lessons():
        notebook = lesson.read()
        if notebook and notebook.metadata["sdviz"]["executed"] != lesson.code_hash():
            wrong.append(f"{lesson.path().name} shows outputs of other code: `make lesson-outputs`")
    shown = nbformat.read(LECTURE, as_version=4) if LECTURE.exists() else lecture()
    if [cell.source for cell in shown.cells] != [cell.source for cell in lecture().cells]:
        wrong.append(f"{LECTURE.name} is not what its source says: `make lesson-outputs`")
    for path in sorted(HOME.glob("*.ipynb")):
        if path.stat().st_size > LARGEST:
            wrong.append(f"{path.name} has {path.stat().st_size / 1e6:.2f} MB: the most is {LARGEST / 1e6}")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(lessons())} lessons, their notebooks and programs agree")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = arguments.add_subparsers(dest="verb", required=True)
    verbs.add_parser("make")
    verbs.add_parser("check")
    verbs.add_parser("lecture")
    verbs.add_parser("course")
    verbs.add_parser("run").add_argument("numbers", nargs="*")
    outputs = verbs.add_parser("outputs")
    outputs.add_argument("numbers", nargs="*")
    outputs.add_argument("--anew", action="store_true", help="for another model: nothing of what chance drew is kept")
    typed = arguments.parse_args()
    if typed.verb == "make":
        make()
    elif typed.verb == "check":
        check()
    elif typed.verb == "run":
        import execute

        execute.all_of(lessons(typed.numbers))
    elif typed.verb == "outputs":
        import programs

        make()
        programs.fill(lessons(typed.numbers), typed.anew)
        make()
    elif typed.verb == "lecture":
        import execute

        execute.lecture(lecture(), LECTURE)
    else:
        import course

        course.write(lessons(), HOME / "course.html")


if __name__ == "__main__":
    main()
