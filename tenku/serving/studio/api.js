// The server's own Videos API, nothing besides: what the studio can do, any client can.
export class Failure extends Error {
  constructor(status, error) {
    super(error?.message ?? `The server answered ${status}`);
    this.status = status;
    this.code = error?.code;
    this.param = error?.param;
  }
}

export async function call(method, path, body) {
  const options = { method, headers: {} };
  if (body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(`/v1${path}`, options);
  } catch {
    throw new Failure(0, { message: "The server does not answer. Is it still running?" });
  }
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Failure(answer.status, data.error);
  return data;
}

export const content = (id, variant = "video", mark = "") =>
  `/v1/videos/${id}/content?variant=${variant}${mark === "" ? "" : `&step=${mark}`}`;
export const stream = (id) => `/v1/videos/${id}/stream`;

export const list = (query) => call("GET", `/videos?${new URLSearchParams(query)}`);
export const video = (id) => call("GET", `/videos/${encodeURIComponent(id)}`);
export const remove = (id) => call("DELETE", `/videos/${id}`);
export const cancel = (id) => call("POST", `/videos/${id}/cancel`);
export const create = (fields) => call("POST", "/videos", fields);
export const remix = (id, fields) => call("POST", `/videos/${id}/remix`, fields);
export const film = (fields) => call("POST", "/films", fields);
export const direct = (fields) => call("POST", "/direct", fields);
export const feedback = (id, fields) => call("POST", `/videos/${id}/feedback`, fields);
export function upload(file) {
  const form = new FormData();
  form.append("purpose", "user_data");
  form.append("file", file, file.name || "pasted.png");
  return call("POST", "/files", form);
}

let known;
// The models, the words they know, and who we are; asked once.
export const status = () => (known ??= call("GET", "/status").catch((error) => { known = undefined; throw error; }));
export const forget = () => { known = undefined; };
