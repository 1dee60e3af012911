// A person rates one item after the other. Answers are kept after every key that changes one.

const told = JSON.parse(document.getElementById("data").textContent);
const { texts, criteria } = told;
const by = (id) => document.getElementById(id);
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const note = (text, failed = false) => {
  by("note").textContent = text;
  by("note").className = failed ? "failed" : "quiet";
};

const STORE = `lockstep-rating-${told.plan}`;
const look = { mode: told.mode === "pairs" ? "side" : "wipe", wipe: 50 };
// code → criterion → answer, as the file has it
const state = { rater: null, codes: [], place: 0, now: 0, typed: "", answers: {} };

function save() {
  const { place, now, answers } = state;
  return keep(`${STORE}-${state.rater}`, JSON.stringify({ place, now, answers }));
}

const item = () => told.items[state.codes[state.place]];
const askedOf = ({ category, asked }) =>
  criteria[category].filter(({ name }) => !asked || asked.includes(name));
const own = () => (state.answers[state.codes[state.place]] ??= {});
const isDone = (code) =>
  askedOf(told.items[code]).every(({ name }) => state.answers[code]?.[name] !== undefined);

function begin(rater) {
  state.rater = rater;
  state.codes = told.raters[rater];
  Object.assign(state, { place: 0, now: 0, typed: "", answers: {} });
  const before = JSON.parse(kept(`${STORE}-${rater}`) ?? "{}");
  Object.assign(state, before);
  keep(STORE, rater);
  by("who").hidden = true;
  by("item").hidden = by("tools").hidden = false;
  by("rater").textContent = rater;
  // a hidden button would have the focus for a moment more, and Enter with it
  by("main").focus();
  show();
  if (save()) note(texts.kept);
  else note(texts["not-kept"], true);
}

function askWho() {
  state.rater = null;
  by("who").hidden = false;
  by("item").hidden = by("tools").hidden = true;
  by("rater").textContent = texts.title;
  by("done").textContent = "";
  by("bar").value = 0;
  by("names").replaceChildren(
    ...Object.keys(told.raters).map((rater) =>
      element("button", { type: "button", onclick: () => begin(rater) }, rater),
    ),
  );
  by("names").firstChild.focus();
}

function image(name, alt) {
  const made = element("img", { alt, src: `images/${name}`, draggable: false });
  made.onerror = () => made.replaceWith(element("span", { className: "nothing" }, texts["no-image"]));
  return made;
}

function figure(name, caption) {
  return element("figure", {}, image(name, caption), element("figcaption", {}, caption));
}

function draw() {
  const { sources, edits, reference } = item();
  const names = edits.length > 1 ? [texts["first-edit"], texts["second-edit"]] : [texts.edit];
  const all = [
    ...sources.map((name) => [name, texts.source]),
    ...reference.map((name) => [name, texts.reference]),
    ...edits.map((name, n) => [name, names[n]]),
  ];
  const pair = edits.length > 1 ? all.slice(-2) : [all[0], all.at(-1)];
  const stage = by("stage");
  stage.className = look.mode;
  if (look.mode === "wipe") {
    const [left, right] = pair.map(([name, caption]) => image(name, caption));
    stage.replaceChildren(wiped(look, left, right, pair[0][1], pair[1][1], texts.wipe));
    stage.querySelector("input").tabIndex = -1;
  } else stage.replaceChildren(...all.map(([name, caption]) => figure(name, caption)));
}

function show() {
  const { instruction, rationale, expected } = item();
  draw();
  by("words").replaceChildren(
    ...Object.entries({ instruction, rationale, expected })
      .filter(([, text]) => text)
      .flatMap(([name, text]) => [
        element("h2", {}, texts[name]),
        element("p", { className: `prose ${name}`, dir: "auto" }, text),
      ]),
  );
  showAnswers();
  // the next item's images are there when it comes
  const next = told.items[state.codes[state.place + 1]];
  for (const name of next ? [...next.sources, ...next.edits] : []) new Image().src = `images/${name}`;
}

