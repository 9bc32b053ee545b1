// The shown selection as a file: plain JSON, or a Croissant description with the selection as a record set. Never prompts.
"use strict";
(function (report) {
  const { store, votes } = report;

  function record(row) {
    const { info } = store;
    const keys = votes.styles();
    const counts = {};
    votes.shares(row).forEach(({ count }, place) => (counts[keys[place]] = count));
    const scores = {};
    for (const model of store.models) {
      const found = votes.scoresOf(model, row);
      if (found) scores[model.name] = { unsafe_score: found.unsafe, scores: found.scores && Object.fromEntries(found.scores.map((one, place) => [keys[place], one])) };
    }
    return {
      video_id: store.id[row],
      split: info.splits[store.split[row]],
      is_unsafe: store.unsafe[row] === 1,
      categories: report.categoriesOf(store.categories[row]).map((one) => one.key),
      generator: info.generators[store.generator[row]],
      prompt_source: store.source[row] ? info.sources[store.source[row] - 1] : null,
      num_raters: store.raters[row],
      vote_counts: counts,
      agreement: store.agreement[row] < 0 ? null : store.agreement[row] / 1000,
      num_frames: store.frames[row],
      duration_seconds: store.ms[row] / 1000,
      ...(store.models.length ? { predictions: scores } : {}),
    };
  }

  function asJson(rows, filters) {
    const { info } = store;
    return {
      release: info.name,
      release_version: info.version,
      manifest_sha256: info.manifest,
      filters,
      videos_in_release: info.total,
      count: rows.length,
      videos: rows.map(record),
    };
  }

  const FIELDS = { video_id: "sc:Text", split: "sc:Text", generator: "sc:Text", is_unsafe: "sc:Boolean", categories: "sc:Text", num_raters: "sc:Integer" };

  // The release's own description (where its files are, with their checksums), and the chosen videos as a record set.
  function asCroissant(base, rows, filters) {
    const { info } = store;
    const found = base ? structuredClone(base) : {
      "@context": { "@language": "en", "@vocab": "https://schema.org/", sc: "https://schema.org/", cr: "http://mlcommons.org/croissant/" },
      "@type": "sc:Dataset",
      version: info.version,
    };
    const field = (name) => ({
      "@type": "cr:Field", "@id": "selection/" + name, name: "selection/" + name, dataType: FIELDS[name],
      ...(name === "categories" ? { repeated: true } : {}),
    });
    const line = (row) => {
      const all = record(row);
      return Object.fromEntries(Object.keys(FIELDS).map((name) => ["selection/" + name, all[name]]));
    };
    found.name = info.name + "-selection";
    found.description = `${rows.length} of the ${info.total} reviewed videos of ${info.name} ${info.version}. Filters: ${JSON.stringify(filters)}.`;
    found.recordSet = [
      ...(found.recordSet || []),
      {
        "@type": "cr:RecordSet",
        "@id": "selection",
        name: "selection",
        description: "The chosen videos. `video_id` joins them with the other record sets.",
        key: { "@id": "selection/video_id" },
        field: Object.keys(FIELDS).map(field),
        data: rows.map(line),
      },
    ];
    return found;
  }

  function save(value, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(value, null, 1) + "\n"], { type: "application/json" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  const fileName = (kind) => `${store.info.name.replace(/[^\w.-]+/g, "_")}-selection.${kind}`;

  report.download = {
    json: (rows, filters) => save(asJson(rows, filters), fileName("json")),
    async croissant(rows, filters) {
      save(asCroissant(await report.croissantFile(), rows, filters), fileName("croissant.json"));
    },
  };
})(UnsafeVideoReport);
