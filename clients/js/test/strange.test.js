/** The client against servers that are slow, full, gone, or no Pinnace server at all. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { Client, PinnaceError } from "pinnace-client";

import { ANSWER, OVERLOADED, hangUp, reply, silence, stall, strangeServer } from "./strange-server.js";

const IMAGE = new Uint8Array([1, 2, 3]);

async function failure(promise) {
  const error = await promise.then(
    () => assert.fail("it did not fail"),
    (reason) => reason,
  );
  assert.ok(error instanceof PinnaceError, `${error?.stack}`);
  const { message, code, status, hint } = error;
  return { message, code, status, hint };
}

test("a request carries the bytes, the type, the number of classes and the key", async () => {
  const { url, requests } = await strangeServer(reply(200, ANSWER));
  const client = new Client(url, { apiKey: "secret" });
  assert.deepEqual(await client.classify(IMAGE, { topK: 3 }), ANSWER);
  const [{ method, path, headers, body }] = requests;
  assert.deepEqual([method, path, [...body]], ["POST", "/classify?top_k=3", [1, 2, 3]]);
  assert.equal(headers["content-type"], "application/octet-stream");
  assert.equal(headers.authorization, "Bearer secret");
});

test("a part of a buffer is sent, not the whole of it", async () => {
  const { url, requests } = await strangeServer(reply(200, ANSWER));
  await new Client(url).classify(Buffer.from([9, 1, 2, 9]).subarray(1, 3));
  assert.deepEqual([...requests[0].body], [1, 2]);
});

test("the type that a browser guesses for a file is not passed on", async () => {
  const { url, requests } = await strangeServer(reply(200, ANSWER));
  await new Client(url).classify(new Blob([IMAGE], { type: "text/html" }));
  assert.equal(requests[0].headers["content-type"], "application/octet-stream");
});

test("a model's name is escaped, and the server may stand under a path", async () => {
  const { url, requests } = await strangeServer(reply(200, ANSWER));
  await new Client(`${url}/vision//`).classify(IMAGE, { model: "a/b?c" });
  assert.equal(requests[0].path, "/vision/models/a%2Fb%3Fc/classify");
});

test("503 is tried again, after the time that Retry-After asks for", async () => {
  const { url, requests } = await strangeServer(reply(503, OVERLOADED, { "Retry-After": "1" }), reply(200, ANSWER));
  assert.deepEqual(await new Client(url).classify(IMAGE), ANSWER);
  assert.equal(requests.length, 2);
  assert.ok(requests[1].at - requests[0].at >= 990);
  assert.deepEqual([...requests[1].body], [1, 2, 3]);
});

test("Retry-After may be a date", async () => {
  const date = new Date(Date.now() + 3_600_000).toUTCString();
  const { url, requests } = await strangeServer(reply(429, OVERLOADED, { "Retry-After": date }));
  assert.equal((await failure(new Client(url).classify(IMAGE))).status, 429);
  assert.equal(requests.length, 1); // an hour is longer than the client's time
});

test("a Retry-After beyond the time allowed is not waited for", async () => {
  const { url, requests } = await strangeServer(reply(429, OVERLOADED, { "Retry-After": "60" }));
  assert.deepEqual(await failure(new Client(url, { timeout: 5_000 }).classify(IMAGE)), {
    message: "too many images are waiting",
    code: "service_unavailable",
    status: 429,
    hint: "try again later",
  });
  assert.equal(requests.length, 1);
});

for (const nonsense of ["soon", "-5", "1e9"]) {
  test(`a Retry-After of ${nonsense} counts for nothing`, async () => {
    const { url, requests } = await strangeServer(
      reply(503, OVERLOADED, { "Retry-After": nonsense }),
      reply(200, ANSWER),
    );
    await new Client(url).classify(IMAGE);
    assert.equal(requests.length, 2);
  });
}

test("after the last attempt the server's words are thrown; the waits grow", async () => {
  const { url, requests } = await strangeServer(reply(503, OVERLOADED));
  assert.equal((await failure(new Client(url).classify(IMAGE))).code, "service_unavailable");
  assert.equal(requests.length, 3);
  assert.ok(requests[1].at - requests[0].at >= 115);
  assert.ok(requests[2].at - requests[1].at >= 240);
});

test("without retries there is one attempt", async () => {
  const { url, requests } = await strangeServer(reply(503, OVERLOADED));
  await failure(new Client(url, { retries: 0 }).classify(IMAGE));
  assert.equal(requests.length, 1);
});

test("a 503 that says nothing is tried again too", async () => {
  const { url, requests } = await strangeServer(reply(503, "<h1>busy</h1>"), reply(200, ANSWER));
  assert.deepEqual(await new Client(url).classify(IMAGE), ANSWER);
  assert.equal(requests.length, 2);
});

test("a refusal is not tried again", async () => {
  const body = { error: { code: "undecodable_image", message: "the image is empty", hint: null } };
  const { url, requests } = await strangeServer(reply(400, body));
  assert.deepEqual(await failure(new Client(url).classify(IMAGE)), {
    message: "the image is empty",
    code: "undecodable_image",
    status: 400,
    hint: null,
  });
  assert.equal(requests.length, 1);
});

for (const status of [301, 302, 303, 307, 308]) {
  test(`a redirect (${status}) is told and not followed`, async () => {
    const other = await strangeServer(reply(200, ANSWER));
    const { url, requests } = await strangeServer(reply(status, "", { Location: `${other.url}/classify` }));
    const { message, code } = await failure(new Client(url, { apiKey: "secret" }).classify(IMAGE));
    assert.deepEqual([message, code], [`${url}/ redirects to another address`, "unexpected_answer"]);
    assert.equal(requests.length, 1);
    assert.equal(other.requests.length, 0);
  });
}

test("a connection that is cut is tried again", async () => {
  const { url, requests } = await strangeServer(hangUp, reply(200, ANSWER));
  assert.deepEqual(await new Client(url).classify(IMAGE), ANSWER);
  assert.equal(requests.length, 2);
});

test("no server is unreachable, after every attempt", async () => {
  let attempts = 0;
  const counting = (...request) => {
    attempts += 1;
    return fetch(...request);
  };
  const client = new Client("http://127.0.0.1:1", { fetch: counting });
  assert.deepEqual(await failure(client.models()), {
    message: "http://127.0.0.1:1/ cannot be reached",
    code: "unreachable",
    status: null,
    hint: "is the server running, and is this machine online?",
  });
  assert.equal(attempts, 3);
  assert.equal(await client.ready(), false);
  assert.equal(attempts, 4);
});

for (const [name, action] of Object.entries({ silence, stall })) {
  test(`${name} is a timeout, and not tried again`, async () => {
    const { url, requests } = await strangeServer(action);
    assert.deepEqual(await failure(new Client(url, { timeout: 300 }).classify(IMAGE)), {
      message: `${url}/ did not answer in 0.3 s`,
      code: "timeout",
      status: null,
      hint: "try again, or allow more time",
    });
    assert.equal(requests.length, 1);
  });
}

test("an answer without an end is not read to it", async () => {
  let sent = 0;
  const endless = (request, response) => {
    response.writeHead(200);
    const part = Buffer.alloc(2 ** 20, " ");
    const more = () => {
      for (let room = true; room && !response.destroyed; sent += part.length) room = response.write(part);
    };
    response.on("drain", more);
    more();
  };
  const { url } = await strangeServer(endless);
  const { message, code } = await failure(new Client(url).classify(IMAGE));
  assert.deepEqual([message, code], [`${url}/ answers, but it is not a Pinnace server`, "unexpected_answer"]);
  assert.ok(sent < 200 * 2 ** 20, `${sent}`);
});

test("nor one that unpacks to more than there is memory for", async () => {
  const bomb = gzipSync(Buffer.alloc(200 * 2 ** 20, " "));
  const { url } = await strangeServer((request, response) => {
    response.writeHead(200, { "Content-Encoding": "gzip" });
    response.end(bomb);
  });
  assert.equal((await failure(new Client(url).classify(IMAGE))).code, "unexpected_answer");
});

test("an answer in several parts is put together, letters too", async () => {
  const whole = Buffer.from(JSON.stringify({ ...ANSWER, model: "猫".repeat(1000) }));
  const { url } = await strangeServer(async (request, response) => {
    for (let at = 0; at < whole.length; at += 1000) {
      response.write(whole.subarray(at, at + 1000));
      await new Promise((done) => setTimeout(done, 2));
    }
    response.end();
  });
  assert.equal((await new Client(url).classify(IMAGE)).model, "猫".repeat(1000));
});

test("the timeout is one for all attempts", async () => {
  const { url, requests } = await strangeServer(reply(503, OVERLOADED), silence);
  assert.equal((await failure(new Client(url, { timeout: 900 }).classify(IMAGE))).code, "timeout");
  assert.equal(requests.length, 2);
});

for (const nonsense of [
  "<html>hello</html>",
  "",
  "null",
  "[]",
  { ...ANSWER, predictions: [] },
  { ...ANSWER, predictions: [{ label: "cat" }] },
  { ...ANSWER, predictions: [null] },
  { ...ANSWER, timing_ms: null },
  { ...ANSWER, model: 3 },
]) {
  test(`200 with ${JSON.stringify(nonsense).slice(0, 90)} is not a Pinnace answer`, async () => {
    const { url } = await strangeServer(reply(200, nonsense));
    assert.deepEqual(await failure(new Client(url).classify(IMAGE)), {
      message: `${url}/ answers, but it is not a Pinnace server`,
      code: "unexpected_answer",
      status: 200,
      hint: null,
    });
  });
}

for (const results of [undefined, {}, [], [ANSWER, ANSWER], [null], [{}], [{ error: "no" }]]) {
  test(`${JSON.stringify(results)?.slice(0, 60)} are no results for one image`, async () => {
    const { url } = await strangeServer(reply(200, { results }));
    assert.equal((await failure(new Client(url).classifyBatch([IMAGE]))).code, "unexpected_answer");
  });
}

test("a batch is tried again whole", async () => {
  const { url, requests } = await strangeServer(reply(503, OVERLOADED), reply(200, { results: [ANSWER, ANSWER] }));
  assert.deepEqual(await new Client(url).classifyBatch([IMAGE, new Blob([IMAGE])], { topK: 2 }), [ANSWER, ANSWER]);
  assert.equal(requests[1].path, "/classify_batch?top_k=2");
  assert.equal(requests[1].body.toString("latin1").match(/name="images"/g).length, 2);
});

for (const nonsense of ["{}", '{"models": {}}', '{"models": [{}]}', '{"models": [null]}']) {
  test(`${nonsense} is not a list of models`, async () => {
    const { url } = await strangeServer(reply(200, nonsense));
    assert.equal((await failure(new Client(url).models())).code, "unexpected_answer");
  });
}

for (const nonsense of ["<h1>Bad gateway</h1>", "null", '{"error": "no"}', '{"error": {"code": 1, "message": []}}']) {
  test(`502 with ${nonsense} is an error without words`, async () => {
    const { url } = await strangeServer(reply(502, nonsense));
    assert.deepEqual(await failure(new Client(url).classify(IMAGE)), {
      message: `${url}/ answered with status 502 and no explanation`,
      code: "unexpected_answer",
      status: 502,
      hint: null,
    });
  });
}

test("a hint that is not a string is ignored", async () => {
  const { url } = await strangeServer(reply(400, { error: { code: "c", message: "m", hint: { a: 1 } } }));
  assert.equal((await failure(new Client(url).classify(IMAGE))).hint, null);
});

for (const [moment, action] of Object.entries({
  "a request": silence,
  "an answer": stall,
  "a wait": reply(503, OVERLOADED, { "Retry-After": "20" }),
})) {
  test(`a signal ends ${moment} with its own reason`, async () => {
    const controller = new AbortController();
    const { url, requests } = await strangeServer((...exchange) => {
      action(...exchange);
      setTimeout(() => controller.abort(new Error("changed my mind")), 150);
    });
    const call = new Client(url).classify(IMAGE, { signal: controller.signal });
    await assert.rejects(call, { message: "changed my mind" });
    assert.equal(requests.length, 1);
  });
}

test("a signal that has spoken already sends nothing", async () => {
  const { url, requests } = await strangeServer(reply(200, ANSWER));
  for (const call of ["classify", "models", "ready"]) {
    const options = { signal: AbortSignal.abort() };
    const parameters = call === "classify" ? [IMAGE, options] : [options];
    await assert.rejects(new Client(url)[call](...parameters), { name: "AbortError" });
  }
  assert.equal(requests.length, 0);
});

test("a server that is not ready is asked once", async () => {
  const { url, requests } = await strangeServer(reply(503, OVERLOADED));
  assert.equal(await new Client(url).ready(), false);
  assert.equal(requests.length, 1);
});

test("a server that is slow to say that it is ready is not", async () => {
  const { url } = await strangeServer(silence);
  assert.equal(await new Client(url, { timeout: 200 }).ready(), false);
});

test("a file that cannot be read is not blamed on the network", async () => {
  const gone = new Blob([IMAGE]);
  gone.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException("gone", "NotFoundError")) });
  const { url, requests } = await strangeServer(reply(200, ANSWER));
  assert.deepEqual(await failure(new Client(url).classify(gone)), {
    message: "the file cannot be read",
    code: "unreadable_file",
    status: null,
    hint: "it may be a folder, or no longer there",
  });
  assert.equal(requests.length, 0);
});

for (const url of ["localhost:3000", "ftp://x", "", undefined]) {
  test(`${url} is not a server's URL`, () => {
    const message = `${JSON.stringify(String(url))} is not a server's URL: give http://HOST:PORT or https://HOST:PORT`;
    assert.throws(() => new Client(url), { name: "TypeError", message });
  });
}

for (const [options, message] of [
  [{ timeout: 0 }, "timeout must be a number of milliseconds above 0, not 0"],
  [{ timeout: "30" }, "timeout must be a number of milliseconds above 0, not 30"],
  [{ retries: -1 }, "retries must be 0 or more, not -1"],
  [{ retries: 1.5 }, "retries must be 0 or more, not 1.5"],
]) {
  test(message, () => {
    assert.throws(() => new Client("http://x", options), { name: "TypeError", message });
  });
}

test("a key with a line break is refused before anything is sent", () => {
  assert.throws(() => new Client("http://x", { apiKey: "a\nb" }), TypeError);
});

for (const image of ["cat.jpg", null, undefined, 3, {}, [1, 2]]) {
  test(`${JSON.stringify(image)} is not an image`, async () => {
    const message = "an image is given as a Blob, a File, an ArrayBuffer, a typed array or a Buffer";
    await assert.rejects(new Client("http://127.0.0.1:1").classify(image), { name: "TypeError", message });
  });
}
