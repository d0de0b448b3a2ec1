"""The reading copy: all lessons with their outputs on one page that needs no network, no script and no kernel.

Both languages are in it; a switch at its head shows one. Code and outputs stand there once.
"""
import html

from nbconvert.filters import Highlight2HTML, markdown2html
from pygments.formatters import HtmlFormatter

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Inside Stable Diffusion: the course · 看懂 Stable Diffusion</title>
<style>
body {{ font: 17px/1.6 "Source Han Sans SC", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", system-ui, sans-serif;
  max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; background: #fff; }}
h1 {{ margin-top: 4rem; border-top: 1px solid #d0d7de; padding-top: 2rem; }}
pre {{ font: 14px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; background: #f4f6f8; padding: .7rem 1rem;
  overflow-x: auto; margin: .8rem 0; border-radius: 4px; }}
pre.said {{ background: none; border-left: 3px solid #d0d7de; border-radius: 0; }}
.output {{ overflow-x: auto; }}
img {{ max-width: 100%; image-rendering: pixelated; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
td, th {{ border: 1px solid #d0d7de; padding: .25rem .6rem; text-align: left; }}
code {{ font-size: .92em; }}
blockquote {{ border-left: 3px solid #d0d7de; margin-left: 0; padding-left: 1rem; }}
details {{ background: #f4f6f8; padding: .5rem 1rem; border-radius: 4px; }}
.anchor-link {{ display: none; }}
#to-en, #to-zh {{ position: absolute; opacity: 0; }}
.switch {{ position: sticky; top: 0; background: #fff; padding: .5rem 0; text-align: right; }}
.switch label {{ padding: .2rem .8rem; border: 1px solid #d0d7de; cursor: pointer; }}
#to-en:checked ~ main [lang=zh], #to-zh:checked ~ main [lang=en] {{ display: none; }}
#to-en:checked ~ .switch [for=to-en], #to-zh:checked ~ .switch [for=to-zh] {{ background: #1b1f24; color: #fff; }}
#to-en:focus-visible ~ .switch [for=to-en], #to-zh:focus-visible ~ .switch [for=to-zh] {{ outline: 3px solid #0969da; }}
{colours}
</style>
<body>
<input type="radio" name="language" id="to-en" checked><input type="radio" name="language" id="to-zh">
<div class="switch"><label for="to-en">English</label><label for="to-zh" lang="zh">中文</label></div>
<main>
{lessons}
</main>
</body>
</html>
"""
CONTENTS = {"en": "Inside Stable Diffusion", "zh": "看懂 Stable Diffusion"}


def write(lessons, path):
    colours = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    parts = [contents(lessons, language) for language in CONTENTS] + [section(lesson) for lesson in lessons]
    path.write_text(PAGE.format(colours=colours, lessons="\n".join(parts)))
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


def contents(lessons, language):
    rows = [f'<li><a href="#lesson-{lesson.number}">{html.escape(lesson.title(language))}</a></li>' for lesson in lessons]
    return f'<div lang="{language}"><h1>{CONTENTS[language]}</h1><ol>{"".join(rows)}</ol></div>'


def section(lesson):
    highlight = Highlight2HTML(pygments_lexer="rust")
    executed = {c.source: c.outputs for c in lesson.read().cells if c.cell_type == "code"}
    parts = []
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            parts.append(f'<div lang="{cell.metadata["lang"]}">{markdown2html(cell.source)}</div>')
        else:
            parts.append(highlight(cell.source))
            parts += [shown(output) for output in executed.get(cell.source, [])]
    return f'<section id="lesson-{lesson.number}">{"".join(parts)}</section>'


def shown(output):
    """One output, in the richest form that a page without scripts can hold."""
    if output.output_type == "stream":
        return f'<pre class="said">{html.escape(output.text)}</pre>'
    data = output.data
    text = html.escape(data.get("text/plain", ""), quote=True)
    for mime in ("image/gif", "image/png"):
        if mime in data:
            return f'<p class="output"><img alt="{text}" src="data:{mime};base64,{data[mime].replace(chr(10), "")}"></p>'
    for mime in ("text/html", "image/svg+xml"):
        if mime in data:
            return f'<div class="output">{data[mime]}</div>'
    return f'<pre class="said">{text}</pre>'
