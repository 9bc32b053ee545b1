// Which videos are shown, and in which order: pure functions of the store and of what the form says.
"use strict";
(function (report) {
  const { store } = report;
  const UNIT = 10000;

  // Errors of a model on a row: how many labels are wrong, and the largest distance of a wrong score; null without scores.
  function errors(model, row, threshold) {
    const place = model.at[row];
    if (place < 0) return null;
    const cut = Math.round(threshold * UNIT);
    let wrong = 0;
    let distance = 0;
    const look = (score, truth) => {
      if ((score >= cut) !== truth) {
        wrong += 1;
        distance = Math.max(distance, truth ? UNIT - score : score);
      }
    };
    const categories = store.info.categories.length;
    if (model.scores[place * categories] >= 0) {
      for (let one = 0; one < categories; one++) {
        look(model.scores[place * categories + one], (store.categories[row] & (1 << one)) !== 0);
      }
    } else if (model.unsafe[place] >= 0) {
      look(model.unsafe[place], store.unsafe[row] === 1);
    } else {
      return null;
    }
    return { wrong, distance };
  }

  function passes(row, wanted) {
    if (wanted.search && !store.id[row].includes(wanted.search)) return false;
    if (wanted.judged !== "" && store.unsafe[row] !== Number(wanted.judged)) return false;
    if (wanted.categories) {
      const shared = store.categories[row] & wanted.categories;
      if (wanted.allCategories ? shared !== wanted.categories : shared === 0) return false;
    }
    if (wanted.split.size && !wanted.split.has(store.split[row])) return false;
    if (wanted.generator.size && !wanted.generator.has(store.generator[row])) return false;
    if (wanted.source.size && !wanted.source.has(store.source[row])) return false;
    if (store.raters[row] < wanted.votesFrom || store.raters[row] > wanted.votesTo) return false;
    if (wanted.agreementFrom > 0 || wanted.agreementTo < 100) {
      const agreement = store.agreement[row];
      if (agreement < 0 || agreement < 10 * wanted.agreementFrom || agreement > 10 * wanted.agreementTo) return false;
    }
    return true;
  }

  // The keys of each order, smallest first; what is not known comes last.
  function keys(wanted) {
    const unknownLast = (value, sign) => (value < 0 ? Infinity : sign * value);
    const model = store.models[wanted.model];
    const orders = {
      release: (row) => row,
      id: () => 0,
      disagreement: (row) => unknownLast(store.agreement[row], 1),
      agreement: (row) => unknownLast(store.agreement[row], -1),
      votes: (row) => -store.raters[row],
      few: (row) => store.raters[row],
      long: (row) => -store.ms[row],
      errors: (row) => {
        const found = model ? errors(model, row, wanted.threshold) : null;
        return found === null ? Infinity : -(found.wrong * 2 * UNIT + found.distance);
      },
    };
    return orders[wanted.sort] || orders.release;
  }

  function select(wanted) {
    const found = [];
    for (let row = 0; row < store.loaded; row++) if (passes(row, wanted)) found.push(row);
    const key = keys(wanted);
    const of = new Float64Array(store.loaded);
    for (const row of found) of[row] = key(row);
    const byId = (a, b) => (store.id[a] < store.id[b] ? -1 : 1);
    return found.sort((a, b) => (of[a] === of[b] ? byId(a, b) : of[a] < of[b] ? -1 : 1));
  }

  Object.assign(report, { select, errors, UNIT });
})(UnsafeVideoReport);
