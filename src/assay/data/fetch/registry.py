"""Registry of public data sets: addresses, SHA-256 digests, licences, and how each is written as class folders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from assay.core.errors import AssayError
from assay.core.progress import Progress
from assay.data.fetch.archive import extract, lift_single_folder
from assay.data.fetch.converters import extract_rar, find_installed_elpv, write_cifar10, write_elpv, write_idx
from assay.data.fetch.github_archives import github_archive_url, write_class_folders

DatasetWriter = Callable[[Mapping[str, Path], Path, Progress], None]
"""Converts downloaded files, by name, to class folders in an empty folder."""


@dataclass(frozen=True)
class RemoteFile:
    """One file at its publisher."""

    name: str
    url: str
    sha256: str
    """Empty for an archive that its server compresses anew: its content is verified then."""
    size: int
    """Bytes; for an archive that its server compresses anew, those of the photos."""
    equivalent_sha256: frozenset[str] = frozenset()
    """SHA-256 of the same content compressed differently, for files from other sources."""


@dataclass(frozen=True)
class RegisteredDataset:
    """Source, licence and conversion of one data set."""

    name: str
    summary: str
    files: tuple[RemoteFile, ...]
    write: DatasetWriter
    homepage: str
    licence: str
    citation: str
    usage: str
    """The command to try next; `{folder}` is replaced by the data set's folder."""
    installed: Callable[[], Path | None] = lambda: None
    """Returns the unpacked files of an installed package, if there is one."""
    write_installed: Callable[[Path, Path], None] | None = None
    """Writes those files into an empty folder."""
    content_sha256: str | None = None
    """SHA-256 of the photos' paths and contents, for files without a SHA-256; see `content_sha256`."""

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(remote.size for remote in self.files)


def _cifar10(files: Mapping[str, Path], folder: Path, progress: Progress) -> None:
    (archive,) = files.values()
    unpacked = folder.with_name("unpacked")
    unpacked.mkdir()
    extract(archive, unpacked, progress=progress)
    write_cifar10(unpacked, folder, progress)


def _fashion_mnist(files: Mapping[str, Path], folder: Path, progress: Progress) -> None:
    pairs = {
        split: (files[f"{part}-images-idx3-ubyte.gz"], files[f"{part}-labels-idx1-ubyte.gz"])
        for split, part in (("train", "train"), ("test", "t10k"))
    }
    write_idx(pairs, _FASHION_CLASSES, folder, progress)


def _elpv(files: Mapping[str, Path], folder: Path, progress: Progress) -> None:
    (archive,) = files.values()
    unpacked = folder.with_name("unpacked")
    unpacked.mkdir()
    extract(archive, unpacked, progress=progress)
    write_elpv(unpacked / "elpv_dataset" / "data", folder)


def _concrete_cracks(files: Mapping[str, Path], folder: Path, progress: Progress) -> None:
    (archive,) = files.values()
    progress("unpacking", 0, 1)
    extract_rar(archive, folder)
    lift_single_folder(folder)
    for name in ("negative", "positive"):
        found = [path for path in folder.iterdir() if path.name.casefold() == name]
        if not found:
            raise AssayError(f"{archive} holds no folder {name.title()}; it is not the archive that was expected")
        found[0].rename(folder / name)
    progress("unpacking", 1, 1)


def _class_folders(folders: Mapping[str, str], sha256: str) -> DatasetWriter:
    """Return the writer for class folders of a GitHub repository; arguments as for `write_class_folders`."""

    def write(files: Mapping[str, Path], folder: Path, progress: Progress) -> None:
        (archive,) = files.values()
        write_class_folders(archive, folders, sha256, folder, progress)

    return write


def _github_archive(repository: str, size: int) -> tuple[RemoteFile]:
    """Return the zip archive of a repository; `size` is that of the photos in bytes."""
    return (RemoteFile("repository.zip", github_archive_url(repository), sha256="", size=size),)


_BOTTLES_SHA256 = "fa1041652dee0c55eb1465cb203952b76eba379ba59a9966ede35d7d5c5e10cd"
_BUTTON_CELLS_SHA256 = "90749d575a651956d9fcd7085abff84ec293ebe8c6d6f2977590723928b397aa"
_MAGNETIC_TILES_SHA256 = "96dc9c95e0e442761e7007db60e0dc4776e832d844d0b9ca9710ed7b88a8e35c"
_MAGNETIC_TILES_CLASSES = ("Blowhole", "Break", "Crack", "Fray", "Free", "Uneven")
_FASHION_CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
)
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_PYPI_URL = "https://files.pythonhosted.org/packages"

