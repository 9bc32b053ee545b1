"""Releases made to harm: each case changes a copy of the sample, as an author or a mirror could, checksums included."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import video_files

from . import lures
from .lures import Lures

DATA = "data/unsafe/train-00000-of-00001.parquet"
META = "data/metadata/train.parquet"
VOTES = "data/annotations/train.parquet"
GOOD_ENTRY = {"bytes": 6, "sha256": hashlib.sha256(b"canary").hexdigest(), "rows": None}


@dataclass(frozen=True)
class ReleaseCase:
    """`make` changes the release in a folder. `sound`: `verify` finds nothing. `same`: tables, if read, equal the sample's."""

    tries: str
    make: Callable[[Path, Lures], None]
    sound: bool = False
    same: bool = True


# -- tools


def seal(root: Path) -> None:
    """Write bytes, sha256 and rows of every file into the manifest: a hostile author has correct checksums."""

    def entries(manifest: dict[str, Any]) -> None:
        for entry in manifest["files"]:
            path = root / entry["path"]
            if path.is_file():
                data = path.read_bytes()
                entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                with contextlib.suppress(pa.ArrowException, OSError):
                    entry["rows"] = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None

    manifest_of(root, entries)


def manifest_of(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = root / "manifest.json"
    manifest = json.loads(file.read_bytes())
    change(manifest)
    file.write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def table_of(root: Path, name: str, change: Callable[[pa.Table], pa.Table], **options: Any) -> None:
    table = change(pq.read_table(root / name))
    settings: dict[str, Any] = {"row_group_size": 16, "write_page_checksum": True, "use_dictionary": False, **options}
    pq.write_table(table, root / name, **settings)
    seal(root)


def put_column(table: pa.Table, name: str, change: Callable[[list[Any]], list[Any]]) -> pa.Table:
    index = table.column_names.index(name)
    field = table.schema.field(index)
    return table.set_column(index, field, pa.array(change(table[name].to_pylist()), field.type))


def video_is(root: Path, data: bytes) -> None:
    """The first unsafe video of the training split becomes `data`, with an id and checksum that fit, in every table."""
    old = pq.read_table(root / DATA, columns=["video_id"])["video_id"][0].as_py()
    digest = hashlib.sha256(data).hexdigest()
    facts = {"video_id": digest[:16], "sha256": digest, "num_bytes": len(data)}

    def change(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        for row in rows:
            if row["video_id"] == old:
                row |= {key: value for key, value in facts.items() if key in row}
                if "video" in row:
                    row["video"] = {"bytes": data, "path": f"{digest[:16]}.mp4"}
        return pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["video_id"])), schema=table.schema)

    for name in (DATA, META, VOTES):
        table_of(root, name, change)


def first_cell(root: Path, path: str | None, *, keep_bytes: bool) -> None:
    def change(rows: list[Any]) -> list[Any]:
        return [{"bytes": rows[0]["bytes"] if keep_bytes else None, "path": path}, *rows[1:]]

    table_of(root, DATA, lambda table: put_column(table, "video", change))


def entry(path: str) -> Callable[[Path, Lures], None]:
    """One more file in the manifest's list."""
    return lambda root, _: manifest_of(root, lambda manifest: manifest["files"].append({"path": path, **GOOD_ENTRY}))


def _twins(*names: str) -> Callable[[Path, Lures], None]:
    def make(root: Path, _: Lures) -> None:
        manifest_of(root, lambda manifest: manifest["files"].extend({"path": name, **GOOD_ENTRY} for name in names))

    return make


def _set(*keys: Any, to: Any) -> Callable[[Path, Lures], None]:
    def make(root: Path, _: Lures) -> None:
        def change(manifest: Any) -> None:
            for key in keys[:-1]:
                manifest = manifest[key]
            manifest[keys[-1]] = to

        manifest_of(root, change)

    return make


