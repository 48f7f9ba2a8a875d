/** The ways in: pictures and folders that are chosen, dropped, pasted or photographed, and the examples. */

import { stopCamera } from "./camera.js";
import { find, showError } from "./dom.js";
import { showMany } from "./many.js";
import { show } from "./single.js";

const MOST_FILES = 10_000;
const PICTURE = /\.(avif|bmp|gif|heic|heif|jfif|jpe?g?|png|tiff?|webp)$/i;

function takeFiles(files, otherwise) {
  stopCamera();
  if (files.length === 0) showError(otherwise);
  else if (files.length === 1) show(files[0], files[0].name || "the picture");
  else showMany(files);
}

/** Of a folder, the files that are pictures by their names: a name only chooses, the server looks at the bytes. */
function picturesOf(files) {
  const found = files.filter(({ name }) => PICTURE.test(name) && !name.startsWith("."));
  return found.sort((a, b) => pathOf(a).localeCompare(pathOf(b), undefined, { numeric: true }));
}

const pathOf = (file) => file.webkitRelativePath || file.name;

function filesOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject)).then((file) => [file], () => []);
}

/** All files below a folder, and below those in it; a browser gives a hundred entries at a time. */
async function walk(entry, found) {
  if (!entry.isDirectory) {
    found.push(...(await filesOf(entry)));
    return;
  }
  const reader = entry.createReader();
  while (found.length < MOST_FILES) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (some.length === 0) return;
    for (const one of some) await walk(one, found);
  }
}

async function takeDropped(transfer) {
  // Both are empty once the event is over.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  const files = [...transfer.files];
  if (!entries.some((entry) => entry?.isDirectory)) {
    takeFiles(files, "what was dropped is no file: save the picture first, then drop the file");
    return;
  }
  const found = [];
  for (const entry of entries) if (entry !== null) await walk(entry, found);
  takeFiles(picturesOf(found).slice(0, MOST_FILES), "there is no picture in the folder");
}

async function useExample(button) {
  const path = button.dataset.example;
  const response = await fetch(path).catch(() => null);
  if (!response?.ok) return showError("the example cannot be loaded", "is the server still running?");
  stopCamera();
  await show(await response.blob(), path.split("/").pop());
}

for (const id of ["pick", "photograph", "folder"]) {
  find(id).addEventListener("change", ({ target }) => {
    const files = [...target.files];
    if (id === "folder") takeFiles(picturesOf(files), "there is no picture in the folder");
    else if (files.length > 0) takeFiles(files);
    target.value = ""; // the same file can be chosen again
  });
}

for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => useExample(button));
}

document.addEventListener("paste", (event) => {
  if (event.target === find("key")) return;
  takeFiles([...event.clipboardData.files], "there is no picture in the clipboard");
});

// Anywhere on the page, so that a picture let go beside the frame does not replace the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  find("drop").classList.add("over");
});

document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) find("drop").classList.remove("over");
});

document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  takeDropped(event.dataTransfer);
});
