// One video in a dialog: its strip, votes, answers, scores and facts; its prompt only where the page was made to reveal it.
"use strict";
(function (report) {
  const { store, make, votes } = report;
  const percent = (value) => Math.round(100 * value) + "%";

  function votesTable(row) {
    const names = votes.titles();
    const styles = votes.styles();
    const head = ["", "label", "votes", ...store.models.map((model) => model.name)];
    const scored = store.models.map((model) => votes.scoresOf(model, row));
    const cell = (one) => (one instanceof Node ? one : make("td", { text: one }));
    const voted = (count, share) => make("td", {}, String(count), make("span", { class: "share", text: ` (${percent(share)})` }));
    const lines = votes.shares(row).map(({ count, share }, place) => {
      const labelled = place < store.info.categories.length ? (store.categories[row] & (1 << place)) !== 0 : !store.categories[row];
      const cells = [labelled ? "yes" : "–", store.raters[row] ? voted(count, share) : "–"];
      for (const one of scored) cells.push(one && one.scores && place < one.scores.length ? one.scores[place].toFixed(2) : "–");
      return make("tr", {}, make("th", { scope: "row" }, votes.chip(styles[place], names[place])), ...cells.map(cell));
    });
    if (scored.some((one) => one && one.unsafe !== null)) {
      const cells = [store.unsafe[row] ? "yes" : "–", "", ...scored.map((one) => (one && one.unsafe !== null ? one.unsafe.toFixed(2) : "–"))];
      lines.push(make("tr", {}, make("th", { scope: "row", text: "unsafe" }), ...cells.map((text) => make("td", { text }))));
    }
    const first = make("tr", {}, ...head.map((text) => (text ? make("th", { scope: "col", text }) : make("td"))));
    const table = make("table", {}, make("thead", {}, first), make("tbody", {}, ...lines));
    return make("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Votes, table" }, table);
  }

  function answers(found) {
    if (!found.length) return null;
    const items = found.map(([mask, times]) => {
      const chosen = report.categoriesOf(mask);
      const chips = chosen.length ? chosen.map((one) => votes.chip(one.key, one.title)) : [votes.chip("none", "none")];
      return make("li", {}, make("b", { text: times + " × " }), ...chips);
    });
    return make("div", {}, make("h3", { text: "Answers of the raters" }), make("ul", { class: "answers" }, ...items));
  }

  function facts(row, found) {
    const { info } = store;
    const pairs = [
      ["Split", info.splits[store.split[row]]],
      ["Generator", info.generators[store.generator[row]]],
      ["Prompt source", store.source[row] ? info.sources[store.source[row] - 1] : "not stated"],
      ["Agreement", store.agreement[row] < 0 ? "not known" : (store.agreement[row] / 10).toFixed(1) + "% of rater pairs"],
      ["Label", found.method],
      ["Group", found.group],
      ["Prompt id", found.prompt_id || "not stated"],
      ["Video", `${store.frames[row]} frames, ${store.ms[row] / 1000} s, ${found.fps} fps, ${found.width}×${found.height}, ${found.codec}`],
      ["Size", report.number(found.bytes) + " bytes"],
      ["Source index", found.sourceIndex === null ? "not stated" : String(found.sourceIndex)],
    ];
    return make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", {}, make("bdi", { text: value }))]));
  }

  function makeDialog({ list }) {
    const dialog = document.getElementById("detail");
    const body = document.getElementById("detail-body");
    const title = document.getElementById("detail-title");
    const previous = document.getElementById("previous");
    const next = document.getElementById("next");
    let row = -1; // the video that is shown: its place in the list changes while more are loaded

    const place = () => list().rows().indexOf(row);

    // Buttons that lead nowhere keep the focus that they have: a disabled one would lose it.
    function mark() {
      previous.setAttribute("aria-disabled", String(place() <= 0));
      next.setAttribute("aria-disabled", String(place() === list().rows().length - 1));
    }

    async function fill() {
      const asked = row;
      title.textContent = "";
      title.append("Video ", make("code", { text: store.id[row] }));
      mark();
      const strip = votes.strip(row, 1.5);
      if (strip) {
        const how = store.broken[row] ? "This video does not decode" : store.info.revealed ? "Clear frames" : "Grey, blurred frames";
        strip.setAttribute("role", "img");
        strip.setAttribute("aria-label", how);
      }
      if (body.contains(document.activeElement)) title.focus(); // what has the focus goes
      body.replaceChildren(...[strip, votesTable(row), make("p", { text: "Loading …" })].filter(Boolean));
      try {
        const found = await report.detailOf(row);
        if (row !== asked) return; // another one was asked for meanwhile
        const prompt = found.prompt === undefined ? null : make("div", {}, make("h3", { text: "Prompt" }), make("blockquote", { dir: "auto", text: found.prompt }));
        body.lastChild.replaceWith(...[answers(found.answers), prompt, facts(row, found)].filter(Boolean));
      } catch (error) {
        body.lastChild.textContent = error.message;
      }
    }

    function step(by) {
      const rows = list().rows();
      const there = place() + by;
      if (place() < 0 || there < 0 || there >= rows.length) return;
      row = rows[there];
      fill();
    }

    previous.addEventListener("click", () => step(-1));
    next.addEventListener("click", () => step(1));
    document.getElementById("close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest(".table")) return; // a table scrolls by them
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close(); // beside it
    });
    dialog.addEventListener("close", () => list().focus(place()));
    if (store.info.revealed) {
      const text = "REVEALED: clear frames and prompts. Do not pass this page on.";
      document.getElementById("detail-mark").append(make("p", { class: "mark", text }));
    }

    return {
      open(chosen) {
        row = list().rows()[chosen];
        fill();
        dialog.showModal();
        title.focus();
      },
      refresh: () => dialog.open && mark(),
    };
  }

  report.makeDialog = makeDialog;
})(UnsafeVideoReport);
