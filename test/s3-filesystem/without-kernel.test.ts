import { cpSync, mkdtempSync, rmSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { initFlags } from "../../src/fuse/abi.ts";
import { FuseError, type RequestContext } from "../../src/fuse/filesystem.ts";
import type { ObjectStore } from "../../src/s3/object-store.ts";
import { createObjectStore } from "../../src/s3/store.ts";
import { keptFrom, type KeptFilesystem } from "../../src/s3-filesystem/kept-filesystem.ts";
import { createS3Filesystem, recall, type S3Filesystem, type VolumeOptions } from "../../src/s3-filesystem/index.ts";
import { version } from "../../src/version.ts";
import { useBuckets } from "./buckets.ts";
import { plainVolume } from "./plain-volume.ts";

/**
 * What the kernel never asks for at once, as it locks directories and files itself. It does ask when the caller of an operation that goes on was
 * killed.
 */
const buckets = useBuckets("without-kernel");
const MiB = 1024 ** 2;
const context: RequestContext = { uid: 0, gid: 0, pid: 1, signal: new AbortController().signal };
const [readWrite, create, exclusive] = [2, 0o100, 0o200];

let folder: string;
let store: ObjectStore;
let volume: VolumeOptions;
let filesystem: Required<S3Filesystem>;

function filesystemOf(kept?: KeptFilesystem): Required<S3Filesystem> {
	const settings = {
		journalDirectory: join(folder, "journal"),
		memoryBytes: 32 * MiB,
		readAheadBytes: MiB,
		stagingDirectory: join(folder, "staging"),
		stagingLimitBytes: 16 * MiB,
	};
	return createS3Filesystem([volume], settings, kept) as Required<S3Filesystem>;
}

beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-without-kernel-"));
	const { accessKey, secretKey } = buckets.minio;
	store = createObjectStore({
		endpoint: new URL(buckets.proxy.endpoint),
		region: buckets.minio.region,
		bucket: buckets.name,
		pathStyle: true,
		credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
		// As the filesystem's process has it.
		onEvent: () => undefined,
	});
	volume = { ...plainVolume, store, identity: buckets.name };
	filesystem = filesystemOf();
});

afterEach(() => {
	store.close();
	rmSync(folder, { recursive: true, force: true });
});

const nodeOf = async (parent: number, name: string): Promise<number> =>
	(await filesystem.lookup(parent, name, context)).node;
const makeDirectory = async (parent: number, name: string): Promise<number> =>
	(await filesystem.mkdir(parent, name, 0o755, context)).node;

/** Resolves when such a request is held up, to what lets it fail. */
async function heldFailureOf(method: string): Promise<{ readonly arrived: Promise<void>; readonly goOn: () => void }> {
	const [arrived, free] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
	const before = async (): Promise<void> => {
		arrived.resolve();
		await free.promise;
	};
	const only = (request: IncomingMessage): boolean => request.method === method;
	await buckets.proxy.fail({ kind: "answer", status: 403 }, { only, times: 1, before });
	return { arrived: arrived.promise, goOn: free.resolve };
}

/** For whoever goes on if this process dies, all of what is true is written down. */
function writeAnew(): void {
	const connection = { minor: 41, maxReadAheadBytes: MiB, maxWriteBytes: MiB, flags: initFlags.resend.toString(16) };
	filesystem.init({ invalidateNode: () => undefined, invalidateEntry: () => undefined }, connection);
}

/** What each came to: done, or the error. */
async function outcomes(works: readonly unknown[]): Promise<string[]> {
	const settled = await Promise.allSettled(works);
	return settled.map((each) => {
		if (each.status === "fulfilled") return "done";
		return each.reason instanceof FuseError ? each.reason.errno : String(each.reason);
	});
}

