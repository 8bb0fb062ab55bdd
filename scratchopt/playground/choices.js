// Choices: the function, the methods and their settings, and what a change of each does.

function setValue(name, value) {
  const values = { ...setting.values };
  values[setting.shown] = { ...values[setting.shown], [name]: value };
  change({ values });
}

function chooseFunction(name) {
  const { race, shown, steps, noise, seed } = setting;
  pause();
  change({ ...defaultSetting(name), race, shown, steps, noise, seed, step: 0 });
  roll();
}

const functionChoices = Object.entries(PLAYGROUND.functions).map(([name, { title, formula }]) => {
  const input = element("input", { type: "radio", name: "function", value: name });
  input.addEventListener("change", () => chooseFunction(name));
  $("functions").append(element("label", { title: formula }, input, element("span", {}, title)));
  return input;
});

const swatch = (method) => {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  const [on, off] = inks.dash(method).length ? inks.dash(method) : [1, 0];
  const colour = inks.colour(method);
  made.style.background = `repeating-linear-gradient(90deg, ${colour} 0 ${on}px, transparent ${on}px ${on + off}px)`;
  return made;
};

const chips = Object.entries(PLAYGROUND.methods).map(([method, { title, summary }]) => {
  const box = element("input", { type: "checkbox", value: method, "aria-label": `${title} races` });
  const name = element("button", { type: "button", title: summary }, title);
  const chip = element("li", {}, box, element("span", { class: "swatch-place" }), name);
  const join = () => change({ race: [...new Set([...setting.race, method])], shown: method });
  const leave = () => change({ race: setting.race.filter((each) => each !== method) });
  box.addEventListener("change", () => (box.checked ? join() : leave()));
  name.addEventListener("click", join);
  $("race").append(chip);
  return { method, box, name, chip };
});
$("suit").addEventListener("click", () => {
  const own = suggestValues(setting.function, setting.shown);
  change({ values: { ...setting.values, [setting.shown]: own } });
});
$("more").addEventListener("click", () => {
  const all = $("race").classList.toggle("all");
  $("more").setAttribute("aria-expanded", all);
  $("more").textContent = all ? "fewer" : "more";
});

// Gives the methods in the race their colours, in the page's light or dark.
function colourMethods() {
  inks = readInks(setting.race);
  for (const { method, chip } of chips) chip.querySelector(".swatch-place").replaceChildren(swatch(method));
}

const common = {
  steps: new Field({ name: "steps", label: "steps", scale: "count", low: 1, high: MOST_STEPS }, (steps) => change({ steps })),
  noise: new Field({ name: "noise", label: "noise σ", scale: "log", low: 0, high: null }, (noise) => change({ noise })),
  seed: new Field({ name: "seed", label: "seed", scale: "count", low: 0, high: 999999 }, (seed) => change({ seed })),
};

let built = {}; // which fields stand, so that none is made anew while a hand is on it
let valueFields = [];
let startFields = [];
let parameterFields = [];

function showControls() {
  for (const input of functionChoices) input.checked = input.value === setting.function;
  const f = PLAYGROUND.functions[setting.function];
  $("formula").textContent = `f(${f.axes.join(", ")}) = ${f.formula}`;
  if (built.function !== setting.function) buildGround(f);
  startFields.forEach((field, i) => field.set(setting.start[i]));
  parameterFields.forEach((field, i) => field.set(setting.parameters[i]));
  for (const [name, field] of Object.entries(common)) field.set(setting[name]);
  common.seed.row.hidden = !setting.noise;

  for (const { method, box, name, chip } of chips) {
    box.checked = setting.race.includes(method);
    chip.classList.toggle("racing", box.checked);
    name.setAttribute("aria-pressed", method === setting.shown);
  }
  if (built.method !== setting.shown) buildMethod(PLAYGROUND.methods[setting.shown]);
  for (const field of valueFields) field.set(setting.values[setting.shown][field.setting.name]);
  for (const id of ["settings", "rule"]) $(id).style.setProperty("--own", inks.colour(setting.shown));
  $("step").max = setting.steps;
  $("legend").classList.toggle("pointed", tracks.some((track) => PLAYGROUND.methods[track.setting.method].pointed));
}

function buildGround(f) {
  built.function = setting.function;
  const { parentElement: chosen } = functionChoices.find((input) => input.checked);
  const bar = $("functions"); // where it is wider than the window, with the chosen one in sight
  const [from, to] = [chosen.offsetLeft - 24, chosen.offsetLeft + chosen.offsetWidth + 24 - bar.clientWidth];
  bar.scrollLeft = Math.max(to, Math.min(from, bar.scrollLeft));
  const put = (list, i, value) => list.map((old, j) => (i === j ? value : old));
  startFields = f.axes.map((axis, i) => {
    const own = { name: `start ${axis}`, label: `start ${axis}`, scale: "real", low: null, high: null };
    const field = new Field(own, (value) => change({ start: put(setting.start, i, value), step: 0 }));
    const [low, high] = f.window[i];
    field.number.step = roundTicks(low, high, 100)[1] - roundTicks(low, high, 100)[0];
    return field;
  });
  parameterFields = f.parameters.map((parameter, i) =>
    new Field({ scale: "log", ...parameter }, (value) => change({ parameters: put(setting.parameters, i, value) }))
  );
  const rows = [...parameterFields, ...startFields, common.noise, common.seed, common.steps];
  $("ground").replaceChildren(...rows.map(({ row }) => row));
  $("data-figure").hidden = !f.data;
}

// Those that a paper has a letter for; what has none is rarely turned, and folded away.
const isMain = ({ name, label }) => label !== name || name === "lr" || name === "damping";

function buildMethod(method) {
  built.method = setting.shown;
  $("method-title").textContent = method.title;
  $("summary").textContent = method.summary.replaceAll("`", "");
  valueFields = method.settings.map((own) => new Field(own, (value) => setValue(own.name, value)));
  const rows = (of) => valueFields.filter((field) => of(field.setting)).map(({ row }) => row);
  $("values").replaceChildren(...rows(isMain));
  $("rare-values").replaceChildren(...rows((own) => !isMain(own)));
  const isChanged = (own) => !isMain(own) && setting.values[setting.shown][own.name] !== own.value;
  $("rare").hidden = method.settings.every(isMain);
  $("rare").open = method.settings.some(isChanged);
}
