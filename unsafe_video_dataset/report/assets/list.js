// A list of any length of which only the rows in view are in the page. The keyboard moves one tab stop through it.
"use strict";
(function (report) {
  const { store, make, votes } = report;
  const BEYOND = 5; // rows drawn above and below the view
  const LEAST = 10; // rows at the start that are there before the list is in view, for who reads the page without seeing it

  function makeList(root, { open, model, threshold }) {
    let shown = [];
    let active = 0;
    let height = 1;
    let drawn = new Map();

    function line(place) {
      const row = shown[place];
      const { info } = store;
      const found = report.categoriesOf(store.categories[row]);
      const chips = found.length ? found.map((one) => votes.chip(one.key, one.title)) : [votes.chip("none", "not unsafe")];
      const about = [info.splits[store.split[row]], info.generators[store.generator[row]]];
      if (store.source[row]) about.push(info.sources[store.source[row] - 1]);
      const agreement = store.agreement[row] < 0 ? "–" : Math.round(store.agreement[row] / 10) + "%";
      const wrong = model() ? report.errors(model(), row, threshold()) : null;
      const error = wrong ? make("span", { class: wrong.wrong ? "wrong" : "right", text: wrong.wrong ? `${wrong.wrong} wrong` : "right" }) : null;
      const labels = found.length ? found.map((one) => one.title).join(", ") : "not unsafe";
      const name = [
        `Video ${store.id[row]}`, labels, about.join(", "), votes.sentence(row),
        wrong ? (wrong.wrong ? `${wrong.wrong} labels predicted wrongly` : "predicted rightly") : "",
        store.broken[row] ? "does not decode" : "",
      ].filter(Boolean).join("; ");
      const button = make(
        "button",
        { type: "button", class: "row", "aria-label": name, tabindex: place === active ? "0" : "-1", "aria-haspopup": "dialog" },
        votes.strip(row, 0.75),
        make("span", { class: "who" }, make("code", { text: store.id[row] }), make("span", { class: "about", text: about.join(" · ") })),
        make("span", { class: "chips" }, ...chips),
        votes.bars(row, model()),
        make("span", { class: "agreement" }, make("b", { text: agreement }), make("span", { text: "agree" }), error)
      );
      button.addEventListener("click", () => {
        active = place;
        open(place);
      });
      const item = make("li", { "aria-setsize": shown.length, "aria-posinset": place + 1 }, button);
      item.style.transform = `translateY(${place * height}px)`;
      return item;
    }

    // As many categories as there is room for; how many more, in the row's last place. Its name and the dialog have them all.
    function fit(item) {
      const box = item.querySelector(".chips");
      const chips = [...box.children];
      const more = make("span", { class: "chip more" });
      for (let kept = chips.length - 1; kept > 0 && box.scrollHeight > box.clientHeight + 1; kept--) {
        chips[kept].hidden = true;
        more.textContent = `+${chips.length - kept}`;
        box.append(more);
      }
    }

    function draw({ keep = false } = {}) {
      const top = root.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor(-top / height) - BEYOND);
      const last = Math.min(shown.length, Math.max(first + LEAST, Math.ceil((window.innerHeight - top) / height) + BEYOND));
      const held = keep || root.contains(document.activeElement); // else the tab stop goes with the view
      if (!held && (active < first || active >= last)) active = Math.min(first + BEYOND, Math.max(0, shown.length - 1));
      const wanted = new Set();
      for (let place = first; place < last; place++) wanted.add(place);
      if (active < shown.length) wanted.add(active); // the row with the focus stays, wherever the view is
      for (const [place, item] of drawn) {
        if (!wanted.has(place)) {
          item.remove();
          drawn.delete(place);
        }
      }
      for (const place of [...wanted].sort((a, b) => a - b)) {
        if (drawn.has(place)) continue;
        const item = line(place);
        let before = null;
        for (const [other, there] of drawn) if (other > place && (before === null || other < before[0])) before = [other, there];
        root.insertBefore(item, before ? before[1] : null);
        drawn.set(place, item);
        fit(item);
      }
      for (const [place, item] of drawn) item.firstChild.tabIndex = place === active ? 0 : -1;
    }

    // With `stay` the tab stop stays on its video, where the rows still have it: more of them were loaded.
    function show(rows, { stay = false } = {}) {
      const held = root.contains(document.activeElement);
      const before = stay ? rows.indexOf(shown[active]) : 0;
      shown = rows;
      active = Math.max(0, before);
      for (const item of drawn.values()) item.remove();
      drawn = new Map();
      measure();
      if (held && shown.length) focus(active);
    }

    function measure() {
      const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
      height = parseFloat(getComputedStyle(root).getPropertyValue("--row")) * rem; // the stylesheet gives it in rem
      root.style.height = shown.length * height + "px";
      for (const item of drawn.values()) item.remove();
      drawn = new Map();
      draw();
    }

    function focus(place) {
      active = Math.max(0, Math.min(shown.length - 1, place));
      const box = root.getBoundingClientRect();
      const top = box.top + active * height;
      if (top < 8) window.scrollBy(0, top - 8);
      else if (top + height > window.innerHeight - 8) window.scrollBy(0, top + height - window.innerHeight + 8);
      draw({ keep: true });
      drawn.get(active).firstChild.focus({ preventScroll: true });
    }

    root.addEventListener("keydown", (event) => {
      const page = Math.max(1, Math.floor(window.innerHeight / height) - 1);
      const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
      if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      focus(active + steps[event.key]);
    });

    let asked = false;
    const later = () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        draw();
      });
    };
    window.addEventListener("scroll", later, { passive: true });
    window.addEventListener("resize", () => requestAnimationFrame(measure));

    return { show, focus, measure, rows: () => shown };
  }

  report.makeList = makeList;
})(UnsafeVideoReport);
