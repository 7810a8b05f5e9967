// A terminal client of bcast_grpc: what is typed goes to all others in the room, and what they say is printed.

import { randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const MAX_LINE_BYTES = 100_000;
const MAX_PENDING = 32; // of such lines; together they fit into the 4 MiB that a frame may have
const MIN_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 5_000;
const CHANNEL_OPTIONS = {
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.initial_reconnect_backoff_ms": MIN_BACKOFF_MS, // gRPC's own is not to outlast ours
  "grpc.max_reconnect_backoff_ms": 1_000,
  "grpc.dns_min_time_between_resolutions_ms": 1_000,
};
// What would fail in the same way again.
const FINAL = ["ABORTED", "INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"];
const NOT_SHOWN = ["EVENT_KIND_WELCOME", "EVENT_KIND_ACK", "EVENT_KIND_PROGRESS", "EVENT_KIND_ERROR"];

const includeDirs = [join(import.meta.dirname, "../../protos")];
const jsonLike = { keepCase: true, longs: String, enums: String, bytes: String };
const definition = loadSync("bcast_grpc/v1/chat.proto", { includeDirs, ...jsonLike });
const { Chat } = grpc.loadPackageDefinition(definition).bcast_grpc.v1;
const metadata = new grpc.Metadata();
const pending = []; // { request, sent, timer } of what is not answered yet, in order
const answers = new EventEmitter();
const place = { epoch: "", seq: 0n }; // where the next connection goes on
let options, client;
let call; // the stream, while there is one
let connected = false;
let leaving; // the exit code, once this side is done
let backoff = MIN_BACKOFF_MS;
let since; // the last welcome
let reconnectAfter;

async function* lines(input) {
  let rest = "";
  for await (const chunk of input.setEncoding("utf8")) {
    const parts = (rest + chunk).split(/\r?\n/);
    rest = parts.pop().slice(0, MAX_LINE_BYTES + 1); // enough to tell that it is too long
    yield* parts;
  }
  yield rest;
}

async function readInput() {
  let count = 0;
  for await (const line of lines(process.stdin)) {
    if (!line) continue;
    try {
      if (Buffer.byteLength(line) > MAX_LINE_BYTES) throw new Error(`longer than ${MAX_LINE_BYTES} bytes`);
      const request = options.json ? JSON.parse(line) : { msg: line };
      check(request);
      count += 1;
      if (!request.batch?.length) request.id ||= `#${count}`;
      pending.push({ request, sent: false });
    } catch (error) {
      console.error(clean(`a line is skipped: ${error.message}`));
    }
    setImmediate(send); // with whatever else is at hand
    while (pending.length >= MAX_PENDING) await once(answers, "answer");
  }
  while (pending.length) await once(answers, "answer");
  leave(0);
}

function check(request) {
  Chat.service.Connect.requestSerialize(request); // throws at what does not fit, but makes a text of anything
  for (const [field, value] of Object.entries(request)) {
    if (field === "batch") value?.forEach(check);
    else if (value !== null && !value.isWellFormed?.()) throw new TypeError(`${field}: not a text`);
  }
}

/** Sends what is not sent yet, one frame at a time: what comes meanwhile goes into the next one. */
function send() {
  if (!call || call.writableLength || call.writableEnded) return;
  const unsent = pending.filter((each) => !each.sent);
  if (!unsent.length) return;
  const own = unsent.findIndex(({ request }) => request.batch?.length); // a frame of its own, without an answer
  const frame = unsent.slice(0, own < 0 ? unsent.length : own || 1);
  for (const each of frame) each.sent = true;
  if (own === 0) settle(frame[0]);
  call.write(frame.length === 1 ? frame[0].request : { batch: frame.map(({ request }) => request) }, send);
}

function settle(entry) {
  pending.splice(pending.indexOf(entry), 1);
  answers.emit("answer");
}

/** Takes an event in; returns what is to be printed of it. */
function hear(event) {
  const { kind, seq = 0, ack, error, message = "" } = event;
  if (kind === "EVENT_KIND_WELCOME") {
    const { epoch } = event.welcome;
    // All that is kept of a new order is going to come.
    if (epoch !== place.epoch) Object.assign(place, { epoch, seq: place.epoch ? 0n : BigInt(seq) });
    since = Date.now();
  } else if (kind === "EVENT_KIND_MESSAGE" || kind === "EVENT_KIND_PROGRESS") {
    place.seq = BigInt(seq);
  } else if (ack?.epoch === place.epoch && BigInt(ack.seq ?? 0) === place.seq + 1n) {
    place.seq += 1n; // one's own messages are not heard, but passed
  } else if (kind === "EVENT_KIND_GAP") {
    place.seq = BigInt(event.gap.last_missed ?? place.seq);
  } else if (kind === "EVENT_KIND_CLOSING") {
    reconnectAfter = event.closing.reconnect_after;
  }

  const entry = pending.find(({ request, sent }) => sent && request.id === event.id);
  if (entry && error?.retryable) {
    const again = () => {
      entry.sent = false;
      setImmediate(send);
    };
    entry.timer = setTimeout(again, milliseconds(error.retry_after ?? { seconds: 1 }));
  } else if (entry) {
    settle(entry);
  }

  if (options.json) return `${JSON.stringify(event, timesToJson)}\n`;
  if (error && !error.retryable) console.error(clean(message));
  return NOT_SHOWN.includes(kind) ? "" : `${clean(message)}\n`;
}

/** Makes one call; returns the status it ends with. */
async function talk() {
  if (place.epoch) metadata.set("bcast-after", `${place.epoch}:${place.seq}`);
  reconnectAfter = undefined;
  for (const each of pending) {
    clearTimeout(each.timer);
    each.sent = false;
  }
  call = client.Connect(metadata).once("metadata", () => (connected = true));
  send();
  try {
    for await (const frame of call) {
      const text = (frame.batch ?? [frame]).map(hear).join("");
      if (!process.stdout.write(text)) await once(process.stdout, "drain");
    }
    return { code: grpc.status.OK };
  } catch (error) {
    if (error.details === undefined) throw error; // not a status
    return error;
  } finally {
    call = undefined;
    connected = false;
  }
}

function milliseconds({ seconds = 0, nanos = 0 }) {
  return Number(seconds) * 1e3 + nanos / 1e6;
}

/** A replacer for JSON.stringify: but for these, what proto-loader returns is proto3 JSON. */
function timesToJson(field, value) {
  if (!["time", "since", "retry_after", "reconnect_after"].includes(field)) return value;
  const { seconds = 0, nanos = 0 } = value;
  const fraction = nanos
    ? `.${String(nanos)
        .padStart(9, "0")
        .replace(/(000){1,2}$/, "")}`
    : "";
  if (field.endsWith("_after")) return `${seconds}${fraction}s`;
  return `${new Date(seconds * 1e3).toISOString().slice(0, 19)}${fraction}Z`;
}

/** Makes a text of strangers fit for a terminal. */
function clean(text) {
  return text.replace(/\p{Cc}/gu, "\uFFFD");
}

function exit(code) {
  process.stdout.write("", () => process.exit(code)); // once all is written
}

function leave(code) {
  leaving ||= code;
  if (call)
    call.end(); // a half-close is a goodbye: what is queued still arrives
  else exit(leaving);
}

async function main() {
  do {
    const { code, details } = await talk();
    const name = grpc.status[code];
    if (FINAL.includes(name)) {
      console.error(clean(details));
      return 1;
    }
    if (leaving !== undefined || name === "OK") break;
    console.error(clean(`${name}: ${details}; trying again`));
    if (Date.now() - since > MAX_BACKOFF_MS) backoff = MIN_BACKOFF_MS; // the connection was worth something
    since = undefined;
    await sleep(reconnectAfter ? milliseconds(reconnectAfter) : backoff * (0.8 + 0.4 * Math.random()));
    backoff = Math.min(2 * backoff, MAX_BACKOFF_MS);
  } while (leaving === undefined);
  return leaving ?? 0;
}

try {
  const flags = { name: { type: "string" }, room: { type: "string" }, json: { type: "boolean" } };
  const { values, positionals } = parseArgs({ options: flags, allowPositionals: true });
  if (positionals.length > 1) throw new Error("more than one TARGET");
  options = values;
  client = new Chat(positionals[0] ?? "127.0.0.1:50051", grpc.credentials.createInsecure(), CHANNEL_OPTIONS);
} catch (error) {
  console.error(clean(`${error.message}; usage: chat [--name NAME] [--room ROOM] [--json] [TARGET]`));
  process.exit(2);
}
if (options.name !== undefined) metadata.set("bcast-name", encodeURIComponent(options.name));
if (options.room !== undefined) metadata.set("bcast-room", encodeURIComponent(options.room));
metadata.set("bcast-client", randomUUID());
metadata.set("bcast-events", "all");
metadata.set("bcast-batch", "1");

process.stdout.on("error", ({ code }) => process.exit(code === "EPIPE" ? 0 : 1)); // nobody reads it any more
process.stderr.on("error", () => {}); // the same, but no reason to end
process.once("SIGINT", () => {
  setTimeout(() => process.exit(130), connected ? 2_000 : 0);
  leave(130);
});
readInput();
exit(await main());
