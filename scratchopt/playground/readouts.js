// Readouts: what a step shows in words and numbers.

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
  if (!track) told.textContent = "";
  else if (limit === null) told.textContent = whyNoLimit();
  else told.textContent = (beyond ? tellBeyond : tellLimit)(format(limit, 3), PLAYGROUND.methods[setting.shown]);
}

const tellLimit = (limit, { averages }) =>
  `The largest stable lr here is ${limit}${averages ? " in the end; the first steps bear less" : ""}.`;

const tellBeyond = (limit, { adaptive }) =>
  `lr is beyond ${limit}, the largest stable one here: about such a point swings grow${adaptive ? ", until the rule divides by more" : ""}.`;

function whyNoLimit() {
  const { title, adaptive } = PLAYGROUND.methods[setting.shown];
  if (!variantOf(setting.shown, setting.values[setting.shown]).limit) return `No largest stable lr is known for ${title}.`;
  if (adaptive && setting.step === 0) return "The largest stable lr is known from the first step on.";
  return "No lr is stable here: the loss does not curve upwards.";
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

const MEANINGS = {
  "t": "the number of the step to come, from 1",
  "θ": "the parameters before the step",
  "lookahead point": "where the step takes its gradient",
  "gradient": "of the loss, where the step takes it, with its noise",
  "velocity after": "the displacement of the step: the next θ minus this one",
  "largest stable lr": "on the quadratic that has the curvature at θ",
};

function showNumbers() {
  const { axes } = PLAYGROUND.functions[setting.function];
  const track = shownTrack();
  const rows = track ? numberRows(track, Math.min(setting.step, track.steps)) : [];
  const cell = (value, attributes) =>
    element("td", attributes, value === null ? "–" : element("data", { value, title: value }, format(value, 7)));
  $("numbers").tHead.replaceChildren(element("tr", {}, element("td"),
    ...axes.map((axis) => element("th", { scope: "col" }, axes.length > 1 ? axis : ""))));
  $("numbers").tBodies[0].replaceChildren(...rows.map(([name, value]) =>
    element("tr", { "data-name": name }, element("th", { scope: "row", title: MEANINGS[name] }, name),
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
    const told = `Step ${setting.step} of ${setting.steps}. ${losses.join("; ")}.`;
    const isOver = $("limit").classList.contains("over");
    $("told").textContent = isOver ? `${told} ${$("limit").textContent}` : told;
    const { title } = PLAYGROUND.functions[setting.function];
    $("landscape").setAttribute("aria-label", `The landscape of ${title}. ${told}`);
  }, 400);
}
