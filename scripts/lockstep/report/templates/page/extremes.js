// The best, the worst and the most disputed edits, on the first view.

const EXTREMES = 4;

// The samples of which a number is least; one that is not a number counts for nothing.
function leastOf(count, valueOf) {
  const found = [];
  for (let i = 0; i < count; i++) {
    const value = valueOf(i);
    if (Number.isNaN(value) || (found.length === EXTREMES && value >= found.at(-1).value)) continue;
    found.push({ i, value });
    found.sort((one, two) => one.value - two.value);
    found.length = Math.min(found.length, EXTREMES);
  }
  return found.map(({ i }) => i);
}

// The editors whose score of a sample is the highest (sign −1) or the lowest (sign 1); the first of them.
function outermost(editors, i, sign) {
  const scored = editors.filter((editor) => !Number.isNaN(editor.score[i]));
  return scored.sort((one, two) => sign * (one.score[i] - two.score[i]))[0];
}

function showExtremes(state) {
  const { index, texts: told } = state;
  const editors = index.editors.filter((editor) => editor.standing && !editor.control);
  const end = (sign) => (i) => {
    const editor = outermost(editors, i, sign);
    return editor ? sign * editor.score[i] : NaN;
  };
  const [first] = leastOf(index.id.length, end(-1));
  const highest = first === undefined ? NaN : -end(-1)(first);
  const kinds = {
    best: [end(-1), (i) => [outermost(editors, i, -1)], "highest"],
    // nothing is both: an edit with the highest score is not among the worst
    worst: [(i) => (end(1)(i) < highest ? end(1)(i) : NaN), (i) => [outermost(editors, i, 1)], "lowest"],
    disagreed: [(i) => SORTS.disagreement(editors, i) || NaN, () => editors, "disagreement"],
  };
  for (const [kind, [valueOf, shown, sort]] of Object.entries(kinds)) {
    const found = leastOf(index.id.length, valueOf);
    const part = document.getElementById(`extremes-${kind}`);
    part.hidden = found.length === 0;
    if (found.length) document.getElementById("extremes").hidden = false;
    const list = part.querySelector("ul");
    const address = (id) => state.filterAddress({ sort, sample: id });
    list.replaceChildren(
      ...found.map((i) => card(index, i, shown(i), told, address(index.id[i]))),
    );
  }
}
