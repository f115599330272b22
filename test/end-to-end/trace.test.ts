import { mkdir, open, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { requestLauncher } from "../../src/probe/client.ts";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { program, until, type Pod } from "../support/pod.ts";
import { createPodOf } from "../support/pod-of-buckets.ts";

// The proxy is in this process: nothing here may wait for a mount synchronously.
let minio: Minio;
let proxy: FaultProxy;
let pod: Pod | undefined;
const looking = new AbortController();

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startFaultProxy(minio.endpoint);
	for (const bucket of ["one", "two"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "folder/data.bin", Buffer.alloc(300_000, bucket));
		await minio.put(bucket, "other.txt", "other\n");
	}
});
afterAll(async () => {
	looking.abort();
	await proxy.stop();
	await minio.stop();
});
afterEach(async () => {
	await proxy.mode("pass");
	await pod?.cleanup();
	pod = undefined;
});

async function startedPod(): Promise<Pod> {
	pod = createPodOf(["one", "two"], minio, proxy.endpoint);
	pod.start();
	await pod.untilReady();
	return pod;
}

/** A command in the pod that goes on, and what it has printed. */
function follow(here: Pod, ...words: string[]) {
	const command = execa(program, words, {
		env: here.environment(),
		extendEnv: false,
		reject: false,
		buffer: false,
		cancelSignal: looking.signal,
	});
	let printed = "";
	command.stdout.on("data", (chunk: Buffer) => (printed += chunk.toString()));
	return {
		get printed() {
			return printed;
		},
		lines: () => printed.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as Line] : [])),
		async end(): Promise<number | undefined> {
			command.kill("SIGINT");
			return (await command).exitCode;
		},
	};
}

interface Line {
	readonly mount?: string;
	readonly operation?: string;
	readonly path?: string;
	readonly to?: string;
	readonly bytes?: number;
	readonly error?: string;
	readonly ms?: number;
	readonly pid?: number;
	readonly moreRequests?: number;
	readonly requests?: readonly { readonly operation: string; readonly key?: string; readonly result: string }[];
}

/** Does something that is traced until a line shows it: a trace takes a moment to begin. */
async function untilTraced(here: Pod, trace: ReturnType<typeof follow>): Promise<void> {
	await until(
		async () => {
			await execa("stat", [join(here.target, "one", "not-there")], { reject: false });
			return trace.printed !== "";
		},
		30_000,
		() => here.output,
	);
}

test("a trace shows each operation with its path, its result and the requests that it caused", async () => {
	const here = await startedPod();
	const trace = follow(here, "trace", "--json");
	await untilTraced(here, trace);
	expect(trace.lines()).toContainEqual(
		expect.objectContaining({ mount: "one", operation: "lookup", path: "one/not-there", error: "ENOENT" }),
	);

	expect(await readFile(join(here.target, "two/folder/data.bin"))).toHaveLength(300_000);
	await writeFile(join(here.target, "one/new.txt"), "new\n");
	await rename(join(here.target, "one/new.txt"), join(here.target, "one/newer.txt"));
	const found = (operation: string, path: string): Line[] =>
		trace.lines().filter((line) => line.operation === operation && line.path === path);
	await until(
		() => found("rename", "one/new.txt").length > 0,
		20_000,
		() => trace.printed,
	);
	const read = found("read", "two/folder/data.bin");
	expect(read.reduce((sum, { bytes = 0 }) => sum + bytes, 0)).toBe(300_000);
	expect(read[0]).toMatchObject({ mount: "two", ms: expect.any(Number) as number });
	const opened = [...found("open", "two/folder/data.bin"), ...read].flatMap(({ requests = [] }) => requests);
	expect(opened).toContainEqual(
		expect.objectContaining({ operation: "GetObject", key: "folder/data.bin", result: "200" }),
	);
	const stored = ["flush", "release"].flatMap((operation) => found(operation, "one/new.txt"));
	expect(stored.flatMap(({ requests = [] }) => requests)).toContainEqual(
		expect.objectContaining({ operation: "PutObject", key: "new.txt", result: "200" }),
	);
	expect(found("rename", "one/new.txt")[0]).toMatchObject({ mount: "one", to: "one/newer.txt" });
	expect(trace.printed).not.toContain(minio.secretKey);
	expect(await trace.end()).toBe(0);
});

