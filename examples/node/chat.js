// A terminal client of bcast_grpc: what is typed goes to all others in the room, and what they say is printed.

import { randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import protobuf from "protobufjs";

const MAX_LINE_BYTES = 100_000;
const MAX_PENDING = 32;
const MAX_UNDER_WAY = 65_536; // bytes, or one request: on a slow line all else waits behind them, answers to pings too
const MIN_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 5_000;
const MAX_JOINING_MS = 10_000;
const MAX_LEAVING_MS = 10_000;
const SPREAD_MS = 100; // so that those who lost a server do not all come to the next one at once
const NOT_TRUSTED = 69;
const NOT_LET_IN = 77;
const BROKEN_PIPE = 128 + 13; // as a shell tells of programs that end by SIGPIPE
const CHANNEL_OPTIONS = {
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 20_000, // the answer to a ping waits for what was sent before it, up to 64 KiB
  "grpc.initial_reconnect_backoff_ms": MIN_BACKOFF_MS, // gRPC's own is not to outlast ours
  "grpc.max_reconnect_backoff_ms": 1_000,
  "grpc.dns_min_time_between_resolutions_ms": 1_000,
};
const LOOPBACK = /^(dns:\/*|ipv[46]:)?(localhost\.?|127(\.\d+){1,3}|\[::1\])(:\d+)?$/i;
// Without an ErrorInfo of the server: it is no such server, or does not let us in.
const REFUSALS = ["PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"];
const HTTP_STATUS = /http.* status/i; // so gRPC tells of one that a proxy answered with
// So gRPC tells of a certificate that does not do; an alert is what the server thinks of ours.
const UNTRUSTED = /Last error: (?:Error: )?((?!.*alert).*(?:certificate|altnames).*?)(?:\. Resolution note:.*)?$/i;
const NOT_SHOWN = ["WELCOME", "ACK", "PROGRESS", "ERROR", "EXPIRING"].map((kind) => `EVENT_KIND_${kind}`);

const includeDirs = [join(import.meta.dirname, "../../protos")];
const jsonLike = { keepCase: true, longs: String, enums: String, bytes: String };
const definition = loadSync("bcast_grpc/v1/chat.proto", { includeDirs, ...jsonLike });
const { Chat } = grpc.loadPackageDefinition(definition).bcast_grpc.v1;
// What a status carries, as far as it is read here: a google.rpc.Status.
const rpc = protobuf.parse(
  `syntax = "proto3";
  message Status { repeated Any details = 3; }
  message Any { string type_url = 1; bytes value = 2; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message RetryInfo { Duration retry_delay = 1; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }`,
  { keepCase: true },
).root;
const metadata = new grpc.Metadata();
const pending = []; // { request, size, sent, timer } of what is not answered yet, in order
const answers = new EventEmitter();
const place = { epoch: "", seq: 0n }; // where the next connection goes on
let options;
let servers; // { target, client, due, backoff, fault }: when to call it, and the exit code if it is no server to talk to
let server; // the one in use
let move; // to another one, as this one has lost its store
let token = process.env.BCAST_TOKEN;
let renewal; // the timer of the next look at the token's file
let call; // the stream, while there is one
let connected = false;
let leaving = false; // this side is done
let failed = false; // something was not sent
let refusal; // the exit code, where no server will do or lets us in
let interrupted = false;
let since; // the last welcome
let reconnectAfter;

/** How to make sure of the server, and show who we are: by TLS, or by nothing. */
function credentials(secure) {
  const [ca, key, cert] = ["tls-ca", "tls-key", "tls-cert"].map((name) => options[name] && readFileSync(options[name]));
  if (!secure && !ca && !key && !cert) return grpc.credentials.createInsecure();
  return grpc.credentials.createSsl(ca, key, cert); // without a CA, those that Node trusts
}

/** Takes the token that the file holds now, if there is a file. */
function readToken() {
  if (options["token-file"]) token = readFileSync(options["token-file"], "utf8").trim();
}

/** Sends the token that is in the file; if it is still the old one, looks again later. */
function renew() {
  const old = token;
  try {
    readToken();
  } catch {
    // It may be there the next time.
  }
  if (token === old) {
    renewal = setTimeout(renew, 1_000);
    return;
  }
  const request = { operacion: "auth", msg: token }; // without an id, nothing answers
  pending.unshift({ request, size: check(request), sent: false });
  send();
}

async function* lines(input) {
  const decoder = new TextDecoder(); // which also drops a byte order mark
  let rest = "";
  for await (const chunk of input) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split(/\r?\n/);
    rest = parts.pop().slice(0, MAX_LINE_BYTES + 2); // enough to tell that it is too long
    yield* parts;
  }
  yield rest + decoder.decode();
}

async function readInput() {
  let count = 0;
  for await (const line of lines(process.stdin)) {
    if (!line) continue;
    try {
      if (Buffer.byteLength(line) > MAX_LINE_BYTES) throw new Error(`longer than ${MAX_LINE_BYTES} bytes`);
      const request = options.json ? JSON.parse(line) : { msg: line };
      const size = check(request);
      count += 1;
      if (!request.batch?.length) request.id ||= `#${count}`;
      pending.push({ request, size, sent: false });
      setImmediate(send); // with whatever else is at hand
      if ([request, ...(request.batch ?? [])].some(({ operacion }) => operacion === "leave")) break;
    } catch (error) {
      console.error(clean(`not sent: ${error.message}`));
      failed = true;
    }
    while (pending.length >= MAX_PENDING) await once(answers, "answer");
  }
  while (pending.length) await once(answers, "answer");
  leave();
}

/** Throws at what does not fit; returns the request's size. */
function check(request) {
  const { length } = Chat.service.Connect.requestSerialize(request); // makes a text of anything
  for (const [field, value] of Object.entries(request)) {
    if (field === "batch") value?.forEach(check);
    else if (value !== null && !value.isWellFormed?.()) throw new TypeError(`${field}: not a text`);
  }
  return length;
}

/** Sends what there is room for, one frame at a time: what comes meanwhile goes into the next one. */
function send() {
  if (!call || call.writableLength || call.writableEnded) return;
  let underWay = pending.reduce((sum, { size, sent }) => sum + (sent ? size : 0), 0);
  const frame = [];
  for (const each of pending.filter(({ sent }) => !sent)) {
    const own = each.request.batch?.length; // a frame of its own, without an answer
    if ((own && frame.length) || (underWay && underWay + each.size > MAX_UNDER_WAY)) break;
    frame.push(each);
    underWay += each.size;
    if (own) break;
  }
  if (!frame.length) return;
  for (const each of frame) each.sent = true;
  for (const each of frame) if (each.request.batch?.length || !each.request.id) settle(each);
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
    since = performance.now();
  } else if (kind === "EVENT_KIND_MESSAGE" || kind === "EVENT_KIND_PROGRESS") {
    place.seq = BigInt(seq);
  } else if (ack?.epoch === place.epoch && BigInt(ack.seq ?? 0) === place.seq + 1n) {
    place.seq += 1n; // one's own messages are not heard, but passed
  } else if (kind === "EVENT_KIND_GAP") {
    const { reason, last_missed } = event.gap;
    place.seq = reason === "GAP_REASON_NEW_EPOCH" ? 0n : BigInt(last_missed ?? place.seq);
  } else if (kind === "EVENT_KIND_CLOSING") {
    reconnectAfter = event.closing.reconnect_after;
  } else if (kind === "EVENT_KIND_EXPIRING" && options["token-file"]) {
    renew();
  }

  const entry = pending.find(({ request, sent }) => sent && request.id === event.id);
  if (entry && error?.retryable) {
    const again = () => {
      entry.sent = false;
      setImmediate(send);
    };
    const after = error.retry_after ?? { seconds: 1 };
    entry.timer = setTimeout(again, milliseconds(after));
    if (error.code === "ERROR_CODE_BROKER_UNAVAILABLE" && hasOther()) {
      move = true;
      reconnectAfter = after;
    }
  } else if (entry && !event.members?.more) {
    settle(entry);
  }

  if (error && !error.retryable) failed = true;
  if (options.json) return `${JSON.stringify(event, timesToJson)}\n`;
  if (error && !error.retryable) console.error(clean(message));
  return NOT_SHOWN.includes(kind) ? "" : `${clean(message)}\n`;
}

