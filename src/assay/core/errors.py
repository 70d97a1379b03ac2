"""The exceptions that are shown to the user as one sentence, and how to install a missing extra."""


class AssayError(Exception):
    """An error that the user can fix: which file or setting, what is wrong, what to do. Exit code 1."""

    exit_code = 1


class UsageError(AssayError):
    """An invalid command, argument or setting. Exit code 2."""

    exit_code = 2


_EXTRAS = {
    "torch": "train",
    "lightning": "train",
    "captum": "train",
    "albumentations": "train",
    "sklearn": "train",
    "matplotlib": "train",
    "pyarrow": "train",
    "jinja2": "train",
    "onnx": "train",
    "elpv_dataset": "demo",
    "fastapi": "serve",
    "paho": "live",
    "pymongo": "serve",
    "redis": "serve",
    "pydantic_settings": "serve",
    "python_multipart": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "fsspec": "scale",
    "optuna": "tune",
    "sqlalchemy": "tune",
    "ray": "scale",
}
"""Extras of the package by the top-level module that they install."""


def missing_extra_message(error: ModuleNotFoundError) -> str | None:
    """Return how to install the extra that provides a missing module; None for a module of no extra."""
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    return None if extra is None else f'this needs {error.name}: pip install "assay[{extra}]"'
