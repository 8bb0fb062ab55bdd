// Opening, the address, and what is copied.

let remembering = null;

function rememberAddress() {
  remembering ??= setTimeout(writeNow, 400); // browsers refuse more than a few a second
}

function writeNow() {
  clearTimeout(remembering);
  remembering = null;
  history.replaceState(null, "", writeAddress(setting));
  $("open").href = location.href;
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not allowed within a frame, or from a file
    const area = element("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.classList.add("copied");
  $("told").textContent = "copied";
  setTimeout(() => button.classList.remove("copied"), 1200);
}

$("copy-link").addEventListener("click", () => {
  writeNow();
  copy(location.href, $("copy-link"));
});
$("copy-numbers").addEventListener("click", () => {
  const rows = [...$("numbers").rows].map((row) =>
    [...row.cells].map((each) => each.querySelector("data")?.value ?? each.textContent).join("\t"));
  copy(rows.join("\n"), $("copy-numbers"));
});

const MOST_TOLD = 400; // characters: a page that a garbled address fills shows no setting

function openAddress(hash) {
  const { setting: found, complaints } = readAddress(hash);
  $("complaints").hidden = !complaints.length;
  const all = complaints.join("; ");
  const told = all.length > MOST_TOLD ? `${all.slice(0, MOST_TOLD)}…` : `${all}.`;
  $("complaints").textContent = complaints.length ? `In the address: ${told}` : "";
  pause();
  setting = found;
  change({});
  writeNow();
}

const isFramed = window.self !== window.top;
document.documentElement.classList.toggle("framed", isFramed);
const isSent = /[#&]step=/.test(location.hash); // with a step, from which the reader is to go on
openAddress(location.hash || OPENING);
prefersDark.addEventListener("change", () => {
  colourMethods();
  change({});
});
window.addEventListener("hashchange", () => openAddress(location.hash || OPENING));
new ResizeObserver(requestPictures).observe($("landscape"));
new ResizeObserver(requestPictures).observe($("loss"));
// It plays by itself once it is seen, but for an address that names a step: this opens as sent.
if (!isSent) {
  new IntersectionObserver(([{ isIntersecting }], observer) => {
    if (!isIntersecting) return;
    observer.disconnect();
    roll();
  }, { threshold: 0.5 }).observe($("landscape"));
}
