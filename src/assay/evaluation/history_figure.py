"""Loss and accuracy over the epochs of a training, for whoever wants to see whether it learned or memorised.

Knows the numbers of each epoch and nothing else of training.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from assay.evaluation.figure import BLUE, LINES, MUTED, VERMILION, new_figure, tidy

_FEW = 40


def history_figure(
    epochs: Sequence[int],
    training: Sequence[float],
    validation: Sequence[float],
    *,
    name: str,
    share: bool = False,
    best: int = 0,
) -> Figure:
    """Draw one number of training and validation over the epochs.

    Args:
        epochs: number of each epoch, counted from 1.
        training: its value on the training photos.
        validation: its value on the validation photos.
        name: what the number is called.
        share: whether it is a share, shown in percent.
        best: the epoch whose weights were kept; 0: unknown.
    """
    figure = new_figure(4.8, 3.4)
    axes = figure.add_subplot()
    tidy(axes, name)
    marker = "o" if len(epochs) <= _FEW else ""
    for values, colour, label in ((training, BLUE, "training"), (validation, VERMILION, "validation")):
        axes.plot(epochs, values, color=colour, marker=marker, markersize=3.5, linewidth=1.6, label=label)
    if best:
        axes.axvline(best, color=MUTED, linestyle=":", linewidth=1.2, label=f"kept (epoch {best})")
    _finish(axes, name, share=share)
    return figure


def _finish(axes: Axes, name: str, *, share: bool) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(name.lower())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    axes.grid(color=LINES, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
