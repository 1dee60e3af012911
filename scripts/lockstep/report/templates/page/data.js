// The scripts in data/, each loaded once, when it is first needed.

const KEPT = 60; // scripts with details that are kept

const loads = new Map();
const waiting = new Map();

window.lockstep = {
  receive(name, value) {
    waiting.get(name)?.(value);
    waiting.delete(name);
  },
};

function load(name) {
  if (!loads.has(name)) loads.set(name, request(name));
  const old = [...loads.keys()].filter((key) => /^(details|asked)-/.test(key));
  for (const key of old.slice(0, -KEPT)) loads.delete(key);
  return loads.get(name);
}

function request(name) {
  return new Promise((resolve, reject) => {
    waiting.set(name, resolve);
    const script = document.createElement("script");
    script.src = `data/${name}.js`;
    script.onload = () => script.remove();
    script.onerror = () => {
      loads.delete(name);
      reject(new Error(say("samples.not-loaded", { name: `data/${name}.js` })));
    };
    document.head.append(script);
  });
}

async function loadIndex() {
  const index = await load("index");
  for (const editor of index.editors) {
    // at half the bits a 7.35 is less than 7.35, and a filter from there on would lose it
    editor.score = Float64Array.from(editor.score, (value) => value ?? NaN);
    editor.uncertainty = Float32Array.from(editor.uncertainty, (value) => value ?? NaN);
  }
  return index;
}

// What is searched, in small letters, and the instructions; both by sample.
async function loadTexts(index) {
  const instructions = [];
  const searched = [];
  for (let part = 0; part * index.texts < index.id.length; part++) {
    for (const [instruction, further] of await load(`texts-${part}`)) {
      const i = instructions.length;
      const tags = index.tagged[i].map((tag) => index.tags[tag]);
      searched.push([index.id[i], instruction, further, ...tags].join("\n").toLowerCase());
      instructions.push(instruction);
    }
  }
  return { instructions, searched };
}

async function loadDetails(index, i) {
  const part = await load(`details-${Math.floor(i / index.details)}`);
  return part[i % index.details];
}

// What the judge was asked of a sample and replied: for each editor a list of judgements.
async function loadAsked(index, i) {
  const { lines, samples } = await load(`asked-${Math.floor(i / index.details)}`);
  const text = (places) => places?.map((place) => lines[place]).join("\n");
  return samples[i % index.details].map((judgements) =>
    judgements.map(({ which, shown, error, ...texts }) => ({
      which,
      shown,
      error,
      ...Object.fromEntries(Object.entries(texts).map(([name, places]) => [name, text(places)])),
    })),
  );
}
