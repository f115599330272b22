import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DeleteBucketCommand, ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bash } from "../fuse/application.ts";
import type { RequestFault } from "../support/fault-proxy.ts";
import { createUser } from "../support/minio-admin.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, until } from "../support/pod.ts";
import { useBuckets } from "./buckets.ts";
import { MountedBucket, type BucketOptions } from "./mounted-bucket.ts";
import { Program, type Outcome } from "./program.ts";
import { stamped } from "./reading/stamped.ts";

const mebibyte = 1024 ** 2;

/** What the options `http-timeout` and `retry-for` are here. */
const silenceMs = 2000;
const retryForMs = 4000;
const store = { timeouts: { connectMs: 1000, firstByteMs: silenceMs, idleMs: silenceMs }, retryForMs } as const;
/** The last try may begin when the time for tries is over, and wait for the server once more. The rest is for a machine that is busy. */
const limitMs = retryForMs + silenceMs + 1500;

const buckets = useBuckets("faults");
const programs: Program[] = [];
afterEach(() => {
	for (const program of programs.splice(0)) program.end();
});

async function startProgram(directory: string): Promise<Program> {
	const program = await Program.start(directory);
	programs.push(program);
	return program;
}

/** A program in a mount that goes through the proxy. It is read ahead of little, so that not everything is there before the fault is. */
async function mountWithProgram(options: Partial<BucketOptions> = {}): Promise<Program> {
	const here = await buckets.mountThroughProxy({ store, settings: { readAheadBytes: mebibyte }, ...options });
	const program = await startProgram(here.target);
	await program.list();
	return program;
}

/** Puts an object that shows of each page where it belongs, and of which version it is. */
async function put(key: string, sizeBytes: number, stamp = 1): Promise<void> {
	await buckets.minio.put(buckets.name, key, stamped(sizeBytes, stamp));
}

async function isStored(
	key: string,
	sizeBytes: number,
	minio = buckets.minio,
	bucket = buckets.name,
): Promise<boolean> {
	return (await minio.get(bucket, key)).equals(stamped(sizeBytes, 1));
}

/** So many bytes were read, and they are those of that version. */
const right = (count: number, stamp = 1) => ({ result: "ok", count, stamps: [stamp] });

/** How it ended; `late` when that took longer than is documented. */
function inTime({ result, milliseconds }: Outcome): string {
	return milliseconds < limitMs ? result : `late: ${result} after ${milliseconds} ms`;
}

/** Every so many requests, beginning with the first. */
function every(count: number): () => boolean {
	let seen = 0;
	return () => seen++ % count === 0;
}

const slowDown: RequestFault = {
	kind: "answer",
	status: 503,
	body: "<Error><Code>SlowDown</Code></Error>",
	close: true,
};

describe("faults that pass are not seen by who reads", () => {
	const without = (header: string): RequestFault => ({ kind: "headers", headers: { [header]: undefined } });
	const withLength = (length: string): RequestFault => ({ kind: "headers", headers: { "content-length": length } });
	test.each<{ name: string; fault: RequestFault; share: number; times?: number }>([
		{ name: "a storm of 503", fault: slowDown, share: 2 },
		{ name: "resets in the middle of bodies", fault: { kind: "reset-after", bytes: 100_000 }, share: 2 },
		{ name: "bodies that end too early", fault: { kind: "end-after", bytes: 50_000 }, share: 2 },
		{ name: "bodies that stop", fault: { kind: "hang-after", bytes: 70_000 }, share: 2, times: 2 },
		{ name: "answers that get lost", fault: { kind: "lose-answer" }, share: 2 },
		{ name: "a length that is too small", fault: withLength("1000"), share: 4, times: 2 },
		{ name: "a length that is too large", fault: withLength("99999999"), share: 4, times: 2 },
		{ name: "answers without their range", fault: without("content-range"), share: 4, times: 2 },
		{ name: "answers without their version", fault: without("etag"), share: 2 },
	])("$name", async ({ fault, share, times = Infinity }) => {
		await put("file", 12 * mebibyte);
		const program = await mountWithProgram();
		const isTurn = every(share);
		const only = ({ url = "" }: { url?: string | undefined }): boolean => !url.includes("list-type=2") && isTurn();
		await buckets.proxy.fail(fault, { only, times });
		const file = await program.open("file");
		expect(await file.read()).toMatchObject(right(12 * mebibyte));
		expect(buckets.proxy.failed).toBeGreaterThan(1);
	});

	test("a late first byte of each answer", async () => {
		await put("file", 4 * mebibyte);
		const program = await mountWithProgram();
		await buckets.proxy.mode("slow-first-byte");
		expect(await (await program.open("file")).read()).toMatchObject(right(4 * mebibyte));
	});
});

