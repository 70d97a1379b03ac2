import pytest

from assay.evaluation.figure_style import to_png, to_svg
from assay.evaluation.figures import history_figure


@pytest.mark.parametrize("epochs", [1, 2, 60])
def test_any_number_of_epochs_draws(epochs: int):
    numbers = list(range(1, epochs + 1))
    figure = history_figure(numbers, [1 / k for k in numbers], [2 / k for k in numbers], name="Loss", best=epochs)
    assert to_png(figure).startswith(b"\x89PNG")
    labels = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert labels == {"training", "validation", f"kept (epoch {epochs})"}


def test_svg_has_letters_and_the_same_bytes_twice():
    first, second = (to_svg(history_figure([1, 2], [0.5, 0.9], [0.4, 0.8], name="A", share=True)) for _ in "ab")
    assert first == second
    assert "validation" in first
    assert "90 %" in first
    assert "system-ui" in first
