// The plain case: lines in are messages, messages are lines out. `node hello.js`

import { join } from "node:path";
import { createInterface } from "node:readline";

import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const definition = loadSync("bcast_grpc/v1/chat.proto", {
  includeDirs: [join(import.meta.dirname, "../../protos")],
  keepCase: true,
});
const { Chat } = grpc.loadPackageDefinition(definition).bcast_grpc.v1;

const client = new Chat("127.0.0.1:50051", grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
metadata.set("bcast-name", encodeURIComponent("nodo ñ"));
const stream = client.Connect(metadata);
const lines = createInterface({ input: process.stdin });

stream.on("data", (event) => console.log(event.message));
stream.on("error", (error) => {
  console.error(error.details);
  process.exitCode = 1;
});
stream.on("status", () => {
  client.close(); // with nothing left to wait for, Node ends once all is written
  process.stdin.destroy();
});
lines.on("line", (msg) => stream.write({ msg }));
lines.on("close", () => stream.end()); // a half-close is a goodbye: what is queued still arrives
