// The address of a setting, as it is read and written.
//
//   #function=article&start=-8&race=nag(lr=1,momentum=0.9)+momentum(lr=1)&shown=nag&steps=200
//
// What an address leaves out has its default; what it has wrong is named, and has its default.

const OPENING = "function=article&start=-8&race=nag(lr=1)+momentum(lr=1)&steps=100";

// betas[0] is betas.0 in an address: brackets end a link in many programs.
const inAddress = (name) => name.replace(/\[(\d+)\]/, ".$1");

function readAddress(hash) {
  const complaints = [];
  let text = hash.replace(/^#/, "");
  try {
    text = decodeURIComponent(text);
  } catch {
    complaints.push("the address is not whole");
  }
  const given = new Map(
    text.split("&").filter(Boolean).map((part) => {
      const [key, ...rest] = part.split("=");
      return [key, rest.join("=")];
    })
  );
  const take = (key) => {
    const value = given.get(key);
    given.delete(key);
    return value;
  };

  function number(label, written, range, otherwise) {
    if (written === undefined) return otherwise;
    const value = written.trim() === "" ? NaN : Number(written);
    const whole = range.scale !== "count" || Number.isInteger(value);
    if (Number.isFinite(value) && whole && isWithin(value, range)) return value;
    complaints.push(`${label}=${written} cannot be; ${otherwise} is used`);
    return otherwise;
  }

  let functionName = take("function") ?? "article";
  if (!Object.hasOwn(PLAYGROUND.functions, functionName)) {
    const known = Object.keys(PLAYGROUND.functions).join(", ");
    complaints.push(`there is no function ${functionName}, but ${known}`);
    functionName = "article";
  }
  const setting = defaultSetting(functionName);
  const { parameters } = PLAYGROUND.functions[functionName];
  setting.parameters = parameters.map((parameter, i) =>
    number(parameter.name, take(parameter.name), parameter, setting.parameters[i])
  );
  const start = take("start");
  if (start !== undefined) {
    const numbers = start.split(",").map((word) => (word.trim() === "" ? NaN : Number(word)));
    if (numbers.length === setting.start.length && numbers.every(Number.isFinite)) {
      setting.start = numbers;
    } else {
      complaints.push(`start=${start} is not ${setting.start.length === 1 ? "a number" : "x,y"}`);
    }
  }

  const race = take("race");
  if (race !== undefined) {
    const found = [];
    for (const [, name, inside] of race.matchAll(/([^+\s(),]+)(?:\(([^)]*)\)?)?/g)) {
      if (!Object.hasOwn(PLAYGROUND.methods, name)) {
        complaints.push(`there is no method ${name}`);
        continue;
      }
      if (!found.includes(name)) found.push(name);
      for (const part of (inside ?? "").split(",").filter(Boolean)) {
        const [key, value] = part.split("=").map((word) => word.trim());
        const { settings } = PLAYGROUND.methods[name];
        const own = settings.find((each) => each.name === key || inAddress(each.name) === key);
        if (own === undefined) complaints.push(`${name} has no ${key}`);
        else {
          const values = setting.values[name];
          values[own.name] = number(`${name}'s ${key}`, value ?? "", own, values[own.name]);
        }
      }
    }
    setting.race = found;
  }
  setting.shown = setting.race[0] ?? "nag";
  const shown = take("shown");
  if (setting.race.includes(shown)) setting.shown = shown;
  else if (shown !== undefined) complaints.push(`${shown} is not in the race, and cannot be shown`);

  const count = (low, high) => ({ low, high, scale: "count" });
  setting.steps = number("steps", take("steps"), count(1, MOST_STEPS), setting.steps);
  setting.step = number("step", take("step"), count(0, setting.steps), 0);
  setting.noise = number("noise", take("noise"), { low: 0, high: null }, 0);
  setting.seed = number("seed", take("seed"), count(0, 999999), 0);
  for (const key of given.keys()) complaints.push(`${key} is unknown`);
  return { setting, complaints };
}

// A value is left out where it is both the method's default and what suits the function.
function writeAddress(setting) {
  const standard = defaultSetting(setting.function);
  const race = setting.race.map((name) => {
    const suited = suggestValues(setting.function, name);
    const parts = PLAYGROUND.methods[name].settings
      .map((own) => [own, setting.values[name][own.name]])
      .filter(([own, value]) => Number(value) !== Number(own.value) || value !== suited[own.name])
      .map(([own, value]) => `${inAddress(own.name)}=${Number(value)}`);
    return parts.length ? `${name}(${parts.join(",")})` : name;
  });
  const { parameters } = PLAYGROUND.functions[setting.function];
  const parts = [
    ["function", setting.function],
    ...parameters.map(({ name }, i) => [name, setting.parameters[i]]),
    ["start", setting.start.join(",")],
    ["race", race.join("+")],
    ["shown", setting.shown],
    ["steps", setting.steps],
    ["step", setting.step],
    ["noise", setting.noise],
    ["seed", setting.seed],
  ];
  const kept = parts.filter(([key, value], i) => {
    if (key === "shown") return value !== (setting.race[0] ?? "nag");
    return i === 0 || key === "start" || key === "race" || key === "step"
      || value !== (standard[key] ?? parameters.find(({ name }) => name === key)?.value);
  });
  return `#${kept.map((part) => part.join("=")).join("&")}`;
}