def _of_file(name: str, **facts: Any) -> Callable[[Path, Lures], None]:
    def change(manifest: dict[str, Any]) -> None:
        next(entry for entry in manifest["files"] if entry["path"] == name).update(facts)

    return lambda root, _: manifest_of(root, change)


def _raw(text: str | bytes) -> Callable[[Path, Lures], None]:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return lambda root, _: void((root / "manifest.json").write_bytes(data))


def void(_: object) -> None:
    pass


def _insert(text: str) -> Callable[[Path, Lures], None]:
    """Text right after the manifest's first brace."""

    def make(root: Path, _: Lures) -> None:
        file = root / "manifest.json"
        file.write_text("{" + text + "," + file.read_text(encoding="utf-8").lstrip()[1:], encoding="utf-8")

    return make


def _link(name: str, target: Callable[[Path, Lures], Path | str]) -> Callable[[Path, Lures], None]:
    def make(root: Path, to: Lures) -> None:
        path = root / name
        if path.is_file():
            path.unlink()
        path.symlink_to(target(root, to))

    return make


def _outside(root: Path, name: str) -> Path:
    """A copy of a file of the release beside the release."""
    copy = root.parent / f"outside-{Path(name).name}"
    copy.write_bytes((root / name).read_bytes())
    return copy


def _linked_out(name: str) -> Callable[[Path, Lures], None]:
    def make(root: Path, _: Lures) -> None:
        target = _outside(root, name)
        (root / name).unlink()
        (root / name).symlink_to(target)

    return make


def _folder_out(root: Path, _: Lures) -> None:
    target = root.parent / "outside-unsafe"
    (root / "data/unsafe").rename(target)
    (root / "data/unsafe").symlink_to(target, target_is_directory=True)


def _pipe(name: str) -> Callable[[Path, Lures], None]:
    def make(root: Path, _: Lures) -> None:
        (root / name).unlink()
        os.mkfifo(root / name)

    return make


def _card(text: Callable[[Lures], str]) -> Callable[[Path, Lures], None]:
    def make(root: Path, to: Lures) -> None:
        (root / "README.md").write_text(
            f"---\nconfigs:\n- config_name: unsafe\n  data_files:\n{text(to)}\n---\n", encoding="utf-8"
        )
        seal(root)

    return make


def _add(name: str, text: Callable[[Lures], str]) -> Callable[[Path, Lures], None]:
    """A file that the manifest lists, with checksums."""

    def make(root: Path, to: Lures) -> None:
        (root / name).write_text(text(to), encoding="utf-8")
        manifest_of(root, lambda manifest: manifest["files"].append({"path": name, **GOOD_ENTRY}))
        seal(root)

    return make


class _Opens:
    """Opens the canary when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path),)


def _pickled(root: Path, to: Lures) -> None:
    """pyarrow before 14.0.1 unpickled extension types from a file's schema (CVE-2023-47248)."""
    facts = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(_Opens(to.canary))}

    def change(table: pa.Table) -> pa.Table:
        fields = [field.with_metadata(facts) if field.name == "prompt" else field for field in table.schema]
        return table.cast(pa.schema(fields))

    table_of(root, META, change)


def _bytes_of(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path, Lures], None]:
    def make(root: Path, _: Lures) -> None:
        path = root / name
        path.write_bytes(change(path.read_bytes()))
        seal(root)

    return make


