// The setting: all that the page shows, as one plain object.

const MOST_STEPS = 500;

// What suits the function, where it is known, and else the method's own defaults.
function suggestValues(functionName, method) {
  const suited = PLAYGROUND.functions[functionName].settings?.[method] ?? {};
  const settings = PLAYGROUND.methods[method].settings;
  return Object.fromEntries(settings.map(({ name, value }) => [name, suited[name] ?? value]));
}

function suggestAllValues(functionName) {
  const names = Object.keys(PLAYGROUND.methods);
  return Object.fromEntries(names.map((name) => [name, suggestValues(functionName, name)]));
}

// The setting of a function from which a page begins.
function defaultSetting(functionName) {
  const { start, parameters } = PLAYGROUND.functions[functionName];
  return {
    function: functionName,
    parameters: parameters.map(({ value }) => value),
    start: [...start],
    values: suggestAllValues(functionName),
    race: ["nag", "momentum"],
    shown: "nag",
    steps: 200,
    step: 0,
    noise: 0,
    seed: 0,
  };
}

// Whether a range has a value; a bound that is null is none.
const isWithin = (value, { low, high, scale }) =>
  (low === null || value >= low)
  && (high === null || (scale === "memory" ? value < high : value <= high));
