// Drives a WebSocket server with the client of the TypeScript SDK v1 and prints what it saw as one JSON document.
// node typescript_websocket_client.mjs FOLDER_OF_THE_SDK URL
// The SDK is imported by path: this file lives outside of the folder that npm installed it into.

import { pathToFileURL } from "node:url";

const [sdk, url] = process.argv.slice(2);
const load = (file) => import(pathToFileURL(`${sdk}/dist/esm/client/${file}.js`));
const { Client } = await load("index");
const { WebSocketClientTransport } = await load("websocket");

const client = new Client({ name: "typescript-client", version: "1" }, { capabilities: {} });
const closed = new Promise((resolve) => (client.onclose = resolve));
const seen = {};
try {
  await client.connect(new WebSocketClientTransport(new URL(url)));
  seen.server = client.getServerVersion();
  await client.ping();
  seen.tools = (await client.listTools()).tools.map((tool) => tool.name);
  seen.echo = await client.callTool({ name: "echo", arguments: { text: "hé 🐍" } });

  seen.progress = [];
  const onprogress = (step) => seen.progress.push(step.progress);
  await client.callTool({ name: "progress", arguments: { steps: 1000 } }, undefined, { onprogress });

  const abort = new AbortController();
  const sleeping = client.callTool({ name: "sleep", arguments: { seconds: 3600 } }, undefined, { signal: abort.signal });
  await client.callTool({ name: "echo", arguments: { text: "the sleep has been read" } });
  abort.abort("enough");
  seen.cancelled = await sleeping.then(() => false, () => true);

  seen.big = (await client.callTool({ name: "big", arguments: { bytes: 3000000 } })).content[0].text.length;
  const large = "🐍".repeat(200000);
  seen.large = (await client.callTool({ name: "echo", arguments: { text: large } })).content[0].text === large;
  seen.failed = (await client.callTool({ name: "fail", arguments: {} })).isError;
  seen.unknown = await client.callTool({ name: "nobody", arguments: {} }).then(() => null, (error) => error.code);
  const numbers = Array.from({ length: 100 }, (_, number) => `number ${number}`);
  const answers = await Promise.all(
    numbers.map((text) => client.callTool({ name: "echo", arguments: { text } }).then((it) => it.content[0].text)),
  );
  seen.hundred = answers.every((text, index) => text === numbers[index]);
} finally {
  const begun = performance.now();
  await client.close();
  await closed;
  seen.closing = (performance.now() - begun) / 1000;
}
console.log(JSON.stringify(seen));
