import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		// Servers, kernels and clocks are real here: what fails once on a busy machine is tried again, what is broken fails again.
		retry: process.env["CI"] === undefined ? 0 : 2,
		testTimeout: 60_000,
		hookTimeout: 60_000,
		teardownTimeout: 20_000,
		projects: [
			{
				extends: true,
				test: {
					name: "program",
					include: ["test/**/*.test.ts"],
					exclude: ["test/images/**"],
					globalSetup: "test/support/global-setup.ts",
					// Two cores: more files at once would only make each other late.
					maxWorkers: 2,
					sequence: { groupOrder: 1 },
				},
			},
			{
				extends: true,
				test: {
					name: "images",
					include: ["test/images/**/*.test.ts"],
					// By itself, after the others: building takes all that the machine has, and there is one store.
					maxWorkers: 1,
					sequence: { groupOrder: 2 },
				},
			},
		],
	},
});
