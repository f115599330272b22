import { once } from "node:events";
import { createInterface } from "node:readline";
import { spawn } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { HeadObjectCommand } from "@aws-sdk/client-s3";
import { execa } from "execa";
import { afterEach, describe, expect, test } from "vitest";
import type { RequestFault } from "../support/fault-proxy.ts";
import { sh, useBuckets } from "./buckets.ts";
import type { MountedBucket } from "./mounted-bucket.ts";

const buckets = useBuckets("renaming");
const limitMs = 40_000;
const MiB = 1024 ** 2;
const put = async (key: string, body: string): Promise<void> => buckets.minio.put(buckets.name, key, Buffer.from(body));
const get = async (key: string): Promise<string> => (await buckets.minio.get(buckets.name, key)).toString();
const list = async (): Promise<string[]> => buckets.minio.list(buckets.name);

let programs: Steps[] = [];
afterEach(() => {
	for (const program of programs) program.kill();
	programs = [];
});

/** A Python program in the mount that goes on when it is told to. */
class Steps {
	readonly #process;
	readonly #lines: AsyncIterator<string>;
	readonly ended: Promise<unknown>;
	#errors = "";

	private constructor(here: MountedBucket, script: string) {
		this.#process = spawn("python3", ["-u", "-c", script], { cwd: here.target, stdio: ["pipe", "pipe", "pipe"] });
		this.#process.stderr.on("data", (text: Buffer) => (this.#errors += text.toString()));
		this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
		this.ended = once(this.#process, "exit");
		programs.push(this);
	}

	/** Runs `before`, and `then` when `go` is called, which returns what that prints. */
	static async start(here: MountedBucket, before: string, then: string): Promise<Steps> {
		const program = new Steps(here, `import os, stat\n${before}\nprint("ready"); input()\n${then}\nprint("done")`);
		await program.#line();
		return program;
	}

	async go(): Promise<string> {
		this.#process.stdin.write("\n");
		const printed: string[] = [];
		for (;;) {
			const line = await this.#line();
			if (line === "done") return printed.join("\n");
			printed.push(line);
		}
	}

	kill(): void {
		this.#process.kill("SIGKILL");
	}

	async #line(): Promise<string> {
		const { value, done } = await this.#lines.next();
		if (done === true) throw new Error(`the program ended: ${this.#errors}`);
		return value;
	}
}

interface Held {
	/** Lets it go on, and waits for its end; what it printed. */
	readonly goOn: () => Promise<string>;
}

interface Request {
	readonly method?: string | undefined;
	readonly url?: string | undefined;
	readonly headers: object;
}

/** A copy of this object. */
const copyOf =
	(key: string) =>
	({ headers }: Request): boolean =>
		String(Reflect.get(headers, "x-amz-copy-source") ?? "").endsWith(`/${key}`);

/** The deletion after the first one, of which the server knows then. */
const secondDeletion = (): ((request: Request) => boolean) => {
	let deletions = 0;
	return ({ method, url = "" }) => (method === "DELETE" || /[?&]delete/.test(url)) && ++deletions > 1;
};

/** Renames `from` to `to`, and resolves when a request of that is held up. */
async function renameHeld(
	here: MountedBucket,
	[from, to]: readonly [string, string],
	only: (request: Request) => boolean,
	fault: RequestFault = { kind: "headers", headers: {} },
): Promise<Held> {
	const [arrived, free] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
	await buckets.proxy.fail(fault, {
		only,
		times: 1,
		before: async () => {
			arrived.resolve();
			await free.promise;
		},
	});
	const renaming = execa("python3", ["-c", `import os; os.rename("${from}", "${to}")`], {
		cwd: here.target,
		timeout: limitMs,
		all: true,
		reject: false,
	});
	await Promise.race([arrived.promise, renaming.then(({ all }) => Promise.reject(new Error(`not held up: ${all}`)))]);
	return {
		goOn: async () => {
			free.resolve();
			return (await renaming).all;
		},
	};
}

/** When the work has ended, or waits for the rename. */
async function endedOrWaiting(here: MountedBucket, work: Promise<unknown>): Promise<void> {
	let isOver = false;
	const over = (): void => void (isOver = true);
	work.then(over, over);
	await until(async () => isOver || ((await here.stats())["waiting_for_names"] ?? 0) > 0);
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
	const endMs = performance.now() + limitMs;
	while (!(await isSo())) {
		if (performance.now() > endMs) throw new Error("it does not come to that");
		await delay(5);
	}
}

