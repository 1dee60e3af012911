// The cards of the samples, a page of them at a time.

const PAGE = 48;

const number = (value) => value.toFixed(2);
const dot = (editor) => element("i", { className: "dot", style: { background: editor.colour } });

function thumbnail(index, i, editor) {
  const folder = editor ? `edits/${encodeURIComponent(editor.name)}` : "sources";
  const category = index.categories[index.category[i]];
  return `thumbs/${folder}/${category}/${encodeURIComponent(index.id[i])}.jpg`;
}

function statusOf(index, editor, i) {
  return index.statuses[Number(editor.status[i])];
}

// How one editor did: its score, or why there is none.
function verdict(index, editor, i) {
  const status = statusOf(index, editor, i);
  if (status === "ok") return element("b", { className: "score" }, number(editor.score[i]));
  return element("b", { className: status === "skipped" ? "skipped" : "failed" }, statusName(status));
}

function picture(index, i, editor) {
  const flags = editor ? editor.pictured : index.pictured;
  const alt = editor ? say("samples.edit-by", { name: editor.name }) : say("samples.source");
  const shown =
    flags[i] === "1"
      ? element("img", { loading: "lazy", decoding: "async", alt, src: thumbnail(index, i, editor) })
      : element("span", { className: "nothing" }, say("samples.no-image"));
  const caption = editor
    ? [verdict(index, editor, i), element("span", { className: "who" }, dot(editor), editor.name)]
    : [element("span", { className: "who" }, say("samples.source"))];
  return element(
    "span",
    { className: "picture" },
    shown,
    element("span", { className: "caption" }, ...caption),
  );
}

function card(index, i, editors, texts, href) {
  const facts = [called(index.categories[index.category[i]]), index.difficulties[index.difficulty[i]]];
  return element(
    "li",
    {},
    element(
      "a",
      { className: "card", href, dataset: { id: index.id[i] } },
      element(
        "span",
        { className: "pictures" },
        picture(index, i),
        ...editors.map((editor) => picture(index, i, editor)),
      ),
      element("span", { className: "instruction", dir: "auto" }, texts?.instructions[i] ?? " "),
      element(
        "span",
        { className: "quiet" },
        facts.filter(Boolean).join(" · ") + " · ",
        element("bdi", {}, index.id[i]),
        noted(index.id[i]) ? element("span", { title: notes[index.id[i]] }, " ✎") : null,
      ),
    ),
  );
}

function showCards(state) {
  const { index, found, query, texts } = state;
  const editors = shownEditors(index, query);
  const cards = document.getElementById("cards");
  cards.style.setProperty("--pictures", Math.min(editors.length, 4) + 1);
  const start = (state.page - 1) * PAGE;
  const shown = found.slice(start, start + PAGE);
  cards.replaceChildren(
    ...shown.map((i) => card(index, i, editors, texts, state.address({ sample: index.id[i] }))),
  );
  const [all, some] = [index.id.length, found.length].map((n) => n.toLocaleString("en"));
  const count =
    all === some ? say("samples.count", { count: all }) : say("samples.some", { count: some, all });
  const bounds = { first: start + 1, last: start + shown.length };
  const part = found.length > PAGE ? say("samples.shown", bounds) : "";
  document.getElementById("found").textContent = found.length
    ? count + part
    : say("samples.nothing");
  for (const pager of document.querySelectorAll(".pager")) showPager(pager, state);
}

function showPager(pager, state) {
  const pages = Math.max(1, Math.ceil(state.found.length / PAGE));
  pager.hidden = pages === 1;
  const turn = (text, page) =>
    element(
      "button",
      { type: "button", disabled: page < 1 || page > pages, onclick: () => state.turn(page) },
      text,
    );
  pager.replaceChildren(
    turn(say("samples.before"), state.page - 1),
    say("samples.page", { page: state.page, pages }),
    turn(say("samples.after"), state.page + 1),
  );
}

// Arrows move the focus over the cards as they lie.
function moveFocus(key) {
  const cards = [...document.querySelectorAll("#cards .card")];
  const at = cards.indexOf(document.activeElement);
  if (at < 0) {
    cards[0]?.focus();
    return;
  }
  const top = cards[0].offsetTop;
  const columns = cards.filter((other) => other.offsetTop === top).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  cards[at + step]?.focus();
}
