import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { join } from "node:path";
import { DeleteObjectCommand, HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { errnoOf } from "../../src/s3-filesystem/errors.ts";
import { readPage } from "../../src/s3-filesystem/names/listing.ts";
import { s3PartGrid } from "../../src/s3-filesystem/writing/part-grid.ts";
import { projectRoot, until } from "../support/pod.ts";
import { useBuckets } from "./buckets.ts";
import { useMemoryBucket } from "./memory-bucket.ts";
import type { MountedBucket } from "./mounted-bucket.ts";

const mebibyte = 1024 ** 2;

const buckets = useBuckets("semantics");
const memory = useMemoryBucket();

interface Ran {
	readonly exitCode: number | undefined;
	readonly out: string;
	readonly err: string;
}

/** Runs a shell's script in the mount; never longer than its limit. */
async function sh(here: MountedBucket, script: string): Promise<Ran> {
	const { exitCode, stdout, stderr } = await execa("bash", ["-c", `cd "$M" || exit 99\n${script}`], {
		env: { M: here.target, LC_ALL: "C" },
		cwd: "/",
		reject: false,
		timeout: 40_000,
	});
	return { exitCode, out: stdout, err: stderr };
}

/** The same for a script that has to succeed. */
async function ok(here: MountedBucket, script: string): Promise<string> {
	const { exitCode, out, err } = await sh(here, script);
	expect(exitCode, `${err}\n${here.log.join("\n")}`).toBe(0);
	return out;
}

/** Runs JavaScript with Node's fs in a process of its own; what it prints. */
async function node(here: MountedBucket, script: string): Promise<string> {
	const program = `const fs = require("fs"); process.chdir(process.env.M);
	// libuv has no name for it.
	const name = (error) => (error.errno === -116 ? "ESTALE" : error.code);\n${script}`;
	const { stdout, stderr, exitCode } = await execa(process.execPath, ["-e", program], {
		env: { M: here.target },
		cwd: "/",
		reject: false,
		timeout: 40_000,
	});
	expect(exitCode, `${stderr}\n${here.log.join("\n")}`).toBe(0);
	return stdout;
}

async function contentType(key: string): Promise<string | undefined> {
	const head = await buckets.minio.client.send(new HeadObjectCommand({ Bucket: buckets.name, Key: key }));
	return head.ContentType;
}

async function put(key: string, content: string | Uint8Array): Promise<void> {
	await buckets.minio.put(buckets.name, key, content);
}

async function get(key: string): Promise<string> {
	return (await buckets.minio.get(buckets.name, key)).toString();
}

async function list(): Promise<string[]> {
	return buckets.minio.list(buckets.name);
}

async function metadata(key: string): Promise<Record<string, string>> {
	const { Metadata = {} } = await buckets.minio.client.send(new HeadObjectCommand({ Bucket: buckets.name, Key: key }));
	return Metadata;
}

describe("Reading", () => {
	test("reads the bytes of the object, from any offset, in any order", async () => {
		const content = randomBytes(20 * mebibyte);
		await put("big", content);
		const here = await buckets.mount();
		const printed = await node(
			here,
			`const fd = fs.openSync("big"); const ranges = [[0, 10], [19_000_000, 5000], [8388600, 16], [100, 9_000_000], [20971519, 100], [3, 1]];
			for (const [at, size] of ranges) { const b = Buffer.alloc(size); const n = fs.readSync(fd, b, 0, size, at); console.log(require("crypto").createHash("sha1").update(b.subarray(0, n)).digest("hex")); }`,
		);
		const expected = [
			[0, 10],
			[19_000_000, 5000],
			[8_388_600, 16],
			[100, 9_000_000],
			[20_971_519, 100],
			[3, 1],
		].map(([at = 0, size = 0]) =>
			createHash("sha1")
				.update(content.subarray(at, at + size))
				.digest("hex"),
		);
		expect(printed.split("\n")).toEqual(expected);
	});

	test("answers the first byte without waiting for the rest of the file", async () => {
		await put("big", Buffer.alloc(64 * mebibyte, 1));
		const here = await buckets.mount();
		await ok(here, "head -c 1 big >/dev/null");
		expect((await here.stats())["fetched_bytes"]).toBeLessThan(24 * mebibyte);
	});

	test("fetches no more than a random read asks for", async () => {
		await put("big", Buffer.alloc(64 * mebibyte, 1));
		const here = await buckets.mount();
		await node(
			here,
			`const fd = fs.openSync("big"); for (const at of [30e6, 10e6, 50e6, 20e6, 60e6, 5e6]) fs.readSync(fd, Buffer.alloc(4096), 0, 4096, Math.floor(at / 4096) * 4096);`,
		);
		expect((await here.stats())["fetched_bytes"]).toBeLessThan(mebibyte);
	});

	test("never mixes two versions of an object: a replaced object gives ESTALE, and opening it again gives the new one", async () => {
		await put("file", Buffer.alloc(32 * mebibyte, "a"));
		const here = await buckets.mount({ volume: { ttlMs: 0 }, settings: { readAheadBytes: mebibyte } });
		const reading = node(
			here,
			`const fd = fs.openSync("file"); const b = Buffer.alloc(4096); fs.readSync(fd, b, 0, 4096, 0); fs.writeSync(1, "open\\n"); const until = Date.now() + 3000; while (Date.now() < until);
			let seen = ""; try { for (let at = 4096; at < 32 * 1048576; at += 4096) { fs.readSync(fd, b, 0, 4096, at); if (b.includes("b")) seen = "mixed"; } } catch (error) { seen = name(error); } console.log(seen); process.exit(0);`,
		);
		await new Promise((resolve) => setTimeout(resolve, 1200));
		await put("file", Buffer.alloc(32 * mebibyte, "b"));
		expect(await reading).toBe("open\nESTALE");
		expect(await ok(here, "head -c 3 file")).toBe("bbb");
	});

	test("gives ESTALE for an object that was deleted while it was open", async () => {
		await put("file", Buffer.alloc(32 * mebibyte, "a"));
		const here = await buckets.mount({ settings: { readAheadBytes: mebibyte } });
		const reading = node(
			here,
			`const fd = fs.openSync("file"); const until = Date.now() + 2500; while (Date.now() < until);
			try { fs.readSync(fd, Buffer.alloc(4096), 0, 4096, 0); console.log("read"); } catch (error) { console.log(name(error)); }`,
		);
		await new Promise((resolve) => setTimeout(resolve, 1000));
		await buckets.minio.client.send(new DeleteObjectCommand({ Bucket: buckets.name, Key: "file" }));
		expect(await reading).toBe("ESTALE");
	});
});

describe("Writing", () => {
	test("shows what is written to every program of the mount at once", async () => {
		const here = await buckets.mount();
		expect(await ok(here, "exec 3>file; echo one >&3; cat file; stat -c %s file; echo two >&3; cat file")).toBe(
			"one\n4\none\ntwo",
		);
	});

	test("makes it the object when the file is closed or fsynced, and not before", async () => {
		const here = await buckets.mount();
		const writing = node(
			here,
			`const fd = fs.openSync("file", "w"); fs.writeSync(fd, "one"); fs.fsyncSync(fd); fs.writeSync(fd, "two"); const until = Date.now() + 2500; while (Date.now() < until); fs.closeSync(fd);`,
		);
		await new Promise((resolve) => setTimeout(resolve, 1500));
		expect(await get("file")).toBe("one");
		await writing;
		expect(await get("file")).toBe("onetwo");
	});

	test("reports from close what could not be uploaded", async () => {
		const here = await buckets.mount({ endpoint: buckets.proxy.endpoint, store: { retryForMs: 500 } });
		await ok(here, "ls");
		await buckets.proxy.mode("error-503");
		expect(
			await node(
				here,
				`const fd = fs.openSync("file", "w"); fs.writeSync(fd, "one"); try { fs.closeSync(fd); console.log("closed"); } catch (error) { console.log(error.code); }`,
			),
		).toMatch(/^(EAGAIN|EIO)$/);
		await buckets.proxy.mode("pass");
		expect(await list()).toEqual([]);
	});

	test("keeps the bytes around a write in the middle of a file", async () => {
		const content = randomBytes(20 * mebibyte);
		await put("big", content);
		const here = await buckets.mount();
		await ok(here, "printf XYZ | dd of=big bs=1 seek=9000000 conv=notrunc status=none");
		content.write("XYZ", 9_000_000);
		expect((await buckets.minio.get(buckets.name, "big")).equals(content)).toBe(true);
	});

	test("appends", async () => {
		await put("log", "one\n");
		const here = await buckets.mount();
		await ok(here, "echo two >>log; echo three >>log");
		expect(await get("log")).toBe("one\ntwo\nthree\n");
	});

	test("truncates, down and up", async () => {
		await put("file", "0123456789");
		const here = await buckets.mount();
		await ok(here, "truncate -s 4 file");
		expect(await get("file")).toBe("0123");
		await ok(here, "truncate -s 6 file");
		expect(await get("file")).toBe("0123\0\0");
		await ok(here, ": >file");
		expect(await get("file")).toBe("");
	});

	test("uploads of a large file only the parts that changed", async () => {
		const content = randomBytes(64 * mebibyte);
		await put("big", content);
		const here = await buckets.mount({ endpoint: buckets.proxy.endpoint });
		const before = buckets.proxy.requests;
		await ok(here, "echo appended >>big");
		expect(
			(await buckets.minio.get(buckets.name, "big")).equals(Buffer.concat([content, Buffer.from("appended\n")])),
		).toBe(true);
		expect(buckets.proxy.requests - before).toBeLessThan(30);
		expect((await here.stats())["fetched_bytes"]).toBe(0);
	});

	test("fills holes with zeros", async () => {
		const here = await buckets.mount();
		await ok(here, "printf end | dd of=file bs=1 seek=1000 status=none");
		const content = await buckets.minio.get(buckets.name, "file");
		expect(content.equals(Buffer.concat([Buffer.alloc(1000), Buffer.from("end")]))).toBe(true);
	});

	test("lets the server decide at close whether a file opened with O_EXCL is new", async () => {
		const [one, two] = [await buckets.mount(), await buckets.mount()];
		await Promise.all([ok(one, "ls"), ok(two, "ls")]);
		const lock = (here: MountedBucket) =>
			node(
				here,
				`const fd = fs.openSync("lock", "wx"); fs.writeSync(fd, String(process.pid)); const until = Date.now() + 1500; while (Date.now() < until); try { fs.closeSync(fd); console.log("mine"); } catch (error) { console.log(error.code); }`,
			);
		expect((await Promise.all([lock(one), lock(two)])).toSorted()).toEqual(["EEXIST", "mine"]);
	});

	test("refuses with ENOSPC what cannot be kept until it is uploaded, and loses nothing that was accepted", async () => {
		const here = await buckets.mount({
			endpoint: buckets.proxy.endpoint,
			store: { retryForMs: 500 },
			settings: { stagingLimitBytes: 16 * mebibyte },
		});
		await ok(here, "ls");
		await buckets.proxy.mode("error-503");
		const { exitCode, err } = await sh(here, "dd if=/dev/zero of=file bs=1M count=64 status=none");
		expect(exitCode).not.toBe(0);
		expect(err).toMatch(/No space left|temporarily unavailable|Input\/output error/);
	});

	test("refuses with EFBIG a file that is longer than its `write-buffer` allows", async () => {
		for (const stagingLimitBytes of [16 * mebibyte, 128 * mebibyte]) {
			const here = await buckets.mount({ settings: { stagingLimitBytes } });
			const longest = s3PartGrid(stagingLimitBytes).maximumSizeBytes;
			const script = `const fd = fs.openSync("file", "w");
			const tell = (action) => { try { action(); console.log("done"); } catch (error) { console.log(error.code); } };
			tell(() => fs.ftruncateSync(fd, ${longest + 1}));
			tell(() => fs.writeSync(fd, "x", ${longest}));
			tell(() => fs.ftruncateSync(fd, ${longest}));
			console.log(fs.fstatSync(fd).size);
			fs.ftruncateSync(fd, 0);
			fs.closeSync(fd);`;
			expect(await node(here, script)).toBe(["EFBIG", "EFBIG", "done", longest].join("\n"));
		}
	});
});

describe("Names and directories", () => {
	test("keeps a directory that was made as an object that ends in a slash", async () => {
		const here = await buckets.mount();
		await ok(here, "mkdir a a/b");
		expect(await list()).toEqual(["a/", "a/b/"]);
	});

	test("shows directories that only the names below them imply", async () => {
		await put("a/b/c", "x");
		const here = await buckets.mount();
		expect(await ok(here, "find . | sort")).toBe(".\n./a\n./a/b\n./a/b/c");
	});

	test("keeps such a directory when the last name in it is removed", async () => {
		await put("a/only", "x");
		const here = await buckets.mount();
		expect(await ok(here, "rm a/only; ls -A a; ls")).toBe("a");
		expect(await list()).toEqual(["a/"]);
	});

	test("refuses to remove a directory that is not empty", async () => {
		await put("a/b", "x");
		const here = await buckets.mount();
		expect((await sh(here, "rmdir a")).err).toContain("Directory not empty");
		expect(await ok(here, "rm -r a; ls")).toBe("");
		expect(await list()).toEqual([]);
	});

	test("renames a file, and replaces another one with it", async () => {
		await put("old", "old");
		await put("new", "new");
		const here = await buckets.mount();
		await ok(here, "chmod 640 old; mv -f old new; test ! -e old");
		expect(await list()).toEqual(["new"]);
		expect(await get("new")).toBe("old");
		expect(await ok(here, "cat new; stat -c %a new")).toBe("old640");
		expect((await sh(here, "echo x >other; mv -n other new; cat new; ls")).out).toBe("oldnew\nother");
	});

	test("renames a directory with everything below it", async () => {
		await Promise.all(Array.from({ length: 1100 }, async (_, index) => put(`from/${index % 3}/${index}`, `${index}`)));
		const here = await buckets.mount();
		await ok(here, "mv from to");
		expect(await list()).toHaveLength(1100);
		expect(await ok(here, "ls; cat to/2/1001; find to -type f | wc -l")).toBe("to\n10011100");
	});

	test("keeps what is done below a directory while it is renamed", async () => {
		const here = await buckets.mount();
		await ok(here, "mkdir -p a/there; echo x >a/there/file");
		const writing = `import os
d = os.open("a/there", os.O_DIRECTORY)
log = os.open("log", os.O_CREAT | os.O_WRONLY, dir_fd=d)
for number in range(20):
	os.pwrite(log, str(number).encode(), 0); os.fsync(log)
	made = os.open(f"made-{number}", os.O_CREAT | os.O_WRONLY, dir_fd=d)
	os.write(made, str(number).encode()); os.close(made)
os.close(log)`;
		const moving = `while kill -0 $writer 2>/dev/null; do mv -T a/there a/elsewhere && mv -T a/elsewhere a/there || exit 1; done`;
		await ok(here, `python3 -c '${writing}' & writer=$!; ${moving}; wait $writer`);
		const made = Array.from({ length: 20 }, (_, number) => `a/there/made-${number}`);
		const names = ["a/there/", "a/there/file", "a/there/log", ...made].toSorted();
		expect((await list()).filter((key) => key !== "a/").toSorted()).toEqual(names);
		expect(await get("a/there/log")).toBe("19");
		for (const [number, key] of made.entries()) expect(await get(key)).toBe(String(number));
	});

	test("removes only what was copied when a directory is renamed", async () => {
		const here = await buckets.mount();
		for (const name of ["1", "2", "3"]) await put(`from/${name}`, "copied");
		await ok(here, "ls from");
		const over = new AbortController();
		const storing = (async () => {
			for (let count = 0; ; count++) {
				if (over.signal.aborted) return count;
				await put(`from/other-${count}`, "kept");
			}
		})();
		await ok(here, "mv from to");
		over.abort();
		const others = Array.from({ length: await storing }, (_, number) => `other-${number}`);
		const found = (await list()).map((key) => key.replace(/^(from|to).other/, "other"));
		expect(found.toSorted()).toEqual(["to/1", "to/2", "to/3", ...others].toSorted());
	});

	test("refuses to move a directory into itself", async () => {
		const here = await buckets.mount();
		const printed = await node(
			here,
			`fs.mkdirSync("a/b", { recursive: true }); try { fs.renameSync("a", "a/b/c"); } catch (error) { console.log(error.code); }`,
		);
		expect(printed).toBe("EINVAL");
	});

	test("refuses to exchange two names", async () => {
		const here = await buckets.mount();
		const { exitCode } = await sh(here, "echo a >a; echo b >b; mv --exchange a b");
		expect(exitCode).not.toBe(0);
		expect(await ok(here, "cat a b")).toBe("a\nb");
	});

	test("keeps a removed file readable while it is open", async () => {
		await put("file", "still here");
		const here = await buckets.mount();
		expect(await ok(here, "exec 3<file; rm file; ls; cat <&3; exec 3<&-; ls")).toBe("still here");
		// Nobody waits for the release that follows the last close, and with it the object goes.
		await until(
			async () => (await list()).length === 0,
			20_000,
			() => "its object is still there",
		);
		expect(await ok(here, "exec 3<>new; echo fresh >&3; rm new; cat /proc/self/fd/3")).toBe("fresh");
	});

	test("leaves what somebody else has stored under the name of a removed file that is open", async () => {
		await put("file", "ours");
		const here = await buckets.mount();
		const reading = sh(here, "exec 3<file; rm file; until [ -e go ]; do sleep 0.1; done; cat <&3");
		await until(
			async () => (await ok(here, "ls")) === "",
			10_000,
			() => "file is still there",
		);
		await put("file", "of somebody else");
		await ok(here, "touch go");
		await reading;
		await ok(here, "rm go; sleep 0.3");
		expect(await list()).toEqual(["file"]);
		expect(await get("file")).toBe("of somebody else");
	});

	test("refuses hard links", async () => {
		const here = await buckets.mount();
		expect((await sh(here, "echo x >a; ln a b")).err).toContain("Operation not permitted");
	});

	test("refuses device files and pipes", async () => {
		const here = await buckets.mount();
		expect((await sh(here, "mkfifo pipe")).err).toContain("Operation not permitted");
		expect((await sh(here, "mknod device c 1 3")).err).toContain("Operation not permitted");
	});

	test("shows the directory where a file and a directory have the same name", async () => {
		// A listing of a server that has both: MinIO lists one of them only.
		const object = (key: string) => ({ key, sizeBytes: 1, modifiedMs: 1, etag: "e" });
		const page = { objects: [object("a"), object("a-b")], prefixes: ["a/"], nextToken: undefined };
		expect(readPage(page, "").entries.map(({ name, kind }) => [name, kind])).toEqual([
			["a", "directory"],
			["a-b", "file"],
		]);
	});

	test("does not show keys that cannot be names", async () => {
		// A listing of a server that takes such keys: MinIO does not.
		const objects = ["a", "..", ".", "n".repeat(256)].map((key) => ({ key, sizeBytes: 1, modifiedMs: 1, etag: "e" }));
		const listing = readPage({ objects, prefixes: ["/", "./", "../", "b/"], nextToken: undefined }, "");
		expect(listing.entries.map(({ name }) => name)).toEqual(["b", "a"]);
		expect(listing.hidden).toBe(6);
	});

	test("takes names with spaces, newlines, quotes and emoji", async () => {
		const names = [
			"two words",
			"line\nbreak",
			"'quoted\"",
			"🙂 ü 数据",
			"-rf",
			"a%2Fb",
			"a+b&c",
			"*?[x]",
			"trailing\n",
		];
		await Promise.all(names.slice(0, 4).map(async (name) => put(name, name)));
		const here = await buckets.mount();
		const script = `for (const name of ${JSON.stringify(names.slice(4))}) fs.writeFileSync(name, name); console.log(JSON.stringify(fs.readdirSync(".").map((name) => [name, fs.readFileSync(name, "utf8")])));`;
		const seen = JSON.parse(await node(here, script)) as [string, string][];
		expect(seen.map(([name]) => name).toSorted()).toEqual(names.toSorted());
		expect(seen.every(([name, content]) => name === content)).toBe(true);
		expect((await list()).toSorted()).toEqual(names.toSorted());
	});

	test("refuses names that are not UTF-8", async () => {
		const here = await buckets.mount();
		expect((await sh(here, "touch $'\\xff\\xfe'")).exitCode).not.toBe(0);
		expect(await list()).toEqual([]);
	});

	test("refuses names of more than 255 bytes", async () => {
		const here = await buckets.mount();
		expect((await sh(here, `touch ${"é".repeat(128)}`)).err).toContain("File name too long");
		await ok(here, `touch ${"é".repeat(127)}`);
	});

	test("refuses paths of more than 1024 bytes", async () => {
		const here = await buckets.mount();
		const top = "d".repeat(200);
		const deep = Array.from({ length: 5 }, () => top).join("/");
		// With the slash after it, 1005 bytes.
		await ok(here, `mkdir -p ${deep}`);
		const [file, directory, long] = ["f".repeat(19), "g".repeat(18), "n".repeat(20)];
		await ok(here, `cd ${deep}; touch ${file}; mkdir ${directory}`);
		for (const command of [`touch ${long}`, `mkdir ${file}x`, `ln -s x ${long}`, `mv ${directory} ${directory}x`]) {
			expect((await sh(here, `cd ${deep}; ${command}`)).err, command).toContain("File name too long");
		}
		expect((await sh(here, `mkdir to; mv ${top} to`)).err).toContain("File name too long");
		expect((await list()).filter((key) => key.startsWith("to/"))).toEqual(["to/"]);
		expect(await ok(here, `ls ${deep}`)).toBe(`${file}\n${directory}`);
	});

	test("refuses with ENAMETOOLONG a name that is too long for the server", async () => {
		const name = "n".repeat(247);
		const here = await buckets.mount();
		await ok(here, "mkdir -p from/below; echo x >from/file");
		for (const command of [`mkdir ${name}`, `mv from/below ${name}`, `mv from ${name}`]) {
			expect((await sh(here, command)).err, command).toContain("File name too long");
		}
		expect(await ok(here, "find | sort")).toBe(".\n./from\n./from/below\n./from/file");
		expect(await list()).toEqual(["from/", "from/below/", "from/file"]);
		// The server keeps what is below such a name.
		for (const file of ["one", "two"]) await put(`${name}/${file}`, "x");
		const again = await buckets.mount();
		expect(await ok(again, `ls -l | wc -l; cd ${name}; mv one ../one; ls; mv ../one two; ls`)).toBe("3\ntwo\ntwo");
		expect((await sh(again, `chmod 700 ${name}`)).err).toContain("File name too long");
		expect(await ok(again, `rm -r ${name}; ls`)).toBe("from");
		await buckets.proxy.fail(
			{ kind: "answer", status: 400, body: "<Error><Code>KeyTooLongError</Code></Error>" },
			{ only: ({ method }) => method === "PUT" },
		);
		const other = await buckets.mount({ endpoint: buckets.proxy.endpoint });
		for (const command of ["mkdir x", "ln -s a x", "touch x", "mv from/file x"]) {
			expect((await sh(other, command)).err, command).toContain("File name too long");
		}
	});

	test("keeps mode, owner and times in the object's metadata, also for the next mount", async () => {
		const here = await buckets.mount();
		await ok(here, "echo x >file; chown 1000:100 file; chmod 2751 file; touch -d @1500000000.25 file");
		expect(await metadata("file")).toMatchObject({
			mode: String(0o102_751),
			uid: "1000",
			gid: "100",
			mtime: "1500000000.250000000",
		});
		const stat = "stat -c '%a %u %g %Y' file";
		expect(await ok(here, stat)).toBe("2751 1000 100 1500000000");
		await here.unmount();
		expect(await ok(await buckets.mount(), stat)).toBe("2751 1000 100 1500000000");
		expect(await ok(await buckets.mount({ volume: { attributes: "all" } }), stat)).toBe("2751 1000 100 1500000000");
	});

	test("keeps times to the nanosecond", async () => {
		const here = await buckets.mount();
		const times = `stat -c '%.9X %.9Y' file link directory`;
		await ok(here, "echo x >file; mkdir directory; ln -s file link");
		await ok(here, "for name in file link directory; do touch -ham -d @1500000000.123456789 $name; done");
		await ok(here, "touch -a -d @1500000001.000000001 file; touch -m -d @-1.5 directory");
		const expected = [
			"1500000001.000000001 1500000000.123456789",
			"1500000000.123456789 1500000000.123456789",
			"1500000000.123456789 -1.500000000",
		].join("\n");
		expect(await ok(here, times)).toBe(expected);
		await here.unmount();
		expect(await ok(await buckets.mount(), times)).toBe(expected);
		expect(await metadata("file")).toMatchObject({ mtime: "1500000000.123456789", atime: "1500000001.000000001" });
	});

	test("changes times and links with each operation as a disk does", async () => {
		const here = await buckets.mount();
		const printed = await node(
			here,
			`const pause = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
			const times = (name) => { const { mtimeMs, ctimeMs, nlink } = fs.lstatSync(name); return { mtimeMs, ctimeMs, nlink }; };
			const changed = (name, action) => {
				const before = times(name); pause(); action(); const after = times(name);
				return ["mtimeMs", "ctimeMs"].filter((time) => after[time] > before[time]).join();
			};
			fs.mkdirSync("d"); fs.writeFileSync("file", "x");
			console.log("mkdir", changed("d", () => fs.mkdirSync("d/e")));
			console.log("symlink", changed("d", () => fs.symlinkSync("x", "d/link")));
			console.log("create", changed("d", () => fs.writeFileSync("d/file", "")));
			console.log("unlink", changed("d", () => fs.unlinkSync("d/file")));
			console.log("chmod", changed("file", () => fs.chmodSync("file", 0o600)), changed("d", () => fs.chmodSync("d", 0o700)));
			console.log("chown", changed("file", () => fs.chownSync("file", 7, 7)), changed("d", () => fs.chownSync("d", 7, 7)));
			console.log("utimes", changed("file", () => fs.utimesSync("file", 1, 1)), changed("d", () => fs.utimesSync("d", 1, 1)));
			console.log("write", changed("file", () => fs.appendFileSync("file", "more")));
			console.log("truncate", changed("file", () => fs.truncateSync("file", 5)));
			console.log("again", changed("file", () => fs.writeFileSync("file", "")), changed("file", () => fs.writeFileSync("file", "")));
			const fd = fs.openSync("file"), before = times("file"); pause();
			fs.renameSync("file", "other"); const after = times("other");
			console.log("rename", after.mtimeMs === before.mtimeMs, after.ctimeMs > before.ctimeMs, fs.fstatSync(fd).nlink);
			fs.unlinkSync("other"); console.log("unlinked", fs.fstatSync(fd).nlink);`,
		);
		const both = "mtimeMs,ctimeMs";
		expect(printed.split("\n")).toEqual([
			...["mkdir", "symlink", "create", "unlink"].map((name) => `${name} ${both}`),
			...["chmod", "chown", "utimes"].map((name) => `${name} ctimeMs ctimeMs`),
			...["write", "truncate"].map((name) => `${name} ${both}`),
			`again ${both} ${both}`,
			"rename true true 1",
			"unlinked 0",
		]);
	});

	test("shows one link of a directory, and none of one that was removed while it was open", async () => {
		const here = await buckets.mount();
		const printed = await node(
			here,
			`fs.mkdirSync("removed/below", { recursive: true }); fs.mkdirSync("replaced"); fs.mkdirSync("other");
			console.log(fs.statSync("removed").nlink, fs.statSync(".").nlink);
			const opened = ["removed", "replaced"].map((name) => fs.openSync(name));
			fs.rmdirSync("removed/below"); fs.rmdirSync("removed"); fs.renameSync("other", "replaced");
			console.log(...opened.map((fd) => fs.fstatSync(fd).nlink));`,
		);
		expect(printed).toBe("1 1\n0 0");
	});

	test("hands on the group of a set-group-ID directory", async () => {
		const here = await buckets.mount();
		await ok(here, "mkdir d; chgrp 7 d; chmod 2775 d");
		const again = await buckets.mount();
		await ok(again, "cd d; echo x >file; mkdir e; ln -s file link; echo x >e/file; mkdir e/f");
		const stat = "cd d; stat -c '%n %g %A' file e link e/file e/f";
		const expected = [
			"file 7 -rw-r--r--",
			"e 7 drwxr-sr-x",
			"link 7 lrwxrwxrwx",
			"e/file 7 -rw-r--r--",
			"e/f 7 drwxr-sr-x",
		];
		expect((await ok(again, stat)).split("\n")).toEqual(expected);
		expect((await ok(await buckets.mount(), stat)).split("\n")).toEqual(expected);
	});

	test("changes no time by reading: atime is mtime until it is set", async () => {
		await put("file", "x");
		const here = await buckets.mount();
		const [before] = (await ok(here, "stat -c '%.9X %.9Y %.9Z' file")).split("\n");
		const [atime, mtime] = before?.split(" ") ?? [];
		expect(atime).toBe(mtime);
		expect(await ok(here, "cat file; sleep 0.1; stat -c '%.9X %.9Y %.9Z' file")).toBe(`x${before}`);
		await node(here, `fs.utimesSync("file", 1_500_000_000, 1_500_000_001)`);
		expect(await ok(here, "stat -c '%X %Y' file; echo more >>file; stat -c %X file")).toBe(
			"1500000000 1500000001\n1500000000",
		);
	});

	test("knows ctime, and since when the names in a directory have changed, as long as the kernel knows the file", async () => {
		const here = await buckets.mount();
		await ok(here, "mkdir d; touch -d @1500000000 d");
		await put("d/old", "x");
		const [modified] = (
			await ok(here, "echo x >file; touch -d @1500000000 file; echo x >d/file; stat -c '%Y' d")
		).split("\n");
		expect(Number(modified)).toBeGreaterThan(1_600_000_000);
		await here.unmount();
		const [d, file] = (await ok(await buckets.mount(), "stat -c '%Y %.9Z' d file")).split("\n");
		expect(d).toMatch(/^1500000000 /);
		const { LastModified } = await buckets.minio.client.send(
			new HeadObjectCommand({ Bucket: buckets.name, Key: "file" }),
		);
		expect(Math.floor(Number(file?.split(" ")[1]))).toBe(Number(LastModified) / 1000);
	});

	test("keeps user attributes in the object's metadata", async () => {
		const here = await buckets.mount();
		const python = (script: string): string => `python3 -c 'import os; ${script}'`;
		await ok(here, `echo x >file; ${python('os.setxattr("file", "user.color", b"red")')}`);
		const read = python('print(os.listxattr("file"), os.getxattr("file", "user.color"))');
		expect(await ok(here, read)).toBe("['user.color'] b'red'");
		expect(await metadata("file")).toMatchObject({ xattr: encodeURIComponent('{"user.color":"cmVk"}') });
		expect(await ok(await buckets.mount(), read)).toBe("['user.color'] b'red'");
	});

	test("keeps what an object has beside its bytes when it is written, copied or renamed", async () => {
		const kept = { ContentType: "text/css", CacheControl: "max-age=60", StorageClass: "REDUCED_REDUNDANCY" } as const;
		await buckets.minio.client.send(
			new PutObjectCommand({
				Bucket: buckets.name,
				Key: "file",
				Body: "x",
				Tagging: "a=1",
				Metadata: { author: "me" },
				Expires: new Date("2030-01-01T00:00:00Z"),
				...kept,
			}),
		);
		const here = await buckets.mount();
		for (const [script, key] of [
			["echo more >>file", "file"],
			["echo new >file; chmod 600 file", "file"],
			["mv file other", "other"],
			["mkdir directory; mv other directory/; mv directory to", "to/other"],
		] as const) {
			await ok(here, script);
			const found = await buckets.minio.client.send(new HeadObjectCommand({ Bucket: buckets.name, Key: key }));
			expect(found, script).toMatchObject({ ...kept, ExpiresString: "Tue, 01 Jan 2030 00:00:00 GMT", TagCount: 1 });
			expect(found.Metadata?.["author"]).toBe("me");
		}
	});

	test("gives new files a Content-Type by their names", async () => {
		const here = await buckets.mount();
		await ok(here, "echo x >page.html");
		expect(await contentType("page.html")).toBe("text/html");
	});

	test("gives renamed files that of their new names, unless somebody has given them another one", async () => {
		const { client } = buckets.minio;
		await client.send(
			new PutObjectCommand({ Bucket: buckets.name, Key: "mine.txt", Body: "x", ContentType: "text/x-mine" }),
		);
		const here = await buckets.mount();
		// As rsync and editors write.
		await ok(here, "echo x >.page.html.Ab12; mv .page.html.Ab12 page.html; mv mine.txt mine.html");
		expect([await contentType("page.html"), await contentType("mine.html")]).toEqual(["text/html", "text/x-mine"]);
	});

	test("keeps attributes without a namespace, as s3fs does", async () => {
		const here = await buckets.mount();
		await ok(here, "echo x >file; setfattr -n color -v red file");
		expect(await metadata("file")).toMatchObject({ xattr: encodeURIComponent('{"color":"cmVk"}') });
		const there = await buckets.mount();
		expect(await ok(there, "getfattr -n color --only-values file")).toBe("red");
		await ok(there, "setfattr -x color file");
		expect(await metadata("file")).not.toHaveProperty("xattr");
	});

	test("refuses attributes of the system's namespaces, and does not list those that s3fs has kept", async () => {
		await buckets.minio.client.send(
			new PutObjectCommand({
				Bucket: buckets.name,
				Key: "from-s3fs",
				Metadata: { xattr: encodeURIComponent('{"system.posix_acl_access":"AgAAAA==","user.color":"cmVk"}') },
			}),
		);
		const here = await buckets.mount();
		const { err } = await sh(here, `echo x >file; python3 -c 'import os; os.setxattr("file", "trusted.x", b"1")'`);
		expect(err).toContain("Operation not supported");
		const python = `print(os.listxattr("from-s3fs")); os.setxattr("from-s3fs", "user.color", b"blue")`;
		expect(await ok(here, `python3 -c 'import os; ${python}'`)).toBe("['user.color']");
		expect(decodeURIComponent((await metadata("from-s3fs"))["xattr"] ?? "")).toBe(
			'{"system.posix_acl_access":"AgAAAA==","user.color":"Ymx1ZQ=="}',
		);
	});

	test("refuses more than 2 KB of metadata with ENOSPC", async () => {
		const here = await buckets.mount();
		const script = `echo x >file; python3 -c 'import os; os.setxattr("file", "user.x", b"1" * 2000)'`;
		expect((await sh(here, script)).err).toContain("No space left on device");
	});

	test("keeps symbolic links as s3fs does", async () => {
		const here = await buckets.mount();
		await ok(here, "echo content >file; ln -s file link");
		expect(await get("link")).toBe("file");
		expect(Number((await metadata("link"))["mode"]) & 0o170_000).toBe(0o120_000);
		expect(await ok(await buckets.mount(), "readlink link; cat link")).toBe("file\ncontent");
	});

	test("gives no two files one inode number, whatever was renamed, replaced, or removed while it was open", async () => {
		const here = await buckets.mount();
		const printed = await node(
			here,
			`const opened = []; const open = (name) => void opened.push(fs.openSync(name, "w"));
			for (let turn = 0; turn < 3; turn++) {
				for (const name of ["renamed", "replaced", "removed"]) open(name);
				fs.renameSync("renamed", "to-" + turn); fs.unlinkSync("removed");
				open("other"); fs.renameSync("other", "replaced"); fs.unlinkSync("replaced");
			}
			console.log(opened.length, new Set(opened.map((fd) => fs.fstatSync(fd).ino)).size);`,
		);
		expect(printed).toBe("12 12");
		expect(await ok(here, "echo 1 >new; mv new old; echo 2 >new; mv new old; cat old")).toBe("2");
	});

	test("keeps the inode number of a file that is renamed, and that of a name for the next mount", async () => {
		const here = await buckets.mount();
		const before = await ok(
			here,
			"mkdir d; echo x >d/a; stat -c %i d/a; mv d/a d/b; stat -c %i d/b; echo x >d/c; stat -c %i d d/c",
		);
		const [a, b, ...others] = before.split("\n");
		expect(b).toBe(a);
		await here.unmount();
		expect((await ok(await buckets.mount(), "stat -c %i d d/c")).split("\n")).toEqual(others);
	});

	test("lists thousands of files with one request for each thousand", async () => {
		await Promise.all(Array.from({ length: 2500 }, async (_, index) => put(`many/${index}`, "x")));
		const here = await buckets.mount({ endpoint: buckets.proxy.endpoint });
		await ok(here, "ls");
		const before = buckets.proxy.requests;
		expect(await ok(here, "ls -l many | wc -l; find . -type f | wc -l; du -s --apparent-size many >/dev/null")).toBe(
			"2501\n2500",
		);
		// Three pages, and a few requests for the directories themselves.
		expect(buckets.proxy.requests - before).toBeLessThanOrEqual(8);
	});

	test("asks MinIO for attributes in listings as long as the first thousand objects had some, or some are seen later", async () => {
		const directories = Array.from({ length: 20 }, (_, index) => `some/${String(index).padStart(2, "0")}`);
		await Promise.all(Array.from({ length: 1500 }, async (_, index) => put(`many/${index}`, "x")));
		await Promise.all(directories.map(async (directory) => put(`${directory}/file`, "x")));
		const modes = `stat -c %a some/*/file | sort | uniq -c | tr -s " "`;
		const listings: string[] = [];
		const only = ({ url = "" }: IncomingMessage): boolean => {
			if (/list-type=2.*prefix=(many|some)/.test(url)) listings.push(url);
			return false;
		};
		await buckets.proxy.fail({ kind: "lose-answer" }, { only });
		const asked = async (script: string): Promise<boolean[]> => {
			listings.length = 0;
			await ok(here, script);
			return listings.map((url) => url.includes("metadata=true"));
		};
		let here = await buckets.mountThroughProxy({ volume: { ttlMs: 500 } });
		// The first page may have been asked for with the attributes of the directory, and once more.
		const first = await asked("ls many");
		expect([first[0], first.at(-1)]).toEqual([true, false]);
		expect(new Set(await asked("ls some/00"))).toEqual(new Set([false]));

		// Somebody else gives them some, and one of sixteen listings is a sample.
		await ok(await buckets.mount(), "chmod 600 some/*/file");
		await delay(600);
		await ok(here, "ls some/*");
		await delay(600);
		expect(await ok(here, modes)).toBe(" 20 600");
		expect(new Set(await asked("sleep 0.6; ls many"))).toEqual(new Set([true]));

		// What this mount stores is seen by it at once, and later.
		here = await buckets.mountThroughProxy({ volume: { ttlMs: 500 } });
		expect((await asked("ls many")).at(-1)).toBe(false);
		expect(await ok(here, "chmod 640 many/1400; sleep 0.6; stat -c %a many/1400")).toBe("640");

		here = await buckets.mountThroughProxy({ volume: { attributes: "all" } });
		expect((await asked("ls many")).at(-1)).toBe(true);
	});
});

describe("Several programs and nodes", () => {
	test("sees what others changed after the TTL at the latest", async () => {
		await put("file", "old");
		const here = await buckets.mount({ volume: { ttlMs: 1500 } });
		expect(await ok(here, "cat file")).toBe("old");
		await put("file", "newer");
		expect(await ok(here, "sleep 2; cat file")).toBe("newer");
	});

	test("sees what others changed at once when the TTL is 0", async () => {
		await put("file", "old");
		const here = await buckets.mount({ volume: { ttlMs: 0 } });
		expect(await ok(here, "cat file; ls")).toBe("oldfile");
		await put("file", "newer");
		await put("other", "x");
		expect(await ok(here, "cat file; ls")).toBe("newerfile\nother");
	});

	test("lists what it has made itself before, and nothing that it has removed", async () => {
		// A server that goes on listing from what there was at first, as MinIO does.
		const names = Array.from({ length: 3000 }, (_, index) => `d/f${1000 + index}`);
		memory.server.fill(names);
		memory.server.manners({ continues: "snapshot", pageSize: 200 });
		const here = await memory.mount();
		const script = `const open = fs.opendirSync("d"); for (let count = 0; count < 500; count++) open.readSync();
			fs.writeFileSync("d/f3950-made", "x"); fs.unlinkSync("d/f3960"); fs.renameSync("d/f3970", "d/f3970-renamed");
			while (open.readSync() !== null); open.closeSync();
			const names = fs.readdirSync("d"); console.log(names.length, names.filter((name) => /39[567]0/.test(name)).join(" "));`;
		expect(await node(here, script)).toBe("3000 f3950 f3950-made f3970-renamed");
	});

	test("lists all names of a directory or fails, and takes no part of them for the whole", async () => {
		const names = Array.from({ length: 25 }, (_, index) => `f${10 + index}`);
		memory.server.fill(names.map((name) => `d/${name}`));
		const here = await memory.mount({ volume: { ttlMs: 0 } });
		for (const continues of ["position", "without-token", "version-1"] as const) {
			memory.server.manners({ continues, pageSize: 10 });
			expect(await ok(here, "ls d")).toBe(names.join("\n"));
		}
		// However it is said that there is more, or only by a token.
		for (const said of [
			"<IsTruncated> true </IsTruncated>",
			"<IsTruncated>True</IsTruncated>",
			"<IsTruncated>1</IsTruncated>",
			"",
		]) {
			const rewrite = (xml: string): string => xml.replace("<IsTruncated>true</IsTruncated>", said);
			memory.server.manners({ continues: "position", pageSize: 10, rewrite });
			expect(await ok(here, "ls d"), said).toBe(names.join("\n"));
		}
		memory.server.manners({ continues: "from-start", pageSize: 10 });
		expect((await sh(here, "ls d")).err).toContain("Input/output error");
	});

	test("answers for absent names without a request while the directory is known", async () => {
		await put("file", "x");
		const here = await buckets.mount({ endpoint: buckets.proxy.endpoint });
		await ok(here, "ls");
		const before = buckets.proxy.requests;
		await sh(here, "for i in $(seq 50); do test -e absent-$i; done");
		expect(buckets.proxy.requests).toBe(before);
	});

	test("locks files for the programs of one node", async () => {
		const here = await buckets.mount();
		expect(await ok(here, "touch lock; exec 3>lock; flock -n 3 && ! flock -n lock true && echo held")).toBe("held");
	});

	test("shows nothing outside its prefix", async () => {
		await put("in/side", "x");
		await put("out", "x");
		const here = await buckets.mount({ prefix: "in/" });
		expect(await ok(here, "ls; echo y >new; find . | sort")).toBe("side\n.\n./new\n./side");
		expect(await list()).toEqual(["in/new", "in/side", "out"]);
	});

	test("refuses every change on a read-only mount", async () => {
		await put("file", "x");
		const here = await buckets.mount({ readOnly: true });
		for (const change of [
			"touch new",
			"rm file",
			"mkdir d",
			"mv file other",
			"chmod 600 file",
			"ln -s a b",
			"echo y >>file",
		]) {
			expect((await sh(here, change)).err, change).toContain("Read-only file system");
		}
		expect(await list()).toEqual(["file"]);
	});
});

describe("Other things", () => {
	test("maps files into memory", async () => {
		await put("file", "mapped content");
		const here = await buckets.mount();
		const script = `import mmap; f = open("file", "r+b"); m = mmap.mmap(f.fileno(), 0); print(m[:6]); m[:6] = b"MAPPED"; m.flush(); m.close(); f.close()`;
		expect(await ok(here, `python3 -c '${script}'; cat file`)).toBe("b'mapped'\nMAPPED content");
		expect(await get("file")).toBe("MAPPED content");
	});

	test("takes direct I/O", async () => {
		const content = randomBytes(3 * mebibyte);
		await put("file", content);
		const here = await buckets.mount();
		await ok(here, "dd if=file of=copy bs=1M iflag=direct oflag=direct status=none");
		expect((await buckets.minio.get(buckets.name, "copy")).equals(content)).toBe(true);
	});

	test("answers statfs with a size that never fills up, and nothing used", async () => {
		await put("folder/file", "x".repeat(10_000));
		const here = await buckets.mount();
		expect(await ok(here, "du --apparent-size -sb folder/file | cut -f1")).toBe("10000");
		const [used, available] = (await ok(here, "df --output=used,avail -B1 . | tail -1")).trim().split(/\s+/);
		expect(used).toBe("0");
		expect(Number(available)).toBeGreaterThan(2 ** 49);
	});

	/** Starts a program that does this with a path of the mount, and returns when it waits for a server that hangs. */
	async function startWaiting(here: MountedBucket, action: string) {
		await ok(here, "ls");
		await buckets.proxy.mode("hang");
		const before = buckets.proxy.requests;
		const program = `process.on("SIGUSR2", () => undefined); const [, at] = process.argv, fs = require("fs");
			fs.writeSync(1, "begun "); ${action}`;
		const child = execa(process.execPath, ["-e", program, `${here.target}/`], { cwd: "/", reject: false });
		let printed = "";
		child.stdout.on("data", (text: Buffer) => void (printed += text.toString()));
		await expect.poll(() => printed, { timeout: 20_000 }).toBe("begun ");
		await expect.poll(() => buckets.proxy.requests, { timeout: 20_000 }).toBeGreaterThan(before);
		return { child };
	}

	test("lets who is killed go at once, whatever the server does", async () => {
		const actions = ["mkdirSync(at + 'new')", "renameSync(at + 'file', at + 'new')", "unlinkSync(at + 'file')"];
		for (const action of actions) {
			await put("file", "content");
			const here = await buckets.mountThroughProxy({ volume: { ttlMs: 0 } });
			const { child } = await startWaiting(here, `fs.${action}`);
			child.kill("SIGKILL");
			const killedAt = performance.now();
			expect((await child).signal).toBe("SIGKILL");
			expect(performance.now() - killedAt).toBeLessThan(2000);
			await here.abort();
			await buckets.proxy.mode("pass");
		}
	});

	test("fails nothing because of signals that do not kill", async () => {
		await put("file", "content");
		const here = await buckets.mountThroughProxy({ volume: { ttlMs: 0 } });
		const action = `fs.renameSync(at + "file", at + "new"); console.log(fs.readFileSync(at + "new", "utf8"))`;
		const { child } = await startWaiting(here, action);
		for (let round = 0; round < 5; round++) {
			await delay(100);
			child.kill("SIGUSR2");
		}
		await buckets.proxy.mode("pass");
		expect(await child).toMatchObject({ exitCode: 0, stdout: "begun content" });
	});

	test("compares small files with the checksum that the server has of them", async () => {
		const algorithms = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as const;
		for (const algorithm of algorithms) {
			const Body = algorithm.padEnd(mebibyte, ".");
			await buckets.minio.client.send(
				new PutObjectCommand({ Bucket: buckets.name, Key: algorithm, Body, ChecksumAlgorithm: algorithm }),
			);
		}
		await ok(await buckets.mount(), "echo ours >ours");
		const isRead = ({ method, url = "" }: IncomingMessage): boolean => method === "GET" && !url.includes("list-type");
		for (const name of [...algorithms, "ours"]) {
			await buckets.proxy.mode("pass");
			const here = await buckets.mount({ endpoint: buckets.proxy.endpoint });
			await buckets.proxy.fail({ kind: "corrupt-answer", byte: 3 }, { only: isRead, times: 1 });
			expect(await ok(here, `head -c4 ${name}`)).toBe(name.slice(0, 4));
			expect(buckets.proxy.failed).toBe(1);
			await here.unmount();
			const again = await buckets.mount({ endpoint: buckets.proxy.endpoint });
			await buckets.proxy.fail({ kind: "corrupt-answer", byte: 3 }, { only: isRead });
			const { exitCode, err } = await sh(again, `cat ${name}`);
			expect([exitCode, err]).toEqual([1, `cat: ${name}: Input/output error`]);
			await again.unmount();
		}
	});
});

test("SEMANTICS.md makes no claim without a test here, and the other way round", () => {
	const page = readFileSync(join(projectRoot, "SEMANTICS.md"), "utf8");
	const claims = [...page.matchAll(/^- (.+)$/gm)].map(([, claim]) => claim);
	const source = readFileSync(import.meta.filename, "utf8");
	const names = [...source.matchAll(/^\ttest\("(.+)", async/gm)].map(([, name]) => name);
	expect(new Set(claims)).toEqual(new Set(names));
});

test("SEMANTICS.md says how long a file can be with which write-buffer", () => {
	const page = readFileSync(join(projectRoot, "SEMANTICS.md"), "utf8");
	const rows = [...page.matchAll(/^\| (below|from) (\d+)Mi \| (\d+) GiB/gm)].map(([, word, limit, longest]) => ({
		word,
		limitBytes: Number(limit) * mebibyte,
		longestGiB: Number(longest),
	}));
	const longestGiB = (stagingBytes: number): number =>
		Math.floor(s3PartGrid(stagingBytes).maximumSizeBytes / 1024 ** 3);
	expect(rows.map(({ word }) => word)).toEqual(["below", "from", "from", "from"]);
	for (const [index, row] of rows.entries()) {
		const { word, limitBytes } = row;
		expect(longestGiB(word === "from" ? limitBytes : 16 * mebibyte), `${word} ${limitBytes}`).toBe(row.longestGiB);
		// It is that up to where the next row begins.
		const end = word === "below" ? limitBytes : (rows[index + 1]?.limitBytes ?? Number.POSITIVE_INFINITY);
		expect(longestGiB(end - 1), `${word} ${limitBytes}`).toBe(row.longestGiB);
	}
});

test("SEMANTICS.md has every error with its errno", () => {
	const page = readFileSync(join(projectRoot, "SEMANTICS.md"), "utf8");
	const rows = [...page.matchAll(/^\| ([A-Z_]+): .+? \| ([A-Z]+)/gm)].map(([, kind, errno]) => [kind, errno]);
	expect(rows).toEqual(Object.entries(errnoOf));
});
