/**
 * A client for a Pinnace server, for browsers and Node.js 18 or later. It depends on nothing.
 *
 *     const client = new Client("http://localhost:3000");
 *     const answer = await client.classify(file, { topK: 3 });
 *
 * The types stand in `pinnace.d.ts`. The server's own page uses this same file.
 */

const RETRIED = new Set([429, 503]); // the server is full, or not ready: the same request may succeed later
const FIRST_WAIT_MS = 250;
// The server decides by the bytes, so what a browser guesses from a file's name is not passed on.
const BYTES = { "Content-Type": "application/octet-stream" };
const MOST_BYTES = 64 * 2 ** 20; // a batch of 64 images with 1,000 classes each is 5 MB

/** What went wrong: the server's own words where it answered, ours where it did not. */
export class PinnaceError extends Error {
  constructor(message, { code, status = null, hint = null, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "PinnaceError";
    this.code = code;
    this.status = status;
    this.hint = hint;
  }
}

/** Asks one server. */
export class Client {
  #root;
  #timeout;
  #retries;
  #headers;
  #fetch;

  constructor(url, { timeout = 30_000, retries = 2, apiKey, fetch = globalThis.fetch } = {}) {
    this.#root = parseRoot(url);
    this.#timeout = checkNumber("timeout", timeout, timeout > 0, "a number of milliseconds above 0");
    this.#retries = checkNumber("retries", retries, Number.isInteger(retries) && retries >= 0, "0 or more");
    this.#headers = { Accept: "application/json" };
    if (apiKey !== undefined) this.#headers.Authorization = `Bearer ${apiKey}`;
    new Headers(this.#headers); // throws a TypeError for a key that no header can hold
    // A browser's fetch refuses to be called as a method of anything but the window.
    this.#fetch = (...request) => fetch(...request);
  }

  get url() {
    return this.#root;
  }

  async classify(image, { topK, threshold, model, signal } = {}) {
    const asked = query({ top_k: topK, threshold });
    const answer = await this.#ask(image, pathOf("classify", model) + asked, signal);
    if (!isAnswer(answer)) throw this.#notPinnace(200);
    return answer;
  }

  async embed(image, { model, signal } = {}) {
    const answer = await this.#ask(image, pathOf("embed", model), signal);
    if (!isEmbedding(answer)) throw this.#notPinnace(200);
    return answer;
  }

  async classifyBatch(images, { topK, threshold, model, signal } = {}) {
    const body = new FormData();
    for (const image of await Promise.all(Array.from(images, readable))) {
      body.append("images", image instanceof Blob ? image : new Blob([image]));
    }
    const path = pathOf("classify_batch", model);
    const answer = await this.#json(path + query({ top_k: topK, threshold }), { method: "POST", body }, signal);
    const { results } = answer ?? {};
    const complete = Array.isArray(results) && results.length === body.getAll("images").length;
    if (!complete || !results.every((result) => isAnswer(result) || isError(result?.error))) {
      throw this.#notPinnace(200);
    }
    return results.map((result) => (isAnswer(result) ? result : toError(result.error, null)));
  }

  async explain(image, { index, grid, model, signal } = {}) {
    const made = await this.#ask(image, pathOf("explain", model) + query({ index, grid }), signal);
    if (!isExplanation(made)) throw this.#notPinnace(200);
    return made;
  }

  async crop(image, { model, signal } = {}) {
    const request = { method: "POST", body: await readable(image), headers: BYTES };
    return this.#asked(pathOf("crop", model), request, signal, async (response, deadline) => {
      const part = shares(response.headers.get("X-Part") ?? "");
      if (part === null) throw this.#notPinnace(response.status);
      return { image: await this.#whole(response, deadline, "blob"), part };
    });
  }

  async models({ signal } = {}) {
    const answer = await this.#json("models", { method: "GET" }, signal);
    if (!Array.isArray(answer?.models) || !answer.models.every((model) => typeof model?.name === "string")) {
      throw this.#notPinnace(200);
    }
    return answer.models;
  }

  async ready({ signal } = {}) {
    const deadline = new Deadline(this.#timeout, signal);
    try {
      const response = await this.#send("readyz", { method: "GET" }, deadline);
      await response.body?.cancel();
      return response.status === 200;
    } catch (error) {
      if (error instanceof PinnaceError) return false; // it cannot be reached, or is too slow to say so
      throw error;
    } finally {
      deadline.clear();
    }
  }

  async #ask(image, path, signal) {
    return this.#json(path, { method: "POST", body: await readable(image), headers: BYTES }, signal);
  }

