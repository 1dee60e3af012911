// What the page says, in its language.

const texts = JSON.parse(document.getElementById("main").dataset.texts);

function say(key, values = {}) {
  return texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// How a category or a status is called.
const called = (key) => texts[`categories.${key}`] ?? words(key);
const statusName = (status) => say(`status.${status}`);