describe("faults that pass are not seen by who writes", () => {
	test.each<{ name: string; fault: RequestFault; share: number; times?: number }>([
		{ name: "a storm of 503", fault: slowDown, share: 2 },
		{ name: "answers that get lost", fault: { kind: "lose-answer" }, share: 2 },
		{
			name: "a byte that is another one on its way",
			fault: { kind: "corrupt-request", byte: 5000 },
			share: 3,
			times: 1,
		},
	])("$name", async ({ fault, share, times = Infinity }) => {
		const program = await mountWithProgram();
		const isTurn = every(share);
		await buckets.proxy.fail(fault, { only: ({ method }) => method !== "GET" && isTurn(), times });
		for (const [name, sizeBytes] of [
			["large", 20 * mebibyte],
			["small", 100_000],
		] as const) {
			const file = await program.open(name, "w");
			expect(await file.write(0, sizeBytes, 1)).toMatchObject({ result: "ok", count: sizeBytes });
			expect(await file.close()).toMatchObject({ result: "ok" });
			expect(await isStored(name, sizeBytes)).toBe(true);
		}
		expect(buckets.proxy.failed).toBeGreaterThan(0);
	});

	test("a late first byte of each answer", async () => {
		const program = await mountWithProgram();
		await buckets.proxy.mode("slow-first-byte");
		const file = await program.open("file", "w");
		await file.write(0, 12 * mebibyte, 1);
		expect(await file.close()).toMatchObject({ result: "ok" });
		expect(await isStored("file", 12 * mebibyte)).toBe(true);
	});
});

describe("faults that pass are not seen by who changes names", () => {
	test.each<{ name: string; fault: RequestFault }>([
		{ name: "a storm of 503", fault: slowDown },
		{ name: "answers that get lost, though the server did as it was told", fault: { kind: "lose-answer" } },
	])("$name", async ({ fault }) => {
		const here = await buckets.mountThroughProxy({ store });
		await bash(here.target, "ls");
		const isTurn = every(2);
		await buckets.proxy.fail(fault, { only: ({ method }) => method !== "GET" && isTurn() });
		const printed = await bash(
			here.target,
			`mkdir -p a/b; for i in 1 2 3 4 5 6; do echo $i >a/b/$i; done
			set -o noclobber; echo mine >a/lock; ! (echo theirs >a/lock) 2>/dev/null; set +o noclobber
			ln -s b/1 a/link; mv a/b/2 a/two; mv a/b a/c; chmod 600 a/two; touch -d 2001-01-01 a/lock; rm a/c/3; mkdir d; rmdir d
			ln -sfn c/1 a/link; cp -a a e; rm -r e; cd a; cat link two lock c/*; find . -type f -o -type l | sort | tr '\\n' ' '`,
		);
		expect(printed).toBe("1\n2\nmine\n1\n4\n5\n6\n./c/1 ./c/4 ./c/5 ./c/6 ./link ./lock ./two ");
		await buckets.proxy.mode("pass");
		const keys = await buckets.minio.list(buckets.name);
		expect(keys.filter((key) => !key.endsWith("/"))).toEqual([
			"a/c/1",
			"a/c/4",
			"a/c/5",
			"a/c/6",
			"a/link",
			"a/lock",
			"a/two",
		]);
	});
});

