"""The text and the box drawn over frames."""

import numpy as np
import pytest

from assay.image import Preprocess
from assay.live import Frame, FrameResult, SmoothedPrediction
from assay.live.display import draw_lines, draw_result, overlay_text
from assay.recipe import PreprocessSpec


def make_result(*, unknown: bool = False, size: tuple[int, int] = (320, 240)) -> FrameResult:
    answer = SmoothedPrediction(
        "würfel", 0.934, {"würfel": 0.934}, unknown, "low_confidence" if unknown else None, changed=True
    )
    return FrameResult(Frame(np.zeros((size[1], size[0], 3), np.uint8), 0, 0.0), answer, None, 29.6)


def test_text_contains_label_confidence_and_rate():
    assert overlay_text(make_result()) == "würfel 93 %   30 frames/s"
    assert overlay_text(make_result(unknown=True)).startswith("unknown (low confidence): würfel")


def test_crop_box_is_outlined_and_the_frame_not_changed():
    seen = make_result()
    picture = draw_result(seen, Preprocess(PreprocessSpec(size=16, roi=(0.5, 0.5, 1, 1), resize_mode="stretch")))
    assert not seen.frame.pixels.any()
    assert picture[180, 160].any()
    assert picture[239, 240].any()
    assert not picture[180, 240].any()
    assert (picture[:20, :150] == 255).any()


@pytest.mark.parametrize("size", [(1, 1), (8, 5), (2000, 20)])
def test_frames_of_any_size_can_be_annotated(size: tuple[int, int]):
    picture = draw_result(make_result(size=size), Preprocess(PreprocessSpec(size=16)))
    assert picture.shape == (size[1], size[0], 3)


def test_lines_do_not_overlap():
    picture = draw_lines(np.full((300, 300, 3), 128, np.uint8), ["1 cat", "2 dog"])
    rows = np.flatnonzero((picture[:, 2] == 20).all(axis=1))
    assert rows.tolist() == list(range(len(rows)))
    assert len(rows) > 40