def _elsewhere(data: bytes, path: bytes) -> bytes:
    """Say of every column chunk that it is in another file (Parquet's `file_path`)."""
    (length,) = struct.unpack("<I", data[-8:-4])
    footer = data[-8 - length : -8].replace(b"\x26\x00\x1c", b"\x18" + bytes([len(path)]) + path + b"\x16\x00\x1c")
    return data[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _deep_schema(depth: int) -> bytes:
    """A footer with columns nested `depth` deep."""
    group = b"\x35\x02\x18\x01g\x15\x02\x00"  # optional, name g, 1 child
    count = depth + 2
    size = bytes([count & 127 | 128, count >> 7 & 127 | 128, count >> 14])
    footer = b"\x15\x02\x19\xfc" + size + b"\x48\x01s\x15\x02\x00" + group * depth + b"\x15\x02\x25\x02\x18\x01x\x00"
    footer += b"\x16\x00\x19\x0c\x00"
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _prompts(values: Callable[[int], pa.Array], **options: Any) -> Callable[[Path, Lures], None]:
    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index("prompt")
        return table.set_column(index, "prompt", values(table.num_rows))

    # Without the Arrow schema in the file, readers see plain text and copy it out for each row.
    settings = {"use_dictionary": True, "compression": "zstd", "row_group_size": 10_000, "store_schema": False}
    settings |= {"write_statistics": False, **options}
    return lambda root, _: table_of(root, META, change, **settings)


def _one_prompt(size: int) -> Callable[[int], pa.Array]:
    """All prompts the same long text: stored once, read once a row."""
    return lambda rows: pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * size]))


def _zeros(root: Path, _: Lures) -> None:
    """Videos that are 100 MB of zeros, compressed to some kB."""

    def change(rows: list[Any]) -> list[Any]:
        return [{"bytes": bytes(100_000_000), "path": row["path"]} if n < 3 else row for n, row in enumerate(rows)]

    table_of(root, DATA, lambda table: put_column(table, "video", change), compression="zstd", write_statistics=False)


def _many_votes(root: Path, _: Lures) -> None:
    """A row whose list has 40 million entries, stored as one run."""

    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index("categories")
        zeros = pa.Array.from_buffers(pa.int64(), 40_000_000, [None, pa.py_buffer(bytes(8 * 40_000_000))])
        lists = pa.ListArray.from_arrays(pa.array([0] + [40_000_000] * table.num_rows, pa.int32()), zeros)
        return table.set_column(index, table.schema.field(index), lists.cast(table.schema.field(index).type))

    table_of(root, META, change, use_dictionary=True, compression="zstd", row_group_size=10_000)


def _rows_again(root: Path, _: Lures) -> None:
    table_of(root, DATA, lambda table: pa.concat_tables([table, table]))


def _withdrawn_text(root: Path, _: Lures) -> None:
    name = pq.read_table(root / DATA, columns=["video_id"])["video_id"][0].as_py()

    def change(table: pa.Table) -> pa.Table:
        row = {"video_id": name, "reason": "\x1b]0;owned\x07\u202e gone", "date": "2024-01-01"}
        return pa.Table.from_pylist([{key: row.get(key) for key in table.column_names}], schema=table.schema)

    table_of(root, "tombstones.parquet", change)


def _type(name: str, column: str, made: pa.DataType) -> Callable[[Path, Lures], None]:
    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index(column)
        return table.set_column(index, pa.field(column, made), pa.nulls(table.num_rows, made))

    return lambda root, _: table_of(root, name, change)


def _swap(root: Path, _: Lures) -> None:
    """Two videos change places: every checksum of a file fits."""
    table_of(root, DATA, lambda table: put_column(table, "video", lambda rows: [rows[1], rows[0], *rows[2:]]))


def _cell(path: Callable[[Lures], str], *, keep_bytes: bool) -> Callable[[Path, Lures], None]:
    return lambda root, to: first_cell(root, path(to), keep_bytes=keep_bytes)


def _video(data: Callable[[Lures], bytes]) -> Callable[[Path, Lures], None]:
    return lambda root, to: video_is(root, data(to))


def _known(name: str) -> Callable[[Path, Lures], None]:
    return _video(lambda to: video_files.HOSTILE[name][0]())


def _column(name: str, value: Any, *files: str) -> Callable[[Path, Lures], None]:
    """Every row has this value, in the given files (default: data and metadata)."""

    def make(root: Path, _: Lures) -> None:
        for file in files or (META, DATA):
            table_of(root, file, lambda table: put_column(table, name, lambda rows: [value] * len(rows)))

    return make