/** Whether another server may be called now. */
function hasOther() {
  return servers.some((each) => each !== server && each.due <= performance.now());
}

/** Makes one call; returns the status it ends with. */
async function talk() {
  if (place.epoch) metadata.set("bcast-after", `${place.epoch}:${place.seq}`);
  try {
    readToken();
  } catch {
    // The last one may still do.
  }
  if (token) metadata.set("authorization", `Bearer ${token}`);
  clearTimeout(renewal);
  reconnectAfter = undefined;
  move = false;
  for (const each of pending) {
    clearTimeout(each.timer);
    each.sent = false;
  }
  call = server.client.Connect(metadata).once("metadata", () => (connected = true));
  call.on("error", () => {}); // the loop below hears of it, but of none that comes after it
  const joining = setTimeout(() => connected || call?.cancel(), MAX_JOINING_MS);
  send();
  try {
    for await (const frame of call) {
      const text = (frame.batch ?? [frame]).map(hear).join("");
      send(); // now that something may have been answered
      if (!process.stdout.write(text)) await once(process.stdout, "drain");
      if (move) return { code: grpc.status.UNAVAILABLE, details: "it has lost its store" };
    }
    return { code: grpc.status.UNKNOWN, details: "ended, though we did not leave" };
  } catch (error) {
    if (error.details === undefined) throw error; // not a status
    if (error.code === grpc.status.CANCELLED && !connected) error.details = "it did not answer in time";
    return error;
  } finally {
    clearTimeout(joining);
    call.cancel();
    call = undefined;
    connected = false;
  }
}

