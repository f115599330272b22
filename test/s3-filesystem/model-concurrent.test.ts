import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startFaultProxy, type FaultProxy } from "../support/fault-proxy.ts";
import { playSeconds } from "../support/fuzz-cases.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Crowd, type Stored } from "./model/crowd.ts";
import { Guest } from "./model/guest.ts";
import { Random } from "./model/random.ts";
import { MountedBucket } from "./mounted-bucket.ts";

const MiB = 1024 ** 2;
const bucket = "bucket";
const players = 3;
const secondsPerRound = 5;
const leastRenames = 3;
/** A sequence that is always played, and another one each time. What players do at once has its own order each time. */
const seeds =
	process.env["FUZZ_SEED"] === undefined
		? [1, Math.floor(Math.random() * 2 ** 31)]
		: [Number(process.env["FUZZ_SEED"])];

let folder: string;
let crowds: Crowd[] = [];
let guests: Guest[] = [];
let mounted: MountedBucket[] = [];

beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-crowd-"));
});

afterEach(async () => {
	for (const crowd of crowds.splice(0)) crowd.kill();
	for (const guest of guests.splice(0)) guest.kill();
	for (const mount of mounted.splice(0)) await mount.abort();
	rmSync(folder, { recursive: true, force: true });
}, 60_000);

function gather(seed: number, target: string, name?: string): Crowd {
	const crowd = new Crowd(seed, target, players, name);
	crowds.push(crowd);
	return crowd;
}

describe("players at once, in directories that are renamed", () => {
	let minio: Minio;
	let proxy: FaultProxy;
	beforeEach(async () => {
		minio = await startMinio({ dataDir: join(folder, "data") });
		await minio.createBucket(bucket);
		proxy = await startFaultProxy(minio.endpoint);
	});
	afterEach(async () => {
		for (const mount of mounted.splice(0)) await mount.abort();
		await proxy?.stop();
		await minio?.stop();
	}, 60_000);

	test.each(seeds.flatMap((seed) => [false, true].map((writesBack) => ({ seed, writesBack }))))(
		"lose nothing that was said to be done, and find nothing that was not (seed $seed, write-back $writesBack)",
		async ({ seed, writesBack }) => {
			const random = new Random(seed);
			const endMs = performance.now() + (playSeconds() / 2) * 1000;
			let renames = 0;
			for (let round = 0; performance.now() < endMs || round < 2; round++) {
				try {
					renames += await playRound(random, round, writesBack);
				} catch (error) {
					const log = mounted.flatMap((mount) => mount.log.slice(-30)).join("\n");
					throw new Error(`FUZZ_SEED=${seed}, round ${round}: ${String(error)}\n${log}`, { cause: error });
				}
			}
			expect(renames).toBeGreaterThan(0);
		},
		playSeconds() * 500 + 240_000,
	);

	/** Every other time the filesystem is killed in the middle. */
	async function playRound(random: Random, round: number, writesBack: boolean): Promise<number> {
		const prefix = `round-${round}/`;
		await beSlow(random);
		const seesOthers = random.chance(0.5);
		const mountHere = async (): Promise<MountedBucket> => mount(random, prefix, "here", seesOthers, writesBack);
		const here = await mountHere();
		const there = await mount(random, prefix, "there", true);
		await mkdir(join(here.target, "crowd"));
		await mkdir(join(there.target, "others"));
		const seed = random.below(2 ** 20);
		const crowd = gather(seed, join(here.target, "crowd"));
		const others = gather(seed + 1, join(there.target, "others"), "other");
		await Promise.all([crowd.begin(), others.begin()]);
		const guest = new Guest(seed, join(there.target, "crowd"), crowd);
		guests.push(guest);

		const endMs = performance.now() + secondsPerRound * 1000;
		const failures: unknown[] = [];
		const hasBegun = (): boolean => failures.length > 0 || crowd.renames >= leastRenames;
		/** However slow the machine is, something has to happen. */
		const isOver = (): boolean => failures.length > 0 || (performance.now() >= endMs && hasBegun() && guest.made > 0);
		const playing = [crowd.play(isOver), guest.play(isOver), others.play(isOver)];
		for (const each of playing) each.catch((error: unknown) => failures.push(error));
		const isKilled = round % 2 === 1;
		if (isKilled) {
			while (!hasBegun()) await delay(10);
			await delay(random.below(secondsPerRound * 500));
			if (failures.length > 0) throw failures[0];
			await here.kill();
			// What was under way ends as it may.
			await playing.shift()?.catch(() => undefined);
			failures.length = 0;
		}
		const outcomes = await Promise.allSettled(playing);
		for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
		await guest.end();
		await others.end();
		if (isKilled) crowd.kill();
		else {
			await crowd.end();
			await unmount(here);
		}
		await unmount(there);

		await proxy.mode("pass");
		// What was closed and not stored yet, whoever comes next stores.
		if (isKilled && writesBack) await (await mountHere()).unmount();
		const stored = await storedBelow(prefix);
		const isTheGuests = (path: string): boolean => /(^|\/)guest-\d+$/.test(path);
		guest.check(part(stored, "crowd/"), { isInMiddle: isKilled });
		others.check(part(stored, "others/"));
		if (isKilled) crowd.checkKilled(part(stored, "crowd/"));
		else {
			crowd.check(part(stored, "crowd/"), isTheGuests);
			const elsewhere = [...stored.keys()].filter((key) => !/^(crowd|others)\/|^$/.test(key));
			if (elsewhere.length > 0) throw new Error(`other keys: ${elsewhere.join(", ")}`);
		}
		const again = await mount(random, prefix, "again", true);
		await others.checkAttributes(join(again.target, "others"));
		if (!isKilled) await crowd.checkAttributes(join(again.target, "crowd"));
		await unmount(again);
		await here.abort();
		return crowd.renames;
	}

	/** A rename that takes a moment is one in whose middle others do something. */
	async function beSlow(random: Random): Promise<void> {
		const slowMs = random.pick([0, 20, 100]);
		if (slowMs === 0) return proxy.mode("pass");
		const own = new Random(random.below(2 ** 31));
		await proxy.fail(
			{ kind: "headers", headers: {} },
			{
				only: ({ url = "", headers }) => "x-amz-copy-source" in headers || /[?&]delete/.test(url),
				probability: 0.4,
				before: async () => delay(own.below(2 * slowMs)),
			},
		);
	}

	async function mount(
		random: Random,
		prefix: string,
		name: string,
		seesOthers: boolean,
		writesBack = false,
	): Promise<MountedBucket> {
		const one = await MountedBucket.mount({
			minio,
			endpoint: proxy.endpoint,
			bucket,
			prefix,
			settings: {
				memoryBytes: random.pick([8, 32]) * MiB,
				readAheadBytes: random.pick([1, 16]) * MiB,
				stagingDirectory: join(folder, `${prefix}staging-${name}`),
				stagingLimitBytes: random.pick([8, 16, 24, 64]) * MiB,
				...(writesBack && { keepsPending: true }),
			},
			volume: {
				ttlMs: seesOthers ? random.pick([0, 100]) : 60_000,
				attributes: random.pick(["listed", "all"]),
				...(writesBack && { writeBack: { maximumAgeMs: 60_000 } }),
			},
		});
		mounted.push(one);
		return one;
	}

	async function unmount(one: MountedBucket): Promise<void> {
		const stats = await one.stats();
		await one.unmount();
		expect(stats["open_files"], "open files when all are closed").toBe(0);
		const { stagingDirectory } = one;
		expect(existsSync(stagingDirectory) ? readdirSync(stagingDirectory) : [], "what is left of staging").toEqual([]);
	}

	async function storedBelow(prefix: string): Promise<Stored> {
		const keys = (await minio.list(bucket)).filter((key) => key.startsWith(prefix));
		const contents = await Promise.all(keys.map(async (key) => minio.get(bucket, key)));
		return new Map(keys.map((key, index) => [key.slice(prefix.length), contents[index] ?? Buffer.alloc(0)]));
	}
});

