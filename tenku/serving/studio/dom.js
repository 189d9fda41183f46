// Elements from code. Text is only ever text: nothing here parses markup.
function dress(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else if (name in element && typeof value !== "string" && !(element instanceof SVGElement)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
export const h = (tag, properties = {}, ...children) => dress(document.createElement(tag), properties, children);
// Puts children into an element that is there already; what is null or false is left out.
export const fill = (element, ...children) => dress(element, {}, children);
export const svg = (tag, properties = {}, ...children) =>
  dress(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);

const icons = { up: "M7 11v9H4v-9zM7 12l4-8c1.5 0 2.5 1 2.5 2.5L13 10h5.5c1.200 0 2 1 1.800 2.200l-1.200 6.300c-.2 1-.9 1.500-1.800 1.500H7", copy: "M8 8h11v11H8zM5 15V5h10" };
icons.down = icons.up;
export const icon = (name) => svg("svg", { viewBox: "0 0 24 24", class: `icon ${name}`, "aria-hidden": "true" }, svg("path", { d: icons[name] }));

let quiet;
// Says something at the foot of the page, and to screen readers.
export function say(text, bad = false) {
  const place = document.getElementById("said");
  place.replaceChildren(h("p", { class: bad ? "bad" : "" }, text));
  clearTimeout(quiet);
  quiet = setTimeout(() => place.replaceChildren(), 6000);
}
// Runs what a click asks for, and says so where it fails.
export const tried = (work) => async (...given) => {
  try { return await work(...given); } catch (error) { say(error.message, true); return undefined; }
};

// What this browser keeps for its visitor: a draft, a storyboard, the looks. One that keeps nothing works as well.
export function kept(name, otherwise) {
  try { return JSON.parse(localStorage.getItem(name)) ?? otherwise; } catch { return otherwise; }
}
export function keep(name, value) {
  try { value === null ? localStorage.removeItem(name) : localStorage.setItem(name, JSON.stringify(value)); } catch { /* full, or forbidden */ }
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

export const megabytes = (bytes, most) => `${(bytes / 1e6).toFixed(1)}${most ? ` of ${(most / 1e6).toFixed(1)}` : ""} MB`;
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));
export const rounded = (value, step = 0.01) => Number((Math.round(value / step) * step).toFixed(4));
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A labelled slider that says its value. says(value) -> text
export function range(label, { min, max, step, value, says = String, name }, on) {
  const output = h("b", {}, says(value));
  const input = h("input", { type: "range", min: String(min), max: String(max), step: String(step), name, "aria-label": label,
    oninput: () => { output.textContent = says(input.value); input.setAttribute("aria-valuetext", says(input.value)); on(Number(input.value)); } });
  input.value = value;
  input.setAttribute("aria-valuetext", says(value));
  return h("label", { class: "field" }, h("span", {}, label, " ", output), input);
}

// Buttons of which one is pressed. options: [[value, label], ...]
export function choice(label, options, value, on) {
  const buttons = options.map(([own, words]) => h("button", { type: "button", "aria-pressed": String(own === value), onclick: () => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(options[i][0] === own)));
    on(own);
  } }, words));
  return h("div", { class: "chips", role: "group", "aria-label": label }, buttons);
}

// Something on a line of time that is dragged, or moved by arrow keys; Delete removes it.
export function handle({ label, line, get, set, min = () => 0, max, step = 0.1, remove, done, says = (at) => `${at.toFixed(2).replace(/\.?0+$/, "")} s`, kind = "" }, ...children) {
  const element = h("button", { type: "button", role: "slider", class: `handle ${kind}`, "aria-label": label,
    onpointerdown: (event) => {
      if (event.button) return;
      element.setPointerCapture(event.pointerId);
      element.focus();
      event.stopPropagation();
    },
    onpointermove: (event) => {
      if (!element.hasPointerCapture(event.pointerId)) return;
      const box = line.getBoundingClientRect();
      move(((event.clientX - box.left) / box.width) * element.whole);
    },
    onlostpointercapture: () => done?.(),
    onkeydown: (event) => {
      const by = { ArrowRight: step, ArrowUp: step, ArrowLeft: -step, ArrowDown: -step, PageUp: 10 * step, PageDown: -10 * step }[event.key];
      if (by) move(get() + by);
      else if (event.key === "Home") move(min());
      else if (event.key === "End") move(max());
      else if ((event.key === "Delete" || event.key === "Backspace") && remove) remove();
      else return;
      event.preventDefault();
      done?.();
    } }, children);
  const move = (to) => { set(rounded(clamp(to, min(), max()), 0.01)); element.show(); };
  element.whole = 1;
  element.show = (whole = element.whole) => {
    element.whole = whole;
    element.style.left = `${(100 * get()) / whole}%`;
    element.setAttribute("aria-valuemin", String(min()));
    element.setAttribute("aria-valuemax", String(max()));
    element.setAttribute("aria-valuenow", String(get()));
    element.setAttribute("aria-valuetext", says(get()));
  };
  return element;
}

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
