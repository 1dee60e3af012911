// Tables sort by the column whose head is clicked, and heads say what their numbers are.

const NUMBER = /^[<≥]?\s*[+-]?[\d,]*\.?\d+/;

// What a cell is sorted by: its number, else its text; nothing where it holds a dash. A range below
// a number is a line of its own.
function sortedBy(cell) {
  const text = cell?.innerText.trim() ?? "";
  if (text === "" || text === "–") return null;
  const found = cell.classList.contains("text") ? null : text.match(NUMBER);
  return found ? Number(found[0].replace(/[<≥,\s]/g, "")) : text;
}

function compare(one, two) {
  if (typeof one === "number" && typeof two === "number") return one - two;
  return String(one).localeCompare(String(two), undefined, { numeric: true });
}

// The first click sorts numbers from the highest and texts from A, the next one the other way.
function sortTable(head) {
  const table = head.closest("table");
  const column = head.cellIndex;
  const first = head.classList.contains("text") ? "ascending" : "descending";
  const other = first === "ascending" ? "descending" : "ascending";
  const order = head.ariaSort === first ? other : first;
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  head.ariaSort = order;
  const sign = order === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("overall"));
    const values = new Map(rows.map((row) => [row, sortedBy(row.cells[column])]));
    const known = rows.filter((row) => values.get(row) !== null);
    known.sort((a, b) => sign * compare(values.get(a), values.get(b)));
    // what has no number comes last, and then what is of all rows
    body.append(...known, ...rows.filter((row) => values.get(row) === null));
    body.append(...[...body.rows].filter((row) => row.classList.contains("overall")));
  }
}

for (const head of document.querySelectorAll("thead th")) {
  const button = element("button", { type: "button", className: "sort" }, ...head.childNodes);
  if (head.dataset.term) button.dataset.term = head.dataset.term;
  button.addEventListener("click", () => sortTable(head));
  head.append(button);
}

// What a number is, beside it: for a mouse, a finger and the keyboard.
const tip = document.getElementById("tip");

function showTip(target) {
  const term = target.closest?.("[data-term]");
  if (!term) return;
  tip.textContent = say(`terms.${term.dataset.term}.says`);
  if (!tip.matches(":popover-open")) tip.showPopover();
  const [at, own] = [term.getBoundingClientRect(), tip.getBoundingClientRect()];
  const room = document.documentElement.clientWidth - own.width - 8;
  tip.style.left = `${Math.max(8, Math.min(at.left, room))}px`;
  const above = at.top - own.height - 6;
  tip.style.top = `${above > 8 ? above : at.bottom + 6}px`;
}

function hideTip() {
  if (tip.matches(":popover-open")) tip.hidePopover();
}

document.addEventListener("pointerover", ({ target }) => showTip(target));
document.addEventListener("focusin", ({ target }) => showTip(target));
document.addEventListener("pointerout", hideTip);
document.addEventListener("focusout", hideTip);
document.addEventListener("scroll", hideTip, true);
