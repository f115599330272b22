import { defineConfig } from "rolldown";

export default defineConfig({
	input: "src/main.ts",
	platform: "node",
	output: { file: "dist/fluid-fuse.js", format: "esm", codeSplitting: false, sourcemap: false, comments: false },
});
