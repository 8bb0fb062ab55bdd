// Keys, the play button, the numbers beneath and the narrow layout. {plot_id} is filled in by Plotly.
const plot = document.getElementById("{plot_id}");
const button = document.getElementById("play");
const steps = plot.layout.sliders[0].steps.map((step) => step.args[0][0]);
const last = steps.length - 1;
const pace = Math.min(150, Math.max(40, 12000 / steps.length)); // ms a frame: twelve seconds in all
let timer = null;

const now = () => plot.layout.sliders[0].active || 0;

function go(i) {
  const jump = plot.layout.sliders[0].steps[0].args[1];
  return Plotly.animate(plot, [steps[Math.max(0, Math.min(last, i))]], jump);
}

function stop() {
  clearTimeout(timer);
  timer = null;
  button.textContent = "▶ play";
}

function tick() {
  go(now() + 1).then(() => {
    if (timer === null) return;
    if (now() >= last) stop();
    else timer = setTimeout(tick, pace);
  });
}

function toggle() {
  if (timer !== null) return stop();
  button.textContent = "❚❚ pause";
  timer = setTimeout(tick, now() >= last ? 400 : 0);
  if (now() >= last) go(0);
}

const keys = {
  " ": toggle,
  ArrowRight: (event) => { stop(); go(now() + (event.shiftKey ? 10 : 1)); },
  ArrowLeft: (event) => { stop(); go(now() - (event.shiftKey ? 10 : 1)); },
  Home: () => { stop(); go(0); },
  End: () => { stop(); go(last); },
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key](event);
});
button.addEventListener("click", () => { toggle(); button.blur(); });
plot.on("plotly_sliderstart", stop);

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

// Side by side where there is room, else one above the other, and a finger scrolls the page.
const places = {
  beside: {
    "xaxis.domain": [0, 0.6], "yaxis.domain": [0, 1],
    "xaxis2.domain": [0.69, 1], "yaxis2.domain": [0, 1],
    dragmode: "zoom", "font.size": 13, "margin.l": 60,
  },
  above: {
    "xaxis.domain": [0, 1], "yaxis.domain": [0.46, 1],
    "xaxis2.domain": [0, 1], "yaxis2.domain": [0, 0.36],
    dragmode: false, "font.size": 11, "margin.l": 45,
  },
};
let arranged = null;
function arrange() {
  const way = window.innerWidth < 760 ? "above" : "beside";
  if (way === arranged) return;
  arranged = way;
  document.getElementById("plot").className = way;
  Plotly.relayout(plot, places[way]).then(() => Plotly.Plots.resize(plot));
}
window.addEventListener("resize", arrange);
arrange();
