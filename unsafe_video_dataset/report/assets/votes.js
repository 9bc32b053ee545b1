// The votes of a video as bars in a fixed order (categories, then none), and the scores of a model beside them.
"use strict";
(function (report) {
  const { store, make, draw } = report;
  const HIGH = 40;
  const SLOT = 22;

  const shares = (row) => {
    const raters = store.raters[row];
    const from = row * report.VOTE_KEYS;
    return Array.from(store.votes.subarray(from, from + report.VOTE_KEYS), (count) => ({ count, share: raters ? count / raters : 0 }));
  };

  const styles = () => [...store.info.categories.map((one) => one.key), "none"];
  const titles = () => [...store.info.categories.map((one) => one.title), "none"];

  function scoresOf(model, row) {
    const place = model ? model.at[row] : -1;
    if (place < 0) return null;
    const categories = store.info.categories.length;
    const found = model.scores.slice(place * categories, place * categories + categories);
    const unsafe = model.unsafe[place];
    return { scores: found[0] < 0 ? null : found.map((one) => one / report.UNIT), unsafe: unsafe < 0 ? null : unsafe / report.UNIT };
  }

  function bars(row, model) {
    const scored = scoresOf(model, row);
    const svg = draw("svg", { "aria-hidden": "true", class: "votes", viewBox: `0 0 ${SLOT * report.VOTE_KEYS} ${HIGH + 14}` });
    const names = styles();
    shares(row).forEach(({ count, share }, place) => {
      const x = SLOT * place + 2;
      const width = scored && scored.scores ? 9 : SLOT - 4;
      svg.append(draw("rect", { class: "rail", x, y: 0, width: SLOT - 4, height: HIGH }));
      if (count) {
        const height = Math.max(2, HIGH * share);
        svg.append(draw("rect", { class: "vote fill-" + names[place], x, y: HIGH - height, width, height }));
      }
      if (scored && scored.scores && place < scored.scores.length) {
        const height = Math.max(1, HIGH * scored.scores[place]);
        svg.append(draw("rect", { class: "score line-" + names[place], x: x + 10, y: HIGH - height, width: 7, height }));
      }
      const text = draw("text", { x: x + (SLOT - 4) / 2, y: HIGH + 12 });
      text.textContent = store.raters[row] ? String(count) : "–";
      svg.append(text);
    });
    return svg;
  }

  function sentence(row) {
    const raters = store.raters[row];
    if (!raters) return "no votes";
    const names = titles();
    const said = shares(row).map(({ count }, place) => (count ? `${names[place]} ${count}` : "")).filter(Boolean);
    const agreement = store.agreement[row] < 0 ? "" : `, agreement ${Math.round(store.agreement[row] / 10)}%`;
    return `votes of ${raters} raters: ${said.join(", ")}${agreement}`;
  }

  const chip = (style, title) => make("span", { class: "chip" }, make("span", { class: "swatch fill-" + style }), title);

  function key() {
    const names = titles();
    const how = store.models.length ? "filled: share of the votes; outlined: score" : "share of the votes";
    return [...styles().map((style, place) => chip(style, names[place])), make("span", { text: how })];
  }

  // A strip is a part of a sheet: small, grey and blurred in the file. A sheet is loaded when a row of it is shown.
  function strip(row, scale) {
    const { sheets } = store.info;
    if (!sheets) return null;
    const { files, perSheet, columns, width, height } = sheets;
    const box = make("span", { class: "strip" });
    if (store.broken[row]) {
      box.classList.add("broken");
      box.textContent = "does not decode";
    }
    const inSheet = row % perSheet;
    const first = row - inSheet;
    const across = Math.min(columns, store.info.total - first);
    box.style.width = width * scale + "px";
    box.style.height = height * scale + "px";
    if (!store.broken[row]) {
      box.style.backgroundImage = `url("thumbs/${files[Math.floor(row / perSheet)]}")`;
      box.style.backgroundSize = `${across * width * scale}px auto`;
      const x = (inSheet % across) * width * scale;
      const y = Math.floor(inSheet / across) * height * scale;
      box.style.backgroundPosition = `${-x}px ${-y}px`;
    }
    return box;
  }

  Object.assign(report, { votes: { bars, shares, scoresOf, sentence, chip, key, titles, styles, strip } });
})(UnsafeVideoReport);