/** Resolves when a copy of this object is held up, to what lets it go on. */
async function heldCopyOf(key: string): Promise<{ readonly arrived: Promise<void>; readonly goOn: () => void }> {
	const [arrived, free] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
	await buckets.proxy.fail(
		{ kind: "headers", headers: {} },
		{
			only: ({ headers }) => String(headers["x-amz-copy-source"] ?? "").endsWith(`/${key}`),
			times: 1,
			before: async () => {
				arrived.resolve();
				await free.promise;
			},
		},
	);
	return { arrived: arrived.promise, goOn: free.resolve };
}

test("of two directories that are moved into each other at once, one is", async () => {
	const [a, b] = [await makeDirectory(1, "a"), await makeDirectory(1, "b")];
	const both = [filesystem.rename(1, "a", b, "x", 0, context), filesystem.rename(1, "b", a, "y", 0, context)];
	expect(await outcomes(both)).toEqual(["done", "EINVAL"]);
	expect(await buckets.minio.list(buckets.name)).toEqual(["b/", "b/x/"]);
	expect(await nodeOf(b, "x")).toBe(a);
});

test("of two directories or files that are made of one name at once, the first is, and the second finds it", async () => {
	expect(await outcomes([filesystem.mkdir(1, "d", 0o755, context), filesystem.mkdir(1, "d", 0o700, context)])).toEqual([
		"done",
		"EEXIST",
	]);
	expect(
		await outcomes([
			filesystem.symlink(1, "s", "one", context),
			filesystem.mknod(1, "s", 0o100_644, context),
			filesystem.mkdir(1, "s", 0o755, context),
		]),
	).toEqual(["done", "EEXIST", "EEXIST"]);
	const [first, second] = await Promise.all([
		filesystem.create(1, "f", 0o644, readWrite | create, context),
		filesystem.create(1, "f", 0o644, readWrite | create, context),
	]);
	expect(second.node).toBe(first.node);
	const flags = readWrite | create | exclusive;
	expect(await outcomes([filesystem.create(1, "f", 0o644, flags, context)])).toEqual(["EEXIST"]);
});

test("a directory is not removed while a file is made in it", async () => {
	const d = await makeDirectory(1, "d");
	const both = [
		filesystem.create(d, "f", 0o644, readWrite | create, context),
		filesystem.rmdir(1, "d", context),
		filesystem.mkdir(d, "e", 0o755, context),
	];
	expect(await outcomes(both)).toEqual(["done", "ENOTEMPTY", "done"]);
	const e = await nodeOf(d, "e");
	expect(
		await outcomes([filesystem.rmdir(d, "e", context), filesystem.create(e, "g", 0o644, readWrite | create, context)]),
	).toEqual(["done", "ENOENT"]);
});

test("what is written to a file while that is renamed is in it", async () => {
	await buckets.minio.put(buckets.name, "old", "before");
	const node = await nodeOf(1, "old");
	const { handle } = await filesystem.open(node, readWrite, context);
	const held = await heldCopyOf("old");
	const renaming = filesystem.rename(1, "old", 1, "new", 0, context);
	await held.arrived;
	// More than there is room for: it would be stored to make some.
	const pieces = Array.from({ length: 40 }, (_, number) => Buffer.alloc(MiB, number + 1));
	const written = pieces.map((piece, number) => filesystem.write(node, handle, number * MiB, piece, context));
	expect(written.filter((each) => typeof each === "number").length).toBeGreaterThan(8);
	held.goOn();
	expect(await outcomes([renaming, ...written])).toEqual(Array(41).fill("done"));
	await filesystem.flush(node, handle, context);
	await filesystem.release(node, handle);
	expect(await buckets.minio.list(buckets.name)).toEqual(["new"]);
	expect((await buckets.minio.get(buckets.name, "new")).equals(Buffer.concat(pieces))).toBe(true);
});

