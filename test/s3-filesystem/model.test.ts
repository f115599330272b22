import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { playSeconds } from "../support/fuzz-cases.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { differenceOfDigests, Game } from "./model/game.ts";
import { digestOf } from "./model/operation.ts";
import { Random } from "./model/random.ts";
import { MountedBucket } from "./mounted-bucket.ts";

const MiB = 1024 ** 2;
const bucket = "bucket";
const players = 3;
const secondsPerRound = 12;

let minio: Minio;
let folder: string;
let mounted: MountedBucket | undefined;
let games: Game[] = [];

beforeEach(async () => {
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-model-"));
	minio = await startMinio({ dataDir: join(folder, "data") });
	await minio.createBucket(bucket);
});

afterEach(async () => {
	for (const game of games) game.kill();
	await mounted?.abort();
	await minio?.stop();
	rmSync(folder, { recursive: true, force: true });
}, 60_000);

test(
	"a mount behaves as a plain file system in memory does, also after it is mounted anew",
	async () => {
		const seed = Number(process.env["FUZZ_SEED"] || Math.floor(Math.random() * 2 ** 31));
		const random = new Random(seed);
		const prefix = random.chance(0.5) ? "" : "some/prefix/";
		games = Array.from({ length: players }, (_, index) => {
			const objectAt = async (path: string): Promise<Buffer> => minio.get(bucket, prefix + path);
			return new Game(seed + index, `p${index}`, objectAt);
		});
		const endMs = performance.now() + playSeconds() * 1000;
		try {
			for (let round = 0; performance.now() < endMs; round++) {
				await playRound(random, prefix, round, Math.min(endMs, performance.now() + secondsPerRound * 1000));
			}
		} catch (error) {
			throw new Error(`FUZZ_SEED=${seed}: ${String(error)}\n${mounted?.log.slice(-50).join("\n")}`, { cause: error });
		}
		expect(games.reduce((sum, { operations }) => sum + operations, 0)).toBeGreaterThan(0);
	},
	playSeconds() * 1000 + 240_000,
);

async function playRound(random: Random, prefix: string, round: number, endMs: number): Promise<void> {
	const stagingDirectory = join(folder, `staging-${round}`);
	const hasCache = random.chance(0.5);
	const attributes = random.chance(0.5) ? "listed" : "all";
	mounted = await MountedBucket.mount({
		minio,
		endpoint: minio.endpoint,
		bucket,
		prefix,
		settings: {
			// Room for one request of each player, and little more.
			memoryBytes: random.pick([4, 8, 32]) * MiB,
			readAheadBytes: random.pick([1, 4, 16]) * MiB,
			stagingDirectory,
			stagingLimitBytes: random.pick([8, 9, 16, 24, 64]) * MiB,
			...(hasCache && { cache: { directory: join(folder, "cache"), limitBytes: 20 * MiB } }),
		},
		volume: { ttlMs: random.pick([0, 100, 60_000]), attributes },
	});
	const { target } = mounted;
	if (round === 0) for (const game of games) await mkdir(join(target, game.directory));
	for (const game of games) game.start(target, attributes);
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
