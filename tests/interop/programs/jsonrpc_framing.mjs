// Reads JSON texts from standard input as Content-Length frames with vscode-jsonrpc, and writes each message back with
// its writer.  argv[2] is the package's folder.
import { createRequire } from "node:module";

const rpc = createRequire(process.argv[2] + "/package.json")("vscode-jsonrpc/node");
const reader = new rpc.StreamMessageReader(process.stdin);
const writer = new rpc.StreamMessageWriter(process.stdout);
let last = Promise.resolve();
reader.onError((error) => {
  console.error(String(error));
  process.exit(1);
});
reader.listen((message) => {
  last = last.then(() => writer.write(message));
});
process.stdin.on("end", () => setImmediate(() => last.then(() => process.exit(0))));
