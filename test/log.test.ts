import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { projectRoot, until } from "./support/pod.ts";

const started: ChildProcess[] = [];
afterEach(() => {
	for (const child of started.splice(0)) child.kill("SIGKILL");
});

/** A program that does with its log what the code says; each line that it hears on its stdin resolves `told()`. */
function start(code: string, stdout: "pipe" | number): ChildProcess {
	const script = `
		import { once } from "node:events";
		import { createLog } from "${join(projectRoot, "src/log.ts")}";
		const { logger, flush, atOnce } = createLog("info", { redact: (text) => text.replaceAll("secret", "[redacted]") });
		const told = () => once(process.stdin, "data");
		const say = (text) => process.stderr.write(text);
		${code}`;
	const child = spawn(process.execPath, ["--input-type=module", "--eval", script], { stdio: ["pipe", stdout, "pipe"] });
	started.push(child);
	return child;
}

async function heard(child: ChildProcess, word: string): Promise<void> {
	let said = "";
	for await (const chunk of child.stderr ?? []) {
		said += String(chunk);
		if (said.includes(word)) return;
	}
	throw new Error(`ended without a "${word}": ${said}`);
}

interface Line {
	readonly msg: string;
	readonly n?: number;
	readonly lostLines?: number;
}

function numbers(lines: readonly Line[]): number[] {
	return lines.map(({ n = -1 }) => n).toSorted((a, b) => a - b);
}

function parse(log: string): Line[] {
	return log
		.split("\n")
		.filter((line) => line !== "")
		.map((line) => JSON.parse(line) as Line);
}

test.each([
	["flushed and ended", `await flush(); process.exit(0);`, 0],
	["ended by an error that nobody catches", `throw new Error("bug");`, 1],
])("loses no line when the process is %s at once", async (_, end, code) => {
	const child = start(`for (let n = 0; n < 100; n++) logger.info({ n }, "secret"); ${end}`, "pipe");
	const [log, [exitCode]] = await Promise.all([text(child.stdout ?? Readable.from([])), once(child, "exit")]);
	// What another thread has begun to write may come after what is written in a last moment.
	expect(numbers(parse(log))).toEqual(Array.from({ length: 100 }, (_each, n) => n));
	expect(new Set(parse(log).map(({ msg }) => msg))).toEqual(new Set(["[redacted]"]));
	expect(exitCode).toBe(code);
});

test("has written a last line, and what was queued before it, before anything else happens", async () => {
	const child = start(
		`for (let n = 0; n < 100; n++) logger.info({ n }, "queued");
		atOnce.fatal({ n: 100 }, "secret");
		process.kill(process.pid, "SIGKILL");`,
		"pipe",
	);
	// But for what another thread has just begun to write.
	const lines = parse(await text(child.stdout ?? Readable.from([]))).filter(({ n }) => n !== 0);
	expect(lines.map(({ n }) => n)).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
	expect(lines.at(-1)?.msg).toBe("[redacted]");
});

describe("while the disk is full", () => {
	let disk: string;
	let log: string;
	beforeEach(() => {
		disk = mkdtempSync(join(tmpdir(), "fluid-fuse-full-"));
		log = join(disk, "log");
		execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
	});
	afterEach(() => {
		execFileSync("umount", ["--lazy", disk]);
		rmdirSync(disk);
	});

	function startOnDisk(code: string): ChildProcess {
		const descriptor = openSync(log, "a");
		const child = start(code, descriptor);
		closeSync(descriptor);
		return child;
	}

	test("keeps 4 MiB of lines, counts the rest, and says so when there is room again", async () => {
		const child = startOnDisk(`
			const filler = "x".repeat(1000);
			for (let n = 0; n < 8000; n++) logger.info({ n }, filler);
			say("full");
			await told();
			await flush();
			process.exit(0);`);
		const ended = once(child, "exit");
		await heard(child, "full");
		// The log ends in the middle of a line then.
		await until(
			() => readFileSync(log).length === 64 * 1024,
			10_000,
			() => "the disk is not full",
		);
		execFileSync("mount", ["-o", "remount,size=16m", disk]);
		await until(
			() => readFileSync(log, "utf8").includes("lostLines"),
			10_000,
			() => "nothing is said of lost lines",
		);
		child.stdin?.write("end");
		expect(await ended).toEqual([0, null]);
		const lines = parse(readFileSync(log, "utf8"));
		const { lostLines = 0 } = lines.pop() ?? {};
		expect(lines.map(({ n }) => n)).toEqual(Array.from({ length: 8000 - lostLines }, (_, n) => n));
		expect(readFileSync(log).length).toBeLessThan(4.2 * 1024 * 1024);
		expect(readFileSync(log).length).toBeGreaterThan(3.9 * 1024 * 1024);
	});

	test.each([
		["is flushed and ends", `await flush(); process.exit(0);`, 0],
		["ends by an error that nobody catches", `throw new Error("bug");`, 1],
		["writes its last line at once", `atOnce.fatal("last"); process.exit(0);`, 0],
	])("ends when the process %s", async (_, end, code) => {
		writeFileSync(log, Buffer.alloc(64 * 1024));
		const child = startOnDisk(`for (let n = 0; n < 100; n++) logger.info({ n }, "line"); ${end}`);
		expect(await once(child, "exit")).toEqual([code, null]);
	});
});