/** In the directory that is renamed; the copy of `held` is held up, when all others are there. */
const before = {
	"a/old/": "",
	"a/old/f": "before",
	"a/old/held": "held",
	"a/old/sub/deep": "deep",
	"a/old/empty/": "",
	"b/in": "in",
};
const copied = Object.keys(before)
	.filter((key) => key.startsWith("a/old/") && key !== "a/old/" && key !== "a/old/held")
	.map((key) => key.replace("old", "new"));

/** What is found after the rename, unless something was done meanwhile. */
const after = {
	"a/new/": "",
	"a/new/f": "before",
	"a/new/held": "held",
	"a/new/sub/deep": "deep",
	"a/new/empty/": "",
	"b/in": "in",
};

async function held(here: MountedBucket): Promise<Held> {
	const rename = await renameHeld(here, ["a/old", "a/new"], copyOf("a/old/held"));
	await until(async () => {
		const keys = new Set(await list());
		return copied.every((key) => keys.has(key));
	});
	return rename;
}

async function contents(): Promise<Record<string, string>> {
	const keys = (await list()).filter((key) => !["a/", "b/"].includes(key));
	return Object.fromEntries(await Promise.all(keys.map(async (key) => [key, await get(key)] as const)));
}

async function metadataOf(key: string): Promise<Readonly<Record<string, string>>> {
	const { Metadata = {} } = await buckets.minio.client.send(new HeadObjectCommand({ Bucket: buckets.name, Key: key }));
	return Metadata;
}