test("what somebody else stores under the old name while a file is renamed stays", async () => {
	await buckets.minio.put(buckets.name, "old", "ours");
	await nodeOf(1, "old");
	const deletions: (string | undefined)[] = [];
	await buckets.proxy.fail(
		{ kind: "answer", status: 412, body: "<Error><Code>PreconditionFailed</Code></Error>" },
		{
			only: ({ method, headers }) => {
				if (method === "DELETE") deletions.push(headers["if-match"]);
				return method === "DELETE";
			},
			times: 1,
			before: async () => buckets.minio.put(buckets.name, "old", "of somebody else"),
		},
	);
	await filesystem.rename(1, "old", 1, "new", 0, context);
	expect(deletions).toEqual([expect.stringMatching(/^"[0-9a-f]{32}"$/)]);
	expect((await buckets.minio.get(buckets.name, "old")).toString()).toBe("of somebody else");
	expect((await buckets.minio.get(buckets.name, "new")).toString()).toBe("ours");
});

test("a directory is not empty while the server has shown only a part of it", async () => {
	const d = await makeDirectory(1, "d");
	await makeDirectory(1, "empty");
	await buckets.minio.put(buckets.name, "d/file", "content");
	const list = store.list.bind(store);
	// Its own object first, and the others on the next page, as servers may that filter after they have counted.
	store.list = async ({ continuationToken, ...request }) => {
		if (request.maxKeys !== 2)
			return list({ ...request, ...(continuationToken !== undefined && { continuationToken }) });
		const { objects, prefixes } = await list({ ...request, maxKeys: 1000 });
		if (continuationToken !== undefined) return { objects: objects.slice(1), prefixes, nextToken: undefined };
		return { objects: objects.slice(0, 1), prefixes: [], nextToken: "the rest" };
	};
	expect(await outcomes([filesystem.rmdir(1, "d", context)])).toEqual(["ENOTEMPTY"]);
	expect(await outcomes([filesystem.rename(1, "empty", 1, "d", 0, context)])).toEqual(["ENOTEMPTY"]);
	expect(await outcomes([filesystem.rmdir(1, "empty", context)])).toEqual(["done"]);
	expect(await nodeOf(1, "d")).toBe(d);
});

test("a file that is being renamed is not stored under its old name to make room for others", async () => {
	await buckets.minio.put(buckets.name, "old", "before");
	const files = await Promise.all(
		["other", "another"].map(async (name) => filesystem.create(1, name, 0o644, readWrite | create, context)),
	);
	const node = await nodeOf(1, "old");
	const { handle } = await filesystem.open(node, readWrite, context);
	const held = await heldCopyOf("old");
	const renaming = filesystem.rename(1, "old", 1, "new", 0, context);
	await held.arrived;
	const piece = Buffer.alloc(MiB, 1);
	// The first one has most of what could be stored, and there is room for two of them.
	for (const [file, count] of [[{ node, handle }, 7] as const, ...files.map((each) => [each, 5] as const)]) {
		for (let number = 0; number < count; number++)
			await filesystem.write(file.node, file.handle, number * MiB, piece, context);
	}
	held.goOn();
	await renaming;
	await filesystem.flush(node, handle, context);
	for (const file of [{ node, handle }, ...files]) await filesystem.release(file.node, file.handle);
	expect(await buckets.minio.list(buckets.name)).toEqual(["another", "new", "other"]);
	expect((await buckets.minio.get(buckets.name, "new")).equals(Buffer.alloc(7 * MiB, 1))).toBe(true);
});

test("a bucket that is taken away while a directory in it is renamed has the directory as it was, and shows nothing", async () => {
	await buckets.minio.put(buckets.name, "old/1", "1");
	await buckets.minio.put(buckets.name, "old/2", "2");
	const file = await nodeOf(await nodeOf(1, "old"), "1");
	const { handle } = await filesystem.open(file, readWrite, context);
	const held = await heldCopyOf("old/2");
	const renaming = filesystem.rename(1, "old", 1, "new", 0, context);
	await held.arrived;
	filesystem.hide(volume);
	held.goOn();
	expect(await outcomes([renaming])).toEqual(["ESTALE"]);
	expect(await buckets.minio.list(buckets.name)).toEqual(["old/1", "old/2"]);
	expect(await outcomes([nodeOf(1, "old"), nodeOf(1, "new")])).toEqual(["ENOENT", "ENOENT"]);
	// What is open goes on.
	await filesystem.write(file, handle, 0, Buffer.from("written"), context);
	await filesystem.flush(file, handle, context);
	await filesystem.release(file, handle);
	expect((await buckets.minio.get(buckets.name, "old/1")).toString()).toBe("written");
});

