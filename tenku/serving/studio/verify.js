// Where does a file come from?
import { h, say } from "./dom.js";
import { call } from "./api.js";
import { takes } from "./hand.js";

export async function verify(place, { leaving }) {
  const input = h("input", { type: "file", accept: "video/mp4,video/quicktime,video/webm,video/x-matroska,image/gif,image/png,image/jpeg,image/webp", class: "skip", id: "file", onchange: () => input.files[0] && ask(input.files[0]) });
  const answer = h("section", { "aria-live": "polite" });
  const zone = h("label", { class: "drop", for: "file" }, h("span", { class: "quote" }, "Drop a video or a picture"), h("span", { class: "button" }, "Choose a file"),
    h("span", { class: "soft small" }, "mp4, mov, webm, mkv, gif, png, jpg or webp, up to 64 MB. It is read here, and then forgotten."));
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, () => zone.classList.add("over"));
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  leaving(takes((files) => ask(files[0]))); // wherever on the page it is dropped, or pasted

  const ask = async (file) => {
    answer.replaceChildren(h("div", { class: "panel" }, h("p", {}, `Reading ${file.name} …`)));
    const body = new FormData();
    body.append("file", file);
    try {
      const report = await call("POST", "/verify", body);
      const good = report.verdict === "made";
      const wrong = ["changed", "contradictory", "tampered"].includes(report.verdict);
      const request = report.signature.request?.request?.request ?? report.signature.request?.request;
      answer.replaceChildren(h("div", { class: "panel" }, h("p", { class: "soft small" }, file.name),
        h("p", { class: `verdict ${good ? "yes" : wrong ? "no" : ""}` }, report.says),
        h("ul", { class: "evidence" }, report.evidence.map((line) => h("li", {}, line))),
        request?.prompt && h("p", {}, "It was asked for: ", h("q", {}, request.prompt)),
        h("p", { class: "soft small" }, "A signature says who made a file, not that what it shows happened.")));
    } catch (error) {
      answer.replaceChildren();
      say(error.message, true);
    }
  };
  place.append(h("header", {}, h("h1", {}, "Where does it come from?"), h("p", { class: "soft" }, "Every clip made here carries a visible mark, an invisible one and a signature. Any file can be asked for them.")), input, zone, answer);
}
