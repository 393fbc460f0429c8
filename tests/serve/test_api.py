"""The page and its JSON interface, asked over a real connection."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fillgap.cli.app import run
from fillgap.datasets import load_digit_scenes
from fillgap.encoders import DigitSceneEncoder
from fillgap.errors import InputError
from fillgap.search import create_index
from fillgap.serve import create_app
from fillgap.serve.queries import QueryEncoder
from fillgap.space import MixedSpace
from remote_servers import running

httpx = pytest.importorskip("httpx")


def asked(address: str, **body: Any) -> Any:
    answer = httpx.post(f"{address}/api/search", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def picture(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_text_finds_images_once_calibrated_and_a_picture_itself(address: str) -> None:
    found = asked(address, text="a purple large three at the top", k=10)
    assert found["unknown_words"] == ["purple"]
    assert found["stage"] == "calibrated"
    assert {hit["modality"] for hit in found["raw"]} == {"text"}
    assert {hit["modality"] for hit in found["chosen"]} == {"image", "text"}
    assert set(found["query_place"]) == {"raw", "aligned"}
    assert all(hit["thumbnail"].startswith("data:image/png") for hit in found["chosen"])
    sent = picture(load_digit_scenes().thumbnails[5])
    found = httpx.post(f"{address}/api/search/image", content=sent, timeout=60).json()
    assert found["chosen"][0]["id"] == "image:5"


def test_a_document_finds_others_like_it_and_takes_no_rank(address: str) -> None:
    found = asked(address, document="text:3", k=20)
    for hits in (found["raw"], found["chosen"]):
        assert "text:3" not in {hit["id"] for hit in hits}
        assert [hit["rank"] for hit in hits] == list(range(1, 21))
        for kind in ("image", "text"):
            ranks = [hit["rank_in_modality"] for hit in hits if hit["modality"] == kind]
            assert ranks == list(range(1, len(ranks) + 1))
    assert {hit["modality"] for hit in found["chosen"]} == {"image", "text"}
    assert [hit["raw_rank"] for hit in found["raw"]] == list(range(1, 21))
    images = asked(address, document="text:3", k=5, modality="image")["chosen"]
    assert [hit["modality"] for hit in images] == ["image"] * 5


def test_a_payload_that_is_half_a_character_is_sent_as_it_is(tmp_path: Path) -> None:
    with create_index(tmp_path / "index", MixedSpace(n_features=3)) as index:
        index.add_images(["a"], np.eye(3)[:1], [{"image": "\ud800", "b": ["\udfff"]}])
        index.add_texts(["b"], np.eye(3)[:1], [{"image": "a", "c": "\ud800"}])
        with running(create_app(index)) as address:
            found = asked(address, vector=[1, 1, 1])
            payloads = [hit["payload"] for hit in found["chosen"]]
            assert {"image": "\ud800", "b": ["\udfff"]} in payloads
            assert httpx.get(f"{address}/api/index", timeout=60).status_code == 200


def raw(content: str) -> dict[str, Any]:
    return {"content": content, "headers": {"Content-Type": "application/json"}}


def of_header(name: str, value: str) -> dict[str, Any]:
    return {"json": {"text": "three"}, "headers": {name: value}}


@pytest.mark.parametrize(
    ("path", "sent", "status", "message"),
    [
        *[
            ("", {"json": body}, 422, message)
            for body, message in (
                ({}, "one of text, document and vector"),
                ({"text": " "}, "at least one word"),
                ({"text": "purple"}, "unknown: purple"),
                ({"vector": [1.0, 2.0]}, "dimension 128"),
                ({"document": "'; DROP TABLE x"}, "must be the id"),
                ({"text": "three", "k": True}, "valid integer"),
                ({"text": "three", "k": "5"}, "valid integer"),
                ({"vector": ["1", True]}, "valid number"),
                ({"text": "three", "k": 0}, "greater than or equal to 1"),
                ({"text": "three", "nonsense": 1}, "not permitted"),
                ({"vector": [1e39] * 3}, "dimension 128"),
            )
        ],
        ("", raw('{"document": "\\ud800"}'), 422, "an id must be"),
        ("", raw('{"vector": [NaN, 1.0]}'), 422, "finite number"),
        ("", raw("{bad"), 422, "JSON decode error"),
        ("", of_header("Host", "evil.example"), 421, "Host header"),
        ("", of_header("Origin", "http://evil.example"), 403, "other sites"),
        *[
            ("/image", {"content": content}, status, message)
            for content, status, message in (
                (b"no picture", 422, "must be a picture"),
                (b"", 422, "must be a picture"),
                (picture(np.zeros((200, 200), np.uint8)), 422, "at most 10000 pixels"),
                (b"P5 20000 20000 255\n", 422, "at most 10000 pixels, got far more"),
                (b"x" * 200_001, 413, "at most 200000 bytes"),
                ((b"x" * 50_000 for _ in range(5)), 413, "at most 200000 bytes"),  # unknown length
            )
        ],
    ],
)
def test_refusals(address: str, path: str, sent: dict, status: int, message: str) -> None:
    answer = httpx.post(f"{address}/api/search{path}", timeout=60, **sent)
    assert answer.status_code == status
    assert message in answer.text
    assert "demo" not in answer.text


def test_no_answer_names_a_place_on_this_machine(address: str) -> None:
    paths = ["/", "/page.js", "/page.css", "/map.js", "/api/index", "/api/map", "/api/openapi.json"]
    for path in paths:
        answer = httpx.get(f"{address}{path}", timeout=60)
        assert answer.status_code == 200, path
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert str(Path.home()) not in answer.text
        assert "/tmp/" not in answer.text


def test_names_that_are_paths_lose_their_place(tmp_path: Path) -> None:
    """Of embeddings named by the files of their pictures, asked by a model of a folder."""
    model, names = tmp_path / "models" / "tiny", ["/home/ann/photos/7.jpg", "C:\\ann\\7.jpg"]
    kept = {"caption": "/imagine a three", "url": "https://example.org/ann/7.jpg"}
    space = MixedSpace(n_features=128, model=str(model))

    class Refusing(DigitSceneEncoder):
        def encode_texts(self, texts: Any) -> Any:
            if "nothing" in texts[0]:
                raise InputError(f"{model} must know the words, got none.")
            return super().encode_texts(texts)

    rows = load_digit_scenes().images[:2]
    with create_index(tmp_path / "index", space, encoder=f"clip:{model}") as index:
        index.add_images(["a", "b"], rows, [{"name": name, **kept} for name in names])
        with running(create_app(index, encoder=QueryEncoder(Refusing()))) as address:
            about = httpx.get(f"{address}/api/index", timeout=60)
            found = httpx.post(f"{address}/api/search", json={"text": "a three"}, timeout=60)
            refused = httpx.post(f"{address}/api/search", json={"text": "nothing"}, timeout=60)
    assert (about.json()["encoder"], about.json()["model"]) == ("clip:tiny", "tiny")
    assert [hit["payload"] for hit in found.json()["chosen"]] == [{"name": "7.jpg", **kept}] * 2
    assert refused.status_code == 422
    assert refused.json()["detail"] == "tiny must know the words, got none."
    for answer in (about, found, refused):
        assert str(tmp_path) not in answer.text
        assert "ann/photos" not in answer.text


def test_an_address_that_is_taken_is_one_sentence(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_index(tmp_path / "index", MixedSpace(n_features=3)).close()
    port = address.rpartition(":")[2]
    for words, got in (
        (["--port", port], f"127.0.0.1 port {port}"),
        (["--host", "203.0.113.1"], "203.0.113.1 port 8421"),  # nobody's (RFC 5737)
    ):
        assert run(["serve", str(tmp_path / "index"), *words]) == 2
        told = capsys.readouterr()
        assert f"must be a free one of this machine, got {got}" in told.err
        assert told.err.count("\n") == 1
        assert told.out == ""