def _utf16(root: Path, _: Lures) -> None:
    file = root / "manifest.json"
    file.write_bytes(file.read_text(encoding="utf-8").encode("utf-16"))


def _croissant(root: Path, to: Lures) -> None:
    (root / "croissant.json").write_text(json.dumps({"distribution": [{"contentUrl": to.http}]}), encoding="utf-8")
    seal(root)


def _many_entries(root: Path, _: Lures) -> None:
    entries = [{"path": f"x/{number}", **GOOD_ENTRY} for number in range(4_000)]
    manifest_of(root, lambda manifest: manifest["files"].extend(entries))


def _no_annotations(root: Path, _: Lures) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["files"] = [entry for entry in manifest["files"] if "annotations" not in entry["path"]]

    manifest_of(root, change)


def _unlisted(root: Path, _: Lures) -> None:
    shutil.copy(root / DATA, root / "data/unsafe/train-00001-of-00002.parquet")


def _patterned_ids(root: Path, _: Lures) -> None:
    table_of(root, META, lambda table: put_column(table, "video_id", lambda rows: ["../" + "\u202e" * 13, *rows[1:]]))


def _sized(root: Path, to: Lures) -> None:
    for name in ("width", "height"):
        _column(name, 2**31 - 1)(root, to)


def _said_elsewhere(root: Path, to: Lures) -> None:
    _bytes_of(DATA, lambda data: _elsewhere(data, os.fsencode(to.canary)[-100:]))(root, to)


def _one_byte(data: bytes) -> bytes:
    at = data.index(b"mdat") + 40
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


def _repeated(rows: int) -> pa.Array:
    return pa.array(["a" * 10_000_000] * rows)


_PATH = "have a cell's path read"
_FETCH = "have a cell's path fetched"

# -- cases

CELLS = {
    "path cell: http, bytes right": ReleaseCase(_FETCH, _cell(lambda to: to.http, keep_bytes=True)),
    "path cell: absolute, bytes right": ReleaseCase(_PATH, _cell(lambda to: str(to.canary), keep_bytes=True)),
    "path cell: .., bytes right": ReleaseCase(_PATH, _cell(lambda to: "../canary/secret.mp4", keep_bytes=True)),
    "path cell: http, no bytes": ReleaseCase(_FETCH, _cell(lambda to: to.http, keep_bytes=False)),
    "path cell: file://, no bytes": ReleaseCase(_PATH, _cell(lambda to: to.file, keep_bytes=False)),
    "path cell: absolute, no bytes": ReleaseCase(_PATH, _cell(lambda to: str(to.canary), keep_bytes=False)),
    "path cell: .., no bytes": ReleaseCase(_PATH, _cell(lambda to: "../canary/secret.mp4", keep_bytes=False)),
    "path cell: control characters": ReleaseCase(
        "write to the terminal", _cell(lambda to: "\x1b[2J\u202e.mp4", keep_bytes=True)
    ),
    "video: HLS": ReleaseCase("fetch an address", _video(lambda to: lures._hls(to.http)), same=False),
    "video: DASH": ReleaseCase("fetch an address", _video(lambda to: lures._dash(to.http)), same=False),
    "video: SDP": ReleaseCase("bind and send to UDP ports", _video(lambda to: lures._sdp(to.udp)), same=False),
    "video: ffconcat": ReleaseCase("read another file", _video(lambda to: lures.LURES["ffconcat, file"][0](to)), same=False),
    "video: SMIL": ReleaseCase("fetch an address", _video(lambda to: lures._smil(to.http)), same=False),
    "video: XSPF": ReleaseCase("fetch an address", _video(lambda to: lures._xspf(to.http)), same=False),
    "video: data reference": ReleaseCase(
        "read another file", _video(lambda to: lures.with_dref(lures._alis(to.canary))), same=False
    ),
    "video: box sizes that lie": ReleaseCase("read past the end", _known("box larger than its parent"), same=False),
    "video: 16384x16384": ReleaseCase("fill the memory", _known("16384x16384"), same=False),
    "video: a billion frames": ReleaseCase("fill the memory", _known("billion frames"), same=False),
    "video: zero duration": ReleaseCase("divide by zero", _known("zero duration"), same=False),
    "video: empty": ReleaseCase("pass as a video", _video(lambda to: b""), same=False),
    "two videos swapped": ReleaseCase("hand out another video under an id", _swap),
    "rows stand twice": ReleaseCase("hand out a row twice", _rows_again),
    "rows stand twice in the metadata": ReleaseCase(
        "hand out a row twice", lambda r, to: table_of(r, META, lambda table: pa.concat_tables([table, table]))
    ),
    "tombstone with control characters": ReleaseCase("write to the terminal", _withdrawn_text, same=False),
}