function showAnswers() {
  const count = state.codes.length;
  const done = state.codes.filter(isDone).length;
  by("place").textContent = fill(texts.place, { place: state.place + 1, count });
  by("done").textContent = fill(texts.done, { done, count });
  by("bar").value = done / count;
  by("criteria").replaceChildren(...askedOf(item()).map(question));
  by("criteria").children[state.now]?.scrollIntoView({ block: "nearest" });
}

function question({ name, label, question: text, answers }, place) {
  const given = own()[name];
  const title = element("h2", { id: `asked-${name}` }, label);
  const buttons = answers.map((answer, n) =>
    element(
      "button",
      {
        type: "button",
        tabIndex: -1,
        ariaPressed: String(answer.text === given),
        onclick: () => {
          state.now = place;
          give(answer.text);
        },
      },
      answers.some((other) => other.label !== other.text || !/\d/.test(other.text))
        ? element("kbd", {}, String(n + 1))
        : null,
      ` ${answer.label}`,
    ),
  );
  const meanings = answers
    .filter((answer) => answer.meaning)
    .flatMap((answer) => {
      const className = answer.text === given ? "given" : "";
      return [
        element("dt", { className }, answer.label),
        element("dd", { className }, answer.meaning),
      ];
    });
  const group = element("div", { className: "answers", role: "group" }, ...buttons);
  group.setAttribute("aria-labelledby", title.id);
  return element(
    "section",
    { className: place === state.now ? "asked now" : "asked" },
    title,
    text ? element("p", {}, text) : null,
    group,
    meanings.length ? element("dl", { className: "meanings" }, ...meanings) : null,
  );
}

function give(answer) {
  const { name } = askedOf(item())[state.now];
  if (answer === undefined) delete own()[name];
  else own()[name] = answer;
  note(...(save() ? [""] : [texts["not-kept"], true]));
  showAnswers();
}

// Digits follow each other where that is an answer or the beginning of one: 1 and 0 are 10.
function type(key) {
  const { answers, numeric } = askedOf(item())[state.now];
  if (!numeric) {
    if (answers[key - 1]) give(answers[key - 1].text);
    return;
  }
  for (const text of [state.typed + key, key]) {
    const found = answers.find((answer) => text !== "." && Number(answer.text) === Number(text));
    if (found || answers.some((answer) => answer.text.startsWith(text))) {
      state.typed = text;
      if (found) give(found.text);
      return;
    }
  }
}

function shift(by) {
  const { name, answers } = askedOf(item())[state.now];
  const place = answers.findIndex((answer) => answer.text === own()[name]);
  const next = place < 0 ? (by > 0 ? 0 : answers.length - 1) : place + by;
  state.typed = "";
  if (answers[next]) give(answers[next].text);
}

function ask(now) {
  if (now < 0 || now >= askedOf(item()).length) return;
  Object.assign(state, { now, typed: "" });
  save();
  showAnswers();
}

function go(place) {
  if (place < 0 || place >= state.codes.length) return;
  Object.assign(state, { place, now: 0, typed: "" });
  save();
  note("");
  show();
  scrollTo(0, 0);
}

function onwards() {
  const asked = askedOf(item());
  if (state.now < asked.length - 1) return ask(state.now + 1);
  const open = asked.findIndex(({ name }) => own()[name] === undefined);
  if (open >= 0) return ask(open);
  if (state.place < state.codes.length - 1) return go(state.place + 1);
  const count = state.codes.filter((code) => !isDone(code)).length;
  if (!count) return note(fill(texts["all-done"], { count: state.codes.length }));
  go(state.codes.findIndex((code) => !isDone(code)));
  note(fill(texts.missing, { count }));
}

function wipeTo(percent) {
  look.wipe = Math.max(0, Math.min(100, percent));
  look.mode = "wipe";
  draw();
}

