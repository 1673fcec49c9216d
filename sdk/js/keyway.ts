/// <reference path="./generated/replying-plugin.d.ts" />
/**
 * The SDK for JavaScript and TypeScript: a record's JSON in, requests out.
 *
 * Owns the way from the contract's types to plain objects and back. Promises that a payload which is not JSON becomes a reject with the
 * parser's own words, and that an error thrown by the plugin reaches the log with its place in the source before the call traps.
 */
import { all, get } from "keyway:transform/config@0.1.0";
import { log as write } from "keyway:transform/log@0.1.0";
import type * as wire from "keyway:transform/types@0.1.0";

/** What `plugin` takes. */
export interface Options<T> {
  /** Patterns of the keys that the plugin handles: exact (`order.created`), prefix (`order:*`) or `*`. Without any, its file's name is the key. */
  keys?: string | string[];
  /** Name for people. */
  name?: string;
  /** Version for people. */
  version?: string;
  /** A JSON Schema for the plugin's `[settings]`. */
  settingsSchema?: object;
  /** Turns a record, whose payload is JSON, into what is to be done. It may be called again for the same record, so it depends on nothing else. */
  transform(payload: T, m: Message): Answer;
  /** Handles a record without a payload. Without it such a record is rejected. */
  tombstone?(m: Message): Answer;
  /** Sees the replies to the requests so far, whatever their status, and says what is next. */
  onReplies?(m: Message, exchanges: Exchange[]): Next;
}

/** What is to be done: a request, several in their order, or nothing, with the reason. */
export type Answer = Request | Request[] | Skip | Reject;
/** What is to be done after replies: `done()`, further requests, `retry()`, or `reject()`. */
export type Next = Done | Request | Request[] | Retry | Reject;

/** One record. */
export class Message {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** Milliseconds since the epoch. */
  readonly timestamp?: number;
  /** The key; undefined when the record has none that is UTF-8. */
  readonly key?: string;
  readonly headers: [string, Uint8Array][];
  /** The payload as it came; undefined for a tombstone. */
  readonly payload?: string;
  readonly attributes: [string, string][];

  constructor(m: wire.Message) {
    this.topic = m.topic;
    this.partition = m.partition;
    this.offset = Number(m.offset);
    // The engine gives null for what is not there.
    this.timestamp = m.timestamp == null ? undefined : Number(m.timestamp);
    this.key = m.key ?? undefined;
    this.headers = m.headers;
    this.payload = m.payload ?? undefined;
    this.attributes = m.attributes;
  }

  /** The last header of this name, if its value is UTF-8. */
  header(name: string): string | undefined {
    const found = this.headers.filter(([header]) => header === name).pop();
    return found && decode(found[1]);
  }

  /** Whether the record has no payload, which in a compacted topic says that the key is deleted. */
  get isTombstone(): boolean {
    return this.payload === undefined;
  }
}

/** One HTTP request, built step by step: `post("orders", "/orders").json(order)`. */
export class Request {
  destination: string;
  method: string;
  path: string;
  headers: [string, string][] = [];
  body?: string | Uint8Array;

  constructor(method: string, destination: string, path: string) {
    this.method = method.toUpperCase();
    this.destination = destination;
    this.path = path;
  }

  /** Adds a header. The host refuses `Host`, `Content-Length`, hop-by-hop headers and names that begin with `keyway-`. */
  header(name: string, value: string): this {
    this.headers.push([name, value]);
    return this;
  }

  /** Adds `name=value` to the query, both percent-encoded. */
  query(name: string, value: unknown): this {
    this.path += `${this.path.includes("?") ? "&" : "?"}${segment(name)}=${segment(value)}`;
    return this;
  }

  /** Sets the body to this value as JSON, and `content-type` unless there is one. A `bigint` is written as a number. */
  json(body: unknown): this {
    const text = stringify(body);
    if (text === undefined) throw new TypeError(`a body of type ${typeof body} has no form in JSON`);
    return this.with(text, "application/json");
  }

