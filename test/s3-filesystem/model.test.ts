import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startFaultProxy, type FaultProxy, type FaultRule, type RequestFault } from "../support/fault-proxy.ts";
import { playSeconds } from "../support/fuzz-cases.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { differenceOfDigests, Game } from "./model/game.ts";
import { digestOf } from "./model/operation.ts";
import { Random } from "./model/random.ts";
import { MountedBucket } from "./mounted-bucket.ts";

const MiB = 1024 ** 2;
const bucket = "bucket";
const players = 3;
const secondsPerRound = 10;
/** A sequence that is always played, and another one each time. */
const seeds =
	process.env["FUZZ_SEED"] === undefined
		? [1, Math.floor(Math.random() * 2 ** 31)]
		: [Number(process.env["FUZZ_SEED"])];

/** What the server is like during a round, and how often it is like that. */
const servers = { MinIO: 3, plain: 2, busy: 1, "far away": 1, forgetful: 1 } as const;
const faults: Readonly<Record<Exclude<keyof typeof servers, "MinIO">, readonly [RequestFault, FaultRule]>> = {
	/** Its listings hold no metadata, as most servers' do not. */
	plain: [{ kind: "headers", headers: { server: undefined } }, {}],
	busy: [{ kind: "answer", status: 503, body: "<Error><Code>SlowDown</Code></Error>" }, { probability: 0.03 }],
	"far away": [{ kind: "reset-after", bytes: 1000 }, { probability: 0.03 }],
	/** Not when a multipart upload begins, which nobody could end then. */
	forgetful: [{ kind: "lose-answer" }, { probability: 0.03, only: ({ url = "" }) => !url.includes("uploads") }],
};

let minio: Minio;
let proxy: FaultProxy;
let folder: string;
let mounted: MountedBucket | undefined;
let games: Game[] = [];

beforeEach(async () => {
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-model-"));
	minio = await startMinio({ dataDir: join(folder, "data") });
	await minio.createBucket(bucket);
	proxy = await startFaultProxy(minio.endpoint);
});

afterEach(async () => {
	for (const game of games) game.kill();
	await mounted?.abort();
	await proxy?.stop();
	await minio?.stop();
	rmSync(folder, { recursive: true, force: true });
}, 60_000);

test.each(seeds.flatMap((seed) => [false, true].map((writesBack) => ({ seed, writesBack }))))(
	"a mount behaves as a plain file system in memory does, also after it is mounted anew (seed $seed, write-back $writesBack)",
	async ({ seed, writesBack }) => {
		const random = new Random(seed);
		const prefix = random.chance(0.5) ? "" : "some/prefix/";
		games = Array.from({ length: players }, (_, index) => {
			// Other nodes come when what was closed is there.
			const isStored = async (): Promise<void> => {
				const reason = writesBack ? await mounted?.drain() : undefined;
				if (reason !== undefined) throw new Error(reason);
			};
			return new Game(seed * players + index, `p${index}`, {
				get: async (path) => {
					await isStored();
					return minio.get(bucket, prefix + path);
				},
				put: async (path, bytes) => {
					await isStored();
					return minio.put(bucket, prefix + path, bytes);
				},
				delete: async (path) => {
					await isStored();
					return minio.delete(bucket, prefix + path);
				},
			});
		});
		const endMs = performance.now() + playSeconds() * 1000;
		let round = 0;
		try {
			for (; performance.now() < endMs; round++) {
				const roundEndMs = Math.min(endMs, performance.now() + secondsPerRound * 1000);
				await playRound(random, { prefix, round, endMs: roundEndMs, writesBack });
			}
		} catch (error) {
			throw new Error(`FUZZ_SEED=${seed}, round ${round}: ${String(error)}\n${mounted?.log.slice(-50).join("\n")}`, {
				cause: error,
			});
		}
		expect(games.reduce((sum, { operations }) => sum + operations, 0)).toBeGreaterThan(0);
	},
	playSeconds() * 1000 + 240_000,
);

interface Round {
	readonly prefix: string;
	readonly round: number;
	readonly endMs: number;
	readonly writesBack: boolean;
}

async function playRound(random: Random, { prefix, round, endMs, writesBack }: Round): Promise<void> {
	const stagingDirectory = join(folder, `staging-${round}`);
	const hasCache = random.chance(0.5);
	const server = random.weighted(servers);
	const attributes = server !== "plain" && random.chance(0.5) ? "listed" : "all";
	const ttlMs = random.pick([0, 100, 60_000]);
	if (server !== "MinIO") await proxy.fail(...faults[server]);
	mounted = await MountedBucket.mount({
		minio,
		endpoint: server === "MinIO" ? minio.endpoint : proxy.endpoint,
		bucket,
		prefix,
		settings: {
			// Room for one request of each player, and little more.
			memoryBytes: random.pick([4, 8, 32]) * MiB,
			readAheadBytes: random.pick([1, 4, 16]) * MiB,
			stagingDirectory,
			stagingLimitBytes: random.pick([8, 9, 16, 24, 64]) * MiB,
			...(hasCache && { cache: { directory: join(folder, "cache"), limitBytes: 20 * MiB } }),
			...(writesBack && { keepsPending: true }),
		},
		volume: { ttlMs, attributes, ...(writesBack && { writeBack: { maximumAgeMs: 60_000 } }) },
	});
	const { target } = mounted;
	if (round === 0) for (const game of games) await mkdir(join(target, game.directory));
	for (const game of games) game.start(target, { attributes, seesOthers: ttlMs === 0 });
	await together(async (game) => {
		if (round > 0) await game.checkAll();
		await game.play(() => performance.now() >= endMs);
		await game.checkAll();
		await game.stop();
	});
	const stats = await mounted.stats();
	await mounted.unmount();
	expect(stats["open_files"], "open files when all are closed").toBe(0);
	expect(existsSync(stagingDirectory) ? readdirSync(stagingDirectory) : [], "what is left of staging").toEqual([]);
	await compareBucket(prefix);
}

/** All of them end before the first failure is told. */
async function together(work: (game: Game) => Promise<void>): Promise<void> {
	const outcomes = await Promise.allSettled(games.map(async (game) => work(game)));
	for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}

async function compareBucket(prefix: string): Promise<void> {
	const wanted = games.flatMap(({ directory, model }) => [
		`${directory}/`,
		...[...model.walk()].map(({ path, node }) => `${directory}/${path}${node.kind === "directory" ? "/" : ""}`),
	]);
	const found = (await minio.list(bucket)).map((key) => key.slice(prefix.length));
	expect(found.filter((key) => key !== "").toSorted(), "keys in the bucket").toEqual(wanted.toSorted());
	for (const { directory, model } of games) {
		for (const { path, node } of model.walk()) {
			if (node.kind !== "file") continue;
			const bytes = await minio.get(bucket, `${prefix}${directory}/${path}`);
			expect(differenceOfDigests(digestOf(node.content), digestOf(bytes)), `${directory}/${path}`).toBe(undefined);
		}
	}
	expect(unfinishedUploads(), "multipart uploads that are left").toEqual([]);
}

/** MinIO lists multipart uploads of one key only, so its files are looked at. */
function unfinishedUploads(): string[] {
	const root = join(folder, "data/.minio.sys/multipart");
	if (!existsSync(root)) return [];
	return readdirSync(root).flatMap((key) => readdirSync(join(root, key)).map((upload) => `${key}/${upload}`));
}
