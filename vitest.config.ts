import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		include: ["test/**/*.test.ts"],
		globalSetup: "test/support/global-setup.ts",
		// Two cores: more files at once would only make each other late.
		maxWorkers: 2,
		// Servers, kernels and clocks are real here: what fails once on a busy machine is tried again, what is broken fails again.
		retry: process.env["CI"] === undefined ? 0 : 2,
		testTimeout: 60_000,
		hookTimeout: 60_000,
		teardownTimeout: 20_000,
	},
});
