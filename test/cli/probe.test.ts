import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, it, onTestFinished } from "vitest";
import { probe } from "../../src/cli/probe.ts";
import { parseEnvironment } from "../../src/config/environment.ts";
import { createRunDirectory, startServer } from "../probe/running-server.ts";
import { accessDenied, sampleMount, sampleStatus } from "../probe/sample-status.ts";
import { program } from "../support/pod.ts";
import { captured } from "./captured.ts";

const ask = async (question: string, runDirectory: string) => {
	const environment = parseEnvironment({ FLUID_FUSE_RUN_DIR: runDirectory });
	return captured((output) => probe(question, environment, output));
};

describe("probe", () => {
	it("answers 0 while all is well", async () => {
		const { runDirectory } = await startServer({ listen: { kind: "off" } });
		for (const question of ["live", "ready", "startup"]) {
			expect(await ask(question, runDirectory)).toEqual({ exitCode: 0, out: "ok\n", err: "" });
		}
	});

	it("answers 1 with what fails, each question for itself", async () => {
		const failed = sampleMount({ ready: false, state: "failed", lastError: accessDenied });
		const { runDirectory } = await startServer({
			listen: { kind: "off" },
			status: () => sampleStatus({ mounts: [sampleMount({ name: "fine" }), failed] }),
		});
		const { exitCode, out, err } = await ask("ready", runDirectory);
		expect({ exitCode, out }).toEqual({ exitCode: 1, out: "" });
		expect(err).toContain(`[-]mount/data failed: failed: ACCESS_DENIED: ${accessDenied.message}`);
		expect(err).not.toContain("fine");
		expect(await ask("live", runDirectory)).toMatchObject({ exitCode: 0 });
	});

	it("tells startup and liveness apart", async () => {
		const status = () => sampleStatus({ started: false, alive: false });
		const { runDirectory } = await startServer({ listen: { kind: "off" }, status });
		expect((await ask("startup", runDirectory)).err).toContain("[-]started failed");
		expect((await ask("live", runDirectory)).err).toContain("[-]alive failed");
	});

	it("answers 1 when no launcher is there, and says so", async () => {
		expect(await ask("live", await createRunDirectory())).toEqual({
			exitCode: 1,
			out: "",
			err: expect.stringContaining("no launcher answers"),
		});
	});

	it("refuses another word with the nearest question", async () => {
		await expect(ask("raedy", "/nowhere")).rejects.toMatchObject({
			code: "USAGE",
			message: 'unknown probe "raedy" (did you mean "ready"?)',
			hint: "Use live, ready, startup.",
		});
		await expect(ask("__proto__", "/nowhere")).rejects.toMatchObject({ code: "USAGE" });
	});

	it("takes no longer than 2 s, with the start of the process, when the launcher hangs", { retry: 2 }, async () => {
		// Short, because a socket's path may not be long.
		const runDirectory = mkdtempSync(join(tmpdir(), "ff-"));
		const server = createServer(() => {});
		await new Promise<void>((resolve) => {
			server.listen(join(runDirectory, "launcher.sock"), resolve);
		});
		onTestFinished(() => {
			server.close();
			rmSync(runDirectory, { recursive: true });
		});
		const startedAt = performance.now();
		const { exitCode, stderr } = await execa(program, ["probe", "live"], {
			env: { FLUID_FUSE_RUN_DIR: runDirectory },
			reject: false,
		});
		expect(performance.now() - startedAt).toBeLessThan(2000);
		expect({ exitCode, stderr }).toEqual({
			exitCode: 1,
			stderr: expect.stringContaining("did not answer within 1.5 s"),
		});
	});
});
