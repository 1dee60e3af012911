// Which samples are shown in which order; every value of a query is a text, empty if not asked for.

const EMPTY = {
  text: "", category: "", difficulty: "", tag: "", editor: "", status: "", kept: "", from: "", to: "", sort: "", noted: "",
};

function shownEditors(index, query) {
  // the first seed stands for all seeds of an editor
  const own = index.editors.filter((editor) => [editor.name, editor.first_seed].includes(query.editor));
  return own.length ? own : index.editors.filter((editor) => editor.standing);
}

// A sample fits if any shown editor's result has the status and the score asked for.
function select(index, query, searched) {
  const editors = shownEditors(index, query);
  const fits = resultTest(index, query);
  const category = index.categories.indexOf(query.category);
  const difficulty = index.difficulties.indexOf(query.difficulty);
  const tag = index.tags.indexOf(query.tag);
  const words = query.text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (let i = 0; i < index.id.length; i++) {
    if (query.category && index.category[i] !== category) continue;
    if (query.noted && !noted(index.id[i])) continue;
    if (query.difficulty && index.difficulty[i] !== difficulty) continue;
    if (query.tag && !index.tagged[i].includes(tag)) continue;
    if (fits && !editors.some((editor) => fits(editor, i))) continue;
    if (words.length && !words.every((word) => searched?.[i].includes(word))) continue;
    found.push(i);
  }
  return sorted(found, editors, query.sort);
}

function resultTest(index, query) {
  const ranged = query.from !== "" || query.to !== "";
  if (!query.status && !query.kept && !ranged) return null;
  const low = query.from === "" ? -Infinity : Number(query.from);
  const high = query.to === "" ? Infinity : Number(query.to);
  const wanted = index.statuses
    .filter((name) => (query.status === "failed" ? name !== "ok" && name !== "skipped" : name === query.status))
    .map((name) => String(index.statuses.indexOf(name)));
  const sign = 1 << index.signs.indexOf(query.kept);
  return (editor, i) => {
    if (query.kept && !(Number.parseInt(editor.signs[i], 16) & sign)) return false;
    if (query.status && !wanted.includes(editor.status[i])) return false;
    return !ranged || (editor.score[i] >= low && editor.score[i] <= high);
  };
}

const given = (editors, column, i) =>
  editors.map((editor) => editor[column][i]).filter((value) => !Number.isNaN(value));
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// What is sorted by, the least first; NaN where there is nothing to sort by.
const SORTS = {
  lowest: (editors, i) => mean(given(editors, "score", i)),
  highest: (editors, i) => -mean(given(editors, "score", i)),
  uncertainty: (editors, i) => {
    const values = given(editors, "uncertainty", i);
    return values.length ? -Math.max(...values) : NaN;
  },
  disagreement: (editors, i) => {
    const values = given(editors, "score", i);
    return values.length > 1 ? Math.min(...values) - Math.max(...values) : NaN;
  },
};

function sorted(found, editors, sort) {
  const key = SORTS[sort];
  if (!key) return found;
  const values = new Map(found.map((i) => [i, key(editors, i)]));
  return found.sort((a, b) => {
    const [one, two] = [values.get(a), values.get(b)];
    if (Number.isNaN(one) || Number.isNaN(two)) return Number.isNaN(one) - Number.isNaN(two) || a - b;
    return one - two || a - b;
  });
}
