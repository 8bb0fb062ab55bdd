// The page: what its controls do to the setting, and what a setting shows.

const $ = (id) => document.getElementById(id);
const prefersStillness = matchMedia("(prefers-reduced-motion: reduce)");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

const landscape = new Landscape($("landscape"));
const curve = new Curve($("loss"));
const fit = new Fit($("data"));

let setting = null;
let tracks = [];
let simulated = null; // of which settings the tracks are
let inks = null;
let time = 0; // of the pictures: the step, and while it plays what lies between two steps
let playing = false;
let speed = 1;

// Every change of what is shown goes this way: the runs are made anew, drawn, and the address told.
function change(edit) {
  Object.assign(setting, edit);
  if (setting.race.length && !setting.race.includes(setting.shown)) setting.shown = setting.race[0];
  const { function: name, parameters, start, race, values, steps, noise, seed } = setting;
  const inputs = JSON.stringify([name, parameters, start, race.map((m) => [m, values[m]]), steps, noise, seed]);
  if (inputs !== simulated) {
    simulated = inputs;
    dressMethods();
    tracks = race.map((method) =>
      simulate({ method, values: { ...values[method] }, function: name, parameters, start, steps, noise, seed })
    );
  }
  setting.step = Math.max(0, Math.min(setting.steps, setting.step));
  if (!playing) time = setting.step;
  showControls();
  showStep();
  requestPictures();
  rememberAddress();
}

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

const shownTrack = () => tracks.find((track) => track.setting.method === setting.shown);

// Controls

const functionChoices = Object.entries(PLAYGROUND.functions).map(([name, { title, formula }]) => {
  const input = element("input", { type: "radio", name: "function", value: name });
  input.addEventListener("change", () => chooseFunction(name));
  $("functions").append(element("label", { title: formula }, input, element("span", {}, title)));
  return input;
});

const swatch = (method) => {
  const made = element("span", { class: "swatch", "aria-hidden": "true" });
  const dash = inks.dash(method);
  made.style.borderTopStyle = dash.length ? (dash[0] > 4 ? "dashed" : "dotted") : "solid";
  made.style.borderTopColor = inks.colour(method);
  return made;
};

