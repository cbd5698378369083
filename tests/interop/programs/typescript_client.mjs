// Drives a stdio server with the client of the TypeScript SDK v1 and prints what it saw as one JSON document.
// node typescript_client.mjs FOLDER_OF_THE_SDK COMMAND ARGS...
// The SDK is imported by path: this file lives outside of the folder that npm installed it into.

import { pathToFileURL } from "node:url";

const [sdk, command, ...args] = process.argv.slice(2);
const load = (file) => import(pathToFileURL(`${sdk}/dist/esm/client/${file}.js`));
const { Client } = await load("index");
const { StdioClientTransport } = await load("stdio");

const client = new Client({ name: "typescript-client", version: "1" }, { capabilities: {} });
const transport = new StdioClientTransport({ command, args, stderr: "inherit" });
const seen = {};
try {
  await client.connect(transport);
  seen.server = client.getServerVersion();
  await client.ping();
  seen.tools = (await client.listTools()).tools.map((tool) => tool.name);
  seen.echo = await client.callTool({ name: "echo", arguments: { text: "hé 🐍" } });

  seen.progress = [];
  const onprogress = (step) => seen.progress.push(step);
  await client.callTool({ name: "progress", arguments: { steps: 1000 } }, undefined, { onprogress });

  const abort = new AbortController();
  const sleeping = client.callTool({ name: "sleep", arguments: { seconds: 3600 } }, undefined, { signal: abort.signal });
  await client.callTool({ name: "echo", arguments: { text: "the sleep has been read" } });
  abort.abort("enough");
  seen.cancelled = await sleeping.then(() => false, () => true);

  seen.big = (await client.callTool({ name: "big", arguments: { bytes: 8000000 } })).content[0].text.length;
  seen.failed = (await client.callTool({ name: "fail", arguments: {} })).isError;
  seen.unknown = await client.callTool({ name: "nobody", arguments: {} }).then(() => null, (error) => error.code);
  const numbers = Array.from({ length: 100 }, (_, number) => `number ${number}`);
  const answers = await Promise.all(
    numbers.map((text) => client.callTool({ name: "echo", arguments: { text } }).then((it) => it.content[0].text)),
  );
  seen.hundred = answers.every((text, index) => text === numbers[index]);
} finally {
  await client.close();
}
console.log(JSON.stringify(seen));
