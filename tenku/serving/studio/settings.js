// How the studio looks, the key it calls with, and what the server is.
import { h, say } from "./dom.js";
import { call, forget, status } from "./api.js";

const themes = [["", "As the system"], ["dark", "Night"], ["light", "Day"]];
const kept = () => { try { return localStorage.getItem("theme") ?? ""; } catch { return ""; } };

export function theme(chosen = kept()) {
  chosen ? document.documentElement.setAttribute("data-theme", chosen) : document.documentElement.removeAttribute("data-theme");
  try { localStorage.setItem("theme", chosen); } catch { /* a browser that keeps nothing */ }
}

export async function settings(place) {
  const known = await status().catch(() => null);
  const buttons = themes.map(([value, label]) => h("button", { type: "button", "aria-pressed": String(value === kept()), onclick: () => {
    theme(value);
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(themes[i][0] === value)));
  } }, label));
  const key = h("input", { type: "password", name: "key", autocomplete: "off", placeholder: "tk_…", size: 44 });
  const enter = async (event) => {
    event.preventDefault();
    try {
      await call("POST", "/session", { key: key.value.trim() });
      forget();
      await status();
      say("Welcome");
      location.hash = "#/";
    } catch (error) { say(error.message, true); }
  };
  const out = async () => { await call("DELETE", "/session"); forget(); say("The key is forgotten"); place.replaceChildren(); settings(place); };
  place.append(h("header", {}, h("h1", {}, "Settings")),
    (!known || known.needs_key) && h("section", { class: "panel" }, h("h2", {}, "Key"),
      known ? h("div", { class: "row" }, h("p", {}, `You are in as ${known.tenant}: ${known.scopes.join(", ")}.`), h("button", { type: "button", onclick: out }, "Forget the key"))
        : h("form", { class: "row", onsubmit: enter }, h("label", { class: "field" }, h("span", {}, "This server asks for a key. Its operator makes one with tenku keys add."), key), h("button", { class: "main", type: "submit" }, "Enter"))),
    h("section", { class: "panel" }, h("h2", {}, "Looks"), h("div", { class: "row", role: "group", "aria-label": "Looks" }, buttons)),
    "Notification" in window && h("section", { class: "panel" }, h("h2", {}, "Tell me when a clip is done"),
      h("div", { class: "row" }, h("button", { type: "button", onclick: async () => say(await Notification.requestPermission() === "granted" ? "You will be told" : "The browser does not allow it", Notification.permission !== "granted") }, "Allow notifications"))),
    known && h("section", { class: "panel" }, h("h2", {}, "This server"), h("dl", { class: "facts" },
      h("dt", {}, "Version"), h("dd", {}, known.version), h("dt", {}, "Models"), h("dd", {}, known.models.join(", ")),
      h("dt", {}, "Waiting"), h("dd", {}, `${known.queued}, and ${known.in_progress} being made`), h("dt", {}, "API"), h("dd", {}, `${location.origin}/v1`))),
    h("section", { class: "panel" }, h("h2", {}, "Keys of the keyboard"), h("dl", { class: "facts" },
      [["M", "Make"], ["L", "Library"], ["V", "Verify"], ["S", "Settings"], ["/", "to the words"], ["Ctrl+Enter", "make it"]].flatMap(([name, does]) => [h("dt", {}, name), h("dd", {}, does)]))));
}
