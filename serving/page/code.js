/** From code: the request that the page sends, in a language of choice, to be copied. */

import { find } from "./dom.js";
import { chosenModel } from "./single.js";
import { addressOf, snippet } from "./snippets.js";
import { embeds, events, root, server, shown } from "./state.js";

function showCode() {
  if (find("code").hidden) return;
  const model = chosenModel();
  const verb = embeds(model) ? "embed" : "classify";
  const address = addressOf(root, { verb, model, query: { threshold: shown.threshold } });
  const { value } = document.querySelector("[name=language]:checked");
  const asked = { address, file: shown.name || "picture.jpg", hasKey: server.hasKey };
  find("code-text").textContent = snippet(value, asked);
  const scaled = shown.sent !== null && shown.sent !== shown.file;
  find("copied").textContent = scaled ? "The page has sent a smaller copy: this picture is too large for the server." : "";
}

/** Where the page did not come by https or from this machine, a browser lends no clipboard. */
async function copy() {
  const text = find("code-text");
  const selection = getSelection();
  selection.selectAllChildren(text);
  const done = await (navigator.clipboard?.writeText(text.textContent) ?? Promise.reject(new Error("none"))).then(
    () => true,
    () => document.execCommand("copy"),
  );
  if (done) selection.removeAllRanges();
  find("copied").textContent = done ? "Copied." : "It is selected: copy it with the keyboard.";
}

find("code-button").addEventListener("click", ({ currentTarget }) => {
  find("code").hidden = !find("code").hidden;
  currentTarget.ariaExpanded = String(!find("code").hidden);
  showCode();
});
for (const choice of document.querySelectorAll("[name=language]")) choice.addEventListener("change", showCode);
find("copy").addEventListener("click", copy);
for (const name of ["picture", "answer", "models"]) events.addEventListener(name, showCode);
