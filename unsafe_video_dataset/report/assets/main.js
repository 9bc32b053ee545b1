// The form, the list and the dialog joined together.
"use strict";
(function (report) {
  const { store } = report;
  const by = (id) => document.getElementById(id);
  const form = by("filters");

  const checked = (name) => [...form.querySelectorAll(`input[name="${name}"]:checked`)].map((box) => Number(box.value));
  function bound(id, otherwise) {
    const value = parseFloat(by(id).value);
    return Number.isFinite(value) ? value : otherwise;
  }

  function wanted() {
    return {
      search: by("search").value.trim().toLowerCase(),
      sort: by("sort").value,
      model: by("model") ? Number(by("model").value) : -1,
      threshold: by("threshold") ? Math.min(1, Math.max(0, bound("threshold", 0.5))) : 0.5,
      judged: form.querySelector('input[name="judged"]:checked').value,
      categories: checked("category").reduce((mask, one) => mask | (1 << one), 0),
      allCategories: by("all-categories").checked,
      split: new Set(checked("split")),
      generator: new Set(checked("generator")),
      source: new Set(checked("source")),
      votesFrom: bound("votes-from", 0),
      votesTo: bound("votes-to", Infinity),
      agreementFrom: bound("agreement-from", 0),
      agreementTo: bound("agreement-to", 100),
    };
  }

  // What the form says, in words, for a downloaded file: only what narrows or orders.
  function said() {
    const now = wanted();
    const { info } = store;
    const found = { sort: now.sort };
    if (now.search) found.search = now.search;
    if (now.judged !== "") found.is_unsafe = now.judged === "1";
    if (now.categories) {
      found.categories = report.categoriesOf(now.categories).map((one) => one.key);
      found.all_categories = now.allCategories;
    }
    for (const [name, names, first] of [["split", info.splits, 0], ["generator", info.generators, 0], ["source", info.sources, 1]]) {
      if (now[name].size) found[name] = [...now[name]].map((one) => names[one - first]);
    }
    if (now.votesFrom > 0) found.votes_from = now.votesFrom;
    if (now.votesTo < Infinity) found.votes_to = now.votesTo;
    if (now.agreementFrom > 0) found.agreement_from = now.agreementFrom / 100;
    if (now.agreementTo < 100) found.agreement_to = now.agreementTo / 100;
    if (store.models[now.model]) Object.assign(found, { model: store.models[now.model].name, threshold: now.threshold });
    return found;
  }

  let list = null;
  const model = () => store.models[wanted().model] || null;
  const dialog = report.makeDialog({ list: () => list });
  list = report.makeList(by("list"), { open: (place) => dialog.open(place), model, threshold: () => wanted().threshold });

  function tell(text) {
    by("count").textContent = text;
  }

  // `stay`: nothing was asked for, more rows were loaded. What is saved is whole, so there is nothing to save until then.
  function update({ stay = false } = {}) {
    const rows = report.select(wanted());
    const whole = store.loaded === store.info.total;
    list.show(rows, { stay });
    dialog.refresh();
    for (const id of ["save-json", "save-croissant"]) by(id).disabled = !whole;
    by("nothing").hidden = rows.length > 0 || !whole;
    const rest = !whole ? `; loading, ${report.number(store.loaded)} so far` : "";
    tell(`${report.number(rows.length)} of ${report.number(store.info.total)} videos${rest}`);
  }

  let timer = 0;
  const soon = (wait) => {
    clearTimeout(timer);
    timer = setTimeout(() => update(), wait);
  };
  form.addEventListener("input", (event) => soon(event.target.type === "search" || event.target.type === "number" ? 150 : 0));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => soon(0));
  by("clear").addEventListener("click", () => {
    form.reset();
    by("search").focus();
  });
  by("save-json").addEventListener("click", () => report.download.json(list.rows(), said()));
  by("save-croissant").addEventListener("click", () => report.download.croissant(list.rows(), said()).catch((error) => tell(error.message)));

  by("key").append(...report.votes.key());
  if (window.matchMedia("(max-width: 63.99rem)").matches) by("more").open = false;
  update();
  performance.mark("first-rows"); // what benchmarks/report.py reads
  report.loadRest(() => update({ stay: true })).catch((error) => tell(error.message));
})(UnsafeVideoReport);