test("what another client stores at the name of a removed file stays, though the file could not be deleted before", async () => {
	await buckets.minio.put(buckets.name, "a", "ours");
	const node = await nodeOf(1, "a");
	const { handle } = await filesystem.open(node, readWrite, context);
	await filesystem.unlink(1, "a", context);
	await buckets.proxy.fail({ kind: "answer", status: 403 }, { only: ({ method }) => method === "DELETE" });
	await expect(filesystem.release(node, handle)).rejects.toThrow("403");
	await buckets.proxy.mode("pass");
	await buckets.minio.put(buckets.name, "a", "another client's");
	await filesystem.destroy();
	expect((await buckets.minio.get(buckets.name, "a")).toString()).toBe("another client's");
});

test("who goes on has a file to close until all that this takes is done, or has failed", async () => {
	await buckets.minio.put(buckets.name, "a", "a");
	writeAnew();
	const node = await nodeOf(1, "a");
	const { handle } = await filesystem.open(node, readWrite, context);
	filesystem.beforeAnswer();
	await filesystem.unlink(1, "a", context);
	const held = await heldFailureOf("DELETE");
	const released = outcomes([filesystem.release(node, handle)]);
	await held.arrived;
	const filesKept = (): number[] => recall(join(folder, "journal"), version).files.map((file) => file.handle);
	writeAnew();
	expect(filesKept()).toEqual([handle]);
	held.goOn();
	expect(await released).not.toEqual(["done"]);
	filesystem.forget(node, 1);
	filesystem.beforeAnswer();
	expect(filesKept()).toEqual([]);
});

test("a file that mknod was making when its process died is in the bucket when the next one has answered", async () => {
	writeAnew();
	const held = await heldFailureOf("PUT");
	const mknod = async (isRepeated: boolean): Promise<unknown> =>
		filesystem.mknod(1, "new", 0o100_644, { ...context, unique: 8, isRepeated });
	const first = outcomes([mknod(false)]);
	await held.arrived;
	filesystem = filesystemOf(keptFrom(recall(join(folder, "journal"), version), [volume]));
	await mknod(true);
	expect(await buckets.minio.list(buckets.name)).toEqual(["new"]);
	held.goOn();
	await first;
});

test("who goes on gives no two files one number, whatever was renamed and forgotten before", async () => {
	writeAnew();
	const make = async (name: string): Promise<{ readonly node: number; readonly ino: number }> => {
		const { node, handle, attributes } = await filesystem.create(1, name, 0o644, readWrite | create, context);
		await filesystem.flush(node, handle, context);
		await filesystem.release(node, handle);
		return { node, ino: attributes.ino };
	};
	const first = await make("a");
	await filesystem.rename(1, "a", 1, "b", 0, context);
	filesystem.forget(first.node, 1);
	// It has its number still, whether it stays where it is or goes on, to where the kernel forgets it again.
	for (const [from, to] of [
		["b", "c"],
		["c", "d"],
	] as const) {
		const { node } = await filesystem.lookup(1, from, context);
		filesystem.beforeAnswer();
		filesystem = filesystemOf(keptFrom(recall(join(folder, "journal"), version), [volume]));
		writeAnew();
		await filesystem.rename(1, from, 1, to, 0, context);
		expect((await filesystem.lookup(1, to, context)).attributes.ino).toBe(first.ino);
		expect((await make(from)).ino).not.toBe(first.ino);
		filesystem.forget(node, 2 ** 41);
	}
});

