// What a browser keeps for a page, and files that a page saves.

// A browser may keep nothing for pages from disk.
function keep(name, value) {
  try {
    localStorage.setItem(name, value);
    return true;
  } catch {
    return false;
  }
}

function kept(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

// Saves rows of texts as a CSV file.
function saveCsv(name, rows) {
  const text = rows.map((row) => `${row.map(quoted).join(",")}\n`).join("");
  const file = new Blob([text], { type: "text/csv;charset=utf-8" });
  const link = element("a", { href: URL.createObjectURL(file), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