describe("what is done below a directory while it is renamed is found below its new name", () => {
	const file = `f = os.open("a/old/f", os.O_RDWR)`;
	const directory = `d = os.open("a/old", os.O_DIRECTORY)`;
	const without = (...names: readonly string[]) =>
		Object.fromEntries(Object.entries(after).filter(([key]) => !names.includes(key)));
	test.each([
		{
			what: "fsync",
			first: file,
			does: `os.pwrite(f, b"change", 0); os.fsync(f)`,
			expected: { ...after, "a/new/f": "change" },
		},
		{
			what: "close",
			first: file,
			does: `os.pwrite(f, b"longer than before", 0); os.close(f)`,
			expected: { ...after, "a/new/f": "longer than before" },
		},
		{
			what: "fsync of a file that was changed before",
			first: `${file}; os.pwrite(f, b"12", 0)`,
			does: `os.pwrite(f, b"34", 2); os.fsync(f)`,
			expected: { ...after, "a/new/f": "1234re" },
		},
		{
			what: "open, write and close",
			first: directory,
			does: `f = os.open("f", os.O_WRONLY | os.O_TRUNC, dir_fd=d); os.write(f, b"all new"); os.close(f)`,
			expected: { ...after, "a/new/f": "all new" },
		},
		{
			what: "a new file",
			first: directory,
			does: `f = os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=d); os.write(f, b"made"); os.close(f)`,
			expected: { ...after, "a/new/made": "made" },
		},
		{
			what: "ftruncate",
			first: file,
			does: `os.ftruncate(f, 3); os.fsync(f)`,
			expected: { ...after, "a/new/f": "bef" },
		},
		{
			what: "truncate",
			first: directory,
			does: `os.truncate(f"/proc/self/fd/{d}/f", 3)`,
			expected: { ...after, "a/new/f": "bef" },
		},
		{
			what: "mkdir",
			first: directory,
			does: `os.mkdir("made", dir_fd=d)`,
			expected: { ...after, "a/new/made/": "" },
		},
		{
			what: "mkdir farther below",
			first: `d = os.open("a/old/sub", os.O_DIRECTORY)`,
			does: `os.mkdir("made", dir_fd=d)`,
			expected: { ...after, "a/new/sub/made/": "" },
		},
		{
			what: "rmdir",
			first: directory,
			does: `os.rmdir("empty", dir_fd=d)`,
			expected: without("a/new/empty/"),
		},
		{
			what: "symlink",
			first: directory,
			does: `os.symlink("target", "link", dir_fd=d)`,
			expected: { ...after, "a/new/link": "target" },
		},
		{
			what: "mknod",
			first: directory,
			does: `os.mknod("made", 0o600 | stat.S_IFREG, dir_fd=d)`,
			expected: { ...after, "a/new/made": "" },
		},
		{
			what: "unlink",
			first: directory,
			does: `os.unlink("f", dir_fd=d)`,
			expected: without("a/new/f"),
		},
		{
			what: "unlink of an open file",
			first: `${directory}; ${file}`,
			does: `os.unlink("f", dir_fd=d); print(os.pread(f, 100, 0).decode()); os.close(f)`,
			printed: "before",
			expected: without("a/new/f"),
		},
		{
			what: "close of a file that was removed before",
			first: `${file}; os.unlink("a/old/f")`,
			does: `os.pwrite(f, b"c", 0); print(os.pread(f, 100, 0).decode()); os.close(f)`,
			printed: "cefore",
			expected: without("a/new/f"),
			isCopied: false,
		},
		{
			what: "a rename within",
			first: directory,
			does: `os.rename("f", "g", src_dir_fd=d, dst_dir_fd=d)`,
			expected: { ...without("a/new/f"), "a/new/g": "before" },
		},
		{
			what: "a rename of a directory within",
			first: directory,
			does: `os.rename("sub", "other", src_dir_fd=d, dst_dir_fd=d)`,
			expected: { ...without("a/new/sub/deep"), "a/new/other/deep": "deep" },
		},
		{
			what: "a rename out of it",
			first: directory,
			does: `os.rename("f", "b/out", src_dir_fd=d)`,
			expected: { ...without("a/new/f"), "b/out": "before" },
		},
		{
			what: "a rename into it",
			first: directory,
			does: `os.rename("b/in", "in", dst_dir_fd=d)`,
			expected: { ...without("b/in"), "a/new/in": "in" },
		},
		{
			what: "a rename of the directory around it",
			first: "",
			does: `os.rename("a", "c")`,
			expected: Object.fromEntries(
				Object.entries({ "a/": "", ...after }).map(([key, value]) => [key.replace("a/", "c/"), value]),
			),
		},
	])("$what", async ({ first, does, printed = "", expected, isCopied = true }) => {
		for (const [key, body] of Object.entries(before)) await put(key, body);
		const here = await buckets.mountThroughProxy();
		const program = await Steps.start(here, first, does);
		const rename = isCopied ? await held(here) : await renameHeld(here, ["a/old", "a/new"], copyOf("a/old/held"));
		const acting = program.go();
		await endedOrWaiting(here, acting);
		expect(await rename.goOn()).toBe("");
		expect(await acting).toBe(printed);
		await program.ended;
		await here.unmount();
		expect(await contents()).toEqual(expected);
	});

	test.each([
		{
			what: "chmod",
			does: `os.fchmod(f, 0o600)`,
			expected: { mode: String(0o100_600) },
		},
		{
			what: "utimes",
			does: `os.utime(f, (1, 2))`,
			expected: { mtime: "2" },
		},
		{
			what: "setxattr",
			does: `os.setxattr(f, "user.a", b"1")`,
			expected: { xattr: encodeURIComponent(JSON.stringify({ "user.a": Buffer.from("1").toString("base64") })) },
		},
		{
			what: "chmod of the directory itself",
			first: directory,
			does: `os.fchmod(d, 0o700)`,
			key: "a/new/",
			expected: { mode: String(0o40_700) },
		},
		{
			what: "utimes of a directory below",
			first: `d = os.open("a/old/empty", os.O_DIRECTORY)`,
			does: `os.utime(d, (1, 2))`,
			key: "a/new/empty/",
			expected: { mtime: "2" },
		},
	])("$what", async ({ first = file, does, key = "a/new/f", expected }) => {
		for (const [key, body] of Object.entries(before)) await put(key, body);
		const here = await buckets.mountThroughProxy();
		const program = await Steps.start(here, first, does);
		const rename = await held(here);
		const acting = program.go();
		await endedOrWaiting(here, acting);
		expect(await rename.goOn()).toBe("");
		await acting;
		await program.ended;
		await here.unmount();
		expect(await metadataOf(key)).toMatchObject(expected);
		expect(await contents()).toEqual(after);
	});
});

