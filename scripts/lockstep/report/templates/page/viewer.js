// One sample: the images, what was asked, and what the judge said.

const viewer = document.getElementById("viewer");
const scales = JSON.parse(viewer.dataset.scales);
const look = { editor: 0, mode: "wipe", wipe: 50 };

function chosen(state) {
  const editors = shownEditors(state.index, state.query);
  return editors.includes(state.index.editors[look.editor])
    ? state.index.editors[look.editor]
    : editors[0];
}

async function showSample(state, i) {
  const { index } = state;
  document.getElementById("viewer-title").replaceChildren(element("bdi", {}, index.id[i]));
  const place = state.found.indexOf(i);
  document.getElementById("viewer-place").textContent =
    place < 0
      ? ""
      : say("page.of", { count: place + 1, all: state.found.length.toLocaleString("en") });
  viewer.querySelector("[data-do=previous]").disabled = place <= 0;
  viewer.querySelector("[data-do=next]").disabled = place < 0 || place === state.found.length - 1;
  document.getElementById("viewer-link").href = `#samples?${new URLSearchParams({ sample: index.id[i] })}`;
  if (!viewer.open) {
    viewer.showModal();
    viewer.focus();
  }
  const details = await loadDetails(index, i);
  const { instructions } = await state.loadedTexts;
  if (state.sample !== i) return; // another one was opened meanwhile
  state.details = details;
  state.instruction = instructions[i];
  drawSample(state);
}

function drawSample(state) {
  const { index, sample: i, details } = state;
  const editor = chosen(state);
  const editors = document.getElementById("viewer-editors");
  editors.replaceChildren(
    ...index.editors.map((other, n) =>
      element(
        "button",
        {
          type: "button",
          ariaPressed: String(other === editor),
          onclick: () => choose(state, n),
        },
        dot(other),
        `${other.name} `,
        verdict(index, other, i),
      ),
    ),
  );
  for (const button of viewer.querySelectorAll("[data-mode]"))
    button.ariaPressed = String(button.dataset.mode === look.mode);
  const edit = details.edits[index.editors.indexOf(editor)];
  const stage = document.getElementById("stage");
  stage.className = look.mode;
  stage.replaceChildren(
    ...(look.mode === "wipe" ? [wipe(state, editor, edit)] : sideBySide(state)),
  );
  document.getElementById("facts").replaceChildren(...facts(state, editor, edit));
}

function choose(state, n) {
  if (n >= state.index.editors.length) return;
  look.editor = n;
  drawSample(state);
  document.getElementById("viewer-editors").children[n].focus();
}

function switchMode(state, mode) {
  look.mode = mode;
  drawSample(state);
}

// An image in full; its thumbnail where the browser cannot show that.
function full(url, small, alt) {
  const image = element("img", { alt, src: url, draggable: false });
  image.onerror = () => {
    image.onerror = null;
    image.src = small;
  };
  return image;
}

function sourceImage(state) {
  const { index, sample: i } = state;
  if (index.pictured[i] !== "1") return element("span", { className: "nothing" }, say("samples.no-image"));
  return full(state.details.source, thumbnail(index, i), say("samples.source"));
}

function editedImage(state, editor, edit) {
  if (!edit?.edited || editor.pictured[state.sample] !== "1")
    return element("span", { className: "nothing" }, say("viewer.blank", { name: editor.name }));
  const alt = say("samples.edit-by", { name: editor.name });
  return full(edit.edited, thumbnail(state.index, state.sample, editor), alt);
}

function wipe(state, editor, edit) {
  return wiped(
    look,
    sourceImage(state),
    editedImage(state, editor, edit),
    say("samples.source"),
    editor.name,
    say("viewer.slider"),
  );
}

function sideBySide(state) {
  const { index, details, sample: i } = state;
  const figure = (image, ...caption) =>
    element("figure", {}, image, element("figcaption", {}, ...caption));
  return [
    figure(sourceImage(state), say("samples.source")),
    ...index.editors.map((editor, n) => {
      const shown = figure(
        editedImage(state, editor, details.edits[n]),
        dot(editor),
        `${editor.name} `,
        verdict(index, editor, i),
      );
      shown.append(...judged(state, editor, details.edits[n]));
      return shown;
    }),
  ];
}

function facts(state, editor, edit) {
  const { index, details, sample: i } = state;
  const told = [["category", index.categories[index.category[i]]]];
  if (index.difficulty[i] >= 0) told.push(["difficulty", index.difficulties[index.difficulty[i]]]);
  for (const tag of index.tagged[i]) told.push(["tag", index.tags[tag]]);
  const chips = told.map(([key, value]) =>
    element(
      "a",
      { className: "chip", href: state.filterAddress({ [key]: value }), dir: "auto" },
      key === "category" ? called(value) : value,
    ),
  );
  return [
    ...part(say("viewer.instruction"), prose(state.instruction)),
    ...(details.description ? part(say("viewer.description"), prose(details.description)) : []),
    ...(details.rationale ? part(say("viewer.rationale"), prose(details.rationale)) : []),
    element("p", { className: "chips" }, ...chips),
    // side by side, each edit has its own below it
    ...(look.mode === "side"
      ? []
      : [
          element("h3", { className: "who" }, dot(editor), editor.name),
          element("p", { className: "big" }, verdict(index, editor, i)),
          ...judged(state, editor, edit),
        ]),
    ...noteBox(index.id[i]),
  ];
}

