// How the studio looks, the keys, and what the server is.
import { ago, choice, fill, h, keep, kept, megabytes, say, tried } from "./dom.js";
import { call, forget, status } from "./api.js";
import { clear } from "./draft.js";

const themes = [["", "As the system"], ["dark", "Night"], ["light", "Day"]];
const scopes = ["read", "write", "admin"];

export function theme(chosen = kept("theme", "")) {
  chosen ? document.documentElement.setAttribute("data-theme", chosen) : document.documentElement.removeAttribute("data-theme");
  keep("theme", chosen);
}

export async function settings(place) {
  forget();
  const known = await status().catch(() => null);
  const key = h("input", { type: "password", name: "key", autocomplete: "off", placeholder: "tk_…", size: 44 });
  const enter = tried(async (event) => {
    event.preventDefault();
    await call("POST", "/session", { key: key.value.trim() });
    forget();
    await status();
    say("Welcome");
    location.hash = "#/";
  });
  const out = tried(async () => {
    await call("DELETE", "/session");
    forget();
    clear();
    keep("board", null);
    say("The key is forgotten");
    place.replaceChildren();
    settings(place);
  });
  const allow = async () => { const said = await Notification.requestPermission(); say(said === "granted" ? "You will be told" : "The browser does not allow it", said !== "granted"); };
  fill(place, h("header", {}, h("h1", {}, "Settings")),
    (!known || known.needs_key) && h("section", { class: "panel" }, h("h2", {}, "Key"),
      known ? h("div", { class: "row" }, h("p", {}, `You are in as ${known.tenant}: ${known.scopes.join(", ")}.`), h("button", { type: "button", onclick: out }, "Forget the key"))
        : h("form", { class: "row", onsubmit: enter }, h("label", { class: "field" }, h("span", {}, "This server asks for a key. Its operator makes one with tenku keys add."), key), h("button", { class: "main", type: "submit" }, "Enter"))),
    h("section", { class: "panel" }, h("h2", {}, "Looks"), choice("Looks", themes, kept("theme", ""), theme)),
    "Notification" in window && h("section", { class: "panel" }, h("h2", {}, "Tell me when a clip is done"), h("div", { class: "row" }, h("button", { type: "button", onclick: allow }, "Allow notifications"))),
    known?.scopes.includes("admin") && keyring(known),
    known?.scopes.includes("admin") && h("section", { class: "panel" }, h("h2", {}, "What people think"),
      h("p", { class: "soft small" }, "All opinions with the requests and clips they are about, as a preference dataset; each says whether it may be learnt from."),
      h("div", { class: "row" }, h("a", { class: "button", href: "/v1/feedback", download: "feedback.jsonl" }, "JSON lines"), h("a", { class: "button", href: "/v1/feedback?format=parquet", download: "feedback.parquet" }, "Parquet"))),
    known && h("section", { class: "panel" }, h("h2", {}, "This server"), h("dl", { class: "facts" },
      h("dt", {}, "Version"), h("dd", {}, known.version), h("dt", {}, "Models"), h("dd", {}, known.models.join(", ")),
      h("dt", {}, "You keep"), h("dd", {}, megabytes(known.kept, known.most_bytes)),
      h("dt", {}, "Waiting"), h("dd", {}, `${known.queued}, and ${known.in_progress} being made`), h("dt", {}, "API"), h("dd", {}, `${location.origin}/v1`))),
    h("section", { class: "panel" }, h("h2", {}, "Keys of the keyboard"), h("dl", { class: "facts" },
      [["M", "Make"], ["W", "Watch"], ["L", "Library"], ["F", "Film"], ["V", "Verify"], ["S", "Settings"], ["/", "to the words"], ["Ctrl+Enter", "make it"], ["Ctrl+V", "take the picture that was copied"]].flatMap(([name, does]) => [h("dt", {}, name), h("dd", {}, does)]))));
}

// Who else may call: shown to whoever may make keys.
function keyring(known) {
  const rows = h("ul", { class: "keys" });
  const secret = h("div", { class: "secret", "aria-live": "polite" });
  const name = h("input", { maxLength: 80, placeholder: "Ann", required: true });
  const daily = h("input", { type: "number", min: "1", placeholder: "any" });
  const most = h("input", { type: "number", min: "1", max: "1000000000", placeholder: "any" });
  const ticks = scopes.map((scope) => h("input", { type: "checkbox", value: scope, checked: scope !== "admin" }));
  const draw = tried(async () => {
    const { data } = await call("GET", "/keys");
    rows.replaceChildren(...data.map((one) => h("li", { class: one.revoked_at ? "ended" : "" }, h("b", {}, one.name), h("span", { class: "soft small" }, `${one.id} · ${one.scopes.join(", ")} · keeps ${megabytes(one.kept, one.most_bytes)}${one.most_daily ? ` · ${one.most_daily} a day` : ""} · made ${ago(one.created_at)}${one.revoked_at ? " · ended" : ""}`),
      !one.revoked_at && h("button", { type: "button", class: "quiet bad", "aria-label": `End the key of ${one.name}`, onclick: tried(async () => { await call("DELETE", `/keys/${one.id}`); say("That key is ended"); draw(); }) }, "End it"))));
    if (!data.length) rows.replaceChildren(h("li", { class: "soft small" }, known.needs_key ? "There is none" : "None yet, and none needed: only this machine can call."));
  });
  const add = tried(async (event) => {
    event.preventDefault();
    const made = await call("POST", "/keys", { name: name.value.trim(), scopes: ticks.filter((tick) => tick.checked).map((tick) => tick.value), ...(daily.value ? { most_daily: Number(daily.value) } : {}), ...(most.value ? { most_bytes: 1e6 * Number(most.value) } : {}) });
    secret.replaceChildren(h("p", { class: "small" }, "Shown this once; kept is only its hash:"), h("code", {}, made.key));
    name.value = "";
    draw();
  });
  draw();
  return h("section", { class: "panel" }, h("h2", {}, "Keys for others"), rows,
    h("form", { class: "controls", onsubmit: add }, h("label", { class: "field" }, h("span", {}, "Name"), name), h("label", { class: "field" }, h("span", {}, "Clips a day"), daily),
      h("label", { class: "field" }, h("span", {}, "Megabytes kept"), most),
      h("fieldset", {}, h("legend", {}, "May"), h("div", { class: "row" }, ticks.map((tick) => h("label", { class: "row small" }, tick, tick.value)))), h("button", { type: "submit" }, "Make a key")), secret);
}