MANIFEST = {
    "entry: absolute path": ReleaseCase("read another file", lambda r, to: entry(str(to.canary))(r, to)),
    "entry: ..": ReleaseCase("read another file", entry("../canary/secret.mp4")),
    "entry: .. inside": ReleaseCase("read another file", entry("data/unsafe/train-../../../../canary/secret.mp4")),
    "entry: backslashes": ReleaseCase("read another file", entry("..\\canary\\secret.mp4")),
    "entry: drive letter": ReleaseCase("read another file on Windows", entry("C:/secret.mp4")),
    "entry: address": ReleaseCase("fetch an address", lambda r, to: entry(to.http)(r, to)),
    "entry: line end": ReleaseCase("forge a line of a message", entry("data/x\n")),
    "entry: control character": ReleaseCase("write to the terminal", entry("data/\x1b[2Jx")),
    "entry: direction (bidi)": ReleaseCase("show another name", entry("data/\u202e4pm.tekcap")),
    "entry: zero-width": ReleaseCase("look like another name", entry("data/\u200btrain.parquet")),
    "entry: NFD": ReleaseCase("be two files on one system, one on another", entry("data/cafe\u0301.parquet")),
    "entries: NFC and NFD twins": ReleaseCase("replace one file by its twin", _twins("data/caf\u00e9", "data/cafe\u0301")),
    "entries: upper and lower case": ReleaseCase("replace one file by its twin", _twins("data/A.txt", "data/a.txt")),
    "entries: compatibility twins": ReleaseCase("replace one file by its twin", _twins("data/\u212b.txt", "data/\u00e5.txt")),
    "entry: lone surrogate": ReleaseCase("break what writes the name", entry("data/\ud800")),
    "entry: NUL": ReleaseCase("cut the name short", entry("data/x\0y")),
    "entry: empty": ReleaseCase("name the folder itself", entry("")),
    "entry: one dot": ReleaseCase("name the folder itself", entry("./README.md")),
    "entry: the manifest": ReleaseCase("a checksum of itself", entry("manifest.json")),
    "entry: the manifest, other case": ReleaseCase("replace the manifest", entry("MANIFEST.json")),
    "entry twice": ReleaseCase("two checksums for one file", entry("README.md")),
    "entry: folder": ReleaseCase("read a folder", entry("data")),
    "entry: file that is not there": ReleaseCase("list more than there is", entry("data/unsafe/train-00001-of-00002.parquet")),
    "entries: 4,000": ReleaseCase("take for ever", _many_entries),
    "rows lie": ReleaseCase("count other rows", _of_file(DATA, rows=10**9)),
    "rows missing": ReleaseCase("count no rows", _of_file(DATA, rows=None)),
    "bytes lie": ReleaseCase("hide a change", _of_file(DATA, bytes=10**15)),
    "sha256 lies": ReleaseCase("hide a change", _of_file(DATA, sha256="0" * 64)),
    "counts lie": ReleaseCase("claim other numbers", _set("counts", "videos", to=10**12)),
    "negative counts": ReleaseCase("claim other numbers", _set("counts", "videos", to=-1)),
    "no files": ReleaseCase("skip every check", _set("files", to=[])),
    "configs without files": ReleaseCase("promise what is not there", _no_annotations),
    "name with path": ReleaseCase("write elsewhere", _set("name", to="../../x")),
    "name with line end": ReleaseCase("forge a line of a message", _set("name", to="sample\n")),
    "setting with escape sequence": ReleaseCase("write to the terminal", _set("settings", "x", to="\x1b]0;x\x07")),
    "generator with escape sequence": ReleaseCase("write to the terminal", _set("counts", "generators", to={"\x1b[2J": 1})),
    "other schema version": ReleaseCase("be read by other rules", _set("schema_version", to="9.9.9")),
    "nested 100,000 deep": ReleaseCase("crash the reader", _raw("[" * 100_000 + "]" * 100_000)),
    "setting nested 900 deep": ReleaseCase("crash the reader", _insert('"settings2":' + '{"a":' * 900 + "1" + "}" * 900)),
    "65 MB of blanks": ReleaseCase("fill the memory", _raw(b" " * (65 * 2**20))),
    "a number of 5,000 digits": ReleaseCase("take for ever", _insert('"x":' + "9" * 5000)),
    "not a number": ReleaseCase("compare as nothing does", _insert('"x":NaN')),
    "UTF-16": ReleaseCase("be read otherwise by another reader", _utf16),
    "a name twice": ReleaseCase("be read otherwise by another reader", _insert('"files":[]')),
    "entry: stream of a file": ReleaseCase("hide data on Windows", entry("README.md:hidden")),
    "bytes that are no text": ReleaseCase("crash the reader", _raw(b"\xff\xfe\xfd\x80{}")),
    "empty manifest": ReleaseCase("crash the reader", _raw(b"")),
    "a list": ReleaseCase("crash the reader", _raw("[]")),
    "null": ReleaseCase("crash the reader", _raw("null")),
}