test("a trace can be of one mount, of some paths, and of what takes long", async () => {
	const here = await startedPod();
	const all = follow(here, "trace", "--json");
	const ofTwo = follow(here, "trace", "--json", "--mount", "two");
	const ofText = follow(here, "trace", "--json", "--path", "*.txt");
	const slow = follow(here, "trace", "--slow", "500ms");
	await untilTraced(here, all);
	await until(
		async () => {
			await execa("stat", [join(here.target, "two", "not-there")], { reject: false });
			await execa("stat", [join(here.target, "one", "not-there.txt")], { reject: false });
			return ofTwo.printed !== "" && ofText.printed !== "";
		},
		30_000,
		() => here.output,
	);
	await proxy.mode("slow-first-byte");
	await readFile(join(here.target, "one/other.txt"));
	await until(
		() => slow.printed.includes(" one read one/other.txt"),
		20_000,
		() => slow.printed,
	);
	expect(new Set(ofTwo.lines().map(({ mount }) => mount))).toEqual(new Set(["two"]));
	expect(ofText.lines().every(({ path = "" }) => path.endsWith(".txt"))).toBe(true);
	// What it shows took long, and says what it waited for.
	expect(slow.printed).toMatch(/ one read one\/other\.txt 0\+4096 = 6 \d{3,4}(?:\.\d+)? ms/);
	expect(slow.printed).toMatch(
		/one\/other\.txt .*\n {4}GetObject other\.txt 200 \d{3,4}(?:\.\d+)? ms 6 bytes received\n/,
	);
	for (const each of [all, ofTwo, ofText, slow]) expect(await each.end()).toBe(0);
});

test("of an operation with many requests a trace shows the first hundred, and how many more there were", async () => {
	const here = await startedPod();
	await Promise.all(Array.from({ length: 120 }, (_, number) => minio.put("one", `many/${number}`, "content")));
	const trace = follow(here, "trace", "--json", "--path", "one/many*");
	const words = follow(here, "trace", "--path", "one/many*");
	await until(
		async () => {
			await execa("stat", [join(here.target, "one", "many-not-there")], { reject: false });
			return trace.printed !== "" && words.printed !== "";
		},
		30_000,
		() => here.output,
	);
	await rename(join(here.target, "one/many"), join(here.target, "one/moved"));
	const renames = (): Line[] => trace.lines().filter(({ operation }) => operation === "rename");
	await until(
		() => renames().length > 0 && words.printed.includes("more requests"),
		20_000,
		() => trace.printed + words.printed,
	);
	const [{ requests = [], moreRequests = 0 } = {}] = renames();
	expect(requests).toHaveLength(100);
	// Each object is copied, and something is asked for and deleted.
	expect(moreRequests).toBeGreaterThan(20);
	expect(words.printed).toContain(`\n    and ${moreRequests} more requests\n`);
	for (const each of [trace, words]) expect(await each.end()).toBe(0);
});

test("a trace that would be too much for the process that serves is refused", async () => {
	const here = await startedPod();
	for (const query of [
		"slow-ms=x",
		"slow-ms=-1",
		"slow-ms=Infinity",
		"path=%7B1..9%7D",
		"path=%7Ba%7D%7Bb%7D%7Bc%7D",
	]) {
		const answer = await requestLauncher(here.runDirectory, `/trace?${query}`, { method: "POST", timeoutMs: 10_000 });
		expect(answer, query).toMatchObject({ statusCode: 400 });
	}
});

test("a trace goes on with the process that is started after another one", async () => {
	const here = await startedPod();
	const trace = follow(here, "trace", "--json");
	await untilTraced(here, trace);
	const { pid = 0 } = await here.mount("one");
	process.kill(pid, "SIGKILL");
	await until(
		async () => (await here.mount("one")).ready && (await here.mount("one")).pid !== pid,
		30_000,
		() => here.output,
	);
	const before = trace.printed.length;
	await until(
		async () => {
			await execa("stat", [join(here.target, "one", "absent-again")], { reject: false });
			return trace.printed.slice(before).includes("absent-again");
		},
		20_000,
		() => trace.printed,
	);
	expect(await trace.end()).toBe(0);
});

