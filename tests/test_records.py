"""The contract: sound schemas; Arrow schemas and `datasets.Features` that agree with them; all faults of a record at once."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, get_args

import datasets
import jsonschema
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsafe_video_dataset.errors import FilterError, SchemaError
from unsafe_video_dataset.records import Kind, arrow_schema, features, from_table, schema, to_table, validate
from unsafe_video_dataset.taxonomy import CATEGORIES, SPLITS, VOTE_KEYS

KINDS = get_args(Kind)
TABLES = {"video": "video", "metadata": "video", "annotation": "annotation", "prediction": "prediction"}
Node = dict[str, Any]


def video(**changes: Any) -> Node:
    return {**copy.deepcopy(schema("video")["examples"][0]), **changes}


# -- the schemas


def properties(node: Any, path: str = "") -> Iterator[tuple[str, Node]]:
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict) and not path.endswith(("if", "then", "else")) and "anyOf" not in path:
            for name, child in node["properties"].items():
                yield f"{path}/{name}", child
        for key, child in node.items():
            if key != "examples":
                yield from properties(child, f"{path}/{key}")
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from properties(child, f"{path}/{number}")


@pytest.mark.parametrize("kind", KINDS)
def test_schema_is_valid_named_and_described(kind: Kind) -> None:
    node = schema(kind)
    assert node["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(node)
    assert re.fullmatch(rf"urn:unsafe-video-dataset:schema:{kind}:\d+\.\d+\.\d+", node["$id"])
    assert node["description"]
    assert node["title"]
    bare = [path for path, child in properties(node) if not child.get("description")]
    assert not [path for path in bare if "/allOf/" not in path]


@pytest.mark.parametrize("kind", KINDS)
def test_examples_are_valid_by_plain_jsonschema_and_by_ours(kind: Kind) -> None:
    examples = schema(kind)["examples"]
    assert examples
    for example in examples:
        jsonschema.Draft202012Validator(schema(kind)).validate(example)
    assert validate(kind, list(enumerate(examples, 1)), file="f") == []


def test_no_schema_allows_unknown_fields() -> None:
    assert all(schema(kind)["additionalProperties"] is False for kind in KINDS)


def test_unknown_kind_lists_the_kinds() -> None:
    with pytest.raises(FilterError, match="video, annotation, prompt, manifest, prediction"):
        schema("nope")  # type: ignore[arg-type]


def test_taxonomy_and_schema_agree() -> None:
    found = schema("video")["properties"]
    assert found["categories"]["items"]["enum"] == list(CATEGORIES)
    assert found["votes"]["items"]["properties"]["categories"]["items"]["enum"] == list(CATEGORIES)
    assert tuple(found["vote_counts"]["properties"]) == VOTE_KEYS
    assert tuple(found["soft_labels"]["properties"]) == CATEGORIES
    assert found["split"]["enum"] == list(SPLITS)


# -- Arrow and datasets against the schema, field by field; nothing here reads the `x-` hints


def types(node: Node) -> set[str]:
    stated = node.get("type", [])
    return set([stated] if isinstance(stated, str) else stated) - {"null"}


def assert_agree(path: str, node: Node, arrow: pa.Field, feature: Any) -> None:
    (kind,) = types(node)
    assert arrow.nullable, f"{path}: every column may be null in Arrow, as JSON's null must have a place"
    if node.get("enum") == list(CATEGORIES):
        assert arrow.type == pa.int64(), path
        assert isinstance(feature, datasets.ClassLabel), path
        assert feature.names == list(CATEGORIES), path
    elif kind == "array":
        assert pa.types.is_list(arrow.type), path
        assert isinstance(feature, datasets.List), path
        assert_agree(f"{path}[]", node["items"], arrow.type.value_field, feature.feature)
    elif kind == "object":
        assert pa.types.is_struct(arrow.type), path
        children = node["properties"]
        assert [arrow.type.field(number).name for number in range(arrow.type.num_fields)] == list(children), path
        if isinstance(feature, datasets.Video):
            assert feature.decode is False
            assert feature() == arrow.type
            return
        assert list(feature) == list(children), path
        for name, child in children.items():
            assert_agree(f"{path}.{name}", child, arrow.type.field(name), feature[name])
    else:
        allowed = {
            "string": {pa.binary() if node.get("contentEncoding") == "base64" else pa.string()},
            "integer": {pa.int32(), pa.int64()},
            "number": {pa.float64()},
            "boolean": {pa.bool_()},
        }[kind]
        assert arrow.type in allowed, path
        assert isinstance(feature, datasets.Value), path
        assert feature() == arrow.type, path


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_arrow_and_features_agree_with_the_schema_field_by_field(table: Any, split: bool) -> None:
    kind: Any = TABLES[table]
    expected = dict(schema(kind)["properties"])
    if not split:
        expected.pop("split", None)
    if table == "metadata":
        expected.pop("video")
    arrow, feature = arrow_schema(table, split=split), features(table, split=split)
    assert arrow.names == list(expected) == list(feature)
    for name, node in expected.items():
        assert_agree(name, node, arrow.field(name), feature[name])
    assert feature.arrow_schema.remove_metadata().equals(arrow)


@pytest.mark.parametrize("kind", ["video", "annotation", "prediction"])
def test_examples_survive_arrow_and_datasets(kind: Any) -> None:
    for example in schema(kind)["examples"]:
        rows = to_table(kind, [example], split=True)
        assert rows.schema.equals(arrow_schema(kind, split=True))
        (back,) = from_table(kind, rows)
        assert {name: value for name, value in back.items() if value is not None} == {
            name: ({**value, "bytes": None} if name == "video" else value)
            for name, value in example.items()
            if value is not None
        }
        loaded = datasets.Dataset(rows.cast(features(kind, split=True).arrow_schema))
        assert loaded.features == features(kind, split=True)


@given(st.lists(st.lists(st.sampled_from(CATEGORIES), unique=True), max_size=5))
def test_category_names_round_trip(lists: list[list[str]]) -> None:
    base = schema("annotation")["examples"][0]
    records = [{**base, "categories": names, "seconds": None} for names in lists]
    rows = to_table("annotation", records)
    assert [[CATEGORIES[index] for index in row] for row in rows["categories"].to_pylist()] == lists
    assert from_table("annotation", rows) == records


def test_an_index_that_is_no_class_is_a_fault_and_an_unknown_name_an_error() -> None:
    base = schema("annotation")["examples"][0]
    rows = to_table("annotation", [base])
    bad = rows.set_column(2, "categories", pa.array([[0, 9, -1]], pa.list_(pa.int64())))
    faults = validate("annotation", [(1, row) for row in from_table("annotation", bad)], file="f")
    assert [fault.field for fault in faults] == ["categories.1", "categories.2"]
    with pytest.raises(SchemaError, match="'nope' is no category"):
        to_table("annotation", [{**base, "categories": ["nope"]}])


# -- faults


def test_all_faults_of_all_records_at_once() -> None:
    first = video(video_id="XYZ", num_frames=0, extra=1)
    del first["codec"]
    second = video(categories=["terrifying", "terrifying", "nope"], fps=float("nan"))
    third = video(is_unsafe=False)
    faults = validate("video", [(3, first), (5, second), (9, third)], file="rows.csv")
    assert {(fault.line, fault.field) for fault in faults} == {
        (3, None),
        (3, "num_frames"),
        (3, "video_id"),
        (5, "categories"),
        (5, "categories.2"),
        (5, "fps"),
        (9, "categories"),
    }
    assert all(fault.file == "rows.csv" and fault.expected and fault.message for fault in faults)
    texts = [str(fault) for fault in faults]
    assert any("rows.csv:3: 'codec' is missing; expected the fields" in text for text in texts)
    assert any("rows.csv:3: unknown 'extra'; expected only the fields video_id" in text for text in texts)
    assert any(text.startswith("rows.csv:3 [num_frames]: found 0; expected at least 1") for text in texts)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), True, "1"])
@pytest.mark.parametrize("field", ["fps", "agreement", "duration_seconds"])
def test_what_is_no_json_number_is_refused(field: str, value: Any) -> None:
    (fault, *_) = validate("video", [(1, video(**{field: value}))], file="f")
    assert fault.field == field


@pytest.mark.parametrize(("field", "value"), [("num_frames", 2**31), ("source_index", 2**63), ("num_bytes", 10**400)])
def test_a_number_that_arrow_cannot_hold_is_a_fault(field: str, value: int) -> None:
    (fault,) = validate("video", [(1, video(**{field: value}))], file="f")
    assert (fault.field, "fits int" in str(fault.expected)) == (field, True)
    assert validate("video", [(1, video(**{field: 2**31 - 1}))], file="f") == []


@pytest.mark.parametrize("field", ["video_id", "prompt_id", "sha256", "group_id", "codec"])
def test_a_newline_at_the_end_is_not_let_through(field: str) -> None:
    (fault,) = validate("video", [(1, video(**{field: video()[field] + "\n"}))], file="f")
    assert fault.field == field


def test_a_fault_never_shows_a_prompt() -> None:
    secret = "words that nobody should read"
    records = [video(prompt=secret * 2000), video(prompt=7), {**video(), "votes": {"a": secret}}, secret]
    faults = validate("video", list(enumerate(records, 1)), file="f")  # type: ignore[arg-type]
    assert {fault.line for fault in faults} == {1, 2, 3, 4}
    assert not [fault for fault in faults if "words" in str(fault)]


def test_a_prediction_without_scores_says_what_would_do() -> None:
    (fault,) = validate("prediction", [(2, {"video_id": "0" * 16})], file="p.jsonl")
    assert str(fault) == (
        "p.jsonl:2: there is no valid `scores` or `unsafe_score`; expected a value in `scores` or `unsafe_score`"
    )


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../b", "a/./b", "a\\b", "", "..", "a\n", "a/.."])
def test_a_manifest_path_cannot_leave_the_folder(path: str) -> None:
    manifest = copy.deepcopy(schema("manifest")["examples"][0])
    manifest["files"][0]["path"] = path
    assert [fault.field for fault in validate("manifest", [(None, manifest)], file="m")] == ["files.0.path"]


def test_upstream_labels_have_no_votes_and_majority_ones_do() -> None:
    votes = video()["votes"]
    upstream = schema("video")["examples"][1]
    assert validate("video", [(None, upstream)], file="f") == []
    assert {f.field for f in validate("video", [(None, {**upstream, "votes": votes, "num_raters": 3})], file="f")} == {
        "votes",
        "num_raters",
    }
    assert "votes" in {fault.field for fault in validate("video", [(None, video(votes=None))], file="f")}


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)))
def test_anything_at_all_gives_faults_and_no_exception(value: Any) -> None:
    for kind in KINDS:
        faults = validate(kind, [(1, value)], file="f")
        assert faults
        assert all(str(fault) for fault in faults)
