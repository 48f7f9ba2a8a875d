/** A camera that runs: one picture after another, as fast as they are answered; the classes are smoothed. */

import { showAnswer, showEmbedding } from "./answer.js";
import { ask } from "./ask.js";
import { clearError, find, showError, showFailure } from "./dom.js";
import { chosenModel, forget } from "./single.js";
import { PinnaceError } from "./pinnace.js";
import { embeds, events, modelOf, server, shown } from "./state.js";

const LONGEST_SIDE = 640;
const CLASSES = 10; // asked for: one that comes and goes among the first five is still followed
const SHOWN = 5;
const WEIGHT = 0.25; // of a new picture in what is shown: about the last seven count
const RATE_OVER = 10;

let stream = null;

const button = find("run-camera");
const video = find("video");

/** Stop, if it runs. */
export function stopCamera() {
  if (stream === null) return;
  for (const track of stream.getTracks()) track.stop();
  stream = video.srcObject = null;
  find("live").hidden = true;
  find("status").ariaLive = "polite";
  button.textContent = "Run the camera";
}

async function frame() {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const [width, height] = [video.videoWidth, video.videoHeight].map((side) => Math.round(side * scale));
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").drawImage(video, 0, 0, width, height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}

/** Mixes an answer into those before it: every score fades, and those of the new one are added. */
export function smoothing(weight = WEIGHT) {
  const scores = new Map(); // by index
  return ({ predictions }) => {
    const fade = scores.size === 0 ? 0 : 1 - weight;
    for (const one of scores.values()) one.probability *= fade;
    for (const { label, index, probability } of predictions) {
      const before = scores.get(index)?.probability ?? 0;
      scores.set(index, { label, index, probability: before + (1 - fade) * probability });
    }
    for (const [index, { probability }] of scores) if (probability < 1e-4) scores.delete(index);
    return [...scores.values()].sort((a, b) => b.probability - a.probability).slice(0, SHOWN);
  };
}

async function follow(mine) {
  const model = chosenModel();
  const topK = Math.min(CLASSES, modelOf(model)?.classes || 1, server.limits.max_top_k ?? CLASSES);
  const mix = smoothing();
  const times = [];
  while (stream === mine) {
    const { answer } = await ask(await frame(), { model, topK });
    if (stream !== mine) return;
    if (embeds(model)) showEmbedding(answer);
    else if (answer.threshold === undefined) showAnswer({ ...answer, predictions: mix(answer) });
    else showAnswer(answer);
    times.push(performance.now());
    if (times.length > RATE_OVER) times.shift();
    const rate = (1000 * (times.length - 1)) / (times.at(-1) - times[0]);
    if (times.length > 1) find("rate").textContent = `${rate.toFixed(1)} frames a second`;
    // A page in the background gets no frames, and should not ask about the same one for ever.
    while (document.hidden && stream === mine) await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function run() {
  if (stream !== null) return stopCamera();
  clearError();
  const wanted = { facingMode: { ideal: "environment" }, width: { ideal: 1280 } };
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
  } catch (error) {
    if (error.name === "NotAllowedError") showError("the page may not use the camera", "allow it in the browser");
    else showError("there is no camera that can be used");
    return;
  }
  forget();
  video.srcObject = stream;
  find("rate").textContent = "";
  find("live").hidden = false;
  find("status").ariaLive = "off"; // nobody can listen to every frame
  button.textContent = "Stop the camera";
  await video.play();
  try {
    await follow(stream);
  } catch (error) {
    stopCamera();
    if (!(error instanceof PinnaceError)) throw error;
    showFailure(error);
  }
}

button.hidden = navigator.mediaDevices === undefined; // a page that came by plain http has none
button.addEventListener("click", run);
events.addEventListener("picture", () => {
  if (shown.file !== null) stopCamera();
});
