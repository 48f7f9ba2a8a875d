/** One picture: shown, asked about, answered. */

import { showAnswer, showEmbedding } from "./answer.js";
import { ask } from "./ask.js";
import { bringIntoSight, clearError, find, say, showFailure } from "./dom.js";
import { modelOf, shown, tell } from "./state.js";

let asking = null; // aborts the question that is under way

/** The model that was chosen; undefined where there is no choice, and the server's first one is asked. */
export function chosenModel() {
  return find("model").disabled ? undefined : find("model").value;
}

function showPicture(file, name) {
  const image = find("preview-image");
  URL.revokeObjectURL(image.src);
  image.hidden = false;
  image.src = URL.createObjectURL(file);
  image.alt = `The picture to classify: ${name}`;
  // A model that does not turn pictures is shown as one sees it.
  image.style.imageOrientation = modelOf(chosenModel())?.preprocess?.exif === false ? "none" : "";
  find("preview-name").textContent = name;
  find("note").textContent = "";
  find("preview").hidden = false;
}

/** Ask about a picture; a question that is still under way is dropped. */
export async function show(file, name, { threshold } = {}) {
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  clearError();
  if (file !== shown.file) showPicture(file, name);
  Object.assign(shown, { file, name, threshold, sent: null, answer: null });
  tell("picture");
  say(`Asking about ${name} …`);
  find("result").ariaBusy = "true";
  try {
    const { answer, sent, note } = await ask(file, { model: chosenModel(), threshold, signal: mine.signal });
    if (asking !== mine) return;
    Object.assign(shown, { sent, answer });
    find("note").textContent = note ?? "";
    if (answer.embedding === undefined) showAnswer(answer);
    else showEmbedding(answer);
    tell("answer", { signal: mine.signal });
    bringIntoSight(find("status"));
  } catch (error) {
    if (asking !== mine) return;
    say("");
    find("answer").hidden = true;
    showFailure(error);
    bringIntoSight(find("error"));
  } finally {
    if (asking === mine) find("result").ariaBusy = "false";
  }
}

/** Ask about the picture once more, another model say. */
export function showAgain(options) {
  if (shown.file !== null) return show(shown.file, shown.name, options);
}

/** Drop the question that is under way; something else is shown now. */
export function forget() {
  asking?.abort();
  asking = null;
  Object.assign(shown, { file: null, name: "", sent: null, answer: null });
  find("result").ariaBusy = "false";
  find("preview").hidden = true;
  tell("picture");
}

// A browser shows no preview of a TIFF, or of what is no picture; the server has the last word on it.
find("preview-image").addEventListener("error", ({ target }) => {
  target.hidden = true;
});