test("an open file is written while its directory is renamed, and synchronised after that", async () => {
	for (const [key, body] of Object.entries(before)) await put(key, body);
	const here = await buckets.mountThroughProxy({ settings: { stagingLimitBytes: 64 * MiB } });
	const writing = `for number in range(24): os.pwrite(f, bytes([number]) * ${MiB}, number * ${MiB})`;
	const program = await Steps.start(here, `f = os.open("a/old/f", os.O_RDWR)`, `${writing}\nos.fsync(f)`);
	const rename = await held(here);
	const acting = program.go();
	await until(async () => (await here.stats())["dirty_bytes"] === 24 * MiB);
	await endedOrWaiting(here, acting);
	// Nothing of it is anywhere yet, not even as a part of an upload.
	expect(Object.keys(await contents()).filter((key) => key.endsWith("/f"))).toEqual(["a/new/f", "a/old/f"]);
	expect(await rename.goOn()).toBe("");
	await acting;
	await program.ended;
	const stored = await buckets.minio.get(buckets.name, "a/new/f");
	expect(Array.from({ length: 24 }, (_, number) => stored[number * MiB + 5])).toEqual([...Array(24).keys()]);
	expect(Object.keys(await contents()).toSorted()).toEqual(Object.keys(after).toSorted());
});

test("what is written while there is no room for it waits for the rename", async () => {
	for (const [key, body] of Object.entries(before)) await put(key, body);
	const here = await buckets.mountThroughProxy({ settings: { stagingLimitBytes: 16 * MiB } });
	const writing = `for number in range(40): os.pwrite(f, bytes([number]) * ${MiB}, number * ${MiB})`;
	const program = await Steps.start(here, `f = os.open("a/old/f", os.O_RDWR)`, `${writing}\nos.close(f)`);
	// Who needs room meanwhile for a file elsewhere cannot have it from there.
	const other = await Steps.start(here, `g = os.open("b/in", os.O_RDWR)`, writing.replace("f,", "g,"));
	const rename = await held(here);
	const acting = program.go();
	await endedOrWaiting(here, acting);
	const otherActing = other.go();
	await endedOrWaiting(here, otherActing);
	expect(await rename.goOn()).toBe("");
	await Promise.all([acting, otherActing]);
	await Promise.all([program.ended, other.ended]);
	await here.unmount();
	for (const key of ["a/new/f", "b/in"]) {
		const stored = await buckets.minio.get(buckets.name, key);
		expect(Array.from({ length: 40 }, (_, number) => stored[number * MiB + 5])).toEqual([...Array(40).keys()]);
	}
	expect(Object.keys(await contents()).toSorted()).toEqual(Object.keys(after).toSorted());
});

test("names and files below a directory are found and read while its old objects are deleted", async () => {
	const large = "0123456789abcdef".repeat((4 * MiB) / 16);
	await put("a/old/large", large);
	for (const [key, body] of Object.entries(before)) await put(key, body);
	const here = await buckets.mountThroughProxy({ volume: { ttlMs: 0 } });
	const program = await Steps.start(
		here,
		`d, s, f = os.open("a/old", os.O_DIRECTORY), os.open("a/old/sub", os.O_DIRECTORY), os.open("a/old/large", os.O_RDONLY)`,
		[
			`print(sorted(os.listdir(d)), os.listdir(s), os.stat("f", dir_fd=d).st_size)`,
			`print(os.read(os.open("f", os.O_RDONLY, dir_fd=d), 100).decode(), os.pread(f, 4, ${3 * MiB}).decode())`,
		].join("\n"),
	);
	const rename = await renameHeld(here, ["a/old", "a/new"], secondDeletion());
	expect(await list()).not.toContain("a/old/large");
	expect(await program.go()).toBe("['empty', 'f', 'held', 'large', 'sub'] ['deep'] 6\nbefore 0123");
	expect(await rename.goOn()).toBe("");
	expect(await contents()).toEqual({ ...after, "a/new/large": large });
});

test("a listing that has begun before a directory is renamed goes on after that", async () => {
	const names = Array.from({ length: 1500 }, (_, index) => `name-${String(index).padStart(4, "0")}`);
	await Promise.all(names.map(async (name) => put(`a/old/${name}`, "x")));
	const here = await buckets.mount({ volume: { ttlMs: 0 } });
	const program = await Steps.start(
		here,
		// The first page of 1000 names was read then, and the rest was not.
		`entries = os.scandir("a/old"); found = [next(entries).name for _ in range(20)]`,
		`found += [entry.name for entry in entries]; print(" ".join(sorted(found)))`,
	);
	await sh(here, "mv a/old a/a-much-longer-name");
	expect(await program.go()).toBe(names.join(" "));
});

