/** What can be sent: the encoded bytes of an image. A `File` is a `Blob`, a `Buffer` a view. */
export type ImageSource = Blob | ArrayBuffer | ArrayBufferView;

/** One class. */
export interface Prediction {
  label: string;
  /** The number of the class, from 0. */
  index: number;
  /** 0 to 1. */
  probability: number;
  /** Whether the label counts as true; only where several labels may be true. */
  above_threshold?: boolean;
}

/** Milliseconds that the server spent. */
export interface Timing {
  decode: number;
  preprocess: number;
  /** The wait for a free slot. */
  queue: number;
  infer: number;
  total: number;
}

/** The classes of one image, most probable first, and what answered. */
export interface Answer {
  model: string;
  /** Which version of its bundle answered. */
  version: string;
  variant: string;
  runtime: string;
  predictions: Prediction[];
  timing_ms: Timing;
  /** From which score on a label counts as true; only where several labels may be true. */
  threshold?: number;
}

/** The vector of one image, and what answered. */
export interface Embedding {
  model: string;
  version: string;
  variant: string;
  runtime: string;
  embedding: number[];
  /** Whether its Euclidean norm is 1. */
  normalised: boolean;
  timing_ms: Timing;
}

/** Which part of an image a model sees, as shares of its width and height; outside of 0..1 is padding. */
export interface Part {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** How much the score of a class drops while each field of a grid is covered. */
export interface Explanation {
  model: string;
  version: string;
  variant: string;
  runtime: string;
  label: string;
  /** The number of the class, from 0. */
  index: number;
  /** With nothing covered. */
  probability: number;
  /** Row by row from the top; negative where the score rises. */
  drops: number[][];
  /** Where the grid lies. */
  part: Part;
  timing_ms: Timing;
}

/** What a model sees of an image. */
export interface Crop {
  /** A PNG. */
  image: Blob;
  part: Part;
}

/** What a model's answers mean. */
export interface Outputs {
  /** One class is true, or several labels may be (`sigmoid`), or the answer is a vector (`embedding`). */
  meaning: "logits" | "probabilities" | "sigmoid" | "embedding" | "tensors";
  threshold: number | null;
  normalised: boolean | null;
}

/** What is done with an image before the model sees it. */
export interface Preprocess {
  /** The shortest edge, or [height, width], or null for none. */
  resize: number | [number, number] | null;
  interpolation: string;
  /** [height, width] of the centre crop, or null for none. */
  crop: [number, number] | null;
  color: "RGB" | "L";
  mean: number[];
  std: number[];
  exif: boolean;
}

/** How far the served variant lies from the original model on the golden inputs. */
export interface Parity {
  max_abs: number;
  max_rel: number;
  cosine: number;
  top1_agreement: number | null;
  label_agreement: number | null;
  samples: number;
  runtime: string;
}

/** One model that is served. */
export interface Model {
  name: string;
  /** Another version is another bundle. */
  version: string;
  /** When the bundle was exported, ISO 8601. */
  created: string;
  variant: string;
  runtime: string;
  classes: number;
  labels: string[];
  preprocess: Preprocess;
  /** A dynamic dimension of the shape is a string. */
  input: { name: string; dtype: string; shape: (number | string)[] };
  outputs: Outputs;
  parity: Parity | null;
  /** Everything that the bundle holds. */
  variants: { name: string; format: string; precision: string; bytes: number; parity: Parity | null }[];
}

export interface ClientOptions {
  /** Milliseconds for one call, all attempts and the waits between them included; 30,000 by default. */
  timeout?: number;
  /** How often a call is repeated after 429, 503 or no connection; 2 by default. */
  retries?: number;
  /** The server's key, if it has one; sent as `Authorization: Bearer ...`. */
  apiKey?: string;
  /** Used in place of the global `fetch`. */
  fetch?: typeof fetch;
}

export interface CallOptions {
  /** Ends the call; it then rejects with the signal's reason. */
  signal?: AbortSignal;
}

export interface BatchOptions extends CallOptions {
  /** How many classes; the server's default where left out. */
  topK?: number;
  /** From which score on a label counts as true, where several may be; the model's own where left out. */
  threshold?: number;
  /** The name of a model; the server's first where left out. */
  model?: string;
}

export type ClassifyOptions = BatchOptions;

export interface ExplainOptions extends CallOptions {
  /** The number of the class; the most probable one where left out. */
  index?: number;
  /** Fields along each side, 1 to 16; 8 where left out. */
  grid?: number;
  /** The name of a model; the server's first where left out. */
  model?: string;
}

export interface EmbedOptions extends CallOptions {
  /** The name of a model; the server's first where left out. */
  model?: string;
}

/**
 * What went wrong. `code` is the server's, such as `undecodable_image`, or one of the client's own:
 * `unreachable` (no connection), `timeout` (no answer in time), `unexpected_answer` (not a Pinnace server),
 * `unreadable_file` (the file cannot be read).
 */
export class PinnaceError extends Error {
  constructor(
    message: string,
    details: { code: string; status?: number | null; hint?: string | null; cause?: unknown },
  );
  readonly code: string;
  /** The HTTP status, or null where there was no answer, or the error is that of one image of a batch. */
  readonly status: number | null;
  /** What to do about it, or null. */
  readonly hint: string | null;
}

/** Asks one server. */
export class Client {
  /**
   * @param url the server's root, such as `http://localhost:3000`.
   * @throws TypeError if the URL is none or an option is out of range.
   */
  constructor(url: string | URL, options?: ClientOptions);
  /** The server's root, ending in a slash. */
  readonly url: string;
  /**
   * Classify one image.
   * @throws TypeError if the image is of another kind.
   * @throws PinnaceError for everything else.
   */
  classify(image: ImageSource, options?: ClassifyOptions): Promise<Answer>;
  /**
   * The vector of one image, from a network without a head.
   * @throws TypeError if the image is of another kind.
   * @throws PinnaceError for everything else.
   */
  embed(image: ImageSource, options?: EmbedOptions): Promise<Embedding>;
  /**
   * Classify several images in one request: for each, in order, its answer or what was wrong with it.
   * @throws TypeError if an image is of another kind.
   * @throws PinnaceError if the request as a whole fails.
   */
  classifyBatch(images: Iterable<ImageSource>, options?: BatchOptions): Promise<(Answer | PinnaceError)[]>;
  /**
   * Which parts of an image the score of a class depends on; of a server that was started with `--explain`.
   * @throws TypeError if the image is of another kind.
   * @throws PinnaceError for everything else.
   */
  explain(image: ImageSource, options?: ExplainOptions): Promise<Explanation>;
  /**
   * What a model sees of an image, after its own resize and crop.
   * @throws TypeError if the image is of another kind.
   * @throws PinnaceError for everything else.
   */
  crop(image: ImageSource, options?: EmbedOptions): Promise<Crop>;
  /** What is served; the first is asked where `classify` names no model. */
  models(options?: CallOptions): Promise<Model[]>;
  /** Whether every worker has warmed up; false where the server cannot be reached. Never repeated. */
  ready(options?: CallOptions): Promise<boolean>;
}
