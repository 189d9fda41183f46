// Elements from code. Text is only ever text: nothing here parses markup.
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let quiet;
// Says something at the foot of the page, and to screen readers.
export function say(text, bad = false) {
  const place = document.getElementById("said");
  place.replaceChildren(h("p", { class: bad ? "bad" : "" }, text));
  clearTimeout(quiet);
  quiet = setTimeout(() => place.replaceChildren(), 6000);
}

export function ago(seconds) {
  const past = Date.now() / 1000 - seconds;
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]])
    if (past >= size) return words.format(-Math.floor(past / size), unit);
  return "just now";
}

export function lasting(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 1.5) return "about a second left";
  if (seconds < 90) return `about ${Math.round(seconds)} seconds left`;
  return seconds < 5400 ? `about ${Math.round(seconds / 60)} minutes left` : `about ${Math.round(seconds / 3600)} hours left`;
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// Starts and stops clips as they come into view, so that a thousand of them cost nothing.
const seen = "IntersectionObserver" in window && new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries)
    isIntersecting && !calm() ? target.play().catch(() => {}) : target.pause();
}, { rootMargin: "80px" });
export function looping(source, poster, label) {
  const video = h("video", { src: source, poster, muted: true, loop: true, playsInline: true, preload: "none", "aria-label": label });
  if (seen) seen.observe(video);
  return video;
}
