// Notes that a reader writes on samples: kept in this browser, and saved as a file.

const STORE = `lockstep-notes-${document.getElementById("main").dataset.report}`;
const notes = JSON.parse(kept(STORE) ?? "{}");

const noted = (id) => Object.hasOwn(notes, id);

// Sets a sample's note and tells whether the browser keeps it.
function setNote(id, text) {
  if (text.trim()) notes[id] = text;
  else delete notes[id];
  showNotes();
  return keep(STORE, JSON.stringify(notes));
}

function showNotes() {
  const count = Object.keys(notes).length;
  const button = document.getElementById("save-notes");
  button.hidden = count === 0;
  button.textContent = say("samples.save-notes", { count });
}

// A text that a spreadsheet would compute has a ' before it, as in the tables of the results.
const plainCell = (text) => (/^'*[=+@\t\n\uff0b\uff0d\uff1d\uff20-]/.test(text) ? `'${text}` : text);

function saveNotes(index) {
  const rows = index.id.flatMap((id, i) =>
    noted(id) ? [[index.categories[index.category[i]], id, notes[id]].map(plainCell)] : [],
  );
  saveCsv("notes.csv", [["category", "id", "note"], ...rows]);
}

// Where a sample's note is written.
function noteBox(id) {
  const told = element("p", { className: "quiet" }, say("viewer.note-kept"));
  const box = element("textarea", { rows: 3, value: notes[id] ?? "", dir: "auto", ariaLabel: say("viewer.note") });
  box.addEventListener("input", () => {
    const isKept = setNote(id, box.value);
    told.textContent = say(isKept ? "viewer.note-kept" : "viewer.note-not-kept");
    told.className = isKept ? "quiet" : "failed";
  });
  return [element("h3", {}, say("viewer.note")), box, told];
}
