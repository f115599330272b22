import { defineConfig, type Plugin } from "rolldown";

/**
 * An import of node:http reads every export, also the ones that Node loads when they are first read: its WebSocket and with it
 * its whole fetch, 14 MB that the launcher never uses.
 */
const lazyHttp: Plugin = {
	name: "lazy-http",
	resolveId: (source) => (source === "node:http" || source === "http" ? "\0lazy-http" : undefined),
	load: (id) =>
		id === "\0lazy-http"
			? 'const http = process.getBuiltinModule("node:http"); export default http; export const { Agent, createServer, request } = http;'
			: undefined,
};

export default defineConfig({
	input: "src/main.ts",
	platform: "node",
	plugins: [lazyHttp],
	output: {
		file: "dist/fluid-fuse.js",
		format: "esm",
		codeSplitting: false,
		minify: true,
		keepNames: true,
		comments: false,
	},
});
