"""The pages joined to an app. Knows the order of things and nothing else."""

from fastapi import FastAPI

from assay.serving.service import Service
from assay.serving.web.pages import page_routes
from assay.serving.web.relabel import relabel_routes


def mount_web(app: FastAPI, service: Service) -> None:
    """Add the pages to an app, if the settings want them.

    Raises:
        UsageError: a file that the settings name is not what it should be.
    """
    if service.settings.web.page:
        app.include_router(page_routes(service))
        app.include_router(relabel_routes(service))
