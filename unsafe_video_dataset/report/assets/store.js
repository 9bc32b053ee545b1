// The data of the page. Scripts in data/ hand it over by calling functions of this object; chunks are loaded when needed.
"use strict";
var UnsafeVideoReport = (function () {
  const VOTE_KEYS = 6; // five categories and none
  const store = { info: null, loaded: 0, models: [], croissantFile: undefined };
  const details = new Map();
  const loading = new Map();
  const early = [];

  const digit = (text, place) => {
    const code = text.charCodeAt(place);
    return code < 58 ? code - 48 : code - 87; // base 36
  };
  const reader = (values) => (typeof values === "string" ? (place) => digit(values, place) : (place) => values[place]);

  function release(info) {
    const n = info.total;
    store.info = info;
    store.id = new Array(n);
    for (const name of ["split", "unsafe", "categories", "broken"]) store[name] = new Uint8Array(n);
    for (const name of ["generator", "source", "raters"]) store[name] = new Uint16Array(n);
    for (const name of ["agreement", "frames", "ms"]) store[name] = new Int32Array(n);
    store.votes = new Uint16Array(n * VOTE_KEYS);
    for (const [start, columns] of early.splice(0)) rows(start, columns);
  }

  function rows(start, columns) {
    if (!store.info) {
      early.push([start, columns]);
      return;
    }
    const number = columns.id.length / 16;
    for (let place = 0; place < number; place++) store.id[start + place] = columns.id.slice(16 * place, 16 * place + 16);
    for (const name of ["split", "unsafe", "categories", "generator", "source", "raters", "agreement", "frames", "ms", "broken"]) {
      const read = reader(columns[name]);
      for (let place = 0; place < number; place++) store[name][start + place] = read(place);
    }
    const read = reader(columns.votes);
    for (let place = 0; place < number * VOTE_KEYS; place++) store.votes[start * VOTE_KEYS + place] = read(place);
    store.loaded = Math.max(store.loaded, start + number); // chunks come one after the other
  }

  function scores(number, found) {
    const at = new Int32Array(store.info.total).fill(-1);
    found.rows.forEach((row, place) => (at[row] = place));
    store.models[number] = { name: store.info.models[number], at, scores: found.scores, unsafe: found.unsafe };
  }

  const detail = (number, found) => details.set(number, found);
  const croissant = (found) => (store.croissantFile = found);

  // A chunk once, by a script element: a page opened from disk may not read files in any other way.
  function load(name) {
    if (!loading.has(name)) {
      loading.set(
        name,
        new Promise((done, failed) => {
          const script = document.createElement("script");
          script.src = "data/" + name;
          script.onload = () => done();
          script.onerror = () => {
            loading.delete(name);
            failed(new Error("data/" + name + " can't be loaded: keep the whole folder of the report together."));
          };
          document.head.append(script);
        })
      );
    }
    return loading.get(name);
  }

  const four = (number) => String(number).padStart(4, "0");

  async function loadRest(tell) {
    const { total, chunk } = store.info;
    for (let number = Math.ceil(store.loaded / chunk); number * chunk < total; number++) {
      await load("rows-" + four(number) + ".js");
      tell();
    }
  }

  async function detailOf(row) {
    const { detailChunk } = store.info;
    const number = Math.floor(row / detailChunk);
    if (!details.has(number)) await load("detail-" + four(number) + ".js");
    const [prompt_id, group, width, height, fps, codec, bytes, sourceIndex, method, answers, prompt] =
      details.get(number)[row % detailChunk];
    return { prompt_id, group, width, height, fps, codec, bytes, sourceIndex, method, answers, prompt };
  }

  async function croissantFile() {
    if (store.croissantFile === undefined) await load("croissant.js");
    return store.croissantFile;
  }

  // Elements are made here and nowhere from text: what a release says is only ever text.
  function make(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (value === undefined || value === null) continue;
      if (name === "class") element.className = value;
      else if (name === "text") element.textContent = value;
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  function draw(tag, properties, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(properties || {})) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const number = (value) => value.toLocaleString("en-US");
  const categoriesOf = (mask) => store.info.categories.filter((_, place) => mask & (1 << place));

  return {
    VOTE_KEYS, store, release, rows, scores, detail, croissant, loadRest, detailOf, croissantFile, make, draw, number, categoriesOf,
  };
})();