  /** Sets the body to this text, and `content-type` unless there is one. */
  text(body: string): this {
    return this.with(String(body), "text/plain; charset=utf-8");
  }

  /** Sets the body to these bytes, and `content-type` unless there is one. */
  bytes(body: Uint8Array): this {
    return this.with(body, "application/octet-stream");
  }

  private with(body: string | Uint8Array, type: string): this {
    if (!this.headers.some(([name]) => name.toLowerCase() === "content-type")) this.header("content-type", type);
    this.body = body;
    return this;
  }
}

/** A request with any method. Path and query begin with `/` and are joined to the destination's base URL. */
export const request = (method: string, destination: string, path: string): Request => new Request(method, destination, path);
/** `GET`. */
export const get_ = (destination: string, path: string): Request => new Request("GET", destination, path);
export { get_ as get };
/** `POST`. */
export const post = (destination: string, path: string): Request => new Request("POST", destination, path);
/** `PUT`. */
export const put = (destination: string, path: string): Request => new Request("PUT", destination, path);
/** `PATCH`. */
export const patch = (destination: string, path: string): Request => new Request("PATCH", destination, path);
/** `DELETE`. */
export const del = (destination: string, path: string): Request => new Request("DELETE", destination, path);

/** See `skip`. */
export class Skip {
  constructor(readonly why: string) {}
}
/** See `reject`. An error, so that it can be thrown from deep inside. */
export class Reject extends Error {}
/** See `done`. */
export class Done {}
/** See `retry`. */
export class Retry {
  constructor(readonly milliseconds?: number) {}
}

/** The record needs nothing. */
export const skip = (why: string): Skip => new Skip(why);
/** The record is bad and will stay bad: it becomes a dead letter. Return it or throw it. */
export const reject = (why: string): Reject => new Reject(why);
/** The record is delivered. */
export const done = (): Done => new Done();
/** The last requests are to be sent again, after this many milliseconds, or by the destination's own backoff. */
export const retry = (milliseconds?: number): Retry => new Retry(milliseconds);

