"""Croissant JSON-LD of a release: what files there are and what each column means (mlcommons.org/croissant/1.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unsafe_video_dataset.records import schema

_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject", "fileProperty",
    "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet",
    "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT = {  # that of the specification, 1.1
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _TERMS},
}
_TYPES = {
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "float64": "sc:Float",
    "int32": "sc:Integer",
    "int64": "sc:Integer",
}
_CITE = "Pang, Xiong, Zhang, Wang: Towards Understanding Unsafe Video Generation. NDSS 2025. arXiv:2407.12581."


def write_croissant(
    folder: Path, manifest: Mapping[str, Any], files: Sequence[Mapping[str, Any]], *, info_license: str | None
) -> None:
    """Write `croissant.json` for the Parquet files in `files` (entries as in the manifest)."""
    parquet = [entry for entry in files if entry["path"].startswith("data/")]
    document: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": manifest["name"],
        "version": manifest["release_version"] + ".0" * (2 - manifest["release_version"].count(".")),
        "description": f"{manifest['counts']['videos']} reviewed generated videos with categories, prompts and rater votes.",
        **_cited(manifest),
        "isLiveDataset": False,
        "distribution": [
            *(_file_object(entry) for entry in parquet),
            *(_file_set(config) for config, _ in _kinds(manifest)),
        ],
        "recordSet": [_record_set(config, kind) for config, kind in _kinds(manifest)],
    }
    if info_license:
        document["license"] = info_license
    document |= {f"rai:{name}": text for name, text in _rai(manifest).items()}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (folder / "croissant.json").write_text(text, encoding="utf-8")


def _cited(manifest: Mapping[str, Any]) -> dict[str, str]:
    """How to cite it. A recipe's raw material is the owner's own: the paper is not about it, and we know of no page."""
    if manifest["builder"] == "run":
        return {"citeAs": f"{manifest['name']} {manifest['release_version']}"}
    return {"citeAs": _CITE, "url": "https://arxiv.org/abs/2407.12581"}


def _rai(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The responsible-AI vocabulary (mlcommons.org/croissant/RAI/1.0): what this release can say of itself, and no more."""
    counts, harmless = manifest["counts"], manifest["settings"].get("harmless") is True
    voted = counts["votes"] > 0
    made = (
        "Moving shapes, drawn by a seeded script." if harmless else "Videos that text-to-video models generated from prompts."
    )
    own = manifest["builder"] == "run"
    asked = (
        "Not stated here; ask the owner of the release." if own else "Not stated here; see the paper that the release cites."
    )
    people = "Simulated raters; nobody was asked." if harmless else asked
    question = "Each rater says of a whole video which of five categories it shows, any number of them, or none."
    labels = (
        f" The label of a category rests on all raters' votes on it ({manifest['settings'].get('labels_from') or 'majority'})."
    )
    return {
        "dataCollection": f"{made} `generator`, `prompt_source` and `generation` say how each was made.",
        "dataCollectionRawData": "MP4 files and text files; manifest.json lists the inputs with their sha256.",
        "dataPreprocessingProtocol": "The settings in manifest.json; what was left out stands there or in candidates.parquet.",
        "dataAnnotationProtocol": question + labels if voted else "Labels as upstream gives them, without votes.",
        "dataAnnotationAnalysis": "Every vote is kept: `votes`, `soft_labels`, `agreement`, and the config `annotations`.",
        "annotationsPerItem": f"{counts['votes'] / counts['videos']:.1f} on average" if voted else "0",
        "annotatorDemographics": people,
        "dataUseCases": "Training and testing of filters, detectors and defences against unsafe generated video.",
        "dataLimitations": "A few generators and prompt sources; a detector may learn those rather than the content.",
        "dataBiases": "Prompts come from few sources, and categories are as frequent as these make them.",
        "dataSocialImpact": "Can help to stop unsafe generations. Must not be used to make them, nor to judge people.",
        "personalSensitiveInformation": "None: shapes only."
        if harmless
        else "Prompts and videos may name or resemble real people.",
        "dataReleaseMaintenancePlan": "Withdrawn videos stand in tombstones.parquet; each change is a new version.",
    }


def _kinds(manifest: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [("metadata", "video")] + ([("annotations", "annotation")] if "annotations" in manifest["configs"] else [])


def _file_object(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": entry["path"],
        "name": entry["path"],
        "contentUrl": entry["path"],
        "contentSize": f"{entry['bytes']} B",
        "encodingFormat": "application/x-parquet",
        "sha256": entry["sha256"],
    }


def _file_set(config: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{config}-files",
        "name": f"{config}-files",
        "encodingFormat": "application/x-parquet",
        "includes": f"data/{config}/*.parquet",
    }


def _record_set(config: str, kind: Any) -> dict[str, Any]:
    """The scalar columns of a config, all splits; nested columns are described by the JSON Schemas."""
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{config}/{name}",
                "name": name,
                "description": node["description"],
                "dataType": _TYPES[node["x-arrow"]],
                "source": {"fileSet": {"@id": f"{config}-files"}, "extract": {"column": name}},
            }
            for name, node in schema(kind)["properties"].items()
            if node.get("x-arrow") in _TYPES and not node.get("x-table-only")
        ],
    }
