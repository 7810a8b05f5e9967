// Makes one call of gRPC's own interoperability tests, and prints what it saw.

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

// The packages are those of the example.
const require = createRequire(new URL("../../../examples/node/package.json", import.meta.url));
const grpc = require("@grpc/grpc-js");
const { loadSync } = require("@grpc/proto-loader");

const LARGEST = 65_536; // bytes that a message may have
const GZIP = { "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip };

const includeDirs = [fileURLToPath(new URL("../../../protos", import.meta.url))];
const { Chat } = grpc.loadPackageDefinition(
  loadSync("bcast_grpc/v1/chat.proto", { includeDirs, keepCase: true, defaults: true }),
).bcast_grpc.v1;
const { requestSerialize, responseDeserialize } = Chat.service.Publish;

const [name, target, room] = process.argv.slice(2);
const metadata = new grpc.Metadata();
metadata.set("bcast-name", "caller");
metadata.set("bcast-room", room);
metadata.set("x-binary-bin", Buffer.from([0, 255]));
const ids = []; // of the events, in order
let size = 0; // of the data in them, in bytes

const connect = (options) =>
  new Chat(target, grpc.credentials.createInsecure(), { "grpc.enable_http_proxy": 0, ...options });

/** Messages of some bytes, numbered from 1. */
const messages = (count, bytes) => Array.from({ length: count }, (_, i) => ({ id: `${i + 1}`, data: Buffer.alloc(bytes) }));

/** Makes a call with one answer. */
const once = (start) => new Promise((resolve, reject) => start((error) => (error ? reject(error) : resolve())));

const publish = (request, options) => once((done) => connect(options).Publish(request, metadata, done));

const callUnknown = (path) =>
  once((done) => connect().makeUnaryRequest(path, requestSerialize, responseDeserialize, {}, metadata, done));

/** Returns the events of a stream, to be read one by one. */
const eventsOf = (stream) => stream[Symbol.asyncIterator]();

/** Reads so many events, or to the end. */
async function read(events, count = Infinity) {
  for (; count > 0; count -= 1) {
    const { value, done } = await events.next();
    if (done) return;
    ids.push(value.id);
    size += value.data.length;
  }
}

/** Sends all, ends this side, and reads to the end. */
function talk(frames, options) {
  const stream = connect(options).Connect(metadata);
  for (const frame of frames) stream.write(frame);
  stream.end();
  return read(eventsOf(stream));
}

async function readAndCancel(stream, count) {
  const events = eventsOf(stream);
  await read(events, count);
  stream.cancel();
  await read(events);
}

const CASES = {
  empty_unary: () => publish({}),
  large_unary: () => publish({ data: Buffer.alloc(LARGEST) }),
  client_compressed_unary: () => publish({ msg: "hola ".repeat(1000) }, GZIP),
  server_streaming() {
    metadata.set("bcast-history", "20");
    return readAndCancel(connect().Subscribe({}, metadata), 20);
  },
  empty_stream: () => talk([]),
  half_duplex: () => talk(messages(10, 1)),
  client_compressed_streaming: () => talk(messages(10, 10_000), GZIP),
  large_frame: () => talk([{ batch: messages(60, LARGEST) }]),
  too_large_frame: () => talk([{ batch: messages(80, LARGEST) }]),
  async ping_pong() {
    const stream = connect().Connect(metadata);
    const events = eventsOf(stream);
    for (const message of messages(10, LARGEST)) {
      stream.write(message);
      await read(events, 1);
    }
    stream.end();
    await read(events);
  },
  /** A hundred on one connection: each speaks in turn, and hears the others. */
  async many_streams() {
    metadata.set("bcast-events", "none");
    const client = connect();
    const streams = [];
    for (let i = 0; i < 100; i += 1) {
      const stream = client.Connect(metadata);
      streams.push({ stream, events: eventsOf(stream) });
      stream.write({ operacion: "who", id: "0" });
      await read(streams[i].events, 1);
    }
    for (const [i, message] of messages(100, 1).entries()) {
      streams[i].stream.write(message);
      await read(streams[i].events, i + 1);
    }
    for (const { stream, events } of streams) {
      stream.end();
      await read(events);
    }
  },
  cancel_after_begin: () => readAndCancel(connect().Connect(metadata), 0),
  cancel_after_first_response() {
    const stream = connect().Connect(metadata);
    stream.write({ operacion: "who", id: "1" });
    return readAndCancel(stream, 1);
  },
  timeout_on_sleeping_server: () => read(eventsOf(connect().Connect(metadata, { deadline: Date.now() + 1000 }))),
  special_status_message() {
    metadata.set("bcast-after", `100% "\\~${"x".repeat(100)}`);
    return talk([]);
  },
  unimplemented_method: () => callUnknown("/bcast_grpc.v1.Chat/Dance"),
  unimplemented_service: () => callUnknown("/bcast_grpc.v2.Chat/Publish"),
};

if (!room || !CASES[name]) {
  console.error("usage: cases.js CASE TARGET ROOM");
  process.exit(2);
}
let end = { code: grpc.status.OK, details: "" };
try {
  await CASES[name]();
} catch (error) {
  if (error.code === undefined) throw error;
  end = error;
}
console.log(JSON.stringify({ code: end.code, message: end.details, ids, size }));
process.exit();
