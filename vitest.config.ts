import { defineConfig } from "vitest/config";

/**
 * What takes minutes, or more than its share of those that `npm test` may take: gigabytes, whole applications, games that are played for long,
 * processes that are killed or exchanged again and again, nodes in miniature, servers that lie, hang or drip, directories of thousands of names,
 * full disks, a browser, the second transport. `npm test` leaves them out, `npm run test:full` does not.
 */
const long = [
	...[
		"applications",
		"faults",
		"large",
		"model",
		"model-concurrent",
		"semantics-libfuse",
		"many-names",
		"lying-server",
		"disks",
		"killed",
		"posix-table",
		"renaming",
		"sharing",
		"write-back",
		"names/directory-reader",
		"names/node-limit",
		"names/slow-listing",
		"writing/model",
	].map((name) => `test/s3-filesystem/${name}.test.ts`),
	"test/demo/demo.test.ts",
	"test/drivers/continue.test.ts",
	"test/drivers/exchange.test.ts",
	"test/end-to-end/libfuse.test.ts",
	"test/drivers/killed-at.test.ts",
	"test/probe/page.test.ts",
	"test/s3/drips.test.ts",
	"test/s3/too-long.test.ts",
	"test/soak/soak.test.ts",
	"test/end-to-end/soak.test.ts",
	"test/end-to-end/failures.test.ts",
	"test/end-to-end/identity.test.ts",
	"test/end-to-end/unread-log.test.ts",
	"test/end-to-end/supervision-native.test.ts",
	"test/end-to-end/supervision-goofys.test.ts",
	"test/end-to-end/supervision-s3fs.test.ts",
	"test/servers/every-change.test.ts",
	"test/end-to-end/live/dynamic-mount-base.test.ts",
	"test/end-to-end/node.test.ts",
	"test/end-to-end/node-endings.test.ts",
	"test/end-to-end/starvation.test.ts",
];
const images = "test/images/**/*.test.ts";

const globalSetup = "test/support/global-setup.ts";

export default defineConfig({
	test: {
		// Servers, kernels and clocks are real here: what fails once on a busy machine is tried again, what is broken fails again.
		retry: process.env["CI"] === undefined ? 0 : 2,
		// For what hangs; who promises to be fast is measured by its test.
		testTimeout: 120_000,
		hookTimeout: 120_000,
		teardownTimeout: 20_000,
		expect: { poll: { timeout: 10_000 } },
		projects: [
			{
				extends: true,
				test: {
					globalSetup,
					name: "program",
					include: ["test/**/*.test.ts"],
					exclude: [images, ...long],
					// More than cores: they wait most of their time, for servers, time limits and the kernel.
					maxWorkers: 3,
					sequence: { groupOrder: 1 },
				},
			},
			{
				extends: true,
				test: { globalSetup, name: "long", include: long, maxWorkers: 3, sequence: { groupOrder: 2 } },
			},
			{
				extends: true,
				test: {
					name: "images",
					include: [images],
					// By itself, after the others: building takes all that the machine has, and there is one store.
					maxWorkers: 1,
					sequence: { groupOrder: 3 },
				},
			},
		],
	},
});
