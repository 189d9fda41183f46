// The pages, by what follows the # in the address.
import { h, say } from "./dom.js";
import { status } from "./api.js";
import { make } from "./make.js";
import { library } from "./library.js";
import { clip, compare } from "./clip.js";
import { verify } from "./verify.js";
import { settings, theme } from "./settings.js";

const pages = { "": make, library, clip, compare, verify, settings };
const titles = { "": "Make", library: "Library", clip: "Clip", compare: "Compare", verify: "Verify", settings: "Settings" };
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
  const place = h("div", { class: "page" });
  main.replaceChildren(place);
  scrollTo(0, 0);
  if (!first) main.focus({ preventScroll: true });
  first = false;
  const gone = [];
  leave = () => gone.forEach((end) => end());
  try {
    if (name !== "settings") await status();
    await page(place, { rest, query: new URLSearchParams(location.hash.split("?")[1]), leaving: (end) => gone.push(end) });
  } catch (error) {
    if (error.status === 401) location.hash = "#/settings";
    else {
      place.replaceChildren(h("h1", {}, "That did not work"), h("p", {}, error.message));
      say(error.message, true);
    }
  }
}

theme();
addEventListener("hashchange", show);
addEventListener("keydown", (event) => {
  const typing = /INPUT|TEXTAREA|SELECT/.test(document.activeElement?.tagName);
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const where = { m: "#/", l: "#/library", v: "#/verify", s: "#/settings" }[event.key];
  if (where) location.hash = where;
  if (event.key === "/") {
    const field = document.querySelector("input[type=search], textarea");
    if (field) { event.preventDefault(); field.focus(); }
  }
});
show();
