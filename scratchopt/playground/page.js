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
    colourMethods();
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

const shownTrack = () => tracks.find((track) => track.setting.method === setting.shown);

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
