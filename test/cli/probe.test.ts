import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, it, onTestFinished } from "vitest";
import { createRunDirectory, startServer } from "../probe/running-server.ts";
import { accessDenied, sampleMount, sampleStatus } from "../probe/sample-status.ts";
import { program } from "../support/pod.ts";

const ask = async (question: string, runDirectory: string, env: Readonly<Record<string, string>> = {}) => {
	const { exitCode, stdout, stderr } = await execa(program, ["probe", question], {
		env: { FLUID_FUSE_RUN_DIR: runDirectory, ...env },
		reject: false,
		stripFinalNewline: false,
	});
	return { exitCode, out: stdout, err: stderr };
};

/** Does `serve` with whoever connects. */
async function listenInstead(serve: (socket: Socket) => void): Promise<string> {
	// Short, because a socket's path may not be long.
	const runDirectory = mkdtempSync(join(tmpdir(), "ff-"));
	const server = createServer((socket) => {
		socket.on("error", () => {});
		serve(socket);
		onTestFinished(() => void socket.destroy());
	});
	await new Promise<void>((resolve) => {
		server.listen(join(runDirectory, "launcher.sock"), resolve);
	});
	onTestFinished(() => {
		server.close();
		rmSync(runDirectory, { recursive: true });
	});
	return runDirectory;
}

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

	it("says the whole of a long answer, in whatever locale and behind whatever proxy", async () => {
		const mounts = Array.from({ length: 2000 }, (_, n) => sampleMount({ name: `größe-${n}`, ready: false }));
		const { runDirectory } = await startServer({ listen: { kind: "off" }, status: () => sampleStatus({ mounts }) });
		const env = { LC_ALL: "xx_XX.UTF-8", http_proxy: "http://127.0.0.1:1", ALL_PROXY: "http://127.0.0.1:1" };
		const { err } = await ask("ready", runDirectory, env);
		expect(err.startsWith("[-]mount/größe-0 failed")).toBe(true);
		expect(err.endsWith("readyz check failed\n")).toBe(true);
	});

	it("answers 1 when no launcher is there, and says why", async () => {
		const runDirectory = await createRunDirectory();
		const socket = join(runDirectory, "launcher.sock");
		const failsWith = async (reason: string) =>
			expect(await ask("live", runDirectory)).toEqual({
				exitCode: 1,
				out: "",
				err: `no launcher answers on ${socket}: ${reason}\n`,
			});
		await failsWith("the socket does not exist (is the launcher running, and does it use this FLUID_FUSE_RUN_DIR?)");
		// What one that was killed leaves.
		const killed = `const {createServer} = require("node:net"); createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, "SIGKILL"))`;
		await execa(process.execPath, ["-e", killed], { reject: false });
		await failsWith("nobody listens on it (the launcher has ended)");
		rmSync(socket);
		writeFileSync(socket, "");
		await failsWith("nobody listens on it (the launcher has ended)");
	});

	it("answers 1 when the launcher goes away before it has answered, or in the middle", async () => {
		for (const bytes of ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok"]) {
			const runDirectory = await listenInstead((socket) => socket.once("data", () => socket.end(bytes)));
			expect(await ask("live", runDirectory)).toMatchObject({
				exitCode: 1,
				err: expect.stringContaining("it closed the connection without an answer"),
			});
		}
	});

	it("refuses another word with the nearest question", async () => {
		const { exitCode, err } = await ask("raedy", "/nowhere");
		expect(exitCode).toBe(64);
		expect(err).toBe('fluid-fuse: unknown probe "raedy" (did you mean "ready"?)\nUse live, ready, startup.\n');
		expect(await ask("__proto__", "/nowhere")).toMatchObject({ exitCode: 64 });
		expect(await ask("--help", "/nowhere")).toMatchObject({ exitCode: 0, out: expect.stringContaining("Usage:") });
	});

	it("waits 9 s for a launcher that hangs, and tells that from one that is starved", async () => {
		const runDirectory = await listenInstead(() => {});
		const startedAt = performance.now();
		const answers = await Promise.all(["live", "ready"].map((question) => ask(question, runDirectory)));
		expect(performance.now() - startedAt).toBeGreaterThan(8900);
		for (const { exitCode, err } of answers) {
			expect(exitCode).toBe(1);
			expect(err).toMatch(
				/did not answer within 9 s, in which it ran for \d+\.\d s and waited \d+\.\d s for a processor$/m,
			);
		}
	});

	it("costs less than 10 ms of CPU, as prestop does", async () => {
		const { runDirectory } = await startServer({ listen: { kind: "off" } });
		const env = { ...process.env, FLUID_FUSE_RUN_DIR: runDirectory };
		const runs = 50;
		for (const words of ["probe live", "probe ready", "prestop"]) {
			const script = `for run in $(seq ${runs}); do "$0" ${words} >/dev/null || exit 1; done; exec cat /proc/$$/stat`;
			const { stdout } = await execa("bash", ["-c", script, program], { env });
			// proc(5): user and system time of the children that were waited for, in hundredths of a second.
			const [user, system] = stdout
				.replace(/^.*\) /, "")
				.split(" ")
				.slice(13, 15);
			expect(((Number(user) + Number(system)) * 10) / runs, words).toBeLessThan(10);
		}
	});
});