describe("what another node does meanwhile", () => {
	test("is not lost, where it changes what was copied already, and where it adds to it", async () => {
		for (const [key, body] of Object.entries(before)) await put(key, body);
		const here = await buckets.mountThroughProxy();
		const rename = await held(here);
		await put("a/old/f", "changed elsewhere");
		await put("a/old/sub/made", "made elsewhere");
		expect(await rename.goOn()).toBe("");
		const found = await contents();
		const at = (name: string): string | undefined => found[`a/old/${name}`] ?? found[`a/new/${name}`];
		expect([at("f"), at("sub/made"), at("sub/deep")]).toEqual(["changed elsewhere", "made elsewhere", "deep"]);
	});

	test("is moved with the directory, when that takes long", async () => {
		for (const [key, body] of Object.entries(before)) await put(key, body);
		const here = await buckets.mountThroughProxy();
		const rename = await held(here);
		await put("a/old/f", "changed elsewhere");
		await put("a/old/sub/made", "made elsewhere");
		await buckets.minio.delete(buckets.name, "a/old/sub/deep");
		// By now it has taken so long that it is worth another look.
		await delay(1100);
		expect(await rename.goOn()).toBe("");
		const { "a/new/sub/deep": _, ...rest } = after;
		expect(await contents()).toEqual({ ...rest, "a/new/f": "changed elsewhere", "a/new/sub/made": "made elsewhere" });
		expect(await sh(here, "cat a/new/f; ls a a/new/sub")).toBe("changed elsewherea:\nnew\n\na/new/sub:\nmade");
	});

	test("is not taken back with the copies of a rename that fails", async () => {
		for (const [key, body] of Object.entries(before)) await put(key, body);
		const here = await buckets.mountThroughProxy();
		const denied = { kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code></Error>" } as const;
		const rename = await renameHeld(here, ["a/old", "a/new"], copyOf("a/old/held"), denied);
		await until(async () => (await list()).filter((key) => key.startsWith("a/new/")).length === copied.length);
		await put("a/new/f", "written elsewhere");
		await put("a/new/made", "made elsewhere");
		expect(await rename.goOn()).toContain("Permission denied");
		expect(await contents()).toEqual({ ...before, "a/new/f": "written elsewhere", "a/new/made": "made elsewhere" });
	});

	test("keeps a directory that it has filled meanwhile from being replaced", async () => {
		for (const [key, body] of Object.entries(before)) await put(key, body);
		const here = await buckets.mount();
		await sh(here, "ls a");
		await put("a/new/made", "made elsewhere");
		expect(await sh(here, `python3 -c 'import os; os.rename("a/old", "a/new")' 2>&1 | tail -n 1`)).toContain(
			"Directory not empty",
		);
		expect(await contents()).toEqual({ ...before, "a/new/made": "made elsewhere" });
	});
});

test("an empty directory that was to be replaced is as it was when the rename fails", async () => {
	for (const [key, body] of Object.entries(before)) await put(key, body);
	const here = await buckets.mountThroughProxy();
	await sh(here, "mkdir -m 701 a/new");
	const denied = { kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code></Error>" } as const;
	const rename = await renameHeld(here, ["a/old", "a/new"], copyOf("a/old/held"), denied);
	expect(await rename.goOn()).toContain("Permission denied");
	expect(await sh(here, "stat -c %a a/new; ls -A a/new")).toBe("701");
	expect(await contents()).toEqual({ ...before, "a/new/": "" });
	expect(await sh(here, "chmod 710 a/old; mv -T a/old a/new; stat -c %a a/new; ls a")).toBe("710\nnew");
	expect(await contents()).toEqual(after);
});

test("who waits for a rename and is killed ends at once, and what he wanted is not done", async () => {
	for (const [key, body] of Object.entries(before)) await put(key, body);
	const here = await buckets.mountThroughProxy();
	const program = await Steps.start(here, `d = os.open("a/old", os.O_DIRECTORY)`, `os.mkdir("made", dir_fd=d)`);
	const rename = await held(here);
	const acting = program.go().catch(() => "ended");
	await endedOrWaiting(here, acting);
	program.kill();
	await program.ended;
	expect(await acting).toBe("ended");
	await until(async () => (await here.stats())["waiting_for_names"] === 0);
	expect(await rename.goOn()).toBe("");
	expect(await contents()).toEqual(after);
});
