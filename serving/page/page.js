/** The page: takes pictures, asks the server, shows the answers. The parts are modules beside this one. */

import "./beside.js";
import "./code.js";
import "./labels.js";
import "./seen.js";
import "./ways.js";
import "./why.js";

import { stopCamera } from "./camera.js";
import { clearError, find, showError, showFailure } from "./dom.js";
import { showManyAgain } from "./many.js";
import { showAgain } from "./single.js";
import { loadServer, server, tell, useKey } from "./state.js";

/** Fill the list of models; false where the server does not tell. */
async function loadModels() {
  const select = find("model");
  try {
    await loadServer();
    select.replaceChildren(...[...server.models.keys()].map((name) => new Option(name, name)));
    select.disabled = server.models.size < 2;
    tell("models");
    return true;
  } catch (error) {
    showFailure(error);
    return false;
  }
}

async function takeKey() {
  try {
    useKey(find("key").value);
  } catch {
    showError("this cannot be a key", "a key is made of plain letters, digits and signs");
    return;
  }
  clearError();
  if (!(await loadModels())) return;
  find("key-entry").hidden = true;
  await showAgain();
  showManyAgain();
}

find("use-key").addEventListener("click", takeKey);
find("key").addEventListener("keydown", ({ key }) => {
  if (key === "Enter") takeKey();
});

find("model").addEventListener("change", () => {
  stopCamera();
  showAgain();
  showManyAgain();
});

await loadModels();
