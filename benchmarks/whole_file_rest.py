"""The other rival: a throw-away model server that is sent the whole file as one REST request.

    python -m benchmarks.whole_file_rest MODEL_URI INPUT_URI OUTPUT_URI

The way of guillaumeblaquiere/embedded-tf, in Python: the lines become one `instances` document,
and the predictions are read as one JSON document. Needs a program that offers REST.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson
import requests
from google.cloud.storage import Client

from tfserving_launcher import find_program

_START_SECONDS = 120.0
_POLL_SECONDS = 0.05


def main(model_uri: str, input_uri: str, output_uri: str) -> None:
    client = Client()
    with tempfile.TemporaryDirectory() as folder:
        bucket, _, prefix = model_uri.removeprefix("gs://").partition("/")
        for blob in client.list_blobs(bucket, prefix=prefix):
            target = Path(folder, "model", blob.name.removeprefix(prefix))
            target.parent.mkdir(parents=True, exist_ok=True)
            blob.download_to_filename(str(target))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        argv = [*find_program().command, "--port=0", f"--grpc_socket_path={folder}/s"]
        argv += [f"--rest_api_port={port}", "--model_name=model", "--rest_api_timeout_in_ms=0"]
        argv += [f"--model_base_path={folder}/model"]
        server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}/v1/models/model"
            wait_for(server, url)
            bucket, _, name = input_uri.removeprefix("gs://").partition("/")
            lines = client.bucket(bucket).blob(name).download_as_bytes().splitlines()
            body = b'{"instances": [' + b",".join(lines) + b"]}"
            answer = requests.post(f"{url}:predict", data=body, timeout=1800)
            answer.raise_for_status()
            # The standard library's reader, because bare NaN tokens are no JSON to others.
            predictions = json.loads(answer.content)["predictions"]
            written = b"".join(orjson.dumps(row) + b"\n" for row in predictions)
            bucket, _, name = output_uri.removeprefix("gs://").partition("/")
            client.bucket(bucket).blob(name).upload_from_string(written)
        finally:
            server.kill()
            server.wait()


def wait_for(server: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            pass  # nothing listens before the model is loaded
        if server.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the model server did not answer at {url}")
        try:
            server.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    main(*sys.argv[1:])
