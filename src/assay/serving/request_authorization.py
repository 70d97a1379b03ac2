"""Authorize a request by its headers, for the endpoints."""

from starlette.requests import Request

from assay.serving.auth import AccessDeniedError, AuthRequest
from assay.serving.request_context import RequestContext, request_context
from assay.serving.service import Service


async def authorize(service: Service, request: Request, scope: str) -> RequestContext:
    """Authorize a request by its headers; raise `AccessDeniedError` if the client may not make it."""
    context = request_context(request)
    peer = request.client.host if request.client is not None else ""
    query = request.scope.get("query_string", b"").decode("latin-1")
    path = request.scope["raw_path"].decode("latin-1")
    # Clients sign the path that they see, whichever part of it a proxy has removed.
    path = service.settings.listen.root_path + path
    target = f"{path}?{query}" if query else path
    try:
        context.authorization = await service.components.authorizer.authorize(
            AuthRequest(context.method, target, context.headers, peer, scope)
        )
    except AccessDeniedError as error:
        context.client = error.client
        raise
    context.client = context.authorization.client
    return context
