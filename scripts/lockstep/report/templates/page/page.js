// The address says what is shown: #view, or #samples?filters&page=n&sample=id.

const state = {
  index: null,
  texts: null,
  loadedTexts: null,
  query: { ...EMPTY },
  page: 1,
  found: [],
  sample: null,
  address(changes = {}) {
    const own = { ...this.query, page: this.page > 1 ? String(this.page) : "", ...changes };
    return filtered(own);
  },
  filterAddress: (changes) => filtered({ ...EMPTY, ...changes }),
  turn(page) {
    this.page = page;
    history.replaceState(null, "", this.address());
    showCards(this);
    document.getElementById("samples").scrollIntoView();
  },
};

function filtered(values) {
  const set = Object.entries(values).filter(([, value]) => value !== "");
  const text = new URLSearchParams(set).toString();
  return text ? `#samples?${text}` : "#samples";
}

const filters = document.getElementById("filters");
const views = [...document.querySelectorAll("[data-view]")];

// Shows the view that the address names, or the one that holds what it names.
function showView(name) {
  const target = document.getElementById(name);
  const view = target?.closest("[data-view]") ?? (name === "main" ? null : views[0]);
  if (!view) return;
  for (const other of views) other.hidden = other !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view.id}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (target && target !== view) target.scrollIntoView();
  else if (view.id !== "samples" || state.sample === null) scrollTo(0, 0);
}

// What the address names; nothing if it was cut off in the middle of a character.
function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return "";
  }
}

function readAddress() {
  const [name, text] = location.hash.length > 1
    ? location.hash.slice(1).split(/\?(.*)/s)
    : ["results", ""];
  if (name !== "samples") {
    closeViewer();
    showView(decoded(name));
    return;
  }
  const values = new URLSearchParams(text ?? "");
  for (const key of Object.keys(EMPTY)) state.query[key] = values.get(key) ?? "";
  state.page = Math.max(1, Number.parseInt(values.get("page") ?? "1", 10) || 1);
  for (const key of Object.keys(EMPTY)) filters.elements[key].value = state.query[key];
  const wasOpen = state.sample !== null;
  if (!wasOpen) showView("samples");
  refresh();
  const i = values.has("sample") ? state.index.id.indexOf(values.get("sample")) : -1;
  if (i >= 0) openSample(i);
  else closeViewer();
}

function refresh() {
  state.found = select(state.index, state.query, state.texts?.searched);
  const pages = Math.max(1, Math.ceil(state.found.length / PAGE));
  state.page = Math.min(state.page, pages);
  showCards(state);
}

function openSample(i) {
  state.sample = i;
  const place = state.found.indexOf(i);
  const page = Math.floor(place / PAGE) + 1;
  if (place >= 0 && page !== state.page) {
    state.page = page;
    showCards(state);
  }
  history.replaceState(null, "", state.address({ sample: state.index.id[i] }));
  showSample(state, i).catch(showError);
}

function step(by) {
  const next = state.found[state.found.indexOf(state.sample) + by];
  if (next !== undefined && state.found.includes(state.sample)) openSample(next);
}

function closeViewer() {
  if (viewer.open) viewer.close();
}

viewer.addEventListener("close", () => {
  const id = state.index.id[state.sample];
  state.sample = null;
  document.getElementById("stage").replaceChildren();
  if (location.hash.startsWith("#samples")) history.replaceState(null, "", state.address());
  [...document.querySelectorAll("#cards .card")].find((card) => card.dataset.id === id)?.focus();
});

viewer.addEventListener("click", (event) => {
  if (event.target === viewer) closeViewer();
  const button = event.target.closest("button");
  if (button?.dataset.mode) switchMode(state, button.dataset.mode);
  const does = { previous: () => step(-1), next: () => step(1), close: closeViewer };
  does[button?.dataset.do]?.();
});

filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("reset", () => setTimeout(changed));
filters.addEventListener("input", changed);

function changed() {
  for (const key of Object.keys(EMPTY)) state.query[key] = filters.elements[key].value;
  state.page = 1;
  history.replaceState(null, "", state.address());
  refresh();
}

function fill(name, values, caption = words) {
  const options = values.map((value) => element("option", { value }, caption(value)));
  filters.elements[name].append(...options);
  filters.elements[name].closest("label").hidden = values.length < 2;
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.matches("input, select, textarea") && !(target.type === "range" && !/Arrow/.test(key))) return;
  const samples = !document.getElementById("samples").hidden;
  const keys = document.getElementById("keys");
  let used = true;
  if (key === "?") keys.showModal();
  else if (keys.open) used = false;
  else if (viewer.open) {
    if (key === "ArrowLeft") step(-1);
    else if (key === "ArrowRight") step(1);
    else if (key === "s") switchMode(state, look.mode === "wipe" ? "side" : "wipe");
    else if (/^[1-9]$/.test(key)) choose(state, Number(key) - 1);
    else used = false;
  } else if (key === "/") {
    showView("samples");
    filters.elements.text.focus();
  } else if (samples && key.startsWith("Arrow") && (target.matches(".card") || /Left|Right/.test(key)))
    moveFocus(key);
  else if (samples && (key === "n" || key === "p"))
    document.querySelector(`.pager button:${key === "n" ? "last" : "first"}-of-type`)?.click();
  else used = false;
  if (used) event.preventDefault();
});

document.getElementById("save-notes").addEventListener("click", () => saveNotes(state.index));

const THEMES = { auto: "light dark", light: "light", dark: "dark" };
const theme = document.getElementById("theme");

function setTheme(name) {
  document.documentElement.style.colorScheme = THEMES[name];
  theme.textContent = say("page.theme", { name: say(`page.theme-${name}`) });
  theme.dataset.theme = name;
}

theme.addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(theme.dataset.theme) + 1) % names.length];
  setTheme(next);
  keep("lockstep-theme", next);
});

function showError(error) {
  document.getElementById("found").textContent = error.message;
}

async function start() {
  const saved = kept("lockstep-theme");
  setTheme(saved in THEMES ? saved : "auto");
  const named = location.hash.slice(1).split("?")[0] || "results";
  showView(decoded(named));
  const index = await loadIndex();
  state.index = index;
  fill("category", index.categories, called);
  fill("difficulty", index.difficulties);
  fill("tag", index.tags, (tag) => tag);
  fill("editor", index.editors.map((editor) => editor.name), (name) => name);
  fill("status", index.statuses, statusName);
  state.loadedTexts = loadTexts(index);
  readAddress();
  refresh();
  showExtremes(state);
  showNotes();
  addEventListener("hashchange", readAddress);
  state.texts = await state.loadedTexts;
  refresh();
  showExtremes(state);
}

// the browser itself scrolls to what the address names; what is above a view should be seen too
addEventListener("load", () => {
  if (views.some((view) => `#${view.id}` === location.hash)) requestAnimationFrame(() => scrollTo(0, 0));
});
start().catch(showError);
