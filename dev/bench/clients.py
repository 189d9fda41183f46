"""Another `openai` client, unmodified, against a real server: `python dev/bench/clients.py [VERSION]`; the newest 2.x.

Makes an environment of its own in a temporary folder, so it needs a package index; takes about a minute. Prints the
client's version and what was called, or ends with the first exception.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import figures
from servers import Served, free_port

from tenku.serving.db import Database
from tenku.serving.hooks import add_hook

CALLS = """
import http.server, sys, threading, warnings
warnings.simplefilter("ignore")
import openai
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="x")
told, heard = [], threading.Event()
class Told(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        told.append((self.rfile.read(int(self.headers["content-length"])), dict(self.headers.items())))
        self.send_response(200)
        self.end_headers()
        heard.set()
hears = http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Told)
threading.Thread(target=hears.serve_forever, daemon=True).start()
small, few = {"size": "64x48", "seconds": "0.5"}, {"steps": 2, "seed": 1}
made = client.videos.create_and_poll(prompt="a red ball", **small, extra_body=few)
assert made.status == "completed" and made.size == "64x48" and made.seconds == "0.5", made
said = ["create_and_poll"]
for variant in ("video", "thumbnail", "spritesheet"):
    assert client.videos.download_content(made.id, variant=variant).read()
remix = client.videos.remix(made.id, prompt="a blue ball")
assert client.videos.poll(remix.id).remixed_from_video_id == made.id
still = client.videos.download_content(made.id, variant="thumbnail").read()
begun = client.videos.create(prompt="x", input_reference=("a.webp", still), **small, extra_body=few)
assert client.videos.retrieve(begun.id).id in [video.id for video in client.videos.list(limit=1)]
said += ["download_content", "remix", "poll", "create with a picture", "retrieve", "list"]
clip = client.videos.download_content(made.id).read()
for name, more in (("edit", {}), ("extend", {"seconds": "0.5"}), ("create_character", None)):
    if hasattr(client.videos, name):
        file = ("a.mp4", clip)
        if more is None:
            assert client.videos.get_character(client.videos.create_character(name="M", video=file).id).name == "M"
        else:
            made_on = getattr(client.videos, name)(prompt="x", video=file, extra_body={"steps": 1}, **more)
            assert client.videos.poll(made_on.id).status == "completed"
        said.append(name)
for kind, call in ((openai.NotFoundError, lambda: client.videos.retrieve("video_x")),
                   (openai.BadRequestError, lambda: client.videos.create(prompt="x", size="7x7"))):
    try:
        call()
        raise AssertionError(kind)
    except kind as error:
        assert error.code and error.type and error.param and error.request_id
said.append("errors with code, type and param")
try:
    openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="tk_wrong").videos.list()
    raise AssertionError
except openai.AuthenticationError as error:
    assert error.code == "invalid_api_key" and error.type == "authentication_error"
assert heard.wait(60)
event = client.webhooks.unwrap(told[0][0], {k.lower(): v for k, v in told[0][1].items()}, secret=sys.argv[3])
assert event.type == "video.completed" and event.data.id == made.id
said.append("webhooks.unwrap")
assert client.videos.delete(made.id).deleted
print("openai", openai.__version__ + ":", ", ".join([*said, "delete"]))
"""


def main(version: str) -> int:
    """Installs, serves, calls."""
    with tempfile.TemporaryDirectory(prefix="tenku-clients-") as folder:
        os.environ["TENKU_HOME"] = f"{folder}/home"
        python = Path(folder, "venv/bin/python")
        subprocess.run([sys.executable, "-m", "venv", Path(folder, "venv")], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"openai{version}"], check=True)
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with Served(Path(folder, "library")) as server:
            port, db = free_port(), Database(f"sqlite:///{folder}/library/tenku.db")
            _, secret = add_hook(db, f"private+http://127.0.0.1:{port}/told")
            db.close()
            done = subprocess.run([python, "-c", CALLS, server.url, str(port), secret], env=clean, check=False,
                                  stdout=subprocess.PIPE, text=True)
    return figures.judged({"said": done.stdout.strip()}, {
        done.stdout.strip() or f"openai{version}": done.returncode == 0})


if __name__ == "__main__":
    figures.tidy()
    sys.exit(main(f"=={sys.argv[1]}" if len(sys.argv) > 1 else ">=2,<3"))
