import { describe, expect, it, vi } from "vitest";
import { reload } from "../../src/cli/reload.ts";
import { parseEnvironment } from "../../src/config/environment.ts";
import type { ExchangeOutcome } from "../../src/probe/status.ts";
import { createRunDirectory, startServer } from "../probe/running-server.ts";
import { captured } from "./captured.ts";

const done: ExchangeOutcome = { kind: "done", mount: "weights", waitedMs: 120 };
const refused: ExchangeOutcome = {
	kind: "refused",
	mount: "old",
	error: {
		code: "EXCHANGE_REFUSED",
		class: "driver",
		message: "goofys cannot leave its mount to another process",
		hint: "Only the native driver can.",
		at: "2026-07-31T03:00:00.000Z",
	},
};

const run = async (runDirectory: string, json = false) => {
	const environment = parseEnvironment({ FLUID_FUSE_RUN_DIR: runDirectory });
	return captured((output) => reload(environment, { json }, output));
};

describe("reload", () => {
	it("says how long the users of each mount had to wait, and ends with 0", async () => {
		const exchange = vi.fn<() => Promise<ExchangeOutcome[]>>(async () => [done]);
		const { runDirectory } = await startServer({ listen: { kind: "off" }, actions: { reload: exchange } });
		const out = "weights: has another process; who uses it waited 0.12 s\n";
		expect(await run(runDirectory)).toEqual({ exitCode: 0, out, err: "" });
		expect(exchange).toHaveBeenCalledTimes(1);
		expect(JSON.parse((await run(runDirectory, true)).out)).toEqual([done]);
	});

	it("ends with 75 and the reason when a mount keeps its process", async () => {
		const { runDirectory } = await startServer({
			listen: { kind: "off" },
			actions: { reload: async () => [done, refused] },
		});
		const { exitCode, out } = await run(runDirectory);
		expect(exitCode).toBe(75);
		expect(out).toContain(
			"\nold: EXCHANGE_REFUSED: goofys cannot leave its mount to another process. Only the native driver can.\n",
		);
	});

	it("says so when nothing is mounted", async () => {
		const { runDirectory } = await startServer({ listen: { kind: "off" } });
		expect(await run(runDirectory)).toEqual({ exitCode: 0, out: "nothing is mounted\n", err: "" });
	});

	it("ends with 69 when no launcher answers", async () => {
		const { exitCode, err } = await run(await createRunDirectory());
		expect(exitCode).toBe(69);
		expect(err).toContain("no launcher answers");
	});
});
