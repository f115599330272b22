import {
	mkdir,
	opendir,
	readdir,
	readlink,
	rename,
	rm,
	rmdir,
	stat,
	symlink,
	unlink,
	writeFile,
} from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { expect, test } from "vitest";
import { inParallel } from "../../../src/turns.ts";
import { bodyOf, storeOn } from "../../s3/bucket.ts";
import { useBuckets } from "../buckets.ts";
import { useMemoryBucket } from "../memory-bucket.ts";

const buckets = useBuckets("directory-reader");
const memory = useMemoryBucket();

const nameOf = (index: number): string => `f${String(index).padStart(4, "0")}`;
const namesOf = (count: number): string[] => Array.from({ length: count }, (_, index) => nameOf(index));

test("names that were made and removed while a long directory was listed are right in the next listing", async () => {
	const store = storeOn(buckets.minio, { bucket: buckets.name });
	await inParallel(namesOf(3100), 32, async (name) => void (await store.put(`d/${name}`, bodyOf("x"))));
	store.close();
	const here = await buckets.mountThroughProxy({ volume: { ttlMs: 60_000 } });
	const directory = join(here.target, "d");
	const asked = { continued: 0 };
	const only = ({ url = "" }: IncomingMessage): boolean =>
		new URL(url, "http://x").searchParams.has("continuation-token");
	await buckets.proxy.fail({ kind: "headers", headers: {} }, { only, before: async () => void asked.continued++ });
	const open = await opendir(directory);
	// The first page came with the directory's attributes. MinIO answers those after the second one from what it found then.
	while (asked.continued < 1) await open.read();
	await writeFile(join(directory, `${nameOf(3050)}-made`), "x");
	await mkdir(join(directory, `${nameOf(3051)}-directory`));
	await symlink("x", join(directory, `${nameOf(3052)}-link`));
	await rename(join(directory, nameOf(3053)), join(directory, `${nameOf(3053)}-renamed`));
	await unlink(join(directory, nameOf(3054)));
	expect(asked.continued).toBe(1);
	for (let read = await open.read(); read !== null; read = await open.read());
	await open.close();
	expect(asked.continued).toBe(2);
	const names = new Set(await readdir(directory));
	const made = [`${nameOf(3050)}-made`, `${nameOf(3051)}-directory`, `${nameOf(3052)}-link`, `${nameOf(3053)}-renamed`];
	expect(made.filter((name) => !names.has(name))).toEqual([]);
	expect([nameOf(3053), nameOf(3054)].filter((name) => names.has(name))).toEqual([]);
	expect(names.size).toBe(3100 + 3 - 1);
}, 180_000);

test("each listing has all that this mount has made before it began, and nothing that it has removed", async () => {
	memory.server.fill(namesOf(2500).map((name) => `d/${name}`));
	memory.server.manners({ continues: "snapshot", delayMs: 40, pageSize: 300 });
	const here = await memory.mount({ volume: { ttlMs: 1000 } });
	const directory = join(here.target, "d");
	const made = new Set<string>();
	const removed = new Set<string>();
	const done = { listings: 0 };
	const isDone = (): boolean => done.listings >= 40;
	let count = 0;
	const write = async (): Promise<void> => {
		while (!isDone()) {
			const name = `${nameOf(Math.floor(Math.random() * 2500))}-${count++}`;
			const path = join(directory, name);
			if (count % 4 === 0) await mkdir(path);
			else if (count % 4 === 1) await symlink("x", path);
			else await writeFile(path, "x");
			made.add(name);
			await delay(Math.random() * 100);
			made.delete(name);
			if (count % 2 === 0) {
				await rename(path, `${path}-renamed`);
				removed.add(name);
				made.add(`${name}-renamed`);
			} else {
				await ((await stat(path).catch(() => undefined))?.isDirectory() === true ? rmdir(path) : rm(path));
				removed.add(name);
			}
		}
	};
	const faults: string[] = [];
	const list = async (): Promise<void> => {
		while (!isDone()) {
			const [wanted, unwanted] = [[...made], [...removed]];
			const names = new Set(await readdir(directory));
			done.listings++;
			// What goes meanwhile may be seen or not.
			for (const name of wanted) if (made.has(name) && !names.has(name)) faults.push(`lacks ${name}`);
			for (const name of unwanted) if (names.has(name)) faults.push(`still has ${name}`);
		}
	};
	await Promise.all([write(), write(), list(), list(), list()]);
	expect(faults).toEqual([]);
});

test.each(["without-token", "version-1"] as const)(
	"all names are listed, found, moved and removed where the server lists %s",
	async (continues) => {
		const names = namesOf(230);
		const keys = [...names, "f0100-below/x", "é/below"].map((key) => `d/${key}`);
		memory.server.fill(keys);
		memory.server.manners({ continues, pageSize: 100 });
		const here = await memory.mount({ volume: { ttlMs: 0 } });
		const directory = join(here.target, "d");
		const all = [...names, "f0100-below", "é"];
		expect(await readdir(directory)).toEqual(all.toSorted());
		expect((await stat(join(directory, nameOf(229)))).isFile()).toBe(true);
		await expect(stat(join(directory, `${nameOf(220)}-absent`))).rejects.toThrow("ENOENT");
		await rename(directory, join(here.target, "moved"));
		expect(memory.server.keys.filter((key) => key.startsWith("moved/")).length).toBe(names.length + 2);
		expect(memory.server.keys.filter((key) => key.startsWith("d/"))).toEqual([]);
		await rm(join(here.target, "moved"), { recursive: true });
		expect(memory.server.keys.filter((key) => key.startsWith("moved/"))).toEqual([]);
	},
);