  /** The JSON of a successful answer. */
  #json(path, request, signal) {
    return this.#asked(path, request, signal, async (response, deadline) =>
      this.#parse(await this.#whole(response, deadline), response.status),
    );
  }

  /** What `take` makes of a successful response; one deadline over all attempts and the waits between them. */
  async #asked(path, request, signal, take) {
    const deadline = new Deadline(this.#timeout, signal);
    try {
      for (let attempt = 0; ; attempt += 1) {
        let failure;
        let wait = backoff(attempt);
        try {
          const response = await this.#send(path, request, deadline);
          if (response.ok) return await take(response, deadline);
          failure = this.#errorOf(await this.#whole(response, deadline), response.status);
          wait = Math.max(wait, retryAfter(response));
        } catch (error) {
          if (!(error instanceof PinnaceError)) throw error;
          failure = error;
        }
        const again = RETRIED.has(failure.status) || failure.code === "unreachable";
        // A wait that outlasts the deadline would only replace the server's words by "too slow".
        if (!again || attempt >= this.#retries || wait >= deadline.left()) throw failure;
        await deadline.sleep(wait).catch((error) => {
          throw this.#noAnswer(error, deadline);
        });
      }
    } finally {
      deadline.clear();
    }
  }

  async #send(path, { headers, ...request }, deadline) {
    const all = { ...this.#headers, ...headers };
    try {
      // Wherever it points, neither the image nor the key is sent there.
      const asked = { ...request, headers: all, signal: deadline.signal, redirect: "manual" };
      const response = await this.#fetch(this.#root + path, asked);
      if (!isRedirect(response)) return response;
      response.body?.cancel().catch(() => {});
    } catch (error) {
      throw this.#noAnswer(error, deadline);
    }
    const message = `${this.#root} redirects to another address`;
    throw new PinnaceError(message, { code: "unexpected_answer", hint: "use that address" });
  }

  /** An answer, which may unpack to more than there is memory, or have no end. */
  async #whole(response, deadline, kind = "text") {
    const parts = [];
    let size = 0;
    try {
      const reader = response.body?.getReader();
      for (let part; reader && size <= MOST_BYTES && !(part = await reader.read()).done; ) {
        parts.push(part.value);
        size += part.value.length;
      }
      if (size > MOST_BYTES) reader.cancel().catch(() => {});
      else return await new Response(new Blob(parts, { type: response.headers.get("Content-Type") ?? "" }))[kind]();
    } catch (error) {
      throw this.#noAnswer(error, deadline);
    }
    throw this.#notPinnace(response.status);
  }

  #parse(text, status) {
    try {
      return JSON.parse(text);
    } catch {
      throw this.#notPinnace(status);
    }
  }

  #noAnswer(error, deadline) {
    if (deadline.expired) {
      const seconds = this.#timeout / 1000;
      const hint = "try again, or allow more time";
      return new PinnaceError(`${this.#root} did not answer in ${seconds} s`, { code: "timeout", hint });
    }
    if (deadline.signal.aborted) return deadline.signal.reason;
    const hint = "is the server running, and is this machine online?";
    return new PinnaceError(`${this.#root} cannot be reached`, { code: "unreachable", hint, cause: error });
  }

  #errorOf(text, status) {
    try {
      const { error } = JSON.parse(text);
      if (isError(error)) return toError(error, status);
    } catch {
      // a proxy's page, or another server's form of an error
    }
    const message = `${this.#root} answered with status ${status} and no explanation`;
    return new PinnaceError(message, { code: "unexpected_answer", status });
  }

  #notPinnace(status) {
    const message = `${this.#root} answers, but it is not a Pinnace server`;
    return new PinnaceError(message, { code: "unexpected_answer", status });
  }
}

/** In a browser nothing is said of a redirect but that there is one. */
function isRedirect(response) {
  return response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400);
}

/** Aborts a request when its time is up, or when the caller says so. */
class Deadline {
  #controller = new AbortController();
  #timer;
  #end;
  #outer;
  #onAbort;

