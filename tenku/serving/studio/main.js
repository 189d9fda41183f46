// The pages, by what follows the # in the address.
import { h, say } from "./dom.js";
import { status } from "./api.js";
import { everywhere } from "./hand.js";
import { make } from "./make.js";
import { awake, watch } from "./watch.js";
import { library } from "./library.js";
import { clip } from "./clip.js";
import { compare } from "./compare.js";
import { film } from "./film.js";
import { verify } from "./verify.js";
import { settings, theme } from "./settings.js";

const pages = { "": make, watch, library, clip, compare, film, verify, settings };
const titles = { "": "Make", watch: "Watch", library: "Library", clip: "Clip", compare: "Compare", film: "Film", verify: "Verify", settings: "Settings" };
const main = document.getElementById("main");
let leave = () => {};
let first = true;

async function show() {
  leave();
  leave = () => {};
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("?")[0].split("/");
  const page = pages[name] ?? make;
  const lit = { "": "make", clip: "library", compare: "library" }[name] ?? name;
  for (const link of document.querySelectorAll("nav a"))
    link.dataset.page === lit ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  document.title = `${titles[name] ?? "Make"} · Tenku`;
  const place = h("div", { class: `page ${name || "make"}` });
  main.replaceChildren(place);
  scrollTo(0, 0);
  if (!first) main.focus({ preventScroll: true });
  const gone = [];
  let left = false;
  leave = () => { left = true; gone.forEach((end) => end()); };
  const leaving = (end) => (left ? end() : gone.push(end));
  try {
    if (name !== "settings") await status();
    if (first && name !== "settings") await awake();
    first = false;
    await page(place, { rest, query: new URLSearchParams(location.hash.split("?")[1]), leaving });
  } catch (error) {
    if (error.status === 401) location.hash = "#/settings";
    else {
      place.replaceChildren(h("h1", {}, "That did not work"), h("p", {}, error.message));
      say(error.message, true);
    }
  }
}

theme();
everywhere();
addEventListener("hashchange", show);
addEventListener("keydown", (event) => {
  const typing = /INPUT|TEXTAREA|SELECT/.test(document.activeElement?.tagName);
  if (typing || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const where = { m: "#/", w: "#/watch", l: "#/library", f: "#/film", v: "#/verify", s: "#/settings" }[event.key];
  if (where) location.hash = where;
  if (event.key === "/") {
    const field = document.querySelector("input[type=search], textarea");
    if (field) { event.preventDefault(); field.focus(); }
  }
});
show();
