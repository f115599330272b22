import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { expect, test, vi } from "vitest";
import { tell as sh, useBuckets, writeAndClose } from "./buckets.ts";
import type { MountedBucket } from "./mounted-bucket.ts";

const buckets = useBuckets("failed-uploads");

async function get(key: string): Promise<string> {
	return (await buckets.minio.get(buckets.name, key)).toString();
}

const denied = { kind: "answer", status: 403, body: "<Error><Code>AccessDenied</Code></Error>" } as const;
const isPut = ({ method }: { method?: string | undefined }): boolean => method === "PUT";
const truncate = (path: string, sizeBytes: number): string =>
	`perl -e 'truncate("${path}", ${sizeBytes}) or die "$!\\n"'`;
const mknod = (path: string): string => `python3 -c 'import os, stat; os.mknod("${path}", 0o644 | stat.S_IFREG)'`;
test("what others do with a file that mknod or truncate by its path has made is seen", async () => {
	await buckets.minio.put(buckets.name, "truncated", "0123456789");
	const here = await buckets.mountThroughProxy({ volume: { ttlMs: 300 } });
	expect(await sh(here, `${mknod("made")}; ${truncate("truncated", 4)}; cat truncated`)).toBe("0123");
	await buckets.minio.put(buckets.name, "made", "by another");
	await buckets.minio.put(buckets.name, "truncated", "by another");
	await delay(600);
	expect(await sh(here, "cat made; echo; cat truncated")).toBe("by another\nby another");
});

test("a truncate by path that fails leaves the file as it was, and mknod no name", async () => {
	await buckets.minio.put(buckets.name, "file", "0123456789");
	const here = await buckets.mountThroughProxy();
	await sh(here, "ls");
	await buckets.proxy.fail(denied, { only: isPut });
	expect(await sh(here, truncate("file", 4))).toBe("Permission denied");
	expect(await sh(here, mknod("new"))).toContain("Permission denied");
	await buckets.proxy.mode("pass");
	expect(await sh(here, "cat file; echo; ls; echo more >>file")).toBe("0123456789\nfile");
	expect(await get("file")).toBe("0123456789more\n");
	await here.unmount();
	expect(await buckets.minio.list(buckets.name)).toEqual(["file"]);
});

test("what close could not upload does not appear later, and the next program sees the file as it was", async () => {
	await buckets.minio.put(buckets.name, "file", "old");
	const here = await buckets.mountThroughProxy();
	await sh(here, "ls");
	// Another attempt would succeed.
	await buckets.proxy.fail(denied, { only: isPut, times: 2 });
	expect(await sh(here, `${writeAndClose("file")}; ${writeAndClose("made")}`)).toBe("PermissionError\nPermissionError");
	await vi.waitFor(async () => expect((await here.stats())["open_files"]).toBe(0), 10_000);
	expect(await sh(here, "cat file; echo; ls")).toBe("old\nfile");
	expect(await get("file")).toBe("old");
	await here.unmount();
	expect(await buckets.minio.list(buckets.name)).toEqual(["file"]);
});

test("what one close could not upload is tried again by the close of another program, and by fsync", async () => {
	const here = await buckets.mountThroughProxy();
	await buckets.proxy.fail(denied, { only: isPut, times: 3 });
	const script = `
import os
one, two = os.open("file", os.O_CREAT | os.O_WRONLY), os.open("file", os.O_WRONLY)
os.write(one, b"one")
for attempt in (lambda: os.close(os.dup(one)), lambda: os.fsync(two), lambda: os.close(one), lambda: os.close(two)):
	try:
		attempt()
		print("stored")
	except PermissionError:
		print("failed")`;
	expect(await sh(here, `python3 -c '${script}'`)).toBe("failed\nfailed\nfailed\nstored");
	expect(await get("file")).toBe("one");
});

/** Writes to the file, and closes it when the line comes; prints the error that close(2) gives. */
function writing(here: MountedBucket, flags: string): { readonly closed: () => Promise<string> } {
	const script = `
import errno, os, sys
file = os.open("file", os.O_WRONLY | ${flags})
os.write(file, b"more")
print("written", flush=True)
sys.stdin.readline()
try: os.close(file)
except OSError as error: print(errno.errorcode[error.errno])
else: print("stored")`;
	const program = execa("python3", ["-c", script], { cwd: here.target, timeout: 20_000 });
	return {
		async closed() {
			program.stdin.end("\n");
			const [, outcome = ""] = (await program).stdout.split("\n");
			return outcome;
		},
	};
}

test("close says that a file is stale of which somebody else has removed what it was appended to", async () => {
	await buckets.minio.put(buckets.name, "file", "0123456789");
	const here = await buckets.mountThroughProxy();
	await sh(here, "ls");
	const program = writing(here, "os.O_APPEND");
	await vi.waitFor(async () => expect((await here.stats())["dirty_bytes"]).toBeGreaterThan(0), 15_000);
	await buckets.minio.delete(buckets.name, "file");
	expect(await program.closed()).toBe("ESTALE");
});

test.each([
	["removes", async () => buckets.minio.delete(buckets.name, "file")],
	["replaces", async () => buckets.minio.put(buckets.name, "file", "theirs")],
])("who overwrites a file that another client %s meanwhile is the last, and has stored it", async (_, act) => {
	await buckets.minio.put(buckets.name, "file", "old");
	// Its listings do not tell what is to be kept of the object.
	await buckets.proxy.fail({ kind: "headers", headers: { server: undefined } });
	const here = await buckets.mountThroughProxy();
	const program = writing(here, "os.O_TRUNC");
	await vi.waitFor(async () => expect((await here.stats())["dirty_bytes"]).toBeGreaterThan(0), 15_000);
	await act();
	expect(await program.closed()).toBe("stored");
	expect(await get("file")).toBe("more");
});

/** Changes mapped memory when the last descriptor is closed already; Python's own mmap keeps another. */
const mapAndWrite = `python3 -c '
import ctypes, os
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
file = os.open("file", os.O_RDWR)
memory = libc.mmap(None, ctypes.c_size_t(14), 3, 1, file, ctypes.c_long(0))
os.close(file)
ctypes.memmove(memory, b"MAPPED", 6)'`;

test("what was written to mapped memory after the file was closed is stored at the end", async () => {
	await buckets.minio.put(buckets.name, "file", "mapped content");
	const here = await buckets.mountThroughProxy();
	await sh(here, mapAndWrite);
	await vi.waitFor(async () => expect(await get("file")).toBe("MAPPED content"), 10_000);
});

test("who opens a file while its last upload is failing keeps what was written to it", async () => {
	await buckets.minio.put(buckets.name, "file", "mapped content");
	const here = await buckets.mountThroughProxy();
	const [asked, opened] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
	await buckets.proxy.fail(denied, {
		only: isPut,
		times: 1,
		before: async () => {
			asked.resolve();
			await opened.promise;
		},
	});
	await sh(here, mapAndWrite);
	await asked.promise;
	const appending = execa("bash", ["-c", `cd "$M"; exec 3>>file; read; echo " and more" >&3`], {
		env: { M: here.target },
		cwd: "/",
		timeout: 20_000,
	});
	// The one that is closed counts until that is over.
	await vi.waitFor(async () => expect((await here.stats())["open_files"]).toBe(2), 10_000);
	opened.resolve();
	await vi.waitFor(() => expect(buckets.proxy.failed).toBe(1), 10_000);
	appending.stdin.end("\n");
	await appending;
	expect(await get("file")).toBe("MAPPED content and more\n");
});
