"""The chart: ratios to nginx as bars, in SVG by hand, readable on light and dark.

Lower is better. Bars that would not fit are cut, and say what they stand for; a thin line over a bar is the
range of the rounds.
"""

import html

import table

# What is shown, and in what words.
SHOWN = {
    "h1": "200 B of JSON, HTTP/1.1",
    "h2": "200 B of JSON, HTTP/2",
    "handshake": "full handshake",
    "resumed": "resumed handshake",
    "down-h1": "1 GiB down, HTTP/1.1",
    "down-h2": "1 GiB down, HTTP/2",
    "file": "static file of 4 KiB",
    "idle-h1": "idle connection",
    "poll-h1": "long poll",
}
UNITS = {
    "µs per request": ("µs", "CPU time per request"),
    "µs each": ("µs", "CPU time each"),
    "ms per GiB": ("ms", "CPU time"),
    "KiB each": ("KiB", "memory each"),
}
# The subject of the chart comes first.
ORDER = ["porchd", "nginx", "haproxy", "caddy"]

WIDTH, MARGIN, LABELS = 760, 24, 200
# Pixels of a ratio of 1, and where bars are cut.
SCALE, LONGEST = 205, 2.0
BAR, BAR_GAP, GROUP_GAP, TOP, BOTTOM = 11, 2, 15, 112, 34

STYLE = """\
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
.title { font-size: 17px; font-weight: 600 }
.label { font-weight: 600 }
.muted, .value { font-size: 11px; fill: #57606a }
.own { font-weight: 600; fill: #1f2328 }
.page { fill: #ffffff; stroke: #d0d7de }
.under { fill: #ffffff }
.stripe { fill: #f6f8fa }
.axis { stroke: #57606a; stroke-dasharray: 3 3 }
.grid { stroke: #d8dee4 }
.range { stroke: #1f2328; stroke-opacity: .55 }
.cut { stroke: #ffffff; stroke-width: 2.5 }
.porchd { fill: #e8590c } .nginx { fill: #2f9e58 } .haproxy { fill: #3b82c4 } .caddy { fill: #9775d8 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.muted, .value { fill: #9ea7b3 }
.own { fill: #e6edf3 }
.page { fill: #0d1117; stroke: #30363d }
.under { fill: #0d1117 }
.stripe { fill: #161b22 }
.axis { stroke: #9ea7b3 }
.grid { stroke: #262c36 }
.range { stroke: #e6edf3 }
.cut { stroke: #0d1117 }
.porchd { fill: #f0772b } .nginx { fill: #3fb168 } .haproxy { fill: #5a9bdb } .caddy { fill: #a98be3 }
}"""


def drawn(book):
    """The whole picture."""
    subjects = [name for name in ORDER if name in book.about["titles"]]
    measures = [measure for key in SHOWN if (measure := book.find(key)) and measure.summary(measure.base)]
    group = len(subjects) * (BAR + BAR_GAP) + GROUP_GAP
    height = TOP + len(measures) * group + BOTTOM
    parts = [head(book, height), *legend(book, subjects), *axis(height, len(measures) * group)]
    words = []
    for place, measure in enumerate(measures):
        drawn_here, said_here = bars(measure, subjects, TOP + place * group, group, place)
        parts, words = parts + drawn_here, words + said_here
    # The line at 1.0 lies over the bars and below the words.
    x = LABELS + SCALE
    parts += [line("axis", x, TOP - 6, x, height - BOTTOM), *words, "</svg>"]
    return "\n".join(parts) + "\n"


def head(book, height):
    """Opening, style and title."""
    base = book.about["titles"][book.about["base"]].split()[0]
    about = f"{book.about['machine']}; {book.about['date']}; {book.about['options']}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">',
            f"<style>\n{STYLE}\n</style>",
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
            text(MARGIN, 34, f"CPU time and memory, {base} = 1; lower is better", "title", 'id="title"'),
            text(MARGIN, 54, about, "muted"),
        ]
    )


def legend(book, subjects):
    """Colours and versions."""
    x = MARGIN
    for name in subjects:
        yield f'<rect class="{name}" x="{x}" y="68" width="11" height="11" rx="2"/>'
        title = book.about["titles"][name]
        yield text(x + 17, 78, title, "own" if name == "porchd" else "")
        x += 17 + len(title) * 7 + 22


def axis(height, length):
    """Lines at the halves, and what they are."""
    for half in range(0, int(LONGEST * 2) + 1):
        x = LABELS + half * SCALE / 2
        if half != 2:
            yield line("grid", x, TOP - 6, x, TOP + length)
        yield text(x, TOP - 11, f"{half / 2:g}", "muted", 'text-anchor="middle"')
    yield text(
        MARGIN,
        height - 13,
        "Median of the rounds; a thin line is their range. Bars beyond 2 are cut.",
        "muted",
    )


def bars(measure, subjects, top, group, place):
    """One measure: its stripe and a bar for each proxy, and the words to them."""
    unit, what = UNITS[measure.unit]
    stripe = f'<rect class="stripe" x="1" y="{top}" width="{LABELS - 1}" height="{group}"/>'
    shapes = [stripe] if place % 2 == 0 else []
    words = [
        text(MARGIN, top + group / 2 - 2, SHOWN[measure.key], "label"),
        text(MARGIN, top + group / 2 + 13, what, "muted"),
    ]
    y = top + GROUP_GAP / 2
    for name in subjects:
        summary = measure.summary(name)
        value, end = "-", LABELS
        if summary:
            shape, end = bar(summary, name, y)
            shapes += shape
            value = f"{summary['ratio']:.2f}  ({table.figure(summary['median'])} {unit})"
        words.append(f'<rect class="under" x="{end + 4:.1f}" y="{y}" width="{len(value) * 6}" height="{BAR}"/>')
        words.append(text(end + 6, y + 9.5, value, "value own" if name == "porchd" else "value"))
        y += BAR + BAR_GAP
    return shapes, words


def bar(summary, name, y):
    """One bar, and where it ends."""
    length = min(summary["ratio"], LONGEST) * SCALE
    end, middle = LABELS + length, y + BAR / 2
    shapes = [f'<rect class="{name}" x="{LABELS}" y="{y:.1f}" width="{length:.1f}" height="{BAR}" rx="1.5"/>']
    if summary["ratio"] > LONGEST:
        for x in (end - 16, end - 11):
            shapes.append(line("cut", x, y + BAR + 1, x + 5, y - 1))
    elif summary["to"] - summary["from"] > 0.02:
        low, high = (LABELS + min(summary[side], LONGEST) * SCALE for side in ("from", "to"))
        shapes.append(line("range", low, middle, high, middle))
        end = max(end, high)
    return shapes, end


def line(kind, x, y, to_x, to_y):
    """A straight line."""
    return f'<line class="{kind}" x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>'


def text(x, y, words, kind="", more=""):
    """A piece of text."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" {more}>{html.escape(words)}</text>'.replace(" >", ">")