_DATASETS = (
    RegisteredDataset(
        name="bottles",
        summary="20 photos of 1080 x 1920 of bottles, open or closed",
        files=_github_archive("jorgesandoval/api-bottle-open-close-detection", 11_836_417),
        write=_class_folders({label: f"docs/samples/{label}" for label in ("closed", "open")}, _BOTTLES_SHA256),
        homepage="https://github.com/jorgesandoval/api-bottle-open-close-detection",
        licence="MIT",
        citation="J. Sandoval, api-bottle-open-close-detection, GitHub",
        usage="assay train {folder} -r bottle",
        content_sha256=_BOTTLES_SHA256,
    ),
    RegisteredDataset(
        name="button-cells",
        summary="55 photos of button cells from three sides",
        files=_github_archive("ujjain127/button-cell-classifier", 1_699_673),
        write=_class_folders(
            {view: f"button_cells/{view}" for view in ("back_view", "side_view", "top_view")}, _BUTTON_CELLS_SHA256
        ),
        homepage="https://github.com/ujjain127/button-cell-classifier",
        licence="none stated",
        citation="ujjain127, Button Cell Classifier, GitHub",
        usage="assay train {folder} -r button-cell",
        content_sha256=_BUTTON_CELLS_SHA256,
    ),
    RegisteredDataset(
        name="cifar10",
        summary="60,000 pictures of 32 x 32, ten classes or two: vehicle and animal",
        files=(
            RemoteFile(
                name="cifar-10-binary.tar.gz",
                url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                size=170_052_171,
            ),
        ),
        write=_cifar10,
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none stated; its author asks that the report be cited",
        citation="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        usage="assay train {folder} -r vehicle-animal",
    ),
    RegisteredDataset(
        name="concrete-cracks",
        summary="40,000 photos of 227 x 227 of concrete, with a crack (positive) or without (negative)",
        files=(
            RemoteFile(
                name="concrete-cracks.rar",
                url="https://data.mendeley.com/public-files/datasets/5y9wdsg2zt/files/"
                "8a70d8a5-bce9-4291-bab9-b48cfb3e87c3/file_downloaded",
                sha256="08d7dc505a4f5a0330cee2fa2a1ae4b5b4f98bcffd0549b774caf7959bb1f02f",
                size=241_363_336,
            ),
        ),
        write=_concrete_cracks,
        homepage="https://doi.org/10.17632/5y9wdsg2zt.2",
        licence="CC BY 4.0",
        citation="Ç. F. Özgenel, Concrete Crack Images for Classification, Mendeley Data V2, 2019",
        usage="assay train {folder} -r defect",
    ),
    RegisteredDataset(
        name="elpv",
        summary="2,624 pictures of 300 x 300 of solar cells, functional or defective, mono or poly",
        files=(
            RemoteFile(
                name="elpv_dataset-1.0.0.post1-py3-none-any.whl",
                url=f"{_PYPI_URL}/f3/3f/22e4483e0aa5bcc4295751e1d55112481991ca64cf97e82e88bdcb1f0afe/"
                "elpv_dataset-1.0.0.post1-py3-none-any.whl",
                sha256="85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
                size=90_801_454,
            ),
        ),
        write=_elpv,
        homepage="https://github.com/zae-bayern/elpv-dataset",
        licence="CC BY-NC-SA 4.0: not for commercial use",
        citation="S. Deitsch et al., Automatic classification of defective photovoltaic module cells in "
        "electroluminescence images, Solar Energy 185, 2019",
        usage="assay train {folder}/manifest.csv",
        installed=find_installed_elpv,
        write_installed=write_elpv,
    ),
    RegisteredDataset(
        name="fashion-mnist",
        summary="70,000 gray pictures of 28 x 28 of clothes, ten classes",
        files=(
            RemoteFile(
                name="train-images-idx3-ubyte.gz",
                url=f"{_FASHION_URL}/train-images-idx3-ubyte.gz",
                sha256="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                size=26_421_880,
                equivalent_sha256=frozenset({"b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"}),
            ),
            RemoteFile(
                name="train-labels-idx1-ubyte.gz",
                url=f"{_FASHION_URL}/train-labels-idx1-ubyte.gz",
                sha256="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                size=29_515,
                equivalent_sha256=frozenset({"0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"}),
            ),
            RemoteFile(
                name="t10k-images-idx3-ubyte.gz",
                url=f"{_FASHION_URL}/t10k-images-idx3-ubyte.gz",
                sha256="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                size=4_422_102,
                equivalent_sha256=frozenset({"cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"}),
            ),
            RemoteFile(
                name="t10k-labels-idx1-ubyte.gz",
                url=f"{_FASHION_URL}/t10k-labels-idx1-ubyte.gz",
                sha256="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                size=5_148,
                equivalent_sha256=frozenset({"8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"}),
            ),
        ),
        write=_fashion_mnist,
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
        citation="H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017",
        usage="assay train {folder} -r custom-resnet",
    ),
    RegisteredDataset(
        name="magnetic-tiles",
        summary="1,344 gray photos of magnetic tiles, five kinds of defects or free of them",
        files=_github_archive("abin24/Magnetic-tile-defect-datasets.", 50_798_253),
        write=_class_folders({label: f"MT_{label}/Imgs" for label in _MAGNETIC_TILES_CLASSES}, _MAGNETIC_TILES_SHA256),
        homepage="https://github.com/abin24/Magnetic-tile-defect-datasets.",
        licence="free for research with citation",
        citation="Y. Huang et al., Surface defect saliency of magnetic tile, The Visual Computer 36, 2020",
        usage="assay train {folder}",
        content_sha256=_MAGNETIC_TILES_SHA256,
    ),
)

REGISTRY: Mapping[str, RegisteredDataset] = {dataset.name: dataset for dataset in _DATASETS}
"""All data sets by name, in alphabetical order."""
