// The official TypeScript SDK v1's low-level server with one echo tool over stdio.
// Usage: node typescript_server.mjs FOLDER, where FOLDER holds node_modules.
// It must stay what the SDK's own documentation shows: no tuning in either direction.

import { join } from "node:path";
import { pathToFileURL } from "node:url";

const sdk = join(process.argv[2], "node_modules", "@modelcontextprotocol", "sdk", "dist", "esm");
const load = (name) => import(pathToFileURL(join(sdk, name)).href);

const { Server } = await load("server/index.js");
const { StdioServerTransport } = await load("server/stdio.js");
const { CallToolRequestSchema, ListToolsRequestSchema } = await load("types.js");

const server = new Server({ name: "typescript-echo", version: "0" }, { capabilities: { tools: {} } });
server.setRequestHandler(ListToolsRequestSchema, async () => ({
  tools: [{ name: "echo", inputSchema: { type: "object", properties: { text: { type: "string" } } } }],
}));
server.setRequestHandler(CallToolRequestSchema, async (request) => ({
  content: [{ type: "text", text: request.params.arguments.text }],
}));
await server.connect(new StdioServerTransport());
// v1 does not notice end of input by itself.
process.stdin.on("end", () => process.exit(0));
