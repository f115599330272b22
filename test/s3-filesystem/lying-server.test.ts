import { appendFile, chmod, mkdir, open, readFile, rename, truncate, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PutBucketPolicyCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MiB, noise } from "../s3/bucket.ts";
import { startLyingProxy, type LyingProxy, type Manner, type Told } from "../support/lying-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Random } from "./model/random.ts";
import { MountedBucket } from "./mounted-bucket.ts";

/** Whatever a server says: what an application was told is stored is in the bucket, byte by byte, and nothing that it was told is gone. */
let minio: Minio;
let proxy: LyingProxy;
let mounted: MountedBucket | undefined;

const bucket = "lies";

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startLyingProxy(minio.endpoint);
	await minio.createBucket(bucket);
	// Requests whose headers are dropped on the way are signed no more.
	const resources = [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`];
	const statement = { Effect: "Allow", Principal: "*", Action: ["s3:*"], Resource: resources };
	const Policy = JSON.stringify({ Version: "2012-10-17", Statement: [statement] });
	await minio.client.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy }));
}, 60_000);

afterAll(async () => {
	await mounted?.abort();
	await proxy?.stop();
	await minio?.stop();
}, 60_000);

const signature = ["authorization", "x-amz-date", "x-amz-content-sha256"];
const conditions = ["if-match", "if-none-match", "x-amz-copy-source-if-match"];
const isList = ({ url }: Told): boolean => url.includes("list-type=2");
const isCopy = ({ headers }: Told): boolean => "x-amz-copy-source" in headers;
const isComplete = ({ method, url }: Told): boolean => method === "POST" && url.includes("uploadId=");
const refusal = (status: number, code: string) => ({ status, body: `<Error><Code>${code}</Code></Error>` });

/** Not MinIO, of which some things are known. */
const unknown: Manner = { drops: () => signature, tells: () => ({ headers: { server: undefined } }) };

/** The same lie, and how often it was told. */
function counted({ refuses, drops, tells }: Manner): { readonly manner: Manner; readonly told: { count: number } } {
	const told = { count: 0 };
	const count = <T>(lie: T, is: boolean): T => {
		if (is) told.count++;
		return lie;
	};
	return {
		told,
		manner: {
			refuses(request) {
				const lie = refuses?.(request);
				return count(lie, lie !== undefined);
			},
			drops(request) {
				const lie = drops?.(request) ?? [];
				return count(
					lie,
					lie.some((name) => conditions.includes(name) && name in request.headers),
				);
			},
			tells(request, truth) {
				const lie = tells?.(request, truth);
				const isOther = lie?.headers !== undefined || (lie?.body ?? truth.body) !== truth.body;
				return count(lie, isOther || (lie?.status ?? truth.status) !== truth.status);
			},
		},
	};
}

/** Every so many of them, beginning with the first. */
function everyNth(count: number, is: (request: Told) => boolean): (request: Told) => boolean {
	let seen = 0;
	return (request) => is(request) && seen++ % count === 0;
}

const lies: Readonly<Record<string, () => Manner>> = {
	"lets all conditions pass": () => ({ drops: () => [...signature, ...conditions] }),
	"answers without ETags": () => ({
		tells: ({ method, url }, { body }) => ({
			body: body.replaceAll(/<ETag>.*?<\/ETag>/g, "<ETag></ETag>"),
			...(method === "PUT" && !url.includes("partNumber") && { headers: { etag: undefined } }),
		}),
	}),
	"has other names for its answers": () => ({
		tells: (request, { status, body }) =>
			status < 300 && !isList(request)
				? { body: body.replaceAll(/(<\/?)(Copy|Complete)\w*Result/g, "$1OtherResult") }
				: undefined,
	}),
	"takes no gaps between part numbers": () => ({
		refuses(request) {
			if (!isComplete(request)) return undefined;
			const numbers = [...request.body.toString().matchAll(/<PartNumber>(\d+)</g)].map(([, number]) => Number(number));
			return numbers.every((number, index) => number === index + 1) ? undefined : refusal(400, "InvalidPart");
		},
	}),
	"ends listings in their middle": () => {
		const isCut = everyNth(2, isList);
		return {
			tells: (request, { body }) =>
				isCut(request) ? { body: body.slice(0, Math.ceil(body.length * 0.6)) } : undefined,
		};
	},
	"calls every version another one that is to be copied": () => ({
		refuses: ({ headers }) =>
			"x-amz-copy-source-if-match" in headers ? refusal(412, "PreconditionFailed") : undefined,
	}),
	"fails after it has done what it was told": () => {
		const fails = everyNth(4, (request) => isComplete(request) || isCopy(request) || request.method === "PUT");
		return { tells: (request) => (fails(request) ? refusal(500, "InternalError") : undefined) };
	},
};

const cases: readonly (readonly [name: string, lies: () => readonly Manner[]])[] = [
	...Object.entries(lies).map(([name, lie]) => [name, () => [lie()]] as const),
	["does all of that", () => Object.values(lies).map((lie) => lie())],
];

test.each(cases)(
	"keeps what it acknowledged on a server that %s",
	async (name, manners) => {
		const seed = Buffer.from(name).reduce((sum, byte) => Math.imul(sum, 31) + byte, 7);
		const told = manners().map(counted);
		proxy.manners(unknown, ...told.map(({ manner }) => manner));
		const prefix = `${seed}/`;
		const here = await MountedBucket.mount({
			minio,
			endpoint: proxy.endpoint,
			bucket,
			prefix,
			store: { retryForMs: 3000 },
			volume: { ttlMs: 500 },
		});
		mounted = here;
		const game = new Game(here.target, new Random(seed));
		await game.begin();
		for (let move = 0; move < 28; move++) await game.play();
		const misread: string[] = [];
		for (const [path, bytes] of game.acknowledged) {
			const found = await readFile(join(here.target, path)).catch(() => undefined);
			if (found !== undefined && !found.equals(bytes)) misread.push(path);
		}
		await here.unmount();
		const said = [...game.failures, ...here.log].join("\n");
		expect(misread, said).toEqual([]);
		expect(await differences(game, prefix), said).toEqual([]);
		// Together, one lie keeps another one from being told.
		expect(told.every(({ told: { count } }) => count > 0) || told.length > 1).toBe(true);
		expect(game.succeeded, game.failures.join("\n")).toBeGreaterThan(18);
	},
	100_000,
);

/** What the bucket has otherwise than was acknowledged. */
async function differences({ acknowledged, unsure }: Game, prefix: string): Promise<string[]> {
	const below = (await minio.list(bucket)).filter((key) => key.startsWith(prefix) && !key.endsWith("/"));
	const keys = new Set(below.map((key) => key.slice(prefix.length)));
	const found: string[] = [];
	for (const [path, bytes] of acknowledged) {
		if (!keys.has(path)) found.push(`${path} is missing`);
		else if (!(await minio.get(bucket, prefix + path)).equals(bytes)) found.push(`${path} has other bytes`);
	}
	for (const key of keys) if (!acknowledged.has(key) && !unsure.has(key)) found.push(`${key} is too much`);
	return found;
}

/** An application that remembers what it was told. */
class Game {
	readonly acknowledged = new Map<string, Buffer>();
	/** Of what failed nothing is known. */
	readonly unsure = new Set<string>();
	readonly failures: string[] = [];
	succeeded = 0;
	readonly #folder: string;
	readonly #random: Random;
	readonly #folders = new Set<string>();
	#count = 0;

	constructor(folder: string, random: Random) {
		this.#folder = folder;
		this.#random = random;
	}

	/** A file of several parts, of which the last one changes: the others are copied as one, once it is known how. */
	async begin(): Promise<void> {
		const bytes = noise(17 * MiB);
		const at = join(this.#folder, "large");
		if (!(await this.#try(["large"], async () => writeFile(at, bytes)))) return;
		this.acknowledged.set("large", bytes);
		for (const position of [16 * MiB, 16 * MiB + 1000]) {
			const work = async (): Promise<void> => writeAt(at, bytes.subarray(0, 1000), position);
			if (!(await this.#try(["large"], work))) return;
			const changed = Buffer.from(this.acknowledged.get("large") ?? bytes);
			bytes.copy(changed, position, 0, 1000);
			this.acknowledged.set("large", changed);
		}
	}

	async play(): Promise<void> {
		const directory = `d${this.#random.below(2)}`;
		const path = `${directory}/f${this.#random.below(6)}`;
		const known = [...this.acknowledged.keys()].filter((each) => each !== "large");
		const present = known[this.#random.below(known.length)];
		const kind = this.#random.below(10);
		if (kind < 3 || present === undefined) return this.#write(directory, path);
		const bytes = this.acknowledged.get(present) ?? Buffer.alloc(0);
		const at = join(this.#folder, present);
		const more = noise(this.#size(), ++this.#count);
		const change = async (work: () => Promise<unknown>, content: Buffer): Promise<void> => {
			if (await this.#try([present], work)) this.acknowledged.set(present, content);
		};
		if (kind === 5) return change(async () => appendFile(at, more), Buffer.concat([bytes, more]));
		if (kind === 6) {
			const sizeBytes = Math.floor(bytes.length / 2);
			return change(async () => truncate(at, sizeBytes), bytes.subarray(0, sizeBytes));
		}
		if (kind === 7) {
			const position = this.#random.below(bytes.length + 1);
			const content = Buffer.alloc(Math.max(bytes.length, position + more.length));
			bytes.copy(content);
			more.copy(content, position);
			return change(async () => writeAt(at, more, position), content);
		}
		if (kind === 8) return change(async () => chmod(at, 0o600 + this.#random.below(64)), bytes);
		if (kind < 5) return this.#rename(present, directory);
		if (await this.#try([present], async () => unlink(at))) this.acknowledged.delete(present);
	}

	#size(): number {
		return this.#random.chance(0.25) ? 5 * MiB + this.#random.below(2 * MiB) : this.#random.below(5000);
	}

	async #make(directory: string): Promise<void> {
		if (!this.#folders.has(directory)) await mkdir(join(this.#folder, directory)).catch(() => undefined);
		this.#folders.add(directory);
	}

	async #write(directory: string, path: string): Promise<void> {
		await this.#make(directory);
		const bytes = noise(this.#size(), ++this.#count);
		const flag = this.acknowledged.has(path) || this.unsure.has(path) ? "w" : "wx";
		if (!(await this.#try([path], async () => writeFile(join(this.#folder, path), bytes, { flag })))) return;
		this.unsure.delete(path);
		this.acknowledged.set(path, bytes);
	}

	/** A file, or the whole directory that it is in. */
	async #rename(from: string, directory: string): Promise<void> {
		const isDirectory = this.#random.chance(0.6);
		const old = isDirectory ? from.replace(/\/.*/, "") : from;
		const now = isDirectory ? `e${++this.#count}` : `${directory}/g${++this.#count}`;
		if (!isDirectory) await this.#make(directory);
		const moved = (path: string): string => now + path.slice(old.length);
		const below = (path: string): boolean => path === old || path.startsWith(`${old}/`);
		const paths = [...this.acknowledged.keys(), ...this.unsure].filter(below);
		const wereUnsure = paths.filter((path) => this.unsure.has(path));
		const work = async (): Promise<void> => rename(join(this.#folder, old), join(this.#folder, now));
		if (isDirectory) this.#folders.delete(old);
		const contents = new Map(paths.map((path) => [path, this.acknowledged.get(path)]));
		if (!(await this.#try([...paths, ...paths.map(moved)], work))) return;
		for (const [path, bytes] of contents) {
			this.acknowledged.delete(path);
			if (bytes !== undefined) this.acknowledged.set(moved(path), bytes);
		}
		for (const path of wereUnsure) this.unsure.add(moved(path));
	}

	/** Whether it was done. */
	async #try(paths: readonly string[], work: () => Promise<unknown>): Promise<boolean> {
		try {
			await work();
			this.succeeded++;
			return true;
		} catch (error) {
			this.failures.push(String(error).replaceAll(this.#folder, ""));
			for (const path of paths) {
				this.acknowledged.delete(path);
				this.unsure.add(path);
			}
			return false;
		}
	}
}

async function writeAt(path: string, bytes: Buffer, position: number): Promise<void> {
	const file = await open(path, "r+");
	try {
		await file.write(bytes, 0, bytes.length, position);
		await file.sync();
	} finally {
		await file.close();
	}
}