/** A value as one segment of a path: everything but `A-Z a-z 0-9 - . _ ~` is percent-encoded, so that a slash in it cannot lead elsewhere. */
export function segment(value: unknown): string {
  return encodeURIComponent(wellFormed(String(value))).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Lines for the plugin's log. The host cuts long lines and drops what exceeds the plugin's rate; logging never fails. */
export const log = {
  trace: (line: unknown): void => write("trace", wellFormed(String(line))),
  debug: (line: unknown): void => write("debug", wellFormed(String(line))),
  info: (line: unknown): void => write("info", wellFormed(String(line))),
  warn: (line: unknown): void => write("warn", wellFormed(String(line))),
  error: (line: unknown): void => write("error", wellFormed(String(line))),
};

/** The `[settings]` of the plugin's sidecar file: a string as it is, any other value as JSON. */
export const settings = {
  /** The value under this name. */
  get: (name: string): string | undefined => get(name) ?? undefined,
  /** All of them, sorted by name. */
  all: (): [string, string][] => all(),
};

/** One request that was performed, with its reply. */
export interface Exchange {
  request: Request;
  status: number;
  headers: [string, string][];
  /** Cut off at the host's cap; a string when it is UTF-8. */
  body: string | Uint8Array;
}

/** What the contract's exports are made of. */
export interface Plugin {
  transform: { transform(m: wire.Message): wire.Verdict };
  about: { describe(): { name: string; version: string; keys: string[]; settingsSchema?: string } };
  replies?: { onReplies(m: wire.Message, exchanges: wire.Exchange[]): wire.Next };
}

/** Makes a plugin: `export default plugin({ keys: ["order:*"], transform(order, m) { … } })`. */
export function plugin<T = any>(options: Options<T>): Plugin {
  const { keys = [], name = "", version = "", settingsSchema, onReplies } = options;
  if (typeof options.transform !== "function") throw new TypeError("plugin() takes an object with a function `transform`");
  return {
    about: {
      describe: () => ({
        name,
        version,
        keys: typeof keys === "string" ? [keys] : keys,
        settingsSchema: settingsSchema && JSON.stringify(settingsSchema),
      }),
    },
    transform: {
      transform: (m) =>
        guard((): wire.Verdict => {
          const message = new Message(m);
          const answer = answerTo(options, message);
          if (answer instanceof Skip) return { tag: "skip", val: wellFormed(answer.why) };
          return { tag: "send", val: requests(answer, "transform", "a request, a list of requests, skip() or reject()") };
        }),
    },
    replies: onReplies && {
      onReplies: (m, exchanges) =>
        guard((): wire.Next => {
          const next = onReplies.call(options, new Message(m), exchanges.map(exchange));
          if (next instanceof Done) return { tag: "done" };
          if (next instanceof Retry) return { tag: "retry", val: next.milliseconds === undefined ? undefined : wholeNumber(next.milliseconds) };
          return { tag: "send", val: requests(next, "onReplies", "done(), a request, a list of requests, retry() or reject()") };
        }),
    },
  };
}

function answerTo<T>(options: Options<T>, m: Message): Answer {
  if (m.payload !== undefined) return options.transform(parse(m.payload) as T, m);
  if (options.tombstone) return options.tombstone(m);
  throw new Reject("the record is a tombstone (it has no payload)");
}

function requests(answer: unknown, where: string, accepted: string): wire.Request[] {
  if (answer instanceof Reject) throw answer;
  return (Array.isArray(answer) ? answer : [answer]).map((r) => {
    if (!(r instanceof Request)) throw new TypeError(`${where} returned ${r === null ? "null" : typeof r}; it returns ${accepted}`);
    return {
      destination: r.destination,
      method: r.method,
      path: wellFormed(r.path),
      headers: r.headers.map(([name, value]) => [name, wellFormed(String(value))]),
      body:
        r.body === undefined ? undefined : typeof r.body === "string" ? { tag: "text", val: wellFormed(r.body) } : { tag: "bytes", val: r.body },
      attributes: [],
    };
  });
}

/** The engine takes a number where the generated types say `bigint`, and traps at a `bigint`. */
function wholeNumber(value: number): bigint {
  return Math.max(0, Math.round(Number(value))) as unknown as bigint;
}

function exchange(e: wire.Exchange): Exchange {
  const request = new Request(e.request.method, e.request.destination, e.request.path);
  request.headers = e.request.headers;
  request.body = e.request.body?.val ?? undefined;
  return { request, status: e.status, headers: e.headers, body: e.body.val };
}

/** A thrown reject is a verdict. Any other error is the plugin's own fault: it is logged with its place, and the call traps. */
function guard<V>(call: () => V): V | { tag: "reject"; val: string } {
  try {
    return call();
  } catch (error) {
    if (error instanceof Reject) return { tag: "reject", val: wellFormed(error.message) };
    // The place first: the host cuts a long line.
    const place = places((error as Error)?.stack);
    log.error(place ? `${place}: ${error}` : error);
    throw error;
  }
}

/** The places of a stack trace, innermost first, in the plugin's own files: `build.mjs` leaves a map from the bundle's lines and columns to theirs. */
function places(stack: unknown): string {
  const { files, lines } = (globalThis as { __keyway_places?: { files: string[]; lines: string } }).__keyway_places ?? { files: [], lines: "" };
  const table = lines.split(",");
  const found: string[] = [];
  for (const frame of String(stack ?? "").split("\n")) {
    const [, line, column] = /:(\d+):(\d+)\)?$/.exec(frame) ?? [];
    const parts = (line && table[Number(line) - 1]?.split(" ").map((part) => part.split(":"))) || [];
    const [, file, original] = parts.filter(([start]) => Number(start) < Number(column)).pop() ?? [];
    if (file && !files[Number(file)]!.endsWith("keyway.ts")) found.push(`at ${files[Number(file)]}:${original}`);
  }
  return found.slice(0, 8).join(" ");
}

