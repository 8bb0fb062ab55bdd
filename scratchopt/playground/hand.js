// A hand on the landscape: it takes the nearest ball along, and lets it roll.

let held = null;
const reachOf = ({ pointerType }) => (pointerType === "touch" ? 36 : 16);
const placeOf = (event) => {
  const box = event.currentTarget.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

function place(px, py) {
  pause();
  change({ start: landscape.toStart(px, py), step: 0 });
}

$("landscape").addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  const [px, py] = placeOf(event);
  const ball = landscape.grab({ tracks }, time, px, py, reachOf(event));
  if (!ball && event.pointerType === "touch") return; // a finger elsewhere scrolls the page, or taps
  event.currentTarget.setPointerCapture(event.pointerId);
  held = { offset: ball?.offset ?? [0, 0], from: [px, py], moved: !ball };
  pause();
  if (!ball) place(px, py);
});
$("landscape").addEventListener("pointermove", (event) => {
  const [px, py] = placeOf(event);
  if (!held) {
    const near = landscape.f && landscape.grab({ tracks }, time, px, py, reachOf(event));
    $("landscape").classList.toggle("near", Boolean(near));
    return;
  }
  held.moved ||= Math.hypot(px - held.from[0], py - held.from[1]) > 3;
  if (held.moved) place(px + held.offset[0], py + held.offset[1]);
});
for (const kind of ["pointerup", "pointercancel"]) {
  $("landscape").addEventListener(kind, () => {
    if (held?.moved && kind === "pointerup") roll();
    held = null;
  });
}
$("landscape").addEventListener("click", (event) => {
  const [px, py] = placeOf(event);
  if (event.pointerType !== "touch" || landscape.grab({ tracks }, time, px, py, reachOf(event))) return;
  place(px, py);
  roll();
});
// A finger that has the ball does not scroll the page.
$("landscape").addEventListener("touchstart", (event) => {
  const box = event.currentTarget.getBoundingClientRect();
  const [{ clientX, clientY }] = event.touches;
  const ball = landscape.grab({ tracks }, time, clientX - box.left, clientY - box.top, 36);
  if (ball) event.preventDefault();
}, { passive: false });

// A hand on the curve of the loss moves the playhead.
let scrubbing = false;
const scrub = (event) => goTo(curve.toStep(placeOf(event)[0], setting.steps));
$("loss").addEventListener("pointerdown", (event) => {
  event.currentTarget.setPointerCapture(event.pointerId);
  scrubbing = true;
  scrub(event);
});
$("loss").addEventListener("pointermove", (event) => { if (scrubbing) scrub(event); });
for (const kind of ["pointerup", "pointercancel"]) {
  $("loss").addEventListener(kind, () => { scrubbing = false; });
}
