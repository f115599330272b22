import { beforeEach, describe, expect, test } from "vitest";
import { constants } from "node:os";
import { PathOperations } from "../../src/fuse/path-operations.ts";
import { MemoryFilesystem } from "../support/memory-filesystem.ts";

let filesystem: MemoryFilesystem;
let operations: PathOperations;
let failures: string[];

beforeEach(() => {
	filesystem = new MemoryFilesystem();
	failures = [];
	operations = new PathOperations(filesystem, (operation, error) => failures.push(`${operation}: ${String(error)}`));
});

/** Calls one of the operations as fuse-native does; its result, or the name of the errno. */
async function call(name: string, ...operands: unknown[]): Promise<number | string | undefined> {
	const operation = operations.all()[name] as (...all: unknown[]) => void;
	return answer((done) => operation(...operands, done));
}

async function answer(start: (done: (result: number, value?: unknown) => void) => void) {
	const [result, value] = await new Promise<[number, unknown]>((resolve) => {
		start((...values) => resolve(values as [number, unknown]));
	});
	if (result >= 0) return typeof value === "number" ? value : result;
	return Object.entries(constants.errno).find(([, number]) => number === -result)?.[0];
}

const exists = async (path: string) => answer((done) => operations.getattr(path, done));

async function names(path: string): Promise<readonly string[]> {
	return new Promise((resolve) => operations.readdir(path, (_, list) => resolve(list?.names.toSorted() ?? [])));
}

async function written(path: string, text: string): Promise<number> {
	const descriptor = Number(await call("create", path, 0o100_644));
	expect(await call("write", path, descriptor, Buffer.from(text), text.length, 0)).toBe(text.length);
	return descriptor;
}

const hidden = "/folder/.fuse_hidden0000000700000001";

describe("a file that libfuse hides because it is open", () => {
	test("is removed at once, and served under the name that libfuse knows until libfuse removes that", async () => {
		expect(await call("mkdir", "/folder", 0o755)).toBe(0);
		await names("/folder");
		const remembered = filesystem.remembered;
		const descriptor = await written("/folder/file", "text");
		expect(await call("rename", "/folder/file", hidden)).toBe(0);
		expect(await names("/folder")).toEqual([".", ".."]);
		expect(await exists("/folder/file")).toBe("ENOENT");
		// As a program that opens /proc/self/fd/3.
		const again = Number(await call("open", hidden, 0));
		const target = Buffer.alloc(10);
		expect(await call("read", hidden, again, target, 10, 0)).toBe(4);
		expect(target.toString("utf8", 0, 4)).toBe("text");
		expect(await call("truncate", hidden, 2)).toBe(0);
		// Its folder may go meanwhile.
		expect(await call("rmdir", "/folder")).toBe(0);
		expect(await exists(hidden)).toBe(0);
		for (const each of [again, descriptor]) expect(await call("release", hidden, each)).toBe(0);
		expect(await call("unlink", hidden)).toBe(0);
		expect(await exists(hidden)).toBe("ENOENT");
		expect(filesystem.remembered).toBeLessThanOrEqual(remembered);
		expect(failures).toEqual([]);
	});

	test("is let go when it is closed after its folder was removed, which libfuse cannot name then", async () => {
		await call("mkdir", "/folder", 0o755);
		await names("/folder");
		const remembered = filesystem.remembered;
		const descriptor = await written("/folder/file", "text");
		const again = Number(await call("open", "/folder/file", 0));
		await call("rename", "/folder/file", hidden);
		await call("rmdir", "/folder");
		expect(await call("release", "-", descriptor)).toBe(0);
		expect(await exists(hidden)).toBe(0);
		expect(await call("release", "-", again)).toBe(0);
		expect(await exists(hidden)).toBe("ENOENT");
		expect(filesystem.remembered).toBe(remembered);
	});

	test("stays when it is a program that chooses such a name", async () => {
		await call("mkdir", "/folder", 0o755);
		const closed = await written("/folder/closed", "text");
		await call("release", "/folder/closed", closed);
		expect(await call("rename", "/folder/closed", hidden)).toBe(0);
		expect(await names("/folder")).toEqual([".", "..", ".fuse_hidden0000000700000001"]);
		expect(await call("open", hidden, 0)).toBeGreaterThan(0);
		// Moved while it is open, as mv does with what another filesystem has left.
		const elsewhere = hidden.replace("/folder", "");
		expect(await call("rename", hidden, elsewhere)).toBe(0);
		expect(await call("rename", elsewhere, "/.fuse_hidden0000000700000002")).toBe(0);
		expect(await names("/")).toContain(".fuse_hidden0000000700000002");
	});
});

test("no file is held by a path that was walked, whether it led to something or not", async () => {
	for (const path of ["/a", "/a/b", "/a/b/c"]) await call("mkdir", path, 0o755);
	await names("/a/b/c");
	const remembered = filesystem.remembered;
	await call("release", "/a/b/c/file", await written("/a/b/c/file", "text"));
	for (let round = 0; round < 10; round++) {
		expect(await exists("/a/b/c/file")).toBe(0);
		expect(await exists("/a/b/absent/file")).toBe("ENOENT");
		expect(await call("open", "/a/b/absent", 0)).toBe("ENOENT");
		await names("/a/b");
	}
	expect(await call("unlink", "/a/b/c/file")).toBe(0);
	expect(filesystem.remembered).toBe(remembered);
	expect(failures).toEqual([]);
});

test("directories that were used are held, since what is known of their names goes with them, and a thousand at most", async () => {
	const before = filesystem.remembered;
	for (let index = 0; index < 1100; index++) {
		await call("mkdir", `/${index}`, 0o755);
		expect(await exists(`/${index}/absent`)).toBe("ENOENT");
		await names("/0");
	}
	expect(filesystem.remembered - before).toBe(1000);
	const lookups = filesystem.remembered;
	expect(await names("/0")).toEqual([".", ".."]);
	expect(filesystem.remembered).toBe(lookups);
});

test("numbers that do not fit into 32 bits become fewer and larger blocks", async () => {
	const statistics = await new Promise<Uint32Array | undefined>((resolve) => {
		const blocks = 2 ** 40;
		filesystem.statfs = () => ({
			blockSizeBytes: 4096,
			blocks,
			freeBlocks: blocks / 2,
			files: 2 ** 40,
			freeFiles: 5,
			maximumNameLength: 255,
		});
		operations.statfs("/", (_, value) => resolve(value));
	});
	const [, fragmentBytes = 0, blocks = 0, free = 0, , files, freeFiles] = statistics ?? [];
	expect([fragmentBytes * blocks, fragmentBytes * free]).toEqual([2 ** 52, 2 ** 51]);
	expect([files, freeFiles]).toEqual([2 ** 32 - 1, 5]);
});