/**
 * JSON, but integers that a number cannot hold exactly become `bigint`, and a lone surrogate or a number that is out of range is an error: neither could
 * be written again.
 */
export function parse(text: string): unknown {
  try {
    // An interpreter runs this: what no payload needs is found out natively, or in one pass.
    if (text.includes("\\u") && /\\u[dD][89a-fA-F]/.test(text)) refuseLoneSurrogates(text);
    // The parser goes down with the nesting, and the stack has an end.
    if (text.split("[").length + text.split("{").length > DEPTH_MAX) refuseDepth(text);
    if (!LONG.test(text)) return JSON.parse(text);
    refuseInfinity(text);
    if (!/\d{16}/.test(text)) return JSON.parse(text);
    JSON.parse(text); // for its errors, whose positions are those of the text as it came
    const marked = text.replace(STRING_OR_NUMBER, (token) => (/^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${MARK}${token}"` : token));
    return JSON.parse(marked, (_, value) => (typeof value === "string" && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value));
  } catch (error) {
    throw new Reject(`payload: ${(error as Error).message}`);
  }
}

/** Strings, so that what is in them is passed over, and numbers as a whole, so that the digits of a fraction are not taken for an integer. */
const STRING_OR_NUMBER = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Marks an integer inside a JSON text. A private-use character, so that no real text begins with it by accident. */
const MARK = "\uF8FFkeyway:integer:";

function stringify(value: unknown): string | undefined {
  // A `bigint` is an error here, and rare: only then is every value looked at.
  try {
    return JSON.stringify(value);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  let marked = false;
  const text = JSON.stringify(value, (_, v) => (typeof v === "bigint" ? ((marked = true), MARK + v) : v));
  return marked ? text.replace(new RegExp(`"${MARK}(-?\\d+)"`, "g"), "$1") : text;
}

function refuseLoneSurrogates(text: string): void {
  for (const [escape, lone] of text.matchAll(/\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|[^])/g)) {
    if (lone) throw new SyntaxError(`lone surrogate ${escape}`);
  }
}

/** As deep as serde_json goes in a plugin in Rust. */
const DEPTH_MAX = 127;

function refuseDepth(text: string): void {
  let depth = 0;
  for (const { 0: token, index } of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{}]/g)) {
    if (token[0] === '"') continue;
    depth += token === "[" || token === "{" ? 1 : -1;
    if (depth > DEPTH_MAX) throw new SyntaxError(`nested more than ${DEPTH_MAX} deep at position ${index}`);
  }
}

/** Many digits, or a large exponent after what begins like a number and not like a part of a text, as hexadecimal digits are full of them. */
const LONG = /\d{16}|(?:^|[[:,\s])-?\d[\d.]*[eE]\+?\d{3}/;

function refuseInfinity(text: string): void {
  for (const [token] of text.matchAll(STRING_OR_NUMBER)) {
    if (token[0] !== '"' && /[.eE]/.test(token) && !Number.isFinite(Number(token))) throw new SyntaxError(`number ${token} is out of range`);
  }
}

/** What has no form in UTF-8, a lone surrogate, becomes U+FFFD. */
function wellFormed(text: string): string {
  const native = (text as { toWellFormed?(): string }).toWellFormed;
  if (native) return native.call(text);
  return text.replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, "\uFFFD");
}

/** UTF-8 as text; undefined when it is none. Written out, since the engine has no `TextDecoder`. */
export function decode(bytes: Uint8Array): string | undefined {
  try {
    let escaped = "";
    for (const byte of bytes) escaped += byte < 0x80 && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).padStart(2, "0")}`;
    return decodeURIComponent(escaped);
  } catch {
    return undefined;
  }
}

/** Text as UTF-8. Written out, since the engine has no `TextEncoder`. */
export function encode(text: string): Uint8Array {
  const escaped = encodeURIComponent(wellFormed(text));
  return Uint8Array.from(escaped.match(/%..|[^%]/g) ?? [], (part) => (part.length > 1 ? parseInt(part.slice(1), 16) : part.charCodeAt(0)));
}
