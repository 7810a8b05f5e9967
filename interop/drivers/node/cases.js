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

/** Makes a call with one answer; resolves to its status. */
const once = (start) => new Promise((resolve) => start(() => {}).on("status", resolve));

const publish = (request, options) => once((done) => connect(options).Publish(request, metadata, done));

const callUnknown = (path) =>
  once((done) => connect().makeUnaryRequest(path, requestSerialize, responseDeserialize, {}, metadata, done));

/** Reads to the end, and has a look at each event, with the number of those that came; resolves to the status. */
function read(stream, look = () => {}) {
  return new Promise((resolve) => {
    stream.on("data", (event) => {
      ids.push(event.id);
      size += event.data.length;
      look(ids.length);
    });
    stream.on("error", () => {}); // it comes as a status, too
    stream.on("status", resolve);
  });
}

/** Sends all, ends this side, and reads to the end. */
function talk(frames, options) {
  const stream = connect(options).Connect(metadata);
  for (const frame of frames) stream.write(frame);
  stream.end();
  return read(stream);
}

const CASES = {
  empty_unary: () => publish({}),
  large_unary: () => publish({ data: Buffer.alloc(LARGEST) }),
  client_compressed_unary: () => publish({ msg: "hola ".repeat(1000) }, GZIP),
  server_streaming() {
    metadata.set("bcast-history", "20");
    const stream = connect().Subscribe({}, metadata);
    return read(stream, (count) => count === 20 && stream.cancel());
  },
  empty_stream: () => talk([]),
  half_duplex: () => talk(messages(10, 1)),
  client_compressed_streaming: () => talk(messages(10, 10_000), GZIP),
  large_frame: () => talk([{ batch: messages(60, LARGEST) }]),
  too_large_frame: () => talk([{ batch: messages(80, LARGEST) }]),
  ping_pong() {
    const stream = connect().Connect(metadata);
    const rest = messages(10, LARGEST);
    const next = () => (rest.length ? stream.write(rest.shift()) : stream.end());
    next();
    return read(stream, next);
  },
  cancel_after_begin() {
    const stream = connect().Connect(metadata);
    stream.cancel();
    return read(stream);
  },
  cancel_after_first_response() {
    const stream = connect().Connect(metadata);
    stream.write({ operacion: "who", id: "1" });
    return read(stream, () => stream.cancel());
  },
  timeout_on_sleeping_server: () => read(connect().Connect(metadata, { deadline: Date.now() + 1000 })),
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
const { code, details } = await CASES[name]();
console.log(JSON.stringify({ code, message: details, ids, size }));
process.exit();
