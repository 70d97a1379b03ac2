"""Exceptions that become HTTP error responses, and their messages."""

from collections.abc import Mapping

from assay.image.formats import format_title


class ApiError(Exception):
    """A request that failed; its text is sent to the client."""

    def __init__(
        self, status: int, text: str, *, reason: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """`reason` is the label of the rejection in metrics (overload, deadline, upload); None: it is not counted."""
        super().__init__(text)
        self.status, self.text, self.reason, self.headers = status, text, reason, dict(headers or {})


class UploadError(ApiError):
    """An upload that is not accepted."""

    def __init__(self, text: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text, reason="upload", headers=headers)


class OverloadError(ApiError):
    """There are too many requests; retry after some seconds."""

    def __init__(self, retry_after: int) -> None:
        text = f"Too many requests wait; try again in {retry_after} s"
        super().__init__(503, text, reason="overload", headers={"Retry-After": str(retry_after)})


class DeadlineError(ApiError):
    """The deadline has passed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(504, f"No answer within {seconds:g} s", reason="deadline")


class ClientDisconnectedError(Exception):
    """The client has disconnected; there is nobody to send a response to."""


CLIENT_CLOSED_REQUEST = 499
"""Status in records of requests whose client disconnected; the number that nginx uses."""
INTERNAL_ERROR = "Internal server error"
NOT_MULTIPART = "Content-Type must be multipart/form-data"
MODEL_NOT_FOUND = "There is no such model; GET /models lists them"
NO_IMAGE = "No image file provided"
WRONG_FIELD = "The image must be in the form field named image"
TOO_LARGE = "File size exceeds maximum limit"
UPLOAD_TIMEOUT = "The upload took too long"


def unsupported_encoding(what: str, headers: Mapping[str, str] | None = None) -> UploadError:
    """Return the error for a header that names an encoding other than identity."""
    text = f"The {what} is not supported: send the bytes as they are"
    return UploadError(text, status=415, headers=headers)


def unsupported_format(formats: tuple[str, ...]) -> UploadError:
    """Return the error that names the accepted formats by their file extensions."""
    extensions = ", ".join("jpg, jpeg" if name == "jpeg" else name for name in formats)
    return UploadError(f"Invalid image format. Allowed formats: {extensions}")


def too_many_pixels(max_side: int) -> UploadError:
    """Return the error that names the largest side."""
    return UploadError(f"Image dimensions exceed maximum limit of {max_side} x {max_side} pixels")


def unreadable_image(image_format: str, reason: str) -> UploadError:
    """Return the error for a damaged image of an accepted format."""
    return UploadError(f"The {format_title(image_format)} image cannot be read: {reason}")
