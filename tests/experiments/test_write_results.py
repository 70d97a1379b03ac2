"""The page of results: tables, partial rows and experiments that were not run."""

from typing import Any

from number_text import spread
from result_file import Row, mean_and_std, read_result, write_result
from result_sections import SECTIONS
from write_results import PAGE, fill, interval, page, processor_time, runs_text, section_text


def row(**values: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": "probe",
        "recipe": "defect-lite",
        "protocol": "grouped",
        "seeds": [0, 1],
        "runs": 2,
        "planned": 2,
        "photos": 1344,
        "metrics": {"accuracy": mean_and_std([0.8, 0.9])},
        "interval": [0.7, 0.9],
        "wall_seconds": 10.0,
        "cpu_seconds": 30.0,
        "measured_on": ["2 cores (AMD EPYC)"],
    }
    return found | values


VERSIONS = {"torch": "2.13.0"}


def test_mean_and_standard_deviation() -> None:
    assert spread(mean_and_std([0.8, 0.9])) == "85.0 % ± 7.1 %"
    assert spread(mean_and_std([0.8])) == "80.0 %"
    assert spread(mean_and_std([0.25, 0.35]), share=False) == "0.300 ± 0.071"
    assert spread(mean_and_std([])) == spread(None) == "–"


def test_partial_and_missing_runs_are_named() -> None:
    assert runs_text(row()) == "2"
    assert runs_text(row(runs=1)) == "1 of 2, *partial*"
    assert runs_text(row(runs=0)) == "not run"


def test_times_and_intervals() -> None:
    assert processor_time(row()) == "30 s"
    assert processor_time(row(cpu_seconds=600)) == "10 min"
    assert processor_time(row(cpu_seconds=None)) == "–"
    assert interval(row()) == "70.0 % to 90.0 %"


def test_difference_of_the_two_splits_is_computed() -> None:
    section = next(section for section in SECTIONS if section.name == "magnetic-tiles")
    rows = [
        row(name="photo-by-photo split", metrics={"accuracy": mean_and_std([0.95])}),
        row(name="near-duplicates grouped", metrics={"accuracy": mean_and_std([0.82])}),
    ]
    text = section_text(section, {"rows": rows, "versions": VERSIONS})
    assert "13.0 points more accurate" in " ".join(text.split())
    assert "| photo-by-photo split | 95.0 % |" in text
    assert "- probe" not in text
    assert "`defect-lite`; grouped; seeds 0, 1; 1,344 photos evaluated; 2 cores (AMD EPYC)" in text


def test_default_is_compared_with_the_best_other_method() -> None:
    section = next(section for section in SECTIONS if section.name == "default-comparison")
    rows = [
        row(name=f"elpv: {method}", seeds=[0], metrics={"accuracy": mean_and_std([value])})
        for method, value in (("default", 0.88), ("fastai", 0.86), ("logistic regression", 0.85))
    ]
    text = section_text(section, {"rows": rows, "versions": VERSIONS})
    assert "| elpv | fastai | 1 | 88.0 % | 86.0 % | +2.0 points |" in text


def test_experiment_without_result_is_named() -> None:
    text = page({})
    assert text.count("This experiment was not run for this page.") == len(SECTIONS)
    assert text.startswith("# Results\n")


def test_only_paragraphs_are_wrapped() -> None:
    long = "word " * 60
    text = fill(f"{long}\n\n| {long} |\n\n    {long}")
    assert max(map(len, text.splitlines()[:2])) <= 140
    assert f"| {long} |" in text


def test_page_is_that_of_the_stored_results() -> None:
    expected = page({section.name: read_result(section.name) for section in SECTIONS})
    assert PAGE.read_text(encoding="utf-8") == expected


def test_result_is_written_and_read(tmp_path) -> None:
    written = Row("probe", "defect-lite", "grouped", [0], 1, 3, 20, {"accuracy": mean_and_std([0.5])}, (0.3, 0.7))
    write_result("bottles", [written], tmp_path, bursts=6)
    found = read_result("bottles", tmp_path)
    assert found is not None
    assert found["bursts"] == 6
    assert found["rows"][0]["planned"] == 3
    assert "core" in found["rows"][0]["measured_on"][0]
    assert read_result("elpv", tmp_path) is None


def measured(name: str, runs: int, recipe: str = "defect-lite") -> Row:
    return Row(name, recipe, "grouped", list(range(runs)), runs, 3, 20, {"accuracy": mean_and_std([0.5] * runs)})


def test_rows_measured_elsewhere_are_kept(tmp_path) -> None:
    write_result("elpv", [measured("a", 2), measured("b", 1), measured("c", 3)], tmp_path, errors={"a": 1, "b": 2})
    write_result("elpv", [measured("a", 0), measured("b", 3), measured("c", 1, "default")], tmp_path, errors={"b": 3})
    found = read_result("elpv", tmp_path)
    assert found is not None
    # Fewer runs with the same settings do not replace more; other settings do.
    assert [(entry["name"], entry["runs"]) for entry in found["rows"]] == [("a", 2), ("b", 3), ("c", 1)]
    assert found["errors"] == {"a": 1, "b": 3}
    write_result("elpv", [measured("b", 3)], tmp_path)
    found = read_result("elpv", tmp_path)
    assert found is not None
    assert {entry["name"] for entry in found["rows"]} == {"a", "b", "c"}