FILES = {
    "data file: link out": ReleaseCase("read another file", _linked_out(DATA)),
    "data file: link to the canary": ReleaseCase("read another file", _link(DATA, lambda r, to: to.canary)),
    "data file: link to a device": ReleaseCase("read for ever", _link(DATA, lambda r, to: "/dev/zero")),
    "data file: link to itself": ReleaseCase("follow for ever", _link(DATA, lambda r, to: r / DATA)),
    "data file: dangling link": ReleaseCase("read another file later", _link(DATA, lambda r, to: "../../../nothing")),
    "data file: named pipe": ReleaseCase("wait for ever", _pipe(DATA)),
    "data folder: link out": ReleaseCase("read other files", _folder_out),
    "tombstones: link out": ReleaseCase("hide what was withdrawn", _linked_out("tombstones.parquet")),
    "tombstones: missing": ReleaseCase("hide what was withdrawn", lambda r, to: (r / "tombstones.parquet").unlink()),
    "manifest: link out": ReleaseCase("read another file", _linked_out("manifest.json")),
    "manifest: link to the canary": ReleaseCase(
        "show another file in an error", _link("manifest.json", lambda r, to: to.canary)
    ),
    "manifest: named pipe": ReleaseCase("wait for ever", _pipe("manifest.json")),
    "link that is not listed": ReleaseCase("be copied along", _link("data/extra", lambda r, to: to.canary)),
    "card: data_files http": ReleaseCase(
        "have the card's data loaded", _card(lambda to: f"  - split: train\n    path: {to.http}"), sound=True
    ),
    "card: data_files absolute": ReleaseCase(
        "have the card's data loaded", _card(lambda to: f"  - split: train\n    path: {to.canary}"), sound=True
    ),
    "card: data_files ..": ReleaseCase(
        "have the card's data loaded", _card(lambda to: "  - split: train\n    path: ../canary/*"), sound=True
    ),
    "card: YAML tags": ReleaseCase(
        "run code", _card(lambda to: f"  !!python/object/apply:os.open ['{to.canary}', 0]"), sound=True
    ),
    "croissant: addresses": ReleaseCase("have the card's data loaded", _croissant, sound=True),
    "dataset script": ReleaseCase("run code", _add("release.py", lambda to: f"open({str(to.canary)!r})"), sound=True),
    "module names in the folder": ReleaseCase(
        "run code when started in the folder", _add("numpy.py", lambda to: f"open({str(to.canary)!r})"), sound=True
    ),
    "file that is not listed": ReleaseCase("be taken for data", _unlisted),
}

