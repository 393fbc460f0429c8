"""Small real files of each layout of images with captions."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

N = 6
CAPTIONS = {i: [f"caption {i} a", f"caption {i} b"] for i in range(N)}


def picture(i: int, kind: str = "JPEG") -> bytes:
    """A grey picture that tells its number."""
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), 40 * i, dtype=np.uint8)).save(out, kind)
    return out.getvalue()


def images(folder: Path, name: str = "{}.jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(N):
        (folder / name.format(i)).write_bytes(picture(i))


def lines_of(form: str) -> list[str]:
    """One line a caption, of the number of the image, that of its caption, and the text."""
    return [form.format(i, k, text) for i in range(N) for k, text in enumerate(CAPTIONS[i])]


def coco(root: Path) -> Path:
    images(root / "val2017")
    listed = [{"id": i, "file_name": f"{i}.jpg"} for i in range(N)]
    captions = [{"image_id": i, "caption": text} for i in range(N) for text in CAPTIONS[i]]
    (root / "annotations").mkdir()
    document = json.dumps({"images": listed, "annotations": captions})
    (root / "annotations" / "captions_val2017.json").write_text(document)
    return root


def conceptual(root: Path) -> Path:
    images(root / "images")
    lines = [f"caption {i} a\thttp://example.org/x/{i}.jpg?size=1" for i in range(N)]
    (root / "Train.tsv").write_text("\n".join(lines))
    return root


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def shards(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for shard in range(2):
        with tarfile.open(root / f"{shard:05}.tar", "w") as archive:
            for i in range(shard * 3, shard * 3 + 3):
                add(archive, f"{i:09}.jpg", picture(i))
                add(archive, f"{i:09}.json", json.dumps({"caption": f"caption {i} a"}).encode())
                add(archive, f"{i:09}.txt", f"caption {i} a".encode())
    return root


def flickr(root: Path) -> Path:
    images(root / "Flicker8k_Dataset")
    (root / "Flickr8k.token.txt").write_text("\n".join(lines_of("{}.jpg#{}\t{}")))
    (root / "Flickr_8k.testImages.txt").write_text("1.jpg\n4.jpg\n")
    return root


def flickr_csv(root: Path) -> Path:
    images(root / "Images")
    (root / "captions.txt").write_text("\n".join(["image,caption", *lines_of('{0}.jpg,"{2}"')]))
    return root


def flickr_bars(root: Path) -> Path:
    images(root / "flickr30k_images")
    lines = ["image_name| comment_number| comment", *lines_of("{}.jpg| {}| {}")]
    lines[-1] = lines[-1].replace("| 1| ", "| 1   ")  # a bar is missing in the published file too
    (root / "results.csv").write_text("\n".join(lines))
    return root


def flickr_json(root: Path) -> Path:
    images(root / "images")
    entries = [
        {"filename": f"{i}.jpg", "split": "test" if i in (1, 4) else "train"}
        | {"sentences": [{"raw": text} for text in texts]}
        for i, texts in CAPTIONS.items()
    ]
    (root / "dataset_flickr8k.json").write_text(json.dumps({"images": entries}))
    return root


def folder_csv(root: Path) -> Path:
    images(root)
    (root / "metadata.csv").write_text("\n".join(["file_name,text", *lines_of('{0}.jpg,"{2}"')]))
    return root


def folder_jsonl(root: Path) -> Path:
    images(root / "pictures")
    rows = [{"image": f"pictures/{i}.jpg", "captions": texts} for i, texts in CAPTIONS.items()]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root


def folder_parquet(root: Path) -> Path:
    images(root)
    table = {"path": [f"{i}.jpg" for i in range(N)], "caption": list(CAPTIONS.values())}
    pq.write_table(pa.table(table), root / "captions.parquet")
    return root


#: As the library of Hugging Face describes the columns of `_table`.
FEATURES = {
    "image": {"_type": "Image"},
    "caption": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
    "label": {"names": ["even", "odd"], "_type": "ClassLabel"},
}


def _table(shard: int) -> pa.Table:
    """Half of the pictures, as bytes in the table."""
    rows = range(shard * 3, shard * 3 + 3)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pictures = [{"bytes": picture(i, "PNG"), "path": f"{i}.png"} for i in rows]
    captions = pa.array([CAPTIONS[i] for i in rows])
    labels = pa.array([i % 2 for i in rows])
    return pa.table({"image": pa.array(pictures, kind), "caption": captions, "label": labels})


def hugging_face(root: Path) -> Path:
    """What `save_to_disk` writes: Arrow streams, with pictures as bytes."""
    root.mkdir(parents=True, exist_ok=True)
    names = [f"data-{shard:05}-of-00002.arrow" for shard in range(2)]
    for shard, name in enumerate(names):
        table = _table(shard)
        with pa.ipc.new_stream(root / name, table.schema) as writer:
            writer.write_table(table)
    (root / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    files = [{"filename": name} for name in names]
    (root / "state.json").write_text(json.dumps({"_data_files": files, "_split": None}))
    return root


def hub_parquet(root: Path, *, described: bool = True) -> Path:
    """What is downloaded from the hub: numbered Parquet files below data/, in groups of rows."""
    (root / "data").mkdir(parents=True)
    (root / "README.md").write_text("# A dataset\n")
    told = {"huggingface": json.dumps({"info": {"features": FEATURES}})} if described else None
    for shard in range(2):
        table = _table(shard).replace_schema_metadata(told)
        file = root / "data" / f"train-{shard:05}-of-00002.parquet"
        pq.write_table(table, file, row_group_size=2)
    return root


def classes(root: Path) -> Path:
    for i in range(N):
        folder = root / ("red_panda" if i % 2 else "cat")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(picture(i, "PNG"))
    return root


LAYOUTS = {
    coco: "coco",
    conceptual: "conceptual-captions",
    shards: "webdataset",
    **dict.fromkeys((flickr, flickr_csv, flickr_bars, flickr_json), "flickr"),
    **dict.fromkeys((folder_csv, folder_jsonl, folder_parquet), "folder"),
    **dict.fromkeys((hugging_face, hub_parquet), "hugging-face"),
}
