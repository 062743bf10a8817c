"""The figures as tables: lines for a terminal, Markdown for the README."""

LEGEND = """\
Each cell: the median of the rounds, in brackets the least; below it the ratio to {base}, formed within each round: its
median and its range. The least is the steadiest figure, since others on the machine only ever add.

- noisy: the ratio moved by more than {noisy} over the rounds.
- used 80%: the load did not fill the proxy's CPU; with less to do a request costs more.
- others 30%: other programs had so much of the proxy's CPU."""


def figure(value):
    """Three digits or so."""
    if value is None:
        return "-"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def title(book, subject):
    """What a subject is called: a proxy with its version, or what it is."""
    return book.about["titles"].get(subject, subject)


def lines(book, measure):
    """One measure, for a terminal."""
    yield f"{measure.title}, {measure.unit}"
    for subject in measure.rounds:
        summary = measure.summary(subject)
        if not summary:
            yield f"  {title(book, subject):18} {'-':>9}  {measure.failures.get(subject, 'left out')[:300]}"
            continue
        text = f"  {title(book, subject):18} {figure(summary['median']):>9}"
        if len(measure.rounds[subject]) > 1:
            text += f"  least {figure(summary['least']):>7}"
        if "ratio" in summary:
            text += f"  ratio {summary['ratio']:5.2f}"
            if len(measure.rounds[subject]) > 1:
                text += f" [{summary['from']:.2f}..{summary['to']:.2f}]  of leasts {summary['ratio_of_leasts']:5.2f}"
        marks = summary["marks"] + ([measure.failures[subject][:200]] if subject in measure.failures else [])
        yield text + ("  " + "; ".join(marks) if marks else "")


def markdown(book, noisy):
    """All of it, a table for each group."""
    about = book.about
    base = about["titles"].get(about["base"], about["base"])
    parts = [f"# Side by side, {about['date']}", f"{about['machine']} ({about['processor']}); {about['options']}."]
    parts.append(LEGEND.format(base=base, noisy=noisy))
    parts += [table(book, group, measures) for group, measures in book.groups().items()]
    failures = [
        f"- {measure.title}, {title(book, subject)}: {why}"
        for measure in book.measures
        for subject, why in measure.failures.items()
        if why != "see above"
    ]
    if failures:
        parts.append("## What failed\n\n" + "\n".join(failures))
    return "\n\n".join(parts) + "\n"


def table(book, group, measures):
    """One group: a row for each measure, a column for each subject."""
    # A column that nobody fills is none.
    subjects = dict.fromkeys(subject for measure in measures for subject in measure.rounds)
    subjects = [subject for subject in subjects if any(measure.rounds.get(subject) for measure in measures)]
    rows = [[group, *(title(book, subject) for subject in subjects)], ["---", *("---:" for _ in subjects)]]
    for measure in measures:
        rows.append([f"{measure.title}, {measure.unit}", *(cell(measure, subject) for subject in subjects)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def cell(measure, subject):
    """What a subject comes to in one measure."""
    summary = measure.summary(subject)
    if not summary:
        return "failed" if subject in measure.failures else "-"
    several = len(measure.rounds[subject]) > 1
    text = figure(summary["median"]) + (f" ({figure(summary['least'])})" if several else "")
    if "ratio" in summary and subject != measure.base:
        text += f"<br>**{summary['ratio']:.2f}**"
        text += f" {summary['from']:.2f}..{summary['to']:.2f}" if several else ""
    return text + "".join(f"<br>{mark}" for mark in summary["marks"])
