// Controls: a slider beside a field for its number, and small makers of elements.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Renard's preferred numbers, 20 to a decade: a step of a slider is one of them.
const PREFERRED = [1, 1.1, 1.25, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 2.8, 3.2, 3.6, 4, 4.5, 5, 5.6, 6.3, 7.1, 8, 9];

function preferred(n) {
  const decade = Math.floor(n / PREFERRED.length);
  return Number((PREFERRED[n - decade * PREFERRED.length] * 10 ** decade).toPrecision(3));
}

const DECADES = { eps: [-12, 0], damping: [-3, 3], noise: [-2, 1], condition_number: [0, 4] };
const DECADES_OF_OTHERS = [-5, 1];

// A map between the values of a setting and whole positions of a slider, from 0 to `last`.
function sliderScale({ name, scale, low }) {
  const size = PREFERRED.length;
  if (scale === "memory") { // 1 − x is preferred, from 1 to a ten-thousandth
    return {
      last: 4 * size,
      toValue: (position) => Number((1 - preferred(-position)).toPrecision(6)),
      toPosition: (value) => -size * Math.log10(1 - value),
    };
  }
  if (scale === "log") { // from zero, if it may be zero
    const [from, to] = DECADES[name] ?? DECADES_OF_OTHERS;
    const zeros = low > 0 ? 0 : 1;
    return {
      last: (to - from) * size + zeros,
      toValue: (position) => (position < zeros ? 0 : preferred(from * size + position - zeros)),
      toPosition: (value) => (value <= 0 ? 0 : Math.max(0, (Math.log10(value) - from) * size + zeros)),
    };
  }
  return null; // a number alone
}

let fields = 0;

// A setting's label, slider and number; `onChange` gets each value that may be.
class Field {
  constructor(setting, onChange) {
    const id = `field-${++fields}`;
    this.setting = setting;
    this.label = setting.label.replaceAll("_", " ");
    this.onChange = onChange;
    this.row = element("div", { class: "field" });
    if (setting.scale === "boolean") {
      this.box = element("input", { type: "checkbox", id });
      this.box.addEventListener("change", () => onChange(this.box.checked));
      this.row.append(element("label", { for: id, class: "wide" }, this.label), this.box);
      return;
    }
    this.scale = sliderScale(setting);
    const { low, high } = setting;
    this.number = element("input", {
      type: "number", id, step: "any", inputmode: "decimal", name: setting.name, autocomplete: "off",
      min: low, max: high,
    });
    this.row.append(element("label", { for: id, title: setting.name }, this.label));
    if (this.scale) this.makeSlider();
    this.row.append(this.number);
    this.number.addEventListener("input", () => this.read());
    this.number.addEventListener("change", () => this.set(this.value));
    this.number.addEventListener("keydown", (event) => this.stepNumber(event));
  }

  makeSlider() {
    this.slider = element("input", {
      type: "range", min: 0, max: this.scale.last, "aria-label": `${this.label}, slider`,
    });
    this.slider.addEventListener("input", () => this.give(this.scale.toValue(Number(this.slider.value))));
    // A finger that scrolls the page has set a value where it began.
    let before = null;
    this.slider.addEventListener("pointerdown", () => { before = this.value; });
    this.slider.addEventListener("pointercancel", () => this.give(before));
    this.beyond = element("span", { class: "beyond", hidden: true });
    this.row.append(element("span", { class: "slider" }, this.beyond, this.slider));
  }

  give(value) {
    const whole = this.setting.scale !== "count" || Number.isInteger(value);
    if (!Number.isFinite(value) || !whole || !isWithin(value, this.setting)) return false;
    this.set(value);
    this.onChange(value);
    return true;
  }

  read() {
    const typed = this.number.value;
    const kept = this.give(typed === "" ? NaN : Number(typed));
    this.number.setAttribute("aria-invalid", !kept);
  }

  // Up and down go from one preferred number to the next, where 1 would be much or little.
  stepNumber(event) {
    if (event.key === "Enter" || event.key === "Escape") this.number.blur();
    if (!this.scale || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
    event.preventDefault();
    const at = this.scale.toPosition(this.value);
    const near = Math.abs(at - Math.round(at)) < 0.2 ? Math.round(at) : at;
    const to = event.key === "ArrowUp" ? Math.floor(near) + 1 : Math.ceil(near) - 1;
    if (to >= 0 && to <= this.scale.last) this.give(this.scale.toValue(to));
  }

  set(value) {
    this.value = value;
    if (this.box) {
      this.box.checked = value;
      return;
    }
    // What is being typed stays: "0.10" may be on its way to "0.101".
    if (document.activeElement !== this.number || Number(this.number.value) !== value) {
      this.number.value = String(value);
    }
    this.number.removeAttribute("aria-invalid");
    if (!this.slider) return;
    this.slider.value = this.scale.toPosition(value);
    this.slider.setAttribute("aria-valuetext", format(value));
  }

  // Marks the largest stable value on the slider; null takes the mark away.
  setLimit(limit) {
    const part = limit === null ? 1 : this.scale.toPosition(limit) / this.scale.last;
    this.beyond.hidden = !(part < 1);
    if (part < 1) this.beyond.style.setProperty("--from", Math.max(0, part));
  }
}