test("the log level changes while it runs, in the filesystem's process too, and back", async () => {
	const here = await startedPod();
	const set = async (level: string): Promise<number | undefined> =>
		(await execa(program, ["log-level", level], { env: here.environment(), extendEnv: false, reject: false })).exitCode;
	const told = (message: string): number => here.log.filter(({ msg }) => msg === message).length;
	const stat = async (name: string): Promise<unknown> =>
		execa("stat", [join(here.target, "one", name)], { reject: false });
	await stat("quiet");
	expect(told("answered the kernel")).toBe(0);
	expect(await set("trace")).toBe(0);
	await until(
		async () => {
			await writeFile(join(here.target, "one/loud.txt"), "loud");
			return told("answered the kernel") > 0 && told("request to the server") > 0;
		},
		20_000,
		() => here.output,
	);
	expect(await set("info")).toBe(0);
	expect(await set("louder")).toBe(64);
	await mkdir(join(here.target, "one/quiet-again"));
	const before = told("answered the kernel");
	await stat("quiet-again/absent");
	const { exitCode } = await execa("stat", [join(here.target, "two", "absent")], { reject: false });
	expect(exitCode).toBe(1);
	expect(told("answered the kernel")).toBeLessThanOrEqual(before + 20);
	expect(JSON.stringify(here.log.filter(({ msg }) => msg === "answered the kernel"))).not.toContain(
		"quiet-again/absent",
	);
});

test("top shows of each mount what was done in the last second, as a table and for programs", async () => {
	const here = await startedPod();
	const top = follow(here, "top", "--json");
	await until(
		() => top.printed !== "",
		20_000,
		() => top.printed,
	);
	const file = await open(join(here.target, "two/open.bin"), "w");
	await file.write(Buffer.alloc(1_000_000));
	expect(await readFile(join(here.target, "one/folder/data.bin"))).toHaveLength(300_000);
	interface Shown {
		readonly mounts: readonly Readonly<Record<string, number>>[];
	}
	const shown = (): readonly Readonly<Record<string, number>>[] =>
		(top.lines() as unknown as Shown[]).flatMap(({ mounts }) => mounts);
	const isSeen = (mount: string, isMeant: (shown: Readonly<Record<string, number>>) => boolean): boolean =>
		shown().some((each) => (each["mount"] as unknown) === mount && isMeant(each));
	await until(
		() =>
			isSeen("two", ({ pendingBytes = 0, openFiles }) => pendingBytes >= 1_000_000 && openFiles === 1) &&
			isSeen("two", ({ writtenBytesPerSecond = 0 }) => writtenBytesPerSecond > 10_000) &&
			isSeen("one", ({ readBytesPerSecond = 0 }) => readBytesPerSecond > 10_000) &&
			isSeen(
				"one",
				({ requestsPerSecond = 0, firstByteSeconds = 0 }) => requestsPerSecond > 0 && firstByteSeconds > 0,
			) &&
			isSeen(
				"one",
				({ operationsPerSecond = 0, latencySeconds = 0 }) => operationsPerSecond > 0 && latencySeconds > 0,
			) &&
			isSeen("one", ({ memoryBytes = 0, cpus = -1 }) => memoryBytes > 20e6 && cpus >= 0),
		20_000,
		() => top.printed,
	);
	await file.close();
	expect(await top.end()).toBe(0);
	const table = await execa(program, ["top", "--count", "1"], { env: here.environment(), extendEnv: false });
	const [header = "", one = "", two = ""] = table.stdout.split("\n");
	expect(header).toMatch(/^mount +state +ops\/s +err\/s +absent\/s +90% in +read\/s +write\/s .* memory +CPU$/);
	expect(one).toMatch(/^one +ready /);
	expect(two).toMatch(/^two +ready /);
});

test("who asks for these hears when no launcher answers", async () => {
	for (const words of [["trace"], ["top"], ["log-level", "debug"]]) {
		const env = { FLUID_FUSE_RUN_DIR: "/tmp/fluid-fuse-nobody", PATH: process.env["PATH"] ?? "" };
		const { exitCode, stderr } = await execa(program, words, { env, extendEnv: false, reject: false });
		expect({ words, exitCode }).toEqual({ words, exitCode: 69 });
		expect(stderr).toContain("no launcher answers");
	}
});
