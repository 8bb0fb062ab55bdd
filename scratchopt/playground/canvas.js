// What the pictures share: sharp canvases, colours of the page, scales, ticks, and numbers as text.

// Makes the canvas as sharp as the screen; returns its context, in CSS pixels, and its size.
function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height, ratio };
}

// The page's colours of now, light or dark. A method has its own of the seven, or the next that is
// free; in a race of more than seven some have dashes.
function readInks(race) {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  const palette = [0, 1, 2, 3, 4, 5, 6].map((i) => read(`method-${i}`));
  const names = Object.keys(PLAYGROUND.methods);
  const dashes = [[], [7, 4], [2, 3]];
  const taken = new Map(); // by method: its colour, and how many times all colours were taken before
  for (const method of race) {
    const level = Math.floor(taken.size / palette.length);
    const uses = [...taken.values()].filter((each) => each.level === level).map(({ index }) => index);
    let index = names.indexOf(method) % palette.length;
    while (uses.includes(index)) index = (index + 1) % palette.length;
    taken.set(method, { level, index });
  }
  return {
    paper: read("paper"), ink: read("ink"), soft: read("soft"), line: read("line"),
    low: read("low"), high: read("high"), contour: read("contour"), ground: read("ground"),
    colour: (method) => palette[taken.get(method)?.index ?? 0],
    dash: (method) => dashes[taken.get(method)?.level ?? 0],
    font: `12px ${style.getPropertyValue("font-family") || "sans-serif"}`,
  };
}

// A straight map of [low, high] to [from, to]; pixels are kept where a canvas can draw them.
function linearScale([low, high], [from, to]) {
  const slope = (to - from) / (high - low);
  const scale = (value) => Math.max(-1e5, Math.min(1e5, from + (value - low) * slope));
  scale.invert = (pixel) => low + (pixel - from) / slope;
  return scale;
}

// Round numbers between low and high, about so many.
function roundTicks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * 1.6 * power >= rough) * power;
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
  return ticks;
}

// As many digits as one can take in, with a minus sign.
function format(value, digits = 6) {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : value < 0 ? "−∞" : "not a number";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-4 || size >= 1e7)
    ? value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e")
    : String(Number(value.toPrecision(digits)));
  return text.replaceAll("-", "−");
}

const superscripts = (n) => String(n).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);

const interpolate = (a, b, part) => a.map((value, i) => value + (b[i] - value) * part);

// Where a run is at a time between its steps; where it ended it stays.
function positionAt(track, time) {
  const k = Math.min(Math.floor(time), track.steps);
  if (k === track.steps) return track.iterates[k];
  return interpolate(track.iterates[k], track.iterates[k + 1], time - k);
}
