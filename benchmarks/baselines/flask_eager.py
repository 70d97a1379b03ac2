"""The plain baseline over HTTP: Flask, Pillow, eager PyTorch; behind waitress, as its documents advise.

A thread a processor, each with one thread of PyTorch's: with more, they stand in each other's way.
Usage: flask_eager.py PORT
"""

import sys

from common import THREADS
from eager_network import load, prepare
from flask import Flask, jsonify, request
from PIL import Image
from torch import inference_mode
from waitress import serve

app = Flask(__name__)
network = load(1)


@app.post("/classify")
def classify():  # noqa: ANN201 - Flask's own
    with Image.open(request.files["image"].stream) as image:
        tensor = prepare(image)
    with inference_mode():
        probabilities = network(tensor).softmax(1)[0]
    best = int(probabilities.argmax())
    return jsonify(label=f"class {best}", confidence=float(probabilities[best]))


if __name__ == "__main__":
    serve(app, host="127.0.0.1", port=int(sys.argv[1]), threads=THREADS)
