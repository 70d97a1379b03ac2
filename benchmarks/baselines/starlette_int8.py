"""A bare Starlette handler on uvicorn: form in, JSON out, decoding and inference in Starlette's thread pool.

A thread has its own inference request, and OpenVINO's streams answer them at the same time, as its documents advise
for many requests. Usage: starlette_int8.py PORT
"""

import sys
import threading

import uvicorn
from openvino_network import Network, decode
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

local = threading.local()
network = Network(hint="THROUGHPUT")


def answer(data: bytes) -> dict[str, object]:
    """Answer one photo."""
    if not hasattr(local, "network"):
        local.network = network.with_own_request()
    return local.network.answer([decode(data)])[0]


async def classify(request: Request) -> JSONResponse:
    """Answer an upload."""
    async with request.form() as form:
        data = await form["image"].read()
    return JSONResponse(await run_in_threadpool(answer, data))


app = Starlette(routes=[Route("/classify", classify, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
