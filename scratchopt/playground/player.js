// The player: steps, keys and time. A run of any length takes some twelve seconds, and no step more
// than a quarter of one.

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
  let told = -Infinity;
  requestAnimationFrame(function frame(now) {
    if (!playing) return;
    time = Math.min(lastStep(), time + ((now - (before ?? now)) / 1000) * stepsASecond());
    before = now;
    if (Math.floor(time) !== setting.step) {
      setting.step = Math.floor(time);
      $("step").value = setting.step;
      rememberAddress();
      if (now - told > 90) { // no eye reads more than ten numbers a second
        showStep();
        told = now;
      }
    }
    drawPictures();
    if (time >= lastStep()) pause();
    else requestAnimationFrame(frame);
  });
}

function pause() {
  if (!playing) return;
  playing = false;
  time = setting.step;
  $("play").classList.remove("playing");
  $("play").setAttribute("aria-label", "play");
  showStep();
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
  const isOnSlider = event.target.type === "range"; // which has no use for the space bar
  if (event.target.closest("input, select") && !(isOnSlider && event.key === " ")) return; // whose own keys these are
  if (event.key === " " && event.target.closest("button, summary, a")) return;
  event.preventDefault();
  keys[event.key](event);
});

// After a click they are the player's again.
document.addEventListener("click", ({ detail: isByHand }) => {
  if (!isByHand) return;
  setTimeout(() => {
    const clicked = "button, [type=radio], [type=checkbox], [type=range]";
    if (document.activeElement.matches(clicked)) document.activeElement.blur();
  });
});