  constructor(milliseconds, outer) {
    this.#end = performance.now() + milliseconds;
    this.expired = false;
    // Longer than this, a timer would fire at once.
    this.#timer = setTimeout(() => this.#expire(), Math.min(milliseconds, 2 ** 31 - 1));
    this.#outer = outer;
    this.#onAbort = () => this.#controller.abort(outer.reason);
    if (outer?.aborted) this.#onAbort();
    else outer?.addEventListener("abort", this.#onAbort);
  }

  get signal() {
    return this.#controller.signal;
  }

  left() {
    return this.#end - performance.now();
  }

  clear() {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#onAbort);
  }

  sleep(milliseconds) {
    const { signal } = this;
    return new Promise((resolve, reject) => {
      const stop = () => {
        clearTimeout(timer);
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        signal.removeEventListener("abort", stop);
        resolve();
      }, milliseconds);
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop, { once: true });
    });
  }

  #expire() {
    this.expired = true;
    this.#controller.abort();
  }
}

function parseRoot(url) {
  let parsed;
  try {
    parsed = new URL(url);
  } catch {
    parsed = null;
  }
  if (parsed === null || !["http:", "https:"].includes(parsed.protocol)) {
    throw new TypeError(`${JSON.stringify(String(url))} is not a server's URL: give http://HOST:PORT or https://HOST:PORT`);
  }
  return `${parsed.origin}${parsed.pathname.replace(/\/*$/, "/")}`;
}

function checkNumber(name, value, good, expected) {
  if (typeof value !== "number" || !good) throw new TypeError(`${name} must be ${expected}, not ${value}`);
  return value;
}

async function readable(image) {
  if (image instanceof ArrayBuffer || ArrayBuffer.isView(image)) return image;
  if (!(image instanceof Blob)) {
    throw new TypeError("an image is given as a Blob, a File, an ArrayBuffer, a typed array or a Buffer");
  }
  try {
    await image.slice(0, 1).arrayBuffer(); // a folder, or a file that is gone: fetch would blame the network
  } catch (error) {
    const hint = "it may be a folder, or no longer there";
    throw new PinnaceError("the file cannot be read", { code: "unreadable_file", hint, cause: error });
  }
  return image;
}

function saysWhoAnswered(answer) {
  const texts = [answer?.model, answer?.variant, answer?.runtime];
  return texts.every((text) => typeof text === "string") && Number.isFinite(answer.timing_ms?.total);
}

function isEmbedding(answer) {
  return saysWhoAnswered(answer) && Array.isArray(answer.embedding) && answer.embedding.every(Number.isFinite);
}

function isExplanation(made) {
  const { drops, part } = made ?? {};
  return (
    saysWhoAnswered(made) &&
    typeof made.label === "string" &&
    Array.isArray(drops) &&
    drops.every((row) => Array.isArray(row) && row.every(Number.isFinite)) &&
    [part?.left, part?.top, part?.width, part?.height].every(Number.isFinite)
  );
}

/** The part of an image that a header says; null where it does not. */
function shares(text) {
  const [left, top, width, height, ...more] = text.split(",").map(Number.parseFloat);
  const part = { left, top, width, height };
  return more.length === 0 && Object.values(part).every(Number.isFinite) ? part : null;
}

function isAnswer(answer) {
  return (
    saysWhoAnswered(answer) &&
    Array.isArray(answer.predictions) &&
    answer.predictions.length > 0 &&
    answer.predictions.every((one) => typeof one?.label === "string" && Number.isFinite(one.probability))
  );
}

function isError(error) {
  return typeof error?.code === "string" && typeof error.message === "string";
}

function toError({ code, message, hint }, status) {
  return new PinnaceError(message, { code, status, hint: typeof hint === "string" ? hint : null });
}

function pathOf(verb, model) {
  return model === undefined ? verb : `models/${encodeURIComponent(model)}/${verb}`;
}

function query(asked) {
  const given = Object.entries(asked).filter(([, value]) => value !== undefined);
  return given.length === 0 ? "" : `?${given.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&")}`;
}

/** Milliseconds to wait before the next attempt: doubling, and spread so that clients do not come back as one. */
function backoff(attempt) {
  return FIRST_WAIT_MS * 2 ** attempt * (0.5 + Math.random() / 2);
}

/** What `Retry-After` asks for, in milliseconds: seconds or a date; 0 where it says nothing. */
function retryAfter(response) {
  const text = response.headers.get("Retry-After")?.trim() ?? "";
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return wait > 0 ? wait : 0;
}