test.each([
	["says that there is more and names nothing", (xml: string) => xml.replaceAll(/<Contents>.*<\/Contents>/gs, "")],
	["begins from the start again", (xml: string) => xml],
])("a listing is EIO, and no part of it the whole, where the server %s", async (kind, rewrite) => {
	memory.server.fill(namesOf(30));
	const again = kind.startsWith("begins");
	memory.server.manners({ continues: again ? "from-start" : "without-token", pageSize: 10, rewrite });
	const here = await memory.mount();
	await expect(readdir(here.target)).rejects.toThrow("EIO");
});

test("odd entries of a list are left out and counted, and the directory is shown", async () => {
	const names = namesOf(40);
	memory.server.fill([...names, "below/x"].map((name) => `d/${name}`));
	const object = (key: string, size = "1"): string =>
		`<Contents><Key>${key}</Key><ETag>&quot;e&quot;</ETag><Size>${size}</Size></Contents>`;
	const prefix = (key: string): string => `<CommonPrefixes><Prefix>${key}</Prefix></CommonPrefixes>`;
	const odd = [
		...["d//x", "d/./x", "d/../x", "d/.", "d/..", `d/${"n".repeat(300)}`, "d/a%00b", "d/%FF", "other", ""].map((key) =>
			object(key),
		),
		...["1.5", "Infinity", "1e308", "-1", "NaN", "0x10", "99999999999999999999", ""].map((size, index) =>
			object(`d/size-${index}`, size),
		),
		"<Contents><Size>1</Size></Contents>",
		...["d//", "d/./", "d/../", `d/${"n".repeat(300)}/`, "d/%FF/", "d/cut", "other/"].map(prefix),
	];
	const again = [prefix("d/below/"), prefix("d/below/")];
	const rewrite = (xml: string): string => {
		if (!xml.includes("<Prefix>d/</Prefix>")) return xml;
		const isLast = xml.includes("<IsTruncated>false</IsTruncated>");
		return (
			xml
				// Whole pages of them, too.
				.replaceAll(/(<Key>d\/f00[12]\d<\/Key>.*?<Size>)0/g, "$11.5")
				.replace("</ListBucketResult>", `${[...again, ...(isLast ? odd : [])].join("")}</ListBucketResult>`)
		);
	};
	memory.server.manners({ pageSize: 10, rewrite });
	const here = await memory.mount({ volume: { ttlMs: 0 } });
	const shown = ["below", ...names.filter((name) => !/^f00[12]/.test(name))];
	expect(await readdir(join(here.target, "d"))).toEqual(shown);
	expect((await here.stats())["hidden_keys"]).toBeGreaterThanOrEqual(odd.length + 20);
	const { stdout } = await execa("bash", ["-c", "ls -lA d | wc -l; find . -type f | wc -l; stat -c %s d/size-0"], {
		cwd: here.target,
		timeout: 20_000,
		reject: false,
	});
	expect(stdout).toBe(`${shown.length + 1}\n${shown.length}`);
}, 60_000);

test("what was removed while it is open is not listed, also where each name is asked for its attributes", async () => {
	const here = await memory.mount({ volume: { attributes: "all", ttlMs: 0 } });
	const { stdout } = await execa(
		"bash",
		["-c", "echo x >file; echo y >other; exec 3<file; rm file; ls -l | grep -c rw; ls -l; cat <&3"],
		{ cwd: here.target, timeout: 20_000 },
	);
	expect(stdout).toMatch(/^1\n/);
	expect(stdout).toMatch(/other\nx$/);
	expect(stdout).not.toContain("file");
});

test("what several who read one directory wait for fails once, and for all of them", async () => {
	// More than a page, of which the first may be known before anybody reads.
	for (let start = 0; start < 1100; start += 100) {
		const some = Array.from({ length: 100 }, (_, number) => `d/${start + number}`);
		await Promise.all(some.map(async (key) => buckets.minio.put(buckets.name, key, "content")));
	}
	const here = await buckets.mountThroughProxy();
	const directory = join(here.target, "d");
	const failing = Promise.withResolvers<void>();
	const body = "<Error><Code>AccessDenied</Code></Error>";
	await buckets.proxy.fail(
		{ kind: "answer", status: 403, body },
		{
			only: ({ url = "" }) => /[?&](?:start-after|continuation-token)=/.test(url),
			before: async () => failing.promise,
		},
	);
	const readers = Array.from({ length: 6 }, () => execa("ls", ["-f", directory], { reject: false, timeout: 60_000 }));
	const isReading = async ({ pid }: { readonly pid?: number | undefined }): Promise<boolean> => {
		const open = await readdir(`/proc/${pid}/fd`);
		const paths = await Promise.all(open.map(async (number) => readlink(`/proc/${pid}/fd/${number}`).catch(() => "")));
		return paths.includes(directory);
	};
	await expect
		.poll(async () => Promise.all(readers.map(isReading)), { timeout: 30_000 })
		.toEqual(readers.map(() => true));
	await delay(200);
	failing.resolve();
	for (const { stderr } of await Promise.all(readers)) expect(stderr).toContain("Permission denied");
	// One of them may have come late.
	expect(buckets.proxy.failed).toBeLessThanOrEqual(2);
}, 100_000);