/** Whether the next call would end in the same way; keeps what the server says of when to make it. */
function isFinal({ code, details, metadata }) {
  let domain, reason, retryable;
  try {
    const [status] = metadata?.get("grpc-status-details-bin") ?? [];
    for (const { type_url, value } of status ? rpc.lookupType("Status").decode(status).details : []) {
      if (type_url.endsWith("/google.rpc.ErrorInfo")) {
        ({ domain, reason, metadata: { retryable } } = rpc.lookupType("ErrorInfo").decode(value));
      } else if (type_url.endsWith("/google.rpc.RetryInfo")) {
        reconnectAfter = rpc.lookupType("RetryInfo").decode(value).retry_delay;
      }
    }
  } catch {
    // Something between made it.
  }
  // By the next call, the file may hold another token.
  if (domain === "bcast_grpc" && reason === "TOKEN_EXPIRED" && options["token-file"]) return false;
  if (domain === "bcast_grpc") return retryable === "false";
  // What a proxy says while the server is away proves nothing.
  return REFUSALS.includes(grpc.status[code]) && !(place.epoch && HTTP_STATUS.test(details));
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

function exit() {
  const code = interrupted ? 130 : (refusal ?? Number(failed));
  process.stdout.write("", () => process.exit(code)); // once all is written
}

function leave() {
  leaving = true;
  if (!call) return exit();
  call.end(); // a half-close is a goodbye: what is queued still arrives
  setTimeout(() => call?.cancel(), MAX_LEAVING_MS);
}

/** Returns why a call ended, and the exit code if there is no server where the next one might not. */
function judge(end) {
  const name = grpc.status[end.code];
  const [, untrusted] = (name === "UNAVAILABLE" && UNTRUSTED.exec(end.details)) || [];
  const final = isFinal(end);
  server.fault = untrusted ? NOT_TRUSTED : Number(final);
  if (final && name !== "UNIMPLEMENTED") {
    return [end.details, ["UNAUTHENTICATED", "PERMISSION_DENIED"].includes(name) ? NOT_LET_IN : 1];
  }
  const text = untrusted ? `the server is not trusted: ${untrusted}` : `${final ? "" : `${name}: `}${end.details}`;
  // That says nothing of the others, unless it is the same everywhere.
  return [text, servers.every(({ fault }) => fault) ? server.fault : 0];
}

async function main() {
  for (;;) {
    const [text, code] = judge(await talk());
    if (code) {
      console.error(clean(text));
      refusal = code;
      return;
    }
    if (leaving) return;
    console.error(clean(`${servers.length > 1 ? `${server.target}: ` : ""}${text}; trying again`));
    if (performance.now() - since > MAX_BACKOFF_MS) {
      server.backoff = MIN_BACKOFF_MS; // it was worth something
      // All are as good again, else all clients would go round in one order.
      for (const each of servers) each.due = Math.max(each.due, performance.now() - 1_000 * Math.random());
    }
    since = undefined;
    const pause = reconnectAfter ? milliseconds(reconnectAfter) : server.backoff * (0.8 + 0.4 * Math.random());
    server.due = performance.now() + pause;
    server.backoff = Math.min(2 * server.backoff, MAX_BACKOFF_MS);
    server = firstDue();
    await sleep(Math.max(server.due - performance.now(), SPREAD_MS * Math.random()));
  }
}

/** One of those that share the rooms, with a channel of its own: one for all could not leave a server that is full. */
function serverAt(target, secure) {
  const proxy = LOOPBACK.test(target) ? { "grpc.enable_http_proxy": 0 } : {}; // a proxy's loopback is another one
  const client = new Chat(target, credentials(secure), { ...CHANNEL_OPTIONS, ...proxy });
  return { target, client, due: -Math.random(), backoff: MIN_BACKOFF_MS, fault: 0 }; // at first, in random order
}

function firstDue() {
  return servers.reduce((first, each) => (each.due < first.due ? each : first));
}

try {
  const texts = ["name", "room", "token-file", "tls-ca", "tls-cert", "tls-key"];
  const flags = { json: { type: "boolean" }, ...Object.fromEntries(texts.map((name) => [name, { type: "string" }])) };
  const { values, positionals } = parseArgs({ options: flags, allowPositionals: true });
  if (positionals.length > 1) throw new Error("more than one TARGET");
  options = values;
  const targets = positionals[0] ?? "127.0.0.1:50051";
  readToken();
  const each = targets.split(",").map((target) => target.trim().replace(/^grpcs?:\/\//, ""));
  const known = "has an empty address; it must be HOST:PORT, or several with commas between them";
  if (each.includes("")) throw new Error(`target: '${targets}' ${known}`);
  servers = each.map((target) => serverAt(target, targets.includes("grpcs://")));
  server = firstDue();
} catch (error) {
  const usage = "chat [--name NAME] [--room ROOM] [--json] [--token-file FILE]";
  const tls = "[--tls-ca FILE] [--tls-cert FILE --tls-key FILE]";
  console.error(clean(`${error.message}; usage: ${usage} ${tls} [TARGET[,TARGET]...]`));
  process.exit(2);
}
if (options.name !== undefined) metadata.set("bcast-name", encodeURIComponent(options.name));
if (options.room !== undefined) metadata.set("bcast-room", encodeURIComponent(options.room));
metadata.set("bcast-client", randomUUID());
metadata.set("bcast-events", "all");
metadata.set("bcast-batch", "1");

process.stdout.on("error", ({ code }) => process.exit(code === "EPIPE" ? BROKEN_PIPE : 1));
process.stderr.on("error", () => {}); // no reason to end
process.once("SIGINT", () => {
  interrupted = true;
  setTimeout(() => process.exit(130), connected ? 2_000 : 0);
  leave();
});
readInput();
await main();
exit();
