// The official TypeScript SDK v1's client over stdio, used as its documentation shows.
// Usage: node typescript_client.mjs FOLDER PLAN, where FOLDER holds node_modules and PLAN is the harness's JSON.
// Measures like client_common.py: its own CPU time, the child's excluded.

import { join } from "node:path";
import { pathToFileURL } from "node:url";

const sdk = join(process.argv[2], "node_modules", "@modelcontextprotocol", "sdk", "dist", "esm");
const plan = JSON.parse(process.argv[3]);
const load = (name) => import(pathToFileURL(join(sdk, name)).href);
const { Client } = await load("client/index.js");
const { StdioClientTransport } = await load("client/stdio.js");

const client = new Client({ name: "benchmark", version: "0" }, { capabilities: {} });
await client.connect(new StdioClientTransport({ command: plan.server[0], args: plan.server.slice(1) }));

let round = 0;
let latencies = [];

async function caller(slot, calls) {
  for (let number = 0; number < calls; number++) {
    const text = `${round}.${slot}.${number}.`.padEnd(plan.size, "x");
    const started = process.hrtime.bigint();
    const result = await client.callTool({ name: "echo", arguments: { text } });
    if (result.content[0].text !== text) throw new Error(`caller ${slot} got a wrong answer to call ${number}`);
    latencies.push(Number(process.hrtime.bigint() - started));
  }
}

async function run(calls) {
  round += 1;
  latencies = [];
  const started = performance.now();
  await Promise.all(Array.from({ length: plan.concurrency }, (_, slot) => caller(slot, calls)));
  return (performance.now() - started) / 1000;
}

let seconds = await run(plan.least);
let calls = Math.max(plan.least, Math.ceil((plan.least / seconds) * plan.warm_up));
seconds = await run(calls);
calls = Math.max(plan.least, Math.ceil((calls / seconds) * plan.measure));
const before = process.cpuUsage();
seconds = await run(calls);
const used = process.cpuUsage(before);
latencies.sort((a, b) => a - b);
const report = {
  calls: latencies.length,
  cpu_ns: (used.user + used.system) * 1000,
  seconds,
  p50_us: latencies[Math.floor(latencies.length / 2)] / 1000,
  p99_us: latencies[Math.floor((latencies.length * 99) / 100)] / 1000,
};
process.stdout.write(JSON.stringify(report) + "\n", () => process.exit(0));
