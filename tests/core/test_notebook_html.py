"""HTML fragments: all external text is escaped."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from assay.core import notebook_html
from assay.core.printable_text import printable


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, _: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


words = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1)


@given(words)
def test_text_is_escaped(text: str):
    page = _Page(
        notebook_html.panel(text, notebook_html.paragraph(text), notebook_html.table([(text, 1)], (text, "n")))
        + notebook_html.bar_chart({text: 0.5})
    )
    assert set(page.tags) <= {"div", "strong", "p", "table", "tr", "th", "td"}
    assert page.text.count(printable(text)) >= 5


@given(words)
def test_alternative_text_is_one_attribute(text: str):
    assert _Page(notebook_html.image(b"x", text, 100)).tags == ["img"]


def test_none_is_a_dash_and_empty_text_is_empty():
    assert "–" in notebook_html.table([(None,)])
    assert notebook_html.image(None, "photo", 100) == ""
    assert notebook_html.paragraph("") == ""


def test_bars_are_sorted_and_bounded():
    page = _Page(notebook_html.bar_chart({f"c{n:02}": n / 100 for n in range(15)}))
    assert page.text.index("c14") < page.text.index("c13")
    assert "5 more classes are not shown" in page.text
    assert "c04" not in page.text