function part(stored: Stored, folderName: string): Stored {
	const inside = [...stored].filter(([path]) => path.startsWith(folderName) && path !== folderName);
	return new Map(inside.map(([path, content]) => [path.slice(folderName.length), content]));
}

describe("what compares them", () => {
	const seconds = 2;

	async function playOnDisk(): Promise<{ readonly crowd: Crowd; readonly target: string }> {
		const target = await mkdtemp(join(folder, "disk-"));
		const crowd = gather(1, target);
		await crowd.begin();
		const endMs = performance.now() + seconds * 1000;
		await crowd.play(() => performance.now() >= endMs);
		await crowd.end();
		return { crowd, target };
	}

	async function storedOnDisk(target: string): Promise<Stored> {
		const stored = new Map<string, Buffer>();
		for (const entry of await readdir(target, { withFileTypes: true, recursive: true })) {
			const path = join(entry.parentPath, entry.name);
			const name = relative(target, path);
			if (entry.isDirectory()) stored.set(`${name}/`, Buffer.alloc(0));
			else if (entry.isSymbolicLink()) stored.set(name, Buffer.from(await readlink(path)));
			else stored.set(name, await readFile(path));
		}
		return stored;
	}

	test("finds nothing wrong with a disk, and whatever is made wrong there", async () => {
		const { crowd, target } = await playOnDisk();
		expect(crowd.renames).toBeGreaterThan(0);
		crowd.check(await storedOnDisk(target));
		crowd.checkKilled(await storedOnDisk(target));
		await crowd.checkAttributes(target);
		const stored = await storedOnDisk(target);
		const [name = "", content = Buffer.alloc(0)] = [...stored].find(([path]) => /\/still-\d+$/.test(path)) ?? [];
		const path = join(target, name);

		await rm(path);
		for (const check of [crowd.check.bind(crowd), crowd.checkKilled.bind(crowd)])
			expect(() => check(new Map([...stored].filter(([each]) => each !== name)))).toThrow(`missing: `);
		await writeFile(path, content.toReversed());
		const other = await storedOnDisk(target);
		expect(() => crowd.check(other)).toThrow(name);
		expect(() => crowd.checkKilled(other)).toThrow("wrong: ");
		await writeFile(path, content);
		const directory = join(target, name, "..");
		const { mode } = await stat(directory);
		await chmod(directory, mode ^ 0o7);
		await expect(crowd.checkAttributes(target)).rejects.toThrow("mode ");
		await chmod(directory, mode);
		await rename(path, `${path}-elsewhere`);
		const elsewhere = await storedOnDisk(target);
		expect(() => crowd.check(elsewhere)).toThrow(`more: ${name}-elsewhere`);
	}, 60_000);
});
