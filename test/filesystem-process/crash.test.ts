import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { statfs } from "../../src/mounts/statfs.ts";
import { until } from "../support/pod.ts";
import { FilesystemProcess } from "./process.ts";

let filesystem: FilesystemProcess;
beforeEach(() => {
	filesystem = new FilesystemProcess();
});
afterEach(async () => filesystem.cleanUp());

const aBug = { message: "a bug", stack: expect.stringContaining("at ") as unknown };

test.each([
	["an error that nothing catches", aBug, `setTimeout(() => { throw new Error("a bug"); });`],
	["a rejection that nobody handles", aBug, `void Promise.reject(new Error("a bug"));`],
	["an error that is none", null, `setTimeout(() => { throw null; });`],
])("%s ends the process at once, with its stack in the log, and nobody hangs in the mount", async (_, err, bug) => {
	await filesystem.start({}, `process.on("SIGUSR2", () => { ${bug} });`);
	const { mountpoint } = filesystem;
	expect(await statfs(mountpoint, 10_000)).toEqual({ kind: "answered" });
	// It waits for the server, which is tried again for a minute.
	const application = spawn("ls", [mountpoint], { stdio: "ignore" });
	const applicationEnded = once(application, "exit");
	await until(
		() => filesystem.reports.length > 0,
		10_000,
		() => filesystem.output,
	);
	filesystem.signal("SIGUSR2");
	const signalledAt = performance.now();
	expect(await filesystem.ended()).toEqual({ exitCode: null, signal: "SIGABRT" });
	await applicationEnded;
	expect(performance.now() - signalledAt).toBeLessThan(10_000);
	expect(await statfs(mountpoint, 2000)).toEqual({ kind: "dead" });
	expect(filesystem.lines("fatal")).toMatchObject([{ msg: "a bug ends the filesystem's process", err }]);
});

test("a message that is none, too", async () => {
	await filesystem.start();
	filesystem.tell({ kind: "nonsense" } as never);
	expect(await filesystem.ended()).toEqual({ exitCode: null, signal: "SIGABRT" });
	expect(filesystem.output).toContain("No matching discriminator");
});
