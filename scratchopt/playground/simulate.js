"use strict";
// Runs methods on functions. No method and no function is written here: `PLAYGROUND` has them, as
// they were emitted. All is a function of a setting: nothing is kept between two calls.

/** A standard normal draw that depends on its seed, step and coordinate alone. */
function drawNormal(seed, step, coordinate) {
  let state = (seed * 2654435761 + step * 40503 + coordinate * 7919) >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** Runs the way of a program that its numbers take; which way it was, and what came of it. */
function runProgram(program, elements, numbers) {
  const flat = program.numbers.map((name) => numbers[name]);
  for (const way of program.ways) {
    const result = (way.run ?? way)(elements, flat);
    if (result !== null) return { way, result };
  }
  throw new Error("no way through a rule for these numbers");
}

/** The variant of a method that its settings ask for, as with a weight decay or without. */
function variantOf(method, values) {
  const entry = PLAYGROUND.methods[method];
  return entry.steps ? entry : entry.variants[entry.switches.map((s) => (values[s] ? 1 : 0)).join("")];
}

/** The numbers of step t: the settings, t, and what the method makes of them. */
function numbersOfStep(variant, values, t, kept) {
  const given = { ...values, t, ...kept };
  return variant.make ? { ...given, ...runProgram(variant.make, [], given).result } : given;
}

/** The point where the gradient is taken. */
function gradientPoint(variant, x, buffers, values) {
  if (!variant.move) return x;
  return x.map((xi, i) => runProgram(variant.move, [xi, xi, ...buffers.map((b) => b[i])], values).result.x[0]);
}

/**
 * Runs a method on a function.
 *
 * setting: {method, values, function, parameters, start, steps, noise, seed}, of which `values` has
 * the method's settings by name, and `noise` is the standard deviation of what is added to each
 * coordinate of a gradient.
 *
 * Returns the track: of each step the point of its gradient, the gradient and the move; before each
 * step, and after the last, the iterate, the loss there, the buffers and the numbers that are kept.
 * `ended` says why it took fewer steps than asked: it diverged, or Newton's system was singular.
 */
function simulate(setting) {
  const { method, values, parameters, start, steps, noise = 0, seed = 0 } = setting;
  const f = PLAYGROUND.functions[setting.function];
  const entry = PLAYGROUND.methods[method];
  const variant = variantOf(method, values);
  const named = (buffers) =>
    Object.fromEntries((variant.buffers ?? []).map((buffer, j) => [buffer.name, buffers[j]]));
  let x = [...start];
  let buffers = (variant.buffers ?? []).map(({ first }) => x.map((xi) => (first === "p" ? xi : first)));
  let kept = variant.make ? { ...variant.make.kept } : {};
  const track = {
    setting, steps: 0, ended: null, iterates: [x], points: [], gradients: [],
    losses: [f.value(x, parameters)], velocities: [], buffers: [named(buffers)], kept: [kept],
  };
  for (let k = 0; k < steps; k++) {
    const point = entry.steps ? x : gradientPoint(variant, x, buffers, values);
    const gradient = f.gradient(point, parameters)
      .map((g, i) => (noise ? g + noise * drawNormal(seed, k, i) : g));
    let next;
    if (entry.steps) {
      [next] = entry.steps[x.length](x, gradient, f.hessian(x, parameters), values);
    } else {
      const numbers = numbersOfStep(variant, values, k + 1, kept);
      const results = x.map((xi, i) =>
        runProgram(variant.update, [xi, gradient[i], ...buffers.map((b) => b[i])], numbers).result.x);
      next = results.map((result) => result[0]);
      buffers = buffers.map((_, j) => results.map((result) => result[j + 2]));
      kept = Object.fromEntries(Object.keys(kept).map((name) => [name, numbers[name]]));
    }
    const loss = f.value(next, parameters);
    if (![loss, ...next].every((number) => Math.abs(number) < 1e100)) {
      track.ended = entry.steps && !next.every(Number.isFinite) ? "singular" : "diverged";
      return track;
    }
    track.steps = k + 1;
    track.points.push(point);
    track.gradients.push(gradient);
    track.velocities.push(next.map((number, i) => number - x[i]));
    track.iterates.push(next);
    track.losses.push(loss);
    track.buffers.push(named(buffers));
    track.kept.push(kept);
    x = next;
  }
  return track;
}

/** The source lines of a track's method, each with what it has written in step k, if anything. */
function explain(track, k) {
  const { method, values, parameters } = track.setting;
  const variant = variantOf(method, values);
  const found = variant.lines.map((line) => ({ ...line, results: [] }));
  if (k >= track.steps) return found;
  const x = track.iterates[k];
  if (variant.steps) {
    const hessian = PLAYGROUND.functions[track.setting.function].hessian(x, parameters);
    const results = variant.steps[x.length](x, track.gradients[k], hessian, values);
    for (const [line, name, i] of variant.written) {
      found[line].results.push({ name, value: results[i] });
    }
    return found;
  }
  const buffers = variant.buffers.map(({ name }) => track.buffers[k][name]);
  const numbers = numbersOfStep(variant, values, k + 1, track.kept[k]);
  const run = (program, elements) => {
    const runs = x.map((_, i) => runProgram(program, elements(i), numbers));
    for (const [line, letter, step] of runs[0].way.written) {
      found[line].results.push({ name: letter, value: runs.map(({ result }) => result.y[step]) });
    }
  };
  if (variant.move) run(variant.move, (i) => [x[i], x[i], ...buffers.map((b) => b[i])]);
  run(variant.update, (i) => [x[i], track.gradients[k][i], ...buffers.map((b) => b[i])]);
  return found;
}

/** The numbers of step k that are no settings: t, and what the method makes. */
function numbersOf(track, k) {
  const { method, values } = track.setting;
  const numbers = numbersOfStep(variantOf(method, values), values, k + 1, track.kept[k]);
  return Object.fromEntries(Object.entries(numbers).filter(([name]) => !(name in values)));
}
