// What is being made, on whichever page one is. Browsers open six connections to a server at most, so only two jobs are
// followed by events and the others asked after now and then.
import { ago, fill, h, keep, kept, say } from "./dom.js";
import { list, status, video as ask } from "./api.js";
import { card, living } from "./cards.js";

const MOST = 2, EVERY = 3000;
const jobs = new Map(); // id -> { video, on: Set, source }
const waiting = new Set(); // those who want to know when the set of jobs changes
let timer;

const over = (video) => video.status === "completed" || video.status === "failed";
export const active = () => [...jobs.values()].map((job) => job.video).sort((a, b) => a.created_at - b.created_at);

// Follows a job: on(video) at every change, on(null) when it is deleted. Returns how to stop listening.
export function follow(video, on) {
  const job = begin(video);
  job.on.add(on);
  return () => job.on.delete(on);
}

export function begin(video) {
  let job = jobs.get(video.id);
  if (!job) {
    job = { video, on: new Set(), source: null };
    jobs.set(video.id, job);
    spread();
  }
  return job;
}

function heard(id, video) {
  const job = jobs.get(id);
  if (!job) return;
  if (video) job.video = video;
  if (!video || over(video)) {
    job.source?.close();
    jobs.delete(id);
    if (video) announce(video);
    spread();
  }
  for (const on of [...job.on]) on(video);
  lamp();
}

function spread() {
  const free = MOST - [...jobs.values()].filter((job) => job.source).length;
  const next = active().filter((video) => !jobs.get(video.id).source);
  next.sort((a, b) => (b.status === "in_progress") - (a.status === "in_progress"));
  for (const { id } of next.slice(0, Math.max(0, free))) {
    const source = new EventSource(`/v1/videos/${id}/events`);
    jobs.get(id).source = source;
    source.addEventListener("progress", (event) => heard(id, JSON.parse(event.data)));
    source.addEventListener("done", (event) => heard(id, JSON.parse(event.data)));
    source.addEventListener("deleted", () => heard(id, null));
  }
  clearTimeout(timer);
  timer = setTimeout(rest, EVERY);
  for (const on of waiting) on();
  lamp();
}

async function rest() {
  for (const [id, job] of [...jobs])
    if (!job.source) await ask(id).then((video) => heard(id, video), (error) => error.status === 404 && heard(id, null));
  if (jobs.size) timer = setTimeout(rest, EVERY);
}

function announce(video) {
  if (video.status === "failed") {
    if (video.error?.code !== "cancelled") say(video.error?.message ?? "It failed", true);
    return;
  }
  say(`Done: ${video.prompt}`);
  if (document.hidden && "Notification" in window && Notification.permission === "granted") {
    const told = new Notification("Your clip is there", { body: video.prompt, tag: video.id, icon: "icon.svg" });
    told.addEventListener("click", () => { focus(); location.hash = `#/clip/${video.id}`; told.close(); });
  }
}

// The number at the page's name in the bar.
function lamp() {
  const link = document.querySelector("nav a[data-page=watch]");
  const number = jobs.size;
  link.classList.toggle("busy", number > 0);
  link.dataset.count = number > 99 ? "99" : number || "";
  link.setAttribute("aria-label", number ? `Watch, ${number} being made` : "Watch");
}

// At the first page of a visit: what goes on since the last one.
export async function awake() {
  const pages = await Promise.all(["in_progress", "queued"].map((state) => list({ limit: 100, status: state, order: "asc" })));
  pages.flatMap((page) => page.data).forEach(begin);
}

export async function watch(place, { leaving }) {
  await status();
  const since = kept("seen", 0);
  keep("seen", Date.now() / 1000);
  const wall = h("div", { class: "wall large" });
  const none = h("div", { class: "drop plain" }, h("p", { class: "quote" }, "Nothing is being made"),
    h("a", { class: "button", href: "#/" }, "Make something"));
  const shown = new Map();
  const news = h("div", { class: "wall" });
  const lately = h("section", {}, h("h2", {}, "Done"), news);
  const update = () => {
    for (const video of active()) {
      if (shown.has(video.id)) continue;
      const element = living(video, { leaving, done: (now, own) => {
        own.remove();
        shown.delete(now.id);
        none.hidden = jobs.size > 0;
        if (now.status === "completed") news.prepend(card(now, { fresh: true }));
        lately.hidden = !news.children.length;
      } });
      shown.set(video.id, element);
      wall.append(element);
    }
    none.hidden = jobs.size > 0;
  };
  waiting.add(update);
  leaving(() => waiting.delete(update));
  const { data } = await list({ limit: 12, status: "completed" });
  news.append(...data.map((video) => card(video, { fresh: since > 0 && video.completed_at > since })));
  const away = since ? data.filter((video) => video.completed_at > since).length : 0;
  fill(place, h("header", {}, h("h1", {}, "In the making"),
    h("p", { class: "soft" }, away ? `${away === 12 ? "Twelve or more clips were" : away === 1 ? "One clip was" : `${away} clips were`} finished since you looked ${ago(since)}.`
      : "Leave whenever you like: what is begun goes on, and waits for you here.")), none, wall, lately);
  lately.hidden = !data.length;
  update();
}
