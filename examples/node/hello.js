// The plain case: lines in are messages, messages are lines out. `node hello.js`

import { join } from "node:path";
import { createInterface } from "node:readline";

import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const definition = loadSync("bcast_grpc/v1/chat.proto", {
  includeDirs: [join(import.meta.dirname, "../../protos")],
  keepCase: true,
  enums: String,
});
const { Chat } = grpc.loadPackageDefinition(definition).bcast_grpc.v1;

// gRPC would go through the proxy that http_proxy names, even to this machine.
const client = new Chat("127.0.0.1:50051", grpc.credentials.createInsecure(), { "grpc.enable_http_proxy": 0 });
const metadata = new grpc.Metadata();
metadata.set("bcast-name", encodeURIComponent("nodo ñ"));
const stream = client.Connect(metadata);
const lines = createInterface({ input: process.stdin });

function fail(text) {
  console.error(text);
  process.exitCode = 1;
}

stream.on("data", ({ kind, message }) => (kind === "EVENT_KIND_ERROR" ? fail : console.log)(message));
stream.on("error", ({ details }) => fail(details));
stream.on("status", () => {
  client.close(); // with nothing left to wait for, Node ends once all is written
  process.stdin.destroy();
});
lines.on("line", (line) => {
  const msg = line.replace(/^\uFEFF/, "");
  if (msg) stream.write({ msg });
});
lines.on("close", () => stream.end()); // a half-close is a goodbye: what is queued still arrives
process.stdout.on("error", ({ code }) => process.exit(code === "EPIPE" ? 141 : 1)); // nobody reads it any more
