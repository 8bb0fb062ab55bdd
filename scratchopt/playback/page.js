// Keys, the play button, the numbers beneath and the narrow layout. {plot_id} is filled in by Plotly.
const plot = document.getElementById("{plot_id}");
const button = document.getElementById("play");
const slider = plot.layout.sliders[0];
const all = slider.steps;
const opening = slider.active;
let shown = all; // those that the slider goes through
let begun = false; // it opens where the markers are apart, and plays from the start
let speed = 1;
let timer = null;

const now = () => plot.layout.sliders[0].active || 0;
const last = () => shown.length - 1;
// A frame takes so many milliseconds: twelve seconds in all.
const pace = () => Math.min(150, Math.max(40, 12000 / shown.length)) / speed;

function go(i) {
  begun = true;
  const name = shown[Math.max(0, Math.min(last(), i))].args[0][0];
  return Plotly.animate(plot, [name], all[0].args[1]);
}

function stop() {
  clearTimeout(timer);
  timer = null;
  button.textContent = "▶ play";
}

function tick() {
  go(now() + 1).then(() => {
    if (timer === null) return;
    if (now() >= last()) stop();
    else timer = setTimeout(tick, pace());
  });
}

function toggle() {
  if (timer !== null) return stop();
  button.textContent = "❚❚ pause";
  const again = now() >= last() || (!begun && now() === opening);
  timer = setTimeout(tick, again ? 400 : 0);
  if (again) go(0);
}

const keys = {
  " ": toggle,
  ArrowRight: (event) => { stop(); go(now() + (event.shiftKey ? 10 : 1)); },
  ArrowLeft: (event) => { stop(); go(now() - (event.shiftKey ? 10 : 1)); },
  Home: () => { stop(); go(0); },
  End: () => { stop(); go(last()); },
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  if (event.target.tagName === "SELECT") return; // whose own keys these are
  event.preventDefault();
  keys[event.key](event);
});
button.addEventListener("click", () => { toggle(); button.blur(); });
plot.on("plotly_sliderstart", () => { begun = true; stop(); });

const speeds = document.getElementById("speed");
speeds.addEventListener("change", () => { speed = Number(speeds.value); speeds.blur(); });

// The slider and the losses to the end of a run that is shorter than others.
const until = document.getElementById("until");
const whole = plot.layout.xaxis2.range.slice();
if (until) until.addEventListener("change", () => {
  stop();
  const end = Number(until.value);
  shown = all.filter((step) => !until.value || Number(step.args[0][0]) <= end);
  const range = until.value ? [-0.02 * end, 1.02 * end] : whole;
  const at = Math.min(now(), last());
  Plotly.relayout(plot, {
    "sliders[0].steps": shown, "sliders[0].active": at, "xaxis2.range": range,
  }).then(() => go(at));
  until.blur();
});

// The numbers of each run at this step: what hovering over its marker shows.
const numbers = document.getElementById("numbers");
function tell() {
  numbers.replaceChildren(
    ...plot.data.filter((trace) => trace.name && trace.hovertext).map((trace) => {
      const card = document.createElement("div");
      card.style.borderColor = trace.marker.color;
      card.innerHTML = trace.hovertext[0];
      return card;
    })
  );
}
plot.on("plotly_animatingframe", () => requestAnimationFrame(tell));
tell();

// Side by side where there is room, else one above the other, and a finger scrolls the page. In a
// low window the third panel is beside the second, so that the numbers are above the window's edge.
const fitted = "xaxis3" in plot.layout; // the data of a regression, in a third panel
const places = {
  beside: {
    "xaxis.domain": [0, 0.6], "yaxis.domain": [0, 1],
    "xaxis2.domain": [0.69, 1], "yaxis2.domain": fitted ? [0.58, 1] : [0, 1],
    ...(fitted && { "xaxis3.domain": [0.69, 1], "yaxis3.domain": [0, 0.4] }),
    dragmode: "zoom", "font.size": 13, "margin.l": 60,
  },
  row: {
    "xaxis.domain": [0, 0.42], "yaxis.domain": [0, 1],
    "xaxis2.domain": [0.51, 0.72], "yaxis2.domain": [0, 1],
    "xaxis3.domain": [0.81, 1], "yaxis3.domain": [0, 1],
    dragmode: "zoom", "font.size": 13, "margin.l": 60,
  },
  above: {
    "xaxis.domain": [0, 1], "yaxis.domain": fitted ? [0.6, 1] : [0.46, 1],
    "xaxis2.domain": [0, 1], "yaxis2.domain": fitted ? [0.3, 0.52] : [0, 0.36],
    ...(fitted && { "xaxis3.domain": [0, 1], "yaxis3.domain": [0, 0.22] }),
    dragmode: false, "font.size": 11, "margin.l": 45,
  },
};
let arranged = null;
function arrange() {
  const low = fitted && window.innerHeight < 850;
  const way = window.innerWidth < 760 ? "above" : low ? "row" : "beside";
  if (way === arranged) return;
  arranged = way;
  document.getElementById("plot").className = way;
  Plotly.relayout(plot, places[way]).then(() => Plotly.Plots.resize(plot));
}
window.addEventListener("resize", arrange);
arrange();
