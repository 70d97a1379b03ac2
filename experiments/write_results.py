"""Write `docs/results.md` from the JSON files of the experiments.

Run as `python experiments/write_results.py` after an experiment. Experiments that were not run are named as such.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from number_text import percent, spread
from result_file import read_result
from result_sections import SECTIONS, Section

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
_WIDTH = 140
_HEAD = """# Results

What the five systems and the `default` recipe reach on public data. `experiments/` has one script per section, which
trains, evaluates and writes a JSON file in `experiments/results/`; `python experiments/write_results.py` writes this
page from them. Interrupted experiments are resumed by running them again. The data sets can be downloaded with
`assay fetch NAME` and given as `--data FOLDER`.

In all tables, ± is the sample standard deviation over repeats or seeds, and an interval is the 95 % Wilson interval of
the accuracy on the test photos of one repeat. Settings were fixed before, or chosen on validation photos; test photos
were used once per row. Processor time is the sum over all cores and is stated because the machine was shared with other
work, so that wall times were longer than on an idle one. A row with fewer runs than planned is marked *partial*.
"""


def fill(text: str) -> str:
    """Wrap the paragraphs of a Markdown text; tables, code, lists and pictures stay as they are."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(
        paragraph
        if paragraph.startswith(("|", "    ", "-", "!", "#"))
        else textwrap.fill(paragraph, _WIDTH, break_long_words=False, break_on_hyphens=False)
        for paragraph in paragraphs
    )


def interval(row: Mapping[str, Any]) -> str:
    """Return the interval of the accuracy."""
    return "–" if row["interval"] is None else f"{percent(row['interval'][0])} to {percent(row['interval'][1])}"


def processor_time(row: Mapping[str, Any]) -> str:
    """Return the processor time in minutes or seconds; a dash if it was not measured."""
    seconds = row["cpu_seconds"]
    if not seconds:
        return "–"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def runs_text(row: Mapping[str, Any]) -> str:
    """Return the number of runs, marked if some are missing."""
    if row["runs"] == row["planned"]:
        return str(row["runs"])
    return f"{row['runs']} of {row['planned']}, *partial*" if row["runs"] else "not run"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def row_table(section: Section, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of an experiment's rows with the columns of its section."""
    header = ["method", *(column.title for column in section.columns), "95 % interval", "runs", "processor time"]
    cells = [
        [
            row["name"],
            *(spread(row["metrics"].get(column.metric), share=column.share) for column in section.columns),
            interval(row),
            runs_text(row),
            processor_time(row),
        ]
        for row in rows
    ]
    keep = [index for index in range(len(header)) if index == 0 or any(line[index] != "–" for line in cells)]
    return table([header[index] for index in keep], [[line[index] for index in keep] for line in cells])


def settings_list(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return recipe, protocol, seeds, number of photos and processor of every row, as a list."""
    lines = []
    for row in rows:
        if row["runs"]:
            seeds = ", ".join(map(str, row["seeds"]))
            lines.append(
                f"- {row['name']}: `{row['recipe']}`; {row['protocol']}; seeds {seeds}; "
                f"{row['photos']:,} photos evaluated; {', '.join(row['measured_on'])}"
            )
    return "\n".join(lines)


def section_text(section: Section, result: Mapping[str, Any] | None) -> str:
    """Return one section of the page."""
    parts = [f"## {section.title}", fill(section.text), f"    python experiments/{section.script}"]
    if result is None:
        return "\n\n".join([*parts, "This experiment was not run for this page."])
    rows = [row for row in result["rows"] if row["runs"] or row["planned"]]
    parts.append(row_table(section, rows))
    if section.more is not None:
        parts.append(fill(section.more(result)))
    parts.append(f"Measured with torch {result['versions']['torch']}. Settings:")
    parts.append(settings_list(rows))
    return "\n\n".join(part for part in parts if part)


def page(results: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Return the whole page from the results by name."""
    sections = [section_text(section, results.get(section.name)) for section in SECTIONS]
    return "\n\n".join([fill(_HEAD), *sections]) + "\n"


def main() -> None:
    """Read the results and write the page."""
    PAGE.write_text(page({section.name: read_result(section.name) for section in SECTIONS}), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