describe("faults that last are told in time, and what was accepted is kept", () => {
	const lasting = [
		{ mode: "error-503", error: "EAGAIN" },
		{ mode: "reset", error: "EIO" },
		{ mode: "refuse", error: "EIO" },
		{ mode: "hang", error: "EIO" },
	] as const;

	test.each(lasting)("$mode: reading, listing and fsync get $error, and go on afterwards", async ({ mode, error }) => {
		await put("file", 8 * mebibyte);
		await put("folder/other", 10);
		const program = await mountWithProgram();
		const [reader, writer] = [await program.open("file"), await program.open("written", "w")];
		expect(await reader.read(0, mebibyte)).toMatchObject(right(mebibyte));
		await writer.write(0, mebibyte, 1);
		await buckets.proxy.mode(mode);
		const outcomes = await Promise.all([reader.read(5 * mebibyte), program.list("folder"), writer.fsync()]);
		for (const outcome of outcomes) expect(inTime(outcome)).toBe(error);
		expect(outcomes[0]).toMatchObject({ count: 0 });
		await buckets.proxy.mode("pass");
		await until(
			async () => (await reader.read(5 * mebibyte)).result === "ok",
			5000,
			() => "still not to be read",
		);
		expect(await reader.read()).toMatchObject(right(8 * mebibyte));
		expect(await program.list("folder")).toMatchObject({ result: "ok", count: 1 });
		expect(await writer.close()).toMatchObject({ result: "ok" });
		expect(await isStored("written", mebibyte)).toBe(true);
	});

	test.each(lasting)("$mode: close of a file of several parts gets $error", async ({ mode, error }) => {
		const program = await mountWithProgram();
		const file = await program.open("file", "w");
		await file.write(0, 20 * mebibyte, 1);
		await buckets.proxy.mode(mode);
		expect(inTime(await file.close())).toBe(error);
		await buckets.proxy.mode("pass");
		// It is tried once more after the error was told: the object is there as a whole, or not at all.
		const stored = await buckets.minio.list(buckets.name);
		expect(stored.length === 0 || (await isStored("file", 20 * mebibyte))).toBe(true);
	});

	test.each(lasting)("$mode: who needs room that only uploads could make gets ENOSPC", async ({ mode }) => {
		const settings = { stagingLimitBytes: 24 * mebibyte };
		const here = await buckets.mountThroughProxy({ store, settings });
		const users = await Promise.all([1, 2, 3].map(async () => startProgram(here.target)));
		const files = await Promise.all(users.map(async (program, index) => program.open(`file-${index}`, "w")));
		for (const file of files) await file.write(0, mebibyte, 1);
		await buckets.proxy.mode(mode);
		const outcomes = await Promise.all(files.map(async (file) => file.write(mebibyte, 40 * mebibyte, 1)));
		for (const outcome of outcomes) expect(inTime(outcome)).toMatch(/^(ENOSPC|EIO|EAGAIN)$/);
		await buckets.proxy.mode("pass");
		for (const [index, file] of files.entries()) {
			const sizeBytes = mebibyte + (outcomes[index]?.count ?? 0);
			// A part that could not be sent meanwhile is told once, to the next write.
			await file.write(sizeBytes, 1, 1);
			expect(await file.write(sizeBytes, 40 * mebibyte, 1)).toMatchObject({ result: "ok", count: 40 * mebibyte });
			expect(await file.close()).toMatchObject({ result: "ok" });
			expect(await isStored(`file-${index}`, sizeBytes + 40 * mebibyte)).toBe(true);
		}
	});

	test("bodies that stop again and again without a byte: reading gets EIO", async () => {
		await put("file", 8 * mebibyte);
		const program = await mountWithProgram();
		await buckets.proxy.fail({ kind: "hang-after", bytes: 1 });
		const file = await program.open("file");
		const outcome = await file.read();
		expect(inTime(outcome)).toBe("EIO");
		expect(outcome.count).toBe(0);
	});
});

describe("wrong bytes of a small file", () => {
	const sizeBytes = 200_000;

	async function writeWithChecksum(): Promise<void> {
		const here = await buckets.mount();
		const program = await startProgram(here.target);
		const file = await program.open("file", "w");
		await file.write(0, sizeBytes, 1);
		expect(await file.close()).toMatchObject({ result: "ok" });
		await here.unmount();
	}

	test("are asked for again", async () => {
		await writeWithChecksum();
		const program = await mountWithProgram();
		await buckets.proxy.fail({ kind: "corrupt-answer", byte: 150_000 }, { times: 1 });
		expect(await (await program.open("file")).read()).toMatchObject(right(sizeBytes));
		expect(buckets.proxy.failed).toBe(1);
	});

	test("give EIO and no byte when they come again", async () => {
		await writeWithChecksum();
		const program = await mountWithProgram();
		await buckets.proxy.fail({ kind: "corrupt-answer", byte: 150_000 });
		const outcome = await (await program.open("file")).read();
		expect(outcome).toMatchObject({ result: "EIO", count: 0 });
	});

	test("are not stored: close gives EIO when they go wrong each time", async () => {
		const program = await mountWithProgram();
		await buckets.proxy.fail({ kind: "corrupt-request", byte: 150_000 }, { only: ({ method }) => method === "PUT" });
		const file = await program.open("file", "w");
		await file.write(0, sizeBytes, 1);
		expect(inTime(await file.close())).toBe("EIO");
		expect(await buckets.minio.list(buckets.name)).toEqual([]);
	});
});

