"""The newest 2.x of the `openai` client, unmodified, against a real server: `python dev/bench/openai2.py`.

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

from servers import Served

CALLS = """
import sys, warnings
warnings.simplefilter("ignore")
import openai
assert openai.__version__.startswith("2."), openai.__version__
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="x")
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
assert client.videos.delete(made.id).deleted
print("openai", openai.__version__ + ":", ", ".join([*said, "delete"]))
"""


def main() -> int:
    """Installs, serves, calls."""
    with tempfile.TemporaryDirectory(prefix="tenku-openai2-") as folder:
        os.environ["TENKU_HOME"] = f"{folder}/home"
        python = Path(folder, "venv/bin/python")
        subprocess.run([sys.executable, "-m", "venv", Path(folder, "venv")], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "openai>=2,<3"], check=True)
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with Served(Path(folder, "library")) as server:
            return subprocess.run([python, "-c", CALLS, server.url], env=clean, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