function switchView() {
  look.mode = look.mode === "wipe" ? "side" : "wipe";
  draw();
}

// The file: a row for each item that has an answer, under codes.
const names = [...new Set(Object.values(criteria).flatMap((own) => own.map(({ name }) => name)))];

function saveFile() {
  const rows = state.codes
    .filter((code) => Object.keys(state.answers[code] ?? {}).length)
    .map((code) => [state.rater, code, ...names.map((name) => state.answers[code][name] ?? "")]);
  const name = `${state.rater}.csv`;
  saveCsv(name, [["rater", "code", ...names], ...rows]);
  note(fill(texts.saved, { name }));
}

const cells = (line) =>
  [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(([, quoted, plain]) =>
    quoted === undefined ? plain : quoted.replaceAll('""', '"'),
  );

function loadFile(text) {
  const [head, ...lines] = text.replace(/^\ufeff/, "").split(/\r?\n/).filter(Boolean).map(cells);
  const rows = lines.map((line) => Object.fromEntries(line.map((value, n) => [head[n], value])));
  const mine = rows.filter((row) => row.rater === state.rater && state.codes.includes(row.code));
  if (!mine.length) return note(fill(texts["not-loaded"], { rater: state.rater }), true);
  for (const row of mine) {
    const own = {};
    for (const { name, answers } of askedOf(told.items[row.code]))
      if (answers.some((answer) => answer.text === row[name])) own[name] = row[name];
    state.answers[row.code] = own;
  }
  save();
  go(Math.max(0, state.codes.findIndex((code) => !isDone(code))));
  note(fill(texts.loaded, { count: mine.length }));
}

by("file").addEventListener("change", async ({ target }) => {
  if (target.files.length) loadFile(await target.files[0].text());
  target.value = "";
});

const does = {
  save: saveFile,
  load: () => by("file").click(),
  other: askWho,
  keys: () => by("keys").showModal(),
  previous: () => go(state.place - 1),
  next: () => go(state.place + 1),
  view: switchView,
};

document.addEventListener("click", ({ target, detail }) => {
  const action = does[target.closest("button")?.dataset.do];
  // the next Enter is meant for the item, not for a button that a mouse has pressed
  if (action && detail) by("main").focus({ preventScroll: true });
  action?.();
});

const keys = {
  ArrowLeft: () => shift(-1),
  ArrowRight: () => shift(1),
  ArrowUp: () => ask(state.now - 1),
  ArrowDown: () => ask(state.now + 1),
  Enter: onwards,
  PageUp: does.previous,
  PageDown: does.next,
  Backspace: () => give(undefined),
  Delete: () => give(undefined),
  a: () => wipeTo(Number(look.wipe) - 5),
  d: () => wipeTo(Number(look.wipe) + 5),
  " ": () => wipeTo(Number(look.wipe) < 100 ? 100 : 0),
  s: switchView,
};

// Names are chosen with the arrows, too.
function chooseName(key) {
  const buttons = [...by("names").children];
  const by_ = { ArrowUp: -1, ArrowDown: 1 }[key] ?? 0;
  buttons[buttons.indexOf(document.activeElement) + by_]?.focus();
  return by_ !== 0;
}

function press(event) {
  const { key, target, ctrlKey, metaKey, altKey } = event;
  if (by("keys").open || altKey) return false;
  if (state.rater === null) return chooseName(key);
  if (ctrlKey || metaKey) {
    if (key.toLowerCase() !== "s") return false;
    saveFile();
    return true;
  }
  // a button that has the focus is pressed by them
  if (target.closest("button") && (key === "Enter" || key === " ")) return false;
  if (key === "?") does.keys();
  else if (/^[0-9.]$/.test(key)) type(key);
  else if (Object.hasOwn(keys, key)) keys[key]();
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  if (press(event)) event.preventDefault();
});

const last = kept(STORE);
if (last in told.raters) begin(last);
else askWho();