test("while all kinds of faults come and go, every read gives the right bytes or an error", async () => {
	const sizeBytes = 4 * mebibyte;
	for (const name of ["a", "b", "c", "d"]) await put(name, sizeBytes);
	// Little memory, so that each reading asks the server again.
	const program = await mountWithProgram({ settings: { memoryBytes: 32 * mebibyte, readAheadBytes: mebibyte } });
	const faults: readonly RequestFault[] = [
		slowDown,
		{ kind: "reset-after", bytes: 30_000 },
		{ kind: "end-after", bytes: 70_000 },
		{ kind: "hang-after", bytes: 40_000 },
		{ kind: "lose-answer" },
		{ kind: "headers", headers: { "content-length": "4096" } },
	];
	const end = new AbortController();
	const outcomes: Outcome[] = [];
	const read = async (name: string): Promise<void> => {
		while (!end.signal.aborted) {
			const file = await program.open(name);
			outcomes.push(await file.read(Math.floor(Math.random() * 500) * 4096));
			await file.close();
			// Else the kernel has it from now on.
			await put(name, sizeBytes);
		}
	};
	const reading = ["a", "b", "c", "d"].map(read);
	for (const fault of faults) {
		await buckets.proxy.fail(fault, { probability: 0.6 });
		await sleep(1500);
	}
	end.abort();
	await buckets.proxy.mode("pass");
	await Promise.all(reading);
	for (const { stamps, milliseconds } of outcomes) {
		expect(stamps.filter((stamp) => stamp !== 1)).toEqual([]);
		// Progress begins the time anew; 16 pieces of a file may each have taken theirs.
		expect(milliseconds).toBeLessThan(4 * limitMs);
	}
	expect(outcomes.some(({ result }) => result === "ok")).toBe(true);
});

describe("keys that are revoked", () => {
	test("give EACCES to who reads and lists, until they are good again", async () => {
		await put("file", 8 * mebibyte);
		await put("folder/other", 10);
		const user = await createUser(buckets.minio, `${buckets.name}-reader`);
		const program = await mountWithProgram({ credentials: user.credentials });
		const file = await program.open("file");
		expect(await file.read(0, mebibyte)).toMatchObject(right(mebibyte));
		await user.disable();
		const [read, list] = await Promise.all([file.read(4 * mebibyte), program.list("folder")]);
		expect(inTime(read)).toBe("EACCES");
		expect(inTime(list)).toBe("EACCES");
		await user.enable();
		await until(
			async () => (await file.read(4 * mebibyte)).result === "ok",
			5000,
			() => "still refused",
		);
		expect(await file.read()).toMatchObject(right(8 * mebibyte));
		expect(await program.list("folder")).toMatchObject({ result: "ok", count: 1 });
	});

	test("give EACCES to who writes, and what was accepted is stored when they are good again", async () => {
		const user = await createUser(buckets.minio, `${buckets.name}-writer`);
		const program = await mountWithProgram({ credentials: user.credentials });
		const file = await program.open("file", "w");
		await file.write(0, 12 * mebibyte, 1);
		await user.disable();
		expect(inTime(await file.fsync())).toBe("EACCES");
		await user.enable();
		expect(await file.write(12 * mebibyte, 8 * mebibyte, 1)).toMatchObject({ result: "ok" });
		expect(await file.close()).toMatchObject({ result: "ok" });
		expect(await isStored("file", 20 * mebibyte)).toBe(true);
	});
});

