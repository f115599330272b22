import { readFileSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rmdir, stat, unlink, type FileHandle } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { createObjectStore } from "../../src/s3/store.ts";
import type { FaultProxy } from "../support/fault-proxy.ts";
import { projectRoot, until } from "../support/pod.ts";
import { sh, useBuckets } from "./buckets.ts";
import type { MountedBucket } from "./mounted-bucket.ts";

const buckets = useBuckets("requests");

const content = Buffer.alloc(4096, "y");

/** What programs do in a folder of ten files, `0` to `9`, twice: at first when nothing of the folder is known, then with another of its files. */
const operations: readonly {
	readonly name: string;
	readonly files?: number;
	/** Keys below the folder instead. */
	readonly keys?: readonly string[];
	readonly run: (folder: string, file: number, here: MountedBucket) => Promise<unknown>;
}[] = [
	{ name: "stat of a name that is there", run: async (folder, file) => stat(join(folder, `${file}`)) },
	{
		name: "stat of a name that is not",
		run: async (folder, file) => expect(stat(join(folder, `absent-${file}`))).rejects.toThrow("ENOENT"),
	},
	{
		name: "open, read a byte, close",
		run: async (folder, file) => withFile(join(folder, `${file}`), "r", async (open) => open.read(content, 0, 1, 0)),
	},
	{ name: "create, write 4 KiB, close", run: async (folder, file) => write(join(folder, `new-${file}`), "wx") },
	{ name: "append 4 KiB", run: async (folder, file) => write(join(folder, `${file}`), "a") },
	{ name: "append 4 KiB, then 4 KiB more", run: async (folder) => write(join(folder, "0"), "a") },
	{ name: "overwrite with 4 KiB", run: async (folder, file) => write(join(folder, `${file}`), "w") },
	{ name: "unlink", run: async (folder, file) => unlink(join(folder, `${file}`)) },
	{ name: "rename", run: async (folder, file) => rename(join(folder, `${file}`), join(folder, `moved-${file}`)) },
	{ name: "mkdir", run: async (folder, file) => mkdir(join(folder, `new-${file}`)) },
	{
		name: "rmdir",
		keys: ["1/", "2/", "3/"],
		run: async (folder, file) => rmdir(join(folder, `${file}`)),
	},
	{ name: "readdir of 10", run: async (folder) => readdir(folder) },
	{ name: "readdir of 2,500", files: 2500, run: async (folder) => readdir(folder) },
	{ name: "`ls -l` of 10", run: async (folder, _, here) => sh(here, `ls -l ${folder}`) },
	{
		name: "`find` in 8 directories",
		keys: Array.from({ length: 40 }, (_, index) => `${index % 8}/${index}`),
		run: async (folder, _, here) => sh(here, `find ${folder}`),
	},
	{
		name: "`cp -r` of 4 files",
		files: 4,
		run: async (folder, file, here) => sh(here, `cp -r ${folder} ${folder}-${file}`),
	},
	{
		name: "`rm -rf` of 10 files in one directory",
		keys: Array.from({ length: 30 }, (_, index) => `${1 + (index % 3)}/${index}`),
		run: async (folder, file, here) => sh(here, `rm -rf ${folder}/${file}`),
	},
];

async function withFile(path: string, flags: string, work: (file: FileHandle) => Promise<unknown>): Promise<void> {
	const file = await open(path, flags);
	try {
		await work(file);
	} finally {
		await file.close();
	}
}

async function write(path: string, flags: string): Promise<void> {
	await withFile(path, flags, async (file) => file.write(content));
}

interface Counted {
	/** One after the other, until the program had its answer. */
	readonly rounds: number;
	readonly requests: readonly string[];
}

/** Keeps requests until no other comes, so that what goes beside each other is told from what waits for an answer. */
class Counter {
	/** Requests that come within so long go beside each other. */
	readonly #togetherMs: number;
	#rounds = 0;
	#requests: string[] = [];
	#held: (() => void)[] = [];
	#latestAt = 0;
	#timer: NodeJS.Timeout | undefined;

	constructor(togetherMs: number) {
		this.#togetherMs = togetherMs;
	}