/** A long file that is being stored with what it was given while it was written: its object has to be copied onto itself at the end. */
async function storedLong(): Promise<{
	readonly node: number;
	readonly handle: number;
	readonly held: Awaited<ReturnType<typeof heldCopyOf>>;
	readonly stored: Promise<string[]>;
}> {
	writeAnew();
	const { node, handle } = await filesystem.create(1, "new", 0o644, readWrite | create, context);
	for (let number = 0; number < 20; number++)
		await filesystem.write(node, handle, number * MiB, Buffer.alloc(MiB, number), context);
	filesystem.beforeAnswer();
	await filesystem.setattr(node, { mode: 0o640, mtime: { seconds: 2000, nanoseconds: 0 } }, handle, context);
	filesystem.beforeAnswer();
	const held = await heldCopyOf("new");
	const stored = outcomes([filesystem.flush(node, handle, context)]);
	await held.arrived;
	return { node, handle, held, stored };
}

const goOnFrom = (journal: string): void => {
	filesystem = filesystemOf(keptFrom(recall(journal, version), [volume]));
};
const again = { ...context, unique: 8, isRepeated: true };

test("what a file was given while it was written has its object, too, when a process dies before it has said that, and the next one closes it", async () => {
	const { node, handle, held, stored } = await storedLong();
	goOnFrom(join(folder, "journal"));
	expect(await outcomes([filesystem.flush(node, handle, again)])).toEqual(["done"]);
	await filesystem.release(node, handle);
	const { metadata } = await store.head("new");
	expect(metadata).toMatchObject({ mode: String(0o100_640), mtime: "2000" });
	held.goOn();
	await stored;
});

test("a long file is closed when the server has copied its object for a process that had died before it heard that", async () => {
	const { node, handle, held, stored } = await storedLong();
	cpSync(join(folder, "journal"), join(folder, "of the dead"), { recursive: true });
	held.goOn();
	expect(await stored).toEqual(["done"]);
	goOnFrom(join(folder, "of the dead"));
	expect(await outcomes([filesystem.flush(node, handle, again)])).toEqual(["done"]);
	await filesystem.release(node, handle);
	expect((await store.head("new")).metadata).toMatchObject({ mode: String(0o100_640), mtime: "2000" });
});

test("a removed file that the server did not delete when it was closed goes later, also when another process goes on", async () => {
	const removed = async (name: string, times: number): Promise<void> => {
		const node = await nodeOf(1, name);
		const { handle } = await filesystem.open(node, readWrite, context);
		await filesystem.unlink(1, name, context);
		await buckets.proxy.fail({ kind: "answer", status: 403 }, { only: ({ method }) => method === "DELETE", times });
		expect(await outcomes([filesystem.release(node, handle)])).not.toEqual(["done"]);
		filesystem.forget(node, 1);
		filesystem.beforeAnswer();
		expect(await outcomes([nodeOf(1, name)])).toEqual(["ENOENT"]);
	};
	const left = async (): Promise<string[]> => buckets.minio.list(buckets.name);
	for (const name of ["a", "b"]) await buckets.minio.put(buckets.name, name, name);
	writeAnew();
	const { nodes } = filesystem.stats();
	await removed("a", 2);
	await expect.poll(left).toEqual(["b"]);
	await expect.poll(() => filesystem.stats()["nodes"]).toBe(nodes);

	await removed("b", 1);
	cpSync(join(folder, "journal"), join(folder, "of the dead"), { recursive: true });
	// As if it had died: what it would still do is not its work any more.
	await buckets.proxy.mode("pass");
	filesystem.hide(volume);
	await filesystem.forsake(volume);
	volume = { ...volume };
	goOnFrom(join(folder, "of the dead"));
	await expect.poll(left).toEqual([]);
	expect(await outcomes([filesystem.mkdir(1, "b", 0o755, context)])).toEqual(["done"]);
});