describe("a directory whose renaming fails in its middle", () => {
	const denied: RequestFault = { kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code></Error>" };
	const old = ["1", "2", "3", "4", "5", "6"].map((name) => `old/${name}`);

	async function renameWith(
		only: (request: { method?: string | undefined; url?: string | undefined; headers: object }) => boolean,
	) {
		for (const key of old) await put(key, 10_000);
		const here = await buckets.mountThroughProxy({ store });
		await bash(here.target, "ls old");
		await buckets.proxy.fail(denied, { only });
		// mv would try again in other ways.
		const rename = `python3 -c 'import os; os.rename("old", "new")' 2>&1 | tail -n 1`;
		const printed = await bash(here.target, `${rename} || true; cat old/* | wc -c`);
		expect(printed).toMatch(/Permission denied.*\n60000\n$/);
		expect(buckets.proxy.failed).toBeGreaterThan(0);
		await buckets.proxy.mode("pass");
		return bash(here.target, "ls; ls old; cat old/* | wc -c");
	}

	test("is whole, without copies elsewhere, when a copy was refused", async () => {
		let copies = 0;
		const found = await renameWith(({ headers }) => "x-amz-copy-source" in headers && ++copies > 3);
		expect(found).toBe("old\n1\n2\n3\n4\n5\n6\n60000\n");
		expect(await buckets.minio.list(buckets.name)).toEqual(old);
	});

	test("is whole beside its copy when removing it was refused", async () => {
		const found = await renameWith(({ method, url = "" }) => method === "DELETE" || url.includes("delete"));
		expect(found).toBe("new\nold\n1\n2\n3\n4\n5\n6\n60000\n");
		expect(await buckets.minio.list(buckets.name)).toEqual(expect.arrayContaining(old));
	});
});

test("a bucket that is removed gives EIO to all, at once", async () => {
	await put("file", 8 * mebibyte);
	await put("folder/other", 10);
	const program = await mountWithProgram();
	const [reader, writer] = [await program.open("file"), await program.open("written", "w")];
	await reader.read(0, mebibyte);
	await writer.write(0, mebibyte, 1);
	const { minio, name } = buckets;
	for (const key of await minio.list(name)) await minio.delete(name, key);
	await minio.client.send(new DeleteBucketCommand({ Bucket: name }));
	const outcomes = await Promise.all([reader.read(4 * mebibyte), program.list("folder"), writer.close()]);
	for (const outcome of outcomes) {
		expect(outcome.result).toBe("EIO");
		expect(outcome.milliseconds).toBeLessThan(2000);
	}
});

describe("an object that changes while it is read gives ESTALE, and no byte of two versions", () => {
	const sizeBytes = 16 * mebibyte;

	test.each([
		{ by: "another upload", change: async () => put("file", sizeBytes, 2) },
		{
			by: "a rename through another mount",
			change: async () => {
				await put("other", sizeBytes, 2);
				const elsewhere = await buckets.mount();
				await bash(elsewhere.target, "mv other file");
			},
		},
	])("by $by, and opened again it is the new one", async ({ change }) => {
		await put("file", sizeBytes);
		const program = await mountWithProgram();
		const file = await program.open("file");
		expect(await file.read(0, mebibyte)).toMatchObject(right(mebibyte));
		await change();
		const rest = await file.read(mebibyte);
		expect(rest.result).toBe("ESTALE");
		expect(rest.stamps.filter((stamp) => stamp !== 1)).toEqual([]);
		expect(await (await program.open("file")).read()).toMatchObject(right(sizeBytes, 2));
	});

	test("by its removal, and then there is no such file", async () => {
		await put("file", sizeBytes);
		const program = await mountWithProgram();
		const file = await program.open("file");
		await file.read(0, mebibyte);
		await buckets.minio.delete(buckets.name, "file");
		const rest = await file.read(mebibyte);
		expect(rest.result).toBe("ESTALE");
		expect(rest.stamps.filter((stamp) => stamp !== 1)).toEqual([]);
		await expect(program.open("file")).rejects.toMatchObject({ code: "ENOENT" });
	});
});

describe("a server that is killed", () => {
	let dataDir: string;
	let server: Minio;
	let here: MountedBucket | undefined;
	beforeEach(async () => {
		dataDir = await mkdtemp(join(tmpdir(), "fluid-fuse-killed-"));
		server = await startMinio({ dataDir });
		await server.createBucket("bucket");
	});
	afterEach(async () => {
		await here?.abort();
		here = undefined;
		await server.stop();
		await rm(dataDir, { recursive: true, force: true });
	});

	async function comesBack(): Promise<void> {
		server = await startMinio({ dataDir, port: server.port, rootPassword: server.secretKey });
	}

	async function openForWriting(willRetryForMs: number) {
		const patience = { ...store, retryForMs: willRetryForMs };
		here = await MountedBucket.mount({ minio: server, endpoint: server.endpoint, bucket: "bucket", store: patience });
		const program = await startProgram(here.target);
		return { program, file: await program.open("file", "w") };
	}

	async function hasUpload(): Promise<boolean> {
		const request = new ListMultipartUploadsCommand({ Bucket: "bucket", Prefix: "file" });
		return ((await server.client.send(request)).Uploads ?? []).length > 0;
	}

	test("in the middle of an upload, and is back within retry-for: the file is whole", async () => {
		const { file } = await openForWriting(30_000);
		await file.write(0, 20 * mebibyte, 1);
		await until(hasUpload, 10_000, () => "no upload has begun");
		await server.stop();
		expect(await file.write(20 * mebibyte, 30 * mebibyte, 1)).toMatchObject({ result: "ok" });
		const closing = file.close();
		expect(await Promise.race([closing, sleep(1500)])).toBeUndefined();
		await comesBack();
		expect(await closing).toMatchObject({ result: "ok" });
		expect(await isStored("file", 50 * mebibyte, server, "bucket")).toBe(true);
	});

	test("and stays away: close gives EIO in time, and other files can be written when it is back", async () => {
		const { program, file } = await openForWriting(retryForMs);
		await file.write(0, 20 * mebibyte, 1);
		await until(hasUpload, 10_000, () => "no upload has begun");
		await server.stop();
		expect(inTime(await file.close())).toBe("EIO");
		expect(inTime(await program.list("."))).toMatch(/^(EIO|ok)$/);
		await comesBack();
		const other = await program.open("other", "w");
		await other.write(0, mebibyte, 1);
		expect(await other.close()).toMatchObject({ result: "ok" });
		expect(await isStored("other", mebibyte, server, "bucket")).toBe(true);
	});
});

test("a filesystem's process that is killed: who uses it gets errors, others go on, and the mount comes back", async () => {
	const { minio, name, proxy } = buckets;
	const other = `${name}-other`;
	await minio.createBucket(other);
	await put("file", 8 * mebibyte);
	await minio.put(other, "file", stamped(4 * mebibyte, 2));
	const keys = { "access-key": "/etc/fluid/secrets/keys/access", "secret-key": "/etc/fluid/secrets/keys/secret" };
	const pod = new Pod({
		mounts: [
			{
				mountPoint: `s3://${name}`,
				name: "native",
				options: { ...keys, endpoint: proxy.endpoint, "read-ahead": "1Mi" },
			},
			{ mountPoint: `s3://${other}`, name: "other", options: { ...keys, endpoint: minio.endpoint, driver: "s3fs" } },
		],
		secrets: { keys: { access: minio.accessKey, secret: minio.secretKey } },
		accessModes: ["ReadWriteMany"],
	});
	try {
		pod.start();
		await pod.untilReady();
		const [ours, theirs] = [
			await startProgram(join(pod.target, "native")),
			await startProgram(join(pod.target, "other")),
		];
		const [reader, writer, untouched] = [
			await ours.open("file"),
			await ours.open("written", "w"),
			await theirs.open("file"),
		];
		expect(await reader.read(0, mebibyte)).toMatchObject(right(mebibyte));
		await writer.write(0, mebibyte, 1);
		expect(await untouched.read(0, mebibyte)).toMatchObject(right(mebibyte, 2));
		// A read and an fsync are under way, and wait for the server.
		await proxy.mode("hang");
		const [reading, syncing] = [reader.read(4 * mebibyte), writer.fsync()];
		expect(await Promise.race([reading, syncing, sleep(1000)])).toBeUndefined();
		const { pid } = await pod.mount("native");
		process.kill(pid ?? 0, "SIGKILL");
		const killedAt = performance.now();
		for (const outcome of await Promise.all([reading, syncing]))
			expect(outcome.result).toMatch(/ENOTCONN|ECONNABORTED/);
		expect(performance.now() - killedAt).toBeLessThan(3000);
		await proxy.mode("pass");
		expect(await untouched.read(mebibyte)).toMatchObject(right(3 * mebibyte, 2));
		await until(
			async () => (await pod.mount("native")).ready && (await pod.mount("native")).restarts === 1,
			10_000,
			() => pod.output,
		);
		expect((await pod.mount("other")).restarts).toBe(0);
		// What was open stays broken, what is opened now is served.
		expect((await reader.read(0, mebibyte)).result).toMatch(/ENOTCONN|ok/);
		expect((await writer.close()).result).toMatch(/ENOTCONN|ECONNABORTED|ok/);
		expect(await (await ours.open("file")).read()).toMatchObject(right(8 * mebibyte));
		expect(await minio.list(name)).toEqual(["file"]);
		// Who has files open is waited for.
		for (const program of programs.splice(0)) program.end();
		expect(await pod.stop()).toBe(0);
	} finally {
		await pod.cleanup();
	}
});