	static async before(proxy: FaultProxy, togetherMs: number): Promise<Counter> {
		const counter = new Counter(togetherMs);
		await proxy.fail(
			{ kind: "headers", headers: {} },
			{ only: (request) => counter.#came(request), before: async () => counter.#hold() },
		);
		return counter;
	}

	async during(work: () => Promise<unknown>): Promise<Counted> {
		this.#rounds = 0;
		this.#requests = [];
		await work();
		const rounds = this.#rounds;
		// Nobody waits for the rest, but the server has it to do.
		while (this.#held.length > 0 || performance.now() - this.#latestAt < 3 * this.#togetherMs)
			await delay(this.#togetherMs);
		return { rounds, requests: this.#requests };
	}

	#came(request: IncomingMessage): true {
		this.#requests.push(operationOf(request));
		this.#latestAt = performance.now();
		return true;
	}

	async #hold(): Promise<void> {
		const { promise, resolve } = Promise.withResolvers<void>();
		this.#held.push(resolve);
		clearTimeout(this.#timer);
		this.#timer = setTimeout(() => {
			this.#rounds++;
			this.#latestAt = performance.now();
			for (const release of this.#held.splice(0)) release();
		}, this.#togetherMs);
		await promise;
	}
}

function operationOf({ method = "", url = "", headers }: IncomingMessage): string {
	const query = new URL(url, "http://server").searchParams;
	if (query.has("list-type")) return "List";
	if (query.has("delete")) return "DeleteObjects";
	if (query.has("uploads")) return "CreateMultipartUpload";
	if (query.has("uploadId")) return method === "PUT" ? "UploadPart" : "CompleteMultipartUpload";
	if (method === "PUT" && headers["x-amz-copy-source"] !== undefined) return "Copy";
	return { GET: "Get", HEAD: "Head", PUT: "Put", DELETE: "Delete" }[method] ?? method;
}

/** As in docs/requests.md: how many rounds, and what in them. */
function cellsOf({ rounds, requests }: Counted): string[] {
	const counts = new Map<string, number>();
	for (const each of requests.toSorted()) counts.set(each, (counts.get(each) ?? 0) + 1);
	const names = Array.from(counts, ([name, count]) => (count === 1 ? name : `${count} ${name}`));
	return [String(rounds), names.length === 0 ? "none" : names.join(", ")];
}

function documented(): Map<string, string[]> {
	const page = readFileSync(join(projectRoot, "docs/requests.md"), "utf8");
	const rows = page.split("\n").filter((line) => line.startsWith("| ") && !line.startsWith("| what"));
	return new Map(
		rows.map((row) => {
			const [name = "", ...cells] = row
				.split("|")
				.slice(1, -1)
				.map((cell) => cell.trim());
			return [name, cells];
		}),
	);
}

// A machine that is late with one of several requests beside each other makes them look like one after the other: it gets more time.
test(
	"each operation takes the requests that docs/requests.md says",
	{ timeout: 180_000, retry: 2 },
	async ({ task }) => {
		// In the order of their names they would be taken for a tree that somebody goes through.
		const folders = operations.map((operation, index) => ({ ...operation, folder: `folder-${99 - index}` }));
		const keys = folders.flatMap(
			({ folder, files = 10, keys = Array.from({ length: files }, (_, file) => `${file}`) }) =>
				keys.map((key) => `${folder}/${key}`),
		);
		const store = createObjectStore({
			endpoint: new URL(buckets.minio.endpoint),
			region: buckets.minio.region,
			bucket: buckets.name,
			pathStyle: true,
			credentials: { accessKeyId: buckets.minio.accessKey, secretAccessKey: buckets.minio.secretKey },
		});
		await inLanes(keys, async (key) => {
			await store.put(key, {
				sizeBytes: key.endsWith("/") ? 0 : content.length,
				read: () => (key.endsWith("/") ? [] : [content]),
			});
		});
		store.close();
		const here = await buckets.mountThroughProxy();
		// What is asked once of a server is not asked here.
		await sh(here, "mkdir first; ls; rm -r first");
		const counter = await Counter.before(buckets.proxy, 60 * 4 ** (task.result?.retryCount ?? 0));
		const table = documented();
		const actual = new Map<string, string[]>();
		for (const { name, run, folder } of folders) {
			const path = join(here.target, folder);
			const cold = await counter.during(async () => run(path, 1, here));
			const warm = await counter.during(async () => run(path, 2, here));
			actual.set(name, [...cellsOf(cold), ...cellsOf(warm)]);
		}
		const rows = Array.from(actual, ([name, cells]) => `| ${name} | ${cells.join(" | ")} |`);
		expect(actual, rows.join("\n")).toEqual(table);
	},
);

test("names of directories are asked for with their attributes only as long as somebody enters some of them", async () => {
	const names = Array.from({ length: 40 }, (_, index) => `${index}`);
	await inLanes(names, async (name) => buckets.minio.put(buckets.name, `tree/${name}/file`, "x"));
	const here = await buckets.mountThroughProxy();
	const requests: string[] = [];
	const only = (request: IncomingMessage): boolean => {
		requests.push(operationOf(request));
		return false;
	};
	const tree = join(here.target, "tree");
	await sh(here, "ls tree");
	await buckets.proxy.fail({ kind: "lose-answer" }, { only });
	for (const name of names.slice(0, 30)) await stat(join(tree, name));
	await until(
		async () => requests.length >= 30,
		10_000,
		() => requests.join(),
	);
	expect(requests.filter((name) => name === "List").length).toBe(8);
	expect(requests.filter((name) => name === "Head").length).toBe(22);
	expect(await readdir(join(tree, "29"))).toEqual(["file"]);
	requests.length = 0;
	expect(await readFile(join(tree, "35", "file"), "utf8")).toBe("x");
	expect(requests.toSorted()).toEqual(["Get", "List"]);
});

async function inLanes<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
	const left = items.values();
	await Promise.all(
		Array.from({ length: 16 }, async () => {
			for (const item of left) await work(item);
		}),
	);
}
