/** A question to the server; a picture that is too large for it is scaled first. */

import { PinnaceError } from "./pinnace.js";
import { shrunk } from "./shrink.js";
import { embeds, server } from "./state.js";

/**
 * What a model says of a picture.
 *
 * Returns the answer, what was sent, and a sentence where that is not the picture itself, or null.
 */
export async function ask(file, { model, threshold, topK, signal } = {}) {
  const put = (image) =>
    embeds(model)
      ? server.client.embed(image, { model, signal })
      : server.client.classify(image, { model, threshold, topK, signal });
  let refused = null;
  if (!(file.size > server.limits.max_body_bytes)) {
    try {
      return { answer: await put(file), sent: file, note: null };
    } catch (error) {
      if (!(error instanceof PinnaceError) || error.code !== "image_too_large") throw error;
      refused = error;
    }
  }
  const smaller = await shrunk(file, server.limits);
  signal?.throwIfAborted();
  if (smaller !== null) return { answer: await put(smaller.image), sent: smaller.image, note: smaller.note };
  if (refused !== null) throw refused;
  return { answer: await put(file), sent: file, note: null }; // the server says it better
}
