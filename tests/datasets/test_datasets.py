"""Images with captions: every layout, what is left out, what is refused, pictures as they come."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from hashlib import md5
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dataset_files as files
from datasets_in_memory import Records
from fillgap import InputError, InputTypeError
from fillgap.datasets import class_sentences, draw_pairs, open_dataset
from fillgap.datasets.catalogue import LAYOUTS
from fillgap.embed import describe_dataset
from fillgap.encoders import load_picture

COCO, SHARD = "annotations/captions_val2017.json", "data/train-00001-of-00002.parquet"


def opened(write, root: Path, **options: str):
    return open_dataset(f"{files.LAYOUTS[write]}:{root}", **options)


def to_utf_16(content: bytes) -> bytes:
    return content.decode().encode("utf-16")


def number_of(record) -> int:
    """The number that the picture tells."""
    source = io.BytesIO(record.image) if isinstance(record.image, bytes) else record.image
    with Image.open(source) as opened:
        return round(float(np.asarray(opened.convert("L")).mean()) / 40)


@pytest.mark.parametrize("write", files.LAYOUTS)
def test_a_layout_holds_each_image_with_its_captions(tmp_path: Path, write) -> None:
    dataset = opened(write, write(tmp_path / "data"))
    assert (len(dataset), dataset.problems) == (files.N, ())
    records = [dataset[i] for i in range(len(dataset))]
    assert len({record.id for record in records}) == files.N
    n = 1 if write in (files.conceptual, files.shards) else 2
    for record in records:
        assert record.captions == tuple(files.CAPTIONS[number_of(record)][:n])
    if write is files.shards:  # as img2dataset fetches Conceptual Captions
        same = open_dataset(f"conceptual-captions:{tmp_path / 'data'}")
        assert [same[i] for i in range(len(same))] == records


def test_classes(tmp_path: Path) -> None:
    dataset = open_dataset(f"classes:{files.classes(tmp_path / 'data')}")
    assert dataset.class_names == ["cat", "red panda"]
    for record in (dataset[i] for i in range(len(dataset))):
        assert record.label == number_of(record) % 2
        assert record.captions == (f"a photo of a {dataset.class_names[record.label]}.",)
    sentences, labels = class_sentences(dataset.class_names)
    assert len(sentences) == 14
    assert labels.tolist() == [0] * 7 + [1] * 7
    assert "a photo of the large red panda." in sentences
    with pytest.raises(InputError, match="hold {} once, got 'a photo'"):
        class_sentences(["cat"], ["a photo"])


@pytest.mark.parametrize("names", ["row", "md5"])
def test_names_of_conceptual_captions(tmp_path: Path, names: str) -> None:
    root = files.conceptual(tmp_path / "data")
    for i, line in enumerate((root / "Train.tsv").read_text().splitlines()):
        url = line.partition("\t")[2]
        name = f"{i:06}" if names == "row" else md5(url.encode()).hexdigest()
        (root / "images" / f"{i}.jpg").rename(root / "images" / f"{name}.jpg")
    dataset = open_dataset(f"conceptual-captions:{root}", names=names)
    assert [number_of(dataset[i]) for i in range(files.N)] == list(range(files.N))


@pytest.mark.parametrize("place", ["inside", "elsewhere"])
@pytest.mark.parametrize(
    ("write", "option", "name"),
    [
        (files.coco, "annotations", COCO),
        (files.coco, "images", "val2017"),
        (files.conceptual, "images", "images"),
        (files.flickr, "images", "Flicker8k_Dataset"),
        (files.folder_csv, "captions", "metadata.csv"),
    ],
)
def test_what_an_option_names_is_sought_inside_first(tmp_path, write, option, name, place) -> None:
    root = write(tmp_path / "data")
    moved = (root if place == "inside" else tmp_path) / "moved" / Path(name).name
    moved.parent.mkdir()
    (root / name).rename(moved)
    value = f"moved/{moved.name}" if place == "inside" else str(moved)
    assert len(opened(write, root, **{option: value})) == files.N


@pytest.mark.parametrize("write", [files.flickr, files.flickr_json])
def test_a_split_of_flickr(tmp_path: Path, write) -> None:
    root = write(tmp_path / "data")
    assert [record.id for record in opened(write, root, split="test")] == ["1.jpg", "4.jpg"]
    with pytest.raises(InputError, match="split must be one that"):
        opened(write, root, split="nothing")


def test_labels_and_splits_of_hugging_face(tmp_path: Path) -> None:
    files.hugging_face(tmp_path / "whole" / "train")
    (tmp_path / "whole" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    root = files.hub_parquet(tmp_path / "hub")
    for folder in (tmp_path / "whole", root):
        dataset = open_dataset(f"hugging-face:{folder}")
        assert dataset.class_names == ["even", "odd"]
        assert [record.label for record in dataset] == [0, 1, 0, 1, 0, 1]
        with pytest.raises(InputError, match="split must be one of train, got 'test'"):
            open_dataset(f"hugging-face:{folder}", split="test")
    plain = open_dataset(f"hugging-face:{files.hub_parquet(tmp_path / 'b', described=False)}")
    assert plain.class_names is None
    assert plain[5].captions == dataset[5].captions
    shard = root / "data" / "train-00001-of-00002.parquet"
    assert [number_of(r) for r in open_dataset(f"hugging-face:{shard}")] == [3, 4, 5]
    (root / "data" / "test-00000-of-00001.parquet").write_bytes(shard.read_bytes())
    with pytest.raises(InputError, match="split must be one of test, train, got None"):
        open_dataset(f"hugging-face:{root}")
    assert len(open_dataset(f"hugging-face:{root}", split="test")) == 3


def test_pictures_are_read_a_group_at_a_time_and_not_to_describe(tmp_path, monkeypatch) -> None:
    dataset = opened(files.hub_parquet, files.hub_parquet(tmp_path / "data"))
    asked: list[tuple[int, list[str]]] = []
    read = pq.ParquetFile.read_row_group

    def counted(self, group, **options):
        asked.append((group, options["columns"]))
        return read(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    pairs, _ = draw_pairs(dataset, n_pairs=6, n_transport=0)
    described = describe_dataset(pairs)
    assert not asked
    records = [pairs[i] for i in range(6)]
    assert asked == [(0, ["image"]), (1, ["image"])] * 2
    assert sorted(map(number_of, records)) == list(range(6))
    assert described["fingerprint"] == describe_dataset(Records(records))["fingerprint"]


def test_pictures_are_missing_lie_beside_the_file_or_are_a_plain_column(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (tmp_path / "2.png").write_bytes(files.picture(2, "PNG"))
    pictures = [None, {"bytes": None, "path": "../x.png"}, {"bytes": None, "path": "2.png"}]
    columns = {"image": pa.array(pictures, kind), "text": ["a", "b", "c"]}
    columns["jpg"] = [files.picture(i) for i in range(3)]
    pq.write_table(pa.table(columns), tmp_path / "some.parquet")
    dataset = open_dataset(f"hugging-face:{tmp_path / 'some.parquet'}")
    assert [dataset[0].image, dataset[1].image] == [b"", b""]
    assert number_of(dataset[2]) == 2
    dataset = open_dataset(f"hugging-face:{tmp_path / 'some.parquet'}", image_column="jpg")
    assert [number_of(record) for record in dataset] == [0, 1, 2]


def test_a_stream_that_broke_off_is_read_up_to_there(tmp_path: Path) -> None:
    stream = files.hugging_face(tmp_path / "b") / "data-00001-of-00002.arrow"
    stream.write_bytes(stream.read_bytes()[:-200])
    dataset = open_dataset(f"hugging-face:{tmp_path / 'b'}")
    assert [number_of(record) for record in dataset] == [0, 1, 2]
    assert dataset.problems == ("data-00001-of-00002.arrow: rest of the file cut off",)


def test_parts_never_overlap_and_hold_one_caption(tmp_path: Path) -> None:
    dataset = open_dataset(f"coco:{files.coco(tmp_path / 'data')}")
    for seed in range(20):
        parts = draw_pairs(dataset, n_pairs=2, n_transport=4, random_state=seed)
        ids = [{record.id for record in part} for part in parts]
        assert [len(found) for found in ids] == [2, 4]
        assert not ids[0] & ids[1]
        for record in (record for part in parts for record in part):
            assert record.captions[0] in dataset[int(record.id)].captions
            assert len(record.captions) == 1


def test_the_seed_decides_and_the_other_part_does_not() -> None:
    def ids(**sizes: int) -> list[str]:
        drawn = open_dataset("digit-scenes", part="pairs", n_pairs=50, **sizes)
        return [drawn[i].id for i in range(len(drawn))]

    assert ids(n_transport=10) == ids(n_transport=100)
    assert ids(n_transport=10) != ids(n_transport=10, random_state=1)


def test_missing_images_and_bad_captions_are_listed(tmp_path: Path) -> None:
    root = files.coco(tmp_path / "data")
    (root / "val2017" / "0.jpg").unlink()
    path = root / COCO
    document = json.loads(path.read_text())
    document["images"] += [
        {"id": 1, "file_name": "1.jpg"},
        {"id": 90, "file_name": "../../secret.jpg"},
        {"id": 91, "file_name": "/etc/passwd"},
    ]
    for entry in document["annotations"]:
        if entry["image_id"] == 2:
            entry["caption"] = "  "
    document["annotations"].append({"image_id": 99, "caption": "nobody's"})
    path.write_text(json.dumps(document))
    dataset = open_dataset(f"coco:{root}")
    assert [dataset[i].id for i in range(len(dataset))] == ["1", "3", "4", "5"]
    assert set(dataset.problems) == {
        "0: image missing",
        "1: duplicated id, the first is kept",
        "2: empty caption left out",
        "2: image without a caption left out",
        "image 90: file name that leads out of the folder left out",
        "image 91: file name that leads out of the folder left out",
        "image 99: captions of an image that is not listed left out",
    }


def test_many_of_a_kind_are_counted(tmp_path: Path) -> None:
    table = files.folder_csv(tmp_path / "data") / "metadata.csv"
    more = "\n" + "\n".join(f"no{i}.jpg,text" for i in range(120))
    table.write_text(table.read_text().replace("file_name", "photograph") + more)
    dataset = open_dataset(f"folder:{tmp_path / 'data'}", image_column="photograph")
    assert (len(dataset), len(dataset.problems)) == (files.N, 51)
    assert dataset.problems[-1] == "and 70 more: image missing"


def test_lines_that_cannot_be_read(tmp_path: Path) -> None:
    path = files.conceptual(tmp_path / "a") / "Train.tsv"
    lines = path.read_bytes().splitlines()
    lines[1] = "caf\xe9\thttp://example.org/1.jpg".encode("latin-1")
    lines[-1] = lines[-1][:9]
    path.write_bytes(b"\n".join(lines))
    dataset = open_dataset(f"conceptual-captions:{tmp_path / 'a'}")
    assert len(dataset) == files.N - 2
    listed = "\n".join(dataset.problems)
    assert "00000001: caption that is not in UTF-8 left out" in listed
    assert "Train.tsv, line 6: row with too few columns" in listed
    with (files.folder_jsonl(tmp_path / "b") / "metadata.jsonl").open("a") as file:
        file.write('\n{"image": "pictures/0.jpg", "cap')
    dataset = open_dataset(f"folder:{tmp_path / 'b'}")
    assert len(dataset) == files.N
    assert dataset.problems == ("metadata.jsonl, line 7: no whole JSON object",)


def test_shards_that_broke_off_lead_out_or_lack_an_image(tmp_path: Path) -> None:
    root = files.shards(tmp_path / "data")
    with tarfile.open(root / "00000.tar", "a") as archive:
        files.add(archive, "../evil.jpg", files.picture(1))
        files.add(archive, "9.json", b"{}")
    (root / "00001.tar").write_bytes((root / "00001.tar").read_bytes()[:2100])
    dataset = open_dataset(f"webdataset:{root}")
    assert [int(dataset[i].id) for i in range(3)] == [0, 1, 2]
    assert len(dataset) < files.N
    listed = "\n".join(dataset.problems)
    assert "00001.tar: rest of the shard unreadable" in listed
    assert "00000.tar, ../evil.jpg: file name that leads out of the folder" in listed
    assert "9: image missing" in listed


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ("cocoo:x", {}, "got 'cocoo'. Did you mean coco"),
        (".", {}, r"Write LAYOUT:\.\."),
        ("coco", {}, "must be written coco:PATH, got 'coco'"),
        ("digit-scenes:x", {}, "must be written digit-scenes, got"),
        ("coco:x", {"spilt": "val2017"}, "got 'spilt'. Did you mean split"),
        (3, {}, "must be named by a string, got int"),
        ("digit-scenes", {"part": "transport"}, "at least 7500 images for 2500 pairs and 5000 oth"),
    ],
)
def test_names_and_sizes_are_refused(spec, options, said: str) -> None:
    with pytest.raises((InputError, InputTypeError), match=said):
        open_dataset(spec, **options)


@pytest.mark.parametrize("layout", sorted(LAYOUTS.keys() - {"digit-scenes"}))
def test_nothing_there_and_an_empty_folder(tmp_path: Path, layout: str) -> None:
    with pytest.raises(InputError, match="must be a file or folder that exists, got nothing"):
        open_dataset(f"{layout}:{tmp_path / 'no'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="must"):
        open_dataset(f"{layout}:{tmp_path / 'empty'}")


def replaced(old: bytes, new: bytes):
    return lambda content: content.replace(old, new)


@pytest.mark.parametrize(
    ("write", "name", "spoil", "said"),
    [
        (files.coco, COCO, lambda _: b'{"images": [', rf"{COCO} must be"),
        (files.coco, COCO, lambda _: b"\xff\xfe{\x00}\x00", rf"{COCO} must be"),
        (files.coco, COCO, lambda _: b'{"images": 3}', rf"{COCO} must be"),
        (files.coco, COCO, replaced(b".jpg", b".no"), "image with a caption, got none .0: image"),
        (files.folder_csv, "metadata.csv", to_utf_16, "must be text in UTF-8, got UTF-16"),
        (files.folder_csv, "metadata.csv", replaced(b"file_n", b"n"), "column of the image .*got"),
        (files.shards, "00000.tar", gzip.compress, "must be a plain .tar, got one compressed"),
        (files.hub_parquet, SHARD, lambda content: content[:-20], f"{SHARD} must be a whole"),
    ],
)
def test_a_spoiled_file_is_refused(tmp_path: Path, write, name, spoil, said) -> None:
    root = write(tmp_path / "data")
    (root / name).write_bytes(spoil((root / name).read_bytes()))
    with pytest.raises(InputError, match=said):
        opened(write, root)


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def test_the_orientation_of_a_camera_is_applied() -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter, clockwise, to be upright
    found = load_picture(encoded(Image.fromarray(pixels), exif=exif))
    np.testing.assert_array_equal(np.asarray(found), np.rot90(pixels, -1))


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "expected"),
    [
        ("L", 90, "PNG", (90, 90, 90)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("RGBA", (10, 200, 30, 0), "PNG", (10, 200, 30)),
        ("LA", (90, 20), "PNG", (90, 90, 90)),
        ("1", 1, "PNG", (255, 255, 255)),
        ("I;16", 0x8000, "PNG", (128, 128, 128)),
        ("P", (10, 200, 30), "PNG", (10, 200, 30)),
    ],
)
def test_every_mode_becomes_rgb(mode, colour, kind, expected) -> None:
    palette = mode == "P"
    picture = Image.new("RGB" if palette else mode, (3, 2), colour)
    found = load_picture(encoded(picture.quantize(4) if palette else picture, kind))
    assert (found.mode, found.size) == ("RGB", (3, 2))
    assert found.getpixel((1, 1)) == expected


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("height", [9_000, 20_000])  # where Pillow warns, and where it refuses
def test_one_that_claims_too_many_pixels_is_refused(height) -> None:
    bomb = encoded(Image.new("1", (10_000, height)))
    assert len(bomb) < 100_000
    with pytest.raises(InputError, match=r"at most 89478485 pixels, got .*Scale it down first"):
        load_picture(bomb)