PARQUET = {
    "some kB that hold 1 GB, dictionary": ReleaseCase("fill the memory", _prompts(_one_prompt(90_000_000))),
    "pages of zeros, 300 MB": ReleaseCase("fill the memory", _zeros),
    "a list of 40 million": ReleaseCase("fill the memory", _many_votes),
    "prefixes that repeat (DELTA_BYTE_ARRAY)": ReleaseCase(
        "fill the memory", _prompts(_repeated, use_dictionary=False, column_encoding={"prompt": "DELTA_BYTE_ARRAY"})
    ),
    "columns in another file": ReleaseCase("read another file", _said_elsewhere),
    "extension type that is a pickle": ReleaseCase("run code", _pickled, sound=True),
    "schema nested 50,000 deep": ReleaseCase("crash the reader", _bytes_of(META, lambda data: _deep_schema(50_000))),
    "footer length that lies": ReleaseCase(
        "read past the end", _bytes_of(DATA, lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1")
    ),
    "footer of zeros": ReleaseCase("crash the reader", _bytes_of(DATA, lambda data: data[:-2000] + bytes(1992) + data[-8:])),
    "truncated": ReleaseCase("read past the end", _bytes_of(DATA, lambda data: data[: len(data) // 2])),
    "page headers of noise": ReleaseCase(
        "crash the reader", _bytes_of(DATA, lambda data: data[:4] + b"\x15\xff\xff\xff\xff\x0f" * 20 + data[124:])
    ),
    "bytes of a page changed": ReleaseCase("hand out wrong bytes", _bytes_of(DATA, _one_byte)),
    "encrypted": ReleaseCase("crash the reader", _bytes_of(DATA, lambda data: b"PARE" + data[4:-4] + b"PARE")),
    "an MP4 in place of Parquet": ReleaseCase("crash the reader", _bytes_of(DATA, lambda data: video_files.plain())),
    "column of another type": ReleaseCase("crash the reader", _type(META, "num_frames", pa.string())),
    "video column of text": ReleaseCase(_PATH, _type(DATA, "video", pa.string())),
    "ids are null": ReleaseCase("match any id", _column("video_id", None, META), same=False),
    "ids with patterns": ReleaseCase("match any id", _patterned_ids, same=False),
    "video cells are null": ReleaseCase("crash the reader", _column("video", None, DATA)),
    "every id of the data is null": ReleaseCase("match any id", _column("video_id", None, DATA)),
    "class index -1": ReleaseCase("be taken for the last category", _column("categories", [-1]), same=False),
    "class index 7": ReleaseCase("crash the loader", _column("categories", [7]), same=False),
    "frame count is null": ReleaseCase("crash the loader", _column("num_frames", None), same=False),
    "frame count is negative": ReleaseCase("crash the loader", _column("num_frames", -5), same=False),
    "agreement is not a number": ReleaseCase("pass any filter", _column("agreement", float("nan")), same=False),
    "frame counts of billions": ReleaseCase("fill the memory", _column("num_frames", 2**31 - 1), same=False),
    "sizes of billions": ReleaseCase("fill the memory", _sized, same=False),
}

RELEASES = {"cells": CELLS, "manifest": MANIFEST, "files": FILES, "Parquet": PARQUET}
