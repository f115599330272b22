import { rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { requestLauncher } from "../../src/probe/client.ts";
import { createRunDirectory, startServer } from "./running-server.ts";
import { sampleMount, sampleStatus } from "./sample-status.ts";

/** Takes connections and does `answer` with each. */
async function listenInstead(answer: (write: (bytes: string) => void, end: () => void) => void): Promise<string> {
	const runDirectory = await createRunDirectory();
	const server = createServer((socket) => {
		socket.on("error", () => {});
		socket.once("data", () =>
			answer(
				(bytes) => void socket.write(bytes),
				() => socket.destroy(),
			),
		);
		onTestFinished(() => void socket.destroy());
	});
	onTestFinished(() => void server.close());
	await new Promise<void>((resolve) => {
		server.listen(join(runDirectory, "launcher.sock"), resolve);
	});
	return runDirectory;
}

describe("requestLauncher", () => {
	it("returns status code and body, whatever the launcher answers", async () => {
		let status = sampleStatus();
		const { runDirectory } = await startServer({ listen: { kind: "off" }, status: () => status });
		expect(await requestLauncher(runDirectory, "/readyz")).toEqual({ kind: "answer", statusCode: 200, body: "ok\n" });
		status = sampleStatus({ mounts: [sampleMount({ ready: false, state: "failed" })] });
		expect(await requestLauncher(runDirectory, "/readyz")).toMatchObject({ kind: "answer", statusCode: 503 });
	});

	it("says that no launcher runs", async () => {
		const runDirectory = await createRunDirectory();
		const path = join(runDirectory, "launcher.sock");
		expect(await requestLauncher(runDirectory, "/readyz")).toEqual({
			kind: "unreachable",
			reason: expect.stringContaining(`no launcher answers on ${path}: the socket does not exist`),
		});
		writeFileSync(path, "");
		expect(await requestLauncher(runDirectory, "/readyz")).toEqual({
			kind: "unreachable",
			reason: expect.stringContaining("nobody listens on it"),
		});
		rmSync(runDirectory, { recursive: true });
		expect(await requestLauncher(runDirectory, "/readyz")).toMatchObject({ kind: "unreachable" });
	});

	it("says that the launcher did not answer in time, before or in the middle of an answer", async () => {
		for (const bytes of ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok"]) {
			const runDirectory = await listenInstead((write) => write(bytes));
			expect(await requestLauncher(runDirectory, "/readyz", { timeoutMs: 200 })).toEqual({
				kind: "unreachable",
				reason: expect.stringMatching(/did not answer within 0\.2 s$/),
			});
		}
	});

	it("says that the launcher went away in the middle of an answer", async () => {
		const runDirectory = await listenInstead((write, end) => {
			write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok");
			setTimeout(end, 50);
		});
		expect(await requestLauncher(runDirectory, "/readyz")).toEqual({
			kind: "unreachable",
			reason: expect.stringContaining("it closed the connection without an answer"),
		});
	});

	it("stops when it is told to", async () => {
		const runDirectory = await listenInstead(() => {});
		const controller = new AbortController();
		const answer = requestLauncher(runDirectory, "/readyz", { timeoutMs: 60_000, signal: controller.signal });
		const reason = new Error("the user went away");
		controller.abort(reason);
		await expect(answer).rejects.toBe(reason);
	});
});
