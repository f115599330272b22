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

/** The SDK's providers stay out of what every process reads: few mounts need them. */
const identityChunk = "aws-providers.js";
const apart: Plugin = {
	name: "apart",
	resolveId: (source) => (source === "./aws-providers.ts" ? { id: `./${identityChunk}`, external: true } : undefined),
};

const output = {
	format: "esm",
	codeSplitting: false,
	minify: true,
	keepNames: true,
	comments: false,
} as const;

export default defineConfig([
	{
		input: "src/main.ts",
		platform: "node",
		plugins: [lazyHttp, apart],
		// An addon: it cannot be in the bundle, and is not there on every platform.
		external: ["fuse-native"],
		output: { ...output, file: "dist/fluid-fuse.js" },
	},
	{
		input: "src/filesystem-process/thread.ts",
		platform: "node",
		output: { ...output, file: "dist/thread.js" },
	},
	{
		input: "src/s3/identity/aws-providers.ts",
		platform: "node",
		plugins: [lazyHttp],
		output: { ...output, file: `dist/${identityChunk}` },
	},
]);
