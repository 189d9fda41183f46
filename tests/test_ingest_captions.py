"""Captions from whoever can look at pictures: a real model's class at tiny size, a real endpoint, our own probe."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scenes import scene, texture

from tenku.cli import main
from tenku.data import ledger
from tenku.data.shards import iter_facts
from tenku.errors import UserError
from tenku.ingest.captions import LOOKS, captioner, registers
from tenku.types import Clip
from tenku.world.captions import vocabulary, words

WORDS = "<pad> <s> </s> <unk> <image> a dog red ball walks on grass user assistant :".split()
TEMPLATE = ("{% for m in messages %}{{ m['role'] }} : {% for c in m['content'] %}{% if c['type'] == 'image' %}<image> "
            "{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}assistant :")


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of random weights and a dozen words, as save_pretrained leaves it."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    transformers.logging.set_verbosity_error()
    folder = tmp_path_factory.mktemp("seeing")
    table = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    table.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=table, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<image>"])
    looks = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    transformers.LlavaProcessor(
        image_processor=looks, tokenizer=tokenizer, patch_size=16, vision_feature_select_strategy="default",
        chat_template=TEMPLATE, image_token="<image>", num_additional_image_tokens=1).save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**small, image_size=32, patch_size=16, projection_dim=16),
        text_config=transformers.LlamaConfig(**small, vocab_size=len(WORDS), num_key_value_heads=2,
                                             max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
                                             pad_token_id=0),
        image_token_index=4, vision_feature_layer=-2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict]]:
    """A server on this machine that speaks the protocol; what it was asked."""
    asked: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "key": self.headers["Authorization"], **body})
            if body["model"] == "broken":
                self.send_error(500)
                return
            urls = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
            shown = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]
            bright = np.mean([np.asarray(picture).mean() for picture in shown])
            text = f"  A picture of\n brightness {bright:.0f}. "
            data = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("TENKU_CAPTION_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("TENKU_CAPTION_KEY", "secret")
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def flat(value: int, frames: int = 9) -> Clip:
    return Clip(np.full((frames, 32, 48, 3), value, np.uint8), 12.0)


def test_a_model_of_transformers_answers_from_its_folder(seeing: Path) -> None:
    speaker = captioner(str(seeing))
    clips = [Clip(texture(9, 64, 48, seed=i), 12.0) for i in range(2)] + [flat(9, 1)]
    said = speaker.say(clips, ["", "a dog walks", ""])
    assert len(said) == 3
    assert all(said)
    assert {word for text in said for word in text.split()} <= set(WORDS)
    assert said == captioner(str(seeing)).say(clips, ["", "a dog walks", ""])
    assert speaker.name == seeing.name


def test_a_folder_that_holds_no_such_model_is_said(tmp_path: Path, seeing: Path) -> None:
    with pytest.raises(UserError, match="no such captioner"):
        captioner(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "nothing of the kind"}')
    with pytest.raises(UserError, match="is no vision-language model"):
        captioner(str(tmp_path))


def test_an_endpoint_sees_some_pictures_of_each_clip(endpoint: list[dict]) -> None:
    said = captioner("endpoint").say([flat(10), flat(200), flat(90, 1)], ["", "a wall", ""])
    assert said == ["A picture of brightness 10.", "A picture of brightness 200.", "A picture of brightness 90."]
    assert {call["path"] for call in endpoint} == {"/v1/chat/completions"}
    assert {call["key"] for call in endpoint} == {"Bearer secret"}
    assert sorted(len(call["messages"][0]["content"]) for call in endpoint) == [2, 1 + LOOKS, 1 + LOOKS]
    assert sum("a wall" in call["messages"][0]["content"][0]["text"] for call in endpoint) == 1


def test_an_endpoint_that_fails_is_said_and_what_is_done_stays(
    endpoint: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(texture(1, 128, 96)[0]).save(tmp_path / "a.png")
    command = ["data", "ingest", str(tmp_path), "--out", str(tmp_path / "out"), "--license", "CC0-1.0", "--captioner",
               "endpoint", "--size", "64x48", "--workers", "1"]
    monkeypatch.setenv("TENKU_CAPTION_MODEL", "broken")
    assert main(command) == 2
    assert "gave no answer (HTTP 500)" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.tar"))
    monkeypatch.setenv("TENKU_CAPTION_MODEL", "well")
    assert main(command) == 0
    [(_, facts)] = iter_facts(tmp_path / "out")
    assert facts["captioner"] == "endpoint well"
    assert facts["captions"]["few"].startswith("A picture of brightness")
    assert ledger.read(tmp_path / "out").complete
    monkeypatch.setenv("TENKU_CAPTION_URL", "")
    assert main(command) == 2


def test_our_own_probe_speaks_the_worlds_words() -> None:
    said = captioner("worlds").say([Clip(scene(33), 16.0), Clip(scene(1), 16.0)], ["", ""])
    assert all(set(words(text)) <= set(vocabulary()) for text in said)
    assert all("the camera" in text for text in said)
    assert not any(size in text for text in said for size in ("small", "large"))  # which it does not read


def test_what_is_written_down_stays() -> None:
    assert captioner("given").say([flat(1), flat(2)], ["a dog", ""]) == ["a dog", ""]


def test_the_longest_register_says_what_the_camera_does() -> None:
    assert registers("A dog walks. ", "pan left") == {
        "few": "A dog walks", "sentence": "A dog walks", "everything": "A dog walks, the camera pans left"}
    assert registers("The camera follows a dog", "pan left")["everything"] == "The camera follows a dog"
    assert registers("", "static")["everything"] == "the camera is static"
    assert registers("A dog", "shaky")["everything"] == "A dog"