const part = (title, ...content) => [element("h3", {}, title), ...content];
const prose = (text) => element("p", { className: "prose", dir: "auto" }, text);

// What is known of one edit: scores, reasons, and what of the source it kept.
function judged(state, editor, edit) {
  const { index, sample: i } = state;
  return [
    ...(edit?.rewritten ? part(say("viewer.rewritten"), prose(edit.rewritten)) : []),
    ...(edit?.error ? [prose(edit.error)] : []),
    ...scores(editor, edit, i, scales[index.categories[index.category[i]]]),
    ...(edit?.reasoning ? part(say("viewer.reasoning"), prose(edit.reasoning)) : []),
    ...(edit?.kept ? part(say("viewer.kept"), keptOfSource(edit.kept)) : []),
    ...(edit?.judge
      ? [
          element(
            "p",
            { className: "quiet" },
            `${say("viewer.judge")} `,
            element("a", { href: `#judge-${edit.judge}` }, edit.judge),
          ),
          exchange(index, i, index.editors.indexOf(editor)),
        ]
      : []),
  ];
}

// What the judge was asked and replied, word for word, loaded when it is opened.
function exchange(index, i, n) {
  const summary = element("summary", {}, say("viewer.asked"));
  const box = element("details", { className: "exchange" }, summary);
  box.ontoggle = async () => {
    if (!box.open || box.children.length > 1) return;
    try {
      const asked = await loadAsked(index, i);
      box.replaceChildren(summary, ...asked[n].flatMap(judgement));
      if (!asked[n].length) box.append(element("p", { className: "quiet" }, say("viewer.not-recorded")));
    } catch (error) {
      box.replaceChildren(summary, element("p", { className: "failed" }, error.message));
    }
  };
  return box;
}

function judgement({ which, shown, error, system, prompt, rejected, correction, reply }) {
  const told = [
    [say("viewer.system"), system],
    [say("viewer.images"), shown.join(", ") || undefined],
    [say("viewer.text"), prompt],
    ...(rejected === undefined
      ? []
      : [[say("viewer.first-reply"), rejected], [say("viewer.correction"), correction]]),
    [say("viewer.reply"), reply ?? say("viewer.no-reply", { error })],
  ];
  return [
    ...(which ? [element("h3", {}, which)] : []),
    ...told.flatMap(([title, text]) => [
      element("h4", {}, title),
      text === undefined
        ? element("p", { className: "quiet" }, say("viewer.not-recorded"))
        : element("pre", { dir: "auto" }, text),
    ]),
  ];
}

function scores(editor, edit, i, [low, high]) {
  if (!edit) return [];
  const bars = Object.entries(edit.criteria).map(([name, value]) =>
    element(
      "li",
      {},
      element("span", {}, words(name)),
      element("span", { className: "meter", style: { "--share": (value - low) / (high - low) } }),
      element("b", {}, String(value)),
    ),
  );
  const further = [
    ["expected_score", edit.expected_score],
    ["uncertainty", Number.isNaN(editor.uncertainty[i]) ? null : editor.uncertainty[i]],
    ["spread", edit.spread],
    ["swapped_score", edit.swapped_score],
  ].filter(([, value]) => value !== null);
  return [
    element("ul", { className: "criteria" }, ...bars),
    listed(further.map(([term, value]) => [term, number(value)])),
  ];
}

// Numbers with their names, which the glossary explains.
function listed(numbers) {
  return element(
    "dl",
    { className: "further" },
    ...numbers.flatMap(([term, value]) => [
      element("dt", { dataset: { term } }, say(`terms.${term}.name`)),
      element("dd", {}, value),
    ]),
  );
}

// What an edit kept of its source, as a list; what could not be told is a dash.
function keptOfSource(own) {
  const told = (value, digits, unit = "") => (value === null ? "–" : value.toFixed(digits) + unit);
  const signed = (value, digits) => (value > 0 ? "+" : "") + told(value, digits);
  const size = (whose) => `${own[`${whose}_width`]} × ${own[`${whose}_height`]}`;
  const moved = own.shift_x === null ? say("viewer.untold") : null;
  const sizes = { edited: size("edited"), source: size("source") };
  const numbers = [
    ["copy", say(`viewer.${own.copy_of_source}`)],
    ["size", sizes.source === sizes.edited ? sizes.edited : say("viewer.size-of", sizes)],
    ["psnr", own.psnr === null ? say("viewer.no-difference") : told(own.psnr, 1)],
    ["ssim", told(own.ssim, 3)],
    ["changed", told(100 * own.changed_share, 1)],
    ["shift", moved ?? `${signed(own.shift_x, 2)}, ${signed(own.shift_y, 2)}`],
    ["zoom", moved ?? signed(own.zoom_percent, 2)],
    ["matched", told(own.matched_share === null ? null : 100 * own.matched_share, 0, "%")],
    ["lab", ["l", "a", "b"].map((axis) => signed(own[`colour_${axis}`], 1)).join(", ")],
    // what models told, where they were asked
    ["clip_similarity", own.clip_similarity?.toFixed(3)],
    ["clip_text", own.clip_text?.toFixed(3)],
    ["clip_text_cut", own.clip_text_cut],
    ["dino_similarity", own.dino_similarity?.toFixed(3)],
    ["lpips", own.lpips?.toFixed(3)],
  ].filter(([, value]) => value !== undefined);
  return listed(numbers);
}
