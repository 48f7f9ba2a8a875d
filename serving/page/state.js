/** What the page knows: the server, its models and limits, and the picture that is shown. */

import { Client } from "./pinnace.js";

export const root = new URL(".", document.baseURI);

export const server = {
  client: new Client(root),
  hasKey: false,
  models: new Map(), // by name, as `GET /models` lists them, the default one first
  explains: false,
  limits: { max_body_bytes: Infinity, max_pixels: Infinity },
};

/** The picture that is shown, and the answer to it; `sent` is what went to the server, scaled where it had to be. */
export const shown = { file: null, name: "", threshold: undefined, sent: null, answer: null };

/** Tells of `picture` (another is shown), `answer` (it is answered) and `models` (they can be chosen). */
export const events = new EventTarget();

export function tell(name, detail) {
  events.dispatchEvent(new CustomEvent(name, { detail }));
}

export function useKey(key) {
  server.client = new Client(root, { apiKey: key });
  server.hasKey = true;
}

/** Ask what is served; what needs no key comes first, so that it is known also where the rest is refused. */
export async function loadServer() {
  const response = await fetch(root, { headers: { Accept: "application/json" } }).catch(() => null);
  const index = response?.ok ? await response.json().catch(() => null) : null;
  server.explains = index?.explain === true;
  server.limits = { ...server.limits, ...index?.limits };
  server.models = new Map((await server.client.models()).map((model) => [model.name, model]));
}

/** A model as it was listed; the default one where none is named. */
export function modelOf(name) {
  return server.models.get(name) ?? server.models.values().next().value;
}

export function embeds(name) {
  return modelOf(name)?.outputs?.meaning === "embedding";
}