const chips = Object.entries(PLAYGROUND.methods).map(([method, { title, summary }]) => {
  const box = element("input", { type: "checkbox", value: method, "aria-label": `${title} races` });
  const name = element("button", { type: "button", title: summary }, title);
  const chip = element("li", {}, box, element("span", { class: "swatch-place" }), name);
  box.addEventListener("change", () => {
    const race = Object.keys(PLAYGROUND.methods).filter((each) =>
      each === method ? box.checked : setting.race.includes(each)
    );
    change({ race, shown: box.checked ? method : setting.shown });
  });
  name.addEventListener("click", () => {
    const race = setting.race.includes(method) ? setting.race : [...setting.race, method];
    change({ race, shown: method });
  });
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

// Those that a paper has a letter for; what has none is rarely turned.
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

// What a step shows in words and numbers

function showStep() {
  const { step, steps } = setting;
  $("step").value = step;
  $("step").setAttribute("aria-valuetext", `step ${step} of ${steps}`);
  $("step-told").textContent = `step ${step} of ${steps}`;
  showLosses();
  showLimit();
  showRule();
  showNumbers();
  if (!playing) tellLater();
}

const outcome = ({ ended, steps }) =>
  ended === "singular" ? `no step after ${steps}: the matrix is singular` : `diverged after ${steps} steps`;

function showLosses() {
  $("losses").replaceChildren(...tracks.map((track) => {
    const { title } = PLAYGROUND.methods[track.setting.method];
    const loss = track.losses[Math.min(setting.step, track.steps)];
    const over = track.ended && setting.step >= track.steps;
    const told = over ? outcome(track) : format(loss, 5);
    return element("li", { "data-method": track.setting.method }, swatch(track.setting.method), `${title} `, element("data", { value: loss }, told));
  }));
}

function showLimit() {
  const field = valueFields.find((each) => each.setting.name === "lr");
  const track = shownTrack();
  const limit = track ? largestStableLr(track, Math.min(setting.step, track.steps)) : null;
  if (field?.slider) field.setLimit(limit);
  const lr = setting.values[setting.shown].lr;
  const told = $("limit");
  const beyond = limit !== null && lr > limit;
  told.classList.toggle("over", beyond);
  if (limit === null) told.textContent = "No largest stable lr is known here.";
  else if (beyond) told.textContent = `lr is beyond ${format(limit, 3)}, the largest stable one here: about such a point each swing is larger than the last.`;
  else told.textContent = `The largest stable lr here is ${format(limit, 3)}.`;
  $("limit-value").textContent = limit ?? "";
}

const asTuple = (values) => {
  const texts = [values].flat().map((value) => format(value, 5));
  return texts.length === 1 ? texts[0] : `(${texts.join(", ")})`;
};

function showRule() {
  const track = shownTrack();
  const k = track ? Math.min(setting.step, track.steps - 1) : -1;
  const lines = k >= 0 ? explain(track, k) : variantOf(setting.shown, setting.values[setting.shown]).lines;
  $("rule-step").textContent = k < 0 ? "" : `step ${k} → ${k + 1}`;
  const files = [...new Set(lines.map(({ file }) => file))];
  $("source").replaceChildren(...files.map((file) =>
    element("li", {}, element("p", { class: "file" }, file),
      element("ol", {}, ...lines.filter((each) => each.file === file).map(sourceLine)))));
}

function sourceLine({ line, text, results = [] }) {
  const [, code, comment] = text.match(/^(.*?)(\s*#.*)?$/);
  const told = results.map(({ name, value }) => {
    const written = name || code.match(/^\s*(\w+)\s*\W?=/)?.[1];
    return element("span", {}, ...(written ? [element("i", {}, written), " = "] : ["→ "]), asTuple(value));
  });
  return element("li", {},
    element("span", { class: "line", "aria-hidden": "true" }, String(line)),
    element("code", {}, code, element("span", { class: "comment" }, comment ?? "")),
    element("span", { class: "result" }, ...told));
}

// The rows of the table: a name, and a number or one for each coordinate.
function numberRows(track, k) {
  const { pointed } = PLAYGROUND.methods[track.setting.method];
  const { t, ...made } = numbersOf(track, Math.min(k, Math.max(track.steps - 1, 0)));
  return [
    ["t", k < track.steps ? t : null],
    ["θ", track.iterates[k]],
    pointed && ["lookahead point", track.points[k] ?? null],
    ["gradient", track.gradients[k] ?? null],
    ["velocity after", track.velocities[k] ?? null],
    ["loss at θ", track.losses[k]],
    ...Object.entries(track.buffers[k]).map(([name, values]) => [`${name} before`, values]),
    ...Object.entries(made),
    ["largest stable lr", largestStableLr(track, k)],
  ].filter(Boolean);
}

function showNumbers() {
  const { axes } = PLAYGROUND.functions[setting.function];
  const track = shownTrack();
  const rows = track ? numberRows(track, Math.min(setting.step, track.steps)) : [];
  const cell = (value, attributes) =>
    element("td", attributes, value === null ? "–" : element("data", { value }, format(value, 7)));
  $("numbers").tHead.replaceChildren(element("tr", {}, element("td"),
    ...axes.map((axis) => element("th", { scope: "col" }, axes.length > 1 ? axis : ""))));
  $("numbers").tBodies[0].replaceChildren(...rows.map(([name, value]) =>
    element("tr", { "data-name": name }, element("th", { scope: "row" }, name),
      ...(Array.isArray(value) ? value.map((each) => cell(each)) : [cell(value, { colspan: axes.length })]))
  ));
}

let telling = null;

// To those who hear the page, once it has come to rest.
function tellLater() {
  clearTimeout(telling);
  telling = setTimeout(() => {
    const losses = tracks.map((track) => {
      const loss = format(track.losses[Math.min(setting.step, track.steps)], 4);
      const over = track.ended && setting.step >= track.steps;
      return `${PLAYGROUND.methods[track.setting.method].title}: ${over ? outcome(track) : `loss ${loss}`}`;
    });
    $("told").textContent = `Step ${setting.step} of ${setting.steps}. ${losses.join("; ")}.`;
    const { title } = PLAYGROUND.functions[setting.function];
    $("landscape").setAttribute("aria-label", `The landscape of ${title}. ${$("told").textContent}`);
  }, 400);
}

// Pictures

let requested = false;

function requestPictures() {
  if (requested || playing) return;
  requested = true;
  requestAnimationFrame(() => {
    requested = false;
    drawPictures();
  });
}

function drawPictures() {
  const scene = { setting, tracks, inks };
  landscape.draw(scene, time);
  curve.draw(scene, time);
  if (!$("data-figure").hidden) fit.draw(scene, time);
}

// Playing: a run of any length takes some twelve seconds, and no step less than a quarter of one.

const stepsASecond = () => Math.max(4, setting.steps / 12) * speed;
const lastStep = () => Math.min(setting.steps, Math.max(0, ...tracks.map(({ steps }) => steps)));

function play() {
  if (playing) return;
  if (setting.step >= lastStep()) change({ step: 0 });
  playing = true;
  time = setting.step;
  $("play").classList.add("playing");
  $("play").setAttribute("aria-label", "pause");
  let before = null;
  requestAnimationFrame(function frame(now) {
    if (!playing) return;
    time = Math.min(lastStep(), time + ((now - (before ?? now)) / 1000) * stepsASecond());
    before = now;
    if (Math.floor(time) !== setting.step) {
      setting.step = Math.floor(time);
      showStep();
      rememberAddress();
    }
    drawPictures();
    if (time >= lastStep()) pause();
    else requestAnimationFrame(frame);
  });
}

function pause() {
  playing = false;
  time = setting.step;
  $("play").classList.remove("playing");
  $("play").setAttribute("aria-label", "play");
  tellLater();
  requestPictures();
}

const toggle = () => (playing ? pause() : play());

function goTo(step) {
  pause();
  change({ step });
}

// What is let go rolls, unless the reader wants no motion.
function roll() {
  if (!prefersStillness.matches) play();
}

const buttons = {
  first: () => goTo(0),
  back: () => goTo(setting.step - 1),
  play: toggle,
  forward: () => goTo(setting.step + 1),
  last: () => goTo(setting.steps),
};
for (const [id, act] of Object.entries(buttons)) $(id).addEventListener("click", act);
$("step").addEventListener("input", () => goTo(Number($("step").value)));
$("speed").addEventListener("change", () => { speed = Number($("speed").value); });

const keys = {
  " ": toggle,
  ArrowRight: ({ shiftKey }) => goTo(setting.step + (shiftKey ? 10 : 1)),
  ArrowLeft: ({ shiftKey }) => goTo(setting.step - (shiftKey ? 10 : 1)),
  Home: () => goTo(0),
  End: () => goTo(setting.steps),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  if (event.target.closest("input, select")) return; // whose own keys these are
  if (event.key === " " && event.target.closest("button, summary, a")) return;
  event.preventDefault();
  keys[event.key](event);
});

// A hand on the landscape: it takes the nearest ball along, and lets it roll.

let held = null;
const reachOf = ({ pointerType }) => (pointerType === "mouse" ? 16 : 36);
const placeOf = (event) => {
  const box = event.currentTarget.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

function place(px, py) {
  pause();
  change({ start: landscape.toStart(px, py), step: 0 });
}

$("landscape").addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  const [px, py] = placeOf(event);
  const ball = landscape.grab({ tracks }, time, px, py, reachOf(event));
  if (!ball && event.pointerType !== "mouse") return; // a finger elsewhere scrolls the page, or taps
  event.currentTarget.setPointerCapture(event.pointerId);
  held = { offset: ball?.offset ?? [0, 0], from: [px, py], moved: !ball };
  pause();
  if (!ball) place(px, py);
});
$("landscape").addEventListener("pointermove", (event) => {
  const [px, py] = placeOf(event);
  if (!held) {
    const near = landscape.f && landscape.grab({ tracks }, time, px, py, reachOf(event));
    $("landscape").classList.toggle("near", Boolean(near));
    return;
  }
  held.moved ||= Math.hypot(px - held.from[0], py - held.from[1]) > 3;
  if (held.moved) place(px + held.offset[0], py + held.offset[1]);
});
for (const kind of ["pointerup", "pointercancel"]) {
  $("landscape").addEventListener(kind, () => {
    if (held?.moved && kind === "pointerup") roll();
    held = null;
  });
}
$("landscape").addEventListener("click", (event) => {
  const [px, py] = placeOf(event);
  if (event.pointerType !== "touch" || landscape.grab({ tracks }, time, px, py, reachOf(event))) return;
  place(px, py);
  roll();
});
// A finger that has the ball does not scroll the page.
$("landscape").addEventListener("touchstart", (event) => {
  const box = event.currentTarget.getBoundingClientRect();
  const [{ clientX, clientY }] = event.touches;
  const ball = landscape.grab({ tracks }, time, clientX - box.left, clientY - box.top, 36);
  if (ball) event.preventDefault();
}, { passive: false });

// A hand on the curve of the loss moves the playhead.
let scrubbing = false;
const scrub = (event) => goTo(curve.toStep(placeOf(event)[0], setting.steps));
$("loss").addEventListener("pointerdown", (event) => {
  event.currentTarget.setPointerCapture(event.pointerId);
  scrubbing = true;
  scrub(event);
});
$("loss").addEventListener("pointermove", (event) => { if (scrubbing) scrub(event); });
for (const kind of ["pointerup", "pointercancel"]) {
  $("loss").addEventListener(kind, () => { scrubbing = false; });
}

// The address, and what is copied

let remembering = null;

function rememberAddress() {
  remembering ??= setTimeout(writeNow, 400); // browsers refuse more than a few a second
}

function writeNow() {
  clearTimeout(remembering);
  remembering = null;
  history.replaceState(null, "", writeAddress(setting));
  $("open").href = location.href;
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not allowed within a frame, or from a file
    const area = element("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const label = button.textContent;
  button.textContent = "copied";
  setTimeout(() => { button.textContent = label; }, 1200);
}

$("copy-link").addEventListener("click", () => {
  writeNow();
  copy(location.href, $("copy-link"));
});
$("copy-numbers").addEventListener("click", () => {
  const rows = [...$("numbers").rows].map((row) =>
    [...row.cells].map((each) => each.querySelector("data")?.value ?? each.textContent).join("\t"));
  copy(rows.join("\n"), $("copy-numbers"));
});

// Opening

// The colours of those who race, in the page's light or dark.
function dressMethods() {
  inks = readInks(setting.race);
  for (const { method, chip } of chips) chip.querySelector(".swatch-place").replaceChildren(swatch(method));
}

function openAddress(hash) {
  const { setting: found, complaints } = readAddress(hash);
  $("complaints").hidden = !complaints.length;
  $("complaints").textContent = complaints.length ? `In the address: ${complaints.join("; ")}.` : "";
  setting = found;
  pause();
  change({});
  writeNow();
}

const isFramed = window.self !== window.top;
document.documentElement.classList.toggle("framed", isFramed);
const isSent = /[#&]step=/.test(location.hash); // with a step, from which the reader is to go on
openAddress(location.hash || OPENING);
prefersDark.addEventListener("change", () => {
  dressMethods();
  change({});
});
window.addEventListener("hashchange", () => openAddress(location.hash || OPENING));
new ResizeObserver(requestPictures).observe($("landscape"));
new ResizeObserver(requestPictures).observe($("loss"));
// It plays by itself once it is seen, but for an address that names a step: this opens as sent.
if (!isSent) {
  new IntersectionObserver(([{ isIntersecting }], observer) => {
    if (!isIntersecting) return;
    observer.disconnect();
    roll();
  }, { threshold: 0.5 }).observe($("landscape"));
}
