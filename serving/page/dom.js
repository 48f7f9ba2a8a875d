/** Elements and words. Whatever comes from outside is put in as text. */

import { PinnaceError } from "./pinnace.js";
import { server } from "./state.js";

export const find = (id) => document.getElementById(id);

/** The element, with its classes and its text; an empty class stands for none. */
export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Show a picture in an `img`; its address is freed once it is drawn. */
export function draw(image, blob) {
  const address = URL.createObjectURL(blob);
  const free = () => URL.revokeObjectURL(address);
  image.addEventListener("load", free, { once: true });
  image.addEventListener("error", free, { once: true });
  image.src = address;
}

/** Give somebody a file to keep. */
export function download(blob, name) {
  const link = element("a", "");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // a browser may take it only after it has asked where to
}

export function percent(probability) {
  if (probability > 0 && probability < 0.001) return "<0.1%";
  if (probability < 1 && probability >= 0.9995) return ">99.9%";
  return `${(100 * probability).toFixed(1)}%`;
}

export function milliseconds(value) {
  return value > 0 && value < 0.05 ? "<0.1 ms" : `${value.toFixed(1)} ms`;
}

/** A message as a sentence; who looks at the page need not know the server's address. */
function sentence(text) {
  const words = text.replace(server.client.url, "the server").trim();
  return words.charAt(0).toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");
}

export function say(text, answered = false) {
  const status = find("status");
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("answered", answered);
}

export function showError(message, hint = null) {
  const lines = [message, hint].filter((line) => line !== null).map(sentence);
  find("error").replaceChildren(...lines.map((line) => element("p", "", line)));
}

export function clearError() {
  find("error").replaceChildren();
}

/** What the client throws, and a place for the key where the server wants one; the key is kept nowhere else. */
export function showFailure(error) {
  if (!(error instanceof PinnaceError)) throw error;
  const wantsKey = error.status === 401;
  showError(error.message, wantsKey ? null : error.hint);
  find("key-entry").hidden = !wantsKey;
}

/** On a small screen the answer comes in below the picture, out of sight. */
export function bringIntoSight(part) {
  if (part.getBoundingClientRect().bottom > window.innerHeight) part.scrollIntoView({ block: "start" });
}
