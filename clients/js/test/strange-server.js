/** A server on this machine that does what a test tells it, one action for each request. */

import { createServer } from "node:http";
import { after } from "node:test";

export const ANSWER = {
  model: "m",
  variant: "onnx-fp32",
  runtime: "onnxruntime",
  predictions: [{ label: "cat", index: 0, probability: 1 }],
  timing_ms: { decode: 1, preprocess: 1, queue: 0, infer: 1, total: 3 },
};

export const OVERLOADED = {
  error: { code: "service_unavailable", message: "too many images are waiting", hint: "try again later" },
};

/** Send JSON, or text as it is. */
export function reply(status, body, headers = {}) {
  return (request, response) => {
    response.writeHead(status, headers);
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  };
}

/** Close the connection without a word. */
export function hangUp(request) {
  request.socket.destroy();
}

/** Never answer. */
export function silence() {}

/** Begin an answer and never end it. */
export function stall(request, response) {
  response.writeHead(200, { "Content-Type": "application/json" });
  response.write('{"model":');
}

/**
 * Start one; the last action goes on for all further requests.
 * @returns {Promise<{url: string, requests: {method: string, path: string, headers: object, body: Buffer, at: number}[]}>}
 */
export async function strangeServer(...actions) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const { method, url: path, headers } = request;
    requests.push({ method, path, headers, body: Buffer.concat(parts), at: performance.now() });
    actions[Math.min(requests.length, actions.length) - 1](request, response);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, requests };
}
