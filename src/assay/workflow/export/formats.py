"""The formats a bundle can be exported to, and which of them are to be had here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType

from assay.bundle import Bundle, Precision
from assay.errors import AssayError, UsageError
from assay.workflow.export.runtimes import RUNTIMES, Runtime

ALL = "all"


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file that a bundle can become.

    Attributes:
        name: what people call it.
        file: name of the file; OpenVINO puts the weights into a `.bin` file beside it.
        precision: which of the bundle's models it is made of.
        kind: which of `RUNTIMES` runs it.
    """

    name: str
    file: str
    precision: Precision
    kind: str

    @property
    def runtime(self) -> Runtime:
        """What writes the file and runs it."""
        return RUNTIMES[self.kind]

    @property
    def about(self) -> str:
        """Name of the JSON file that tells a user what the model needs."""
        return f"{self.file}.json"

    @property
    def example(self) -> str:
        """Name of the example of use."""
        return f"example_{self.name.replace('-', '_')}.py"


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        one.name: one
        for one in (
            Format("onnx", "model.onnx", "fp32", "onnx"),
            Format("onnx-int8", "model.int8.onnx", "int8", "onnx"),
            Format("openvino", "model.xml", "fp32", "openvino"),
            Format("openvino-int8", "model.int8.xml", "int8", "openvino"),
            Format("torchscript", "model.torchscript.pt", "fp32", "torchscript"),
        )
    }
)
"""All formats by name."""


def choose_formats(
    bundle: Bundle, names: Sequence[str], why: str | None = None
) -> tuple[list[Format], dict[str, str]]:
    """Tell which formats are wanted and can be made here.

    Args:
        bundle: the opened bundle.
        names: of `FORMATS`, or `all`, which passes over what cannot be made.
        why: it holds no int8 model, if that is known.

    Returns:
        The formats in the order of `FORMATS`, and why others of `all` cannot be made, by name.

    Raises:
        UsageError: there is no such format.
        AssayError: a format that was named cannot be made.
    """
    for name in names:
        if name not in {ALL, *FORMATS}:
            raise UsageError(f"no format is called {name!r}: choose {', '.join([ALL, *FORMATS])}")
    wanted = [one for one in FORMATS.values() if ALL in names or one.name in names]
    skipped = {one.name: obstacle for one in wanted if (obstacle := _obstacle(bundle, one, why))}
    for name in names:
        if name in skipped:
            raise AssayError(f"{bundle.path} cannot become {name}: {skipped[name]}")
    return [one for one in wanted if one.name not in skipped], skipped


def _obstacle(bundle: Bundle, one: Format, why: str | None) -> str | None:
    """Return why a format cannot be made, or None."""
    if one.precision not in bundle.precisions:
        return why or "it holds no int8 model; give --int8 labelled photos to make one"
    package = one.runtime.package
    if find_spec(package) is None:
        wanted = "'assay[train]'" if package == "torch" else package
        return f"{package} is not installed; pip install {wanted}"
    if one.kind == "torchscript" and not bundle.info.provenance.recipe:
        return "it holds no recipe to make its network from"
    return None
