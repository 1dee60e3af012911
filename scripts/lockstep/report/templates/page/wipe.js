// Two images on each other, and a slider between them; of the report and of the page to rate.

// Text only ever becomes text: nothing that a benchmark or a model says is read as HTML.
function element(tag, properties = {}, ...children) {
  const { dataset, style, ...own } = properties;
  const made = Object.assign(document.createElement(tag), own);
  Object.assign(made.dataset, dataset);
  for (const [key, value] of Object.entries(style ?? {})) made.style.setProperty(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const words = (key) => key.replaceAll("_", " ");

// `look.wipe` is the percent of the width that shows the image under, which the slider changes.
function wiped(look, under, over, left, right, ariaLabel) {
  const slider = element("input", {
    type: "range",
    min: 0,
    max: 100,
    step: 1,
    value: look.wipe,
    ariaLabel,
  });
  const box = element(
    "div",
    { className: "wipe-box" },
    under,
    element("div", { className: "over" }, over),
    slider,
    element("span", { className: "line", ariaHidden: "true" }),
    element("span", { className: "label left", ariaHidden: "true" }, left),
    element("span", { className: "label right", ariaHidden: "true" }, right),
  );
  const move = () => {
    look.wipe = slider.value;
    box.style.setProperty("--wipe", `${slider.value}%`);
  };
  slider.addEventListener("input", move);
  move();
  // an image of nearly the other's shape lies on it exactly, another one keeps its shape
  const shape = () => {
    if (!under.naturalWidth) return;
    const ratio = under.naturalWidth / under.naturalHeight;
    box.style.setProperty("--ratio", ratio);
    const own = over.naturalWidth / over.naturalHeight;
    over.classList?.toggle("other-shape", Math.abs(own / ratio - 1) > 0.05);
  };
  under.addEventListener("load", shape);
  over.addEventListener("load", shape);
  return box;
}
