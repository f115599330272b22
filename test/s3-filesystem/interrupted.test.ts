import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FuseError, type RequestContext } from "../../src/fuse/filesystem.ts";
import type { ObjectStore } from "../../src/s3/object-store.ts";
import { createS3Filesystem, type S3Filesystem } from "../../src/s3-filesystem/index.ts";
import { startRealBucket, type RealBucket } from "./writing/real-bucket.ts";
import { plainVolume } from "./plain-volume.ts";

/** Operations whose callers are killed while the server works for them, request by request. */
let bucket: RealBucket;
let folder: string;
let worlds = 0;

beforeAll(async () => {
	bucket = await startRealBucket();
	folder = mkdtempSync(join(tmpdir(), "fluid-fuse-interrupted-"));
});
afterAll(async () => {
	await bucket.stop();
	rmSync(folder, { recursive: true });
});

const readWrite = 2;
const writeAndTruncate = 0o1001;

interface Caller {
	readonly context: RequestContext;
	kill(): void;
}

function createCaller(): Caller {
	const controller = new AbortController();
	return {
		context: { uid: 0, gid: 0, pid: 1, signal: controller.signal },
		kill: () => controller.abort(new FuseError("EINTR")),
	};
}

/** A request that is held before it is sent, or before its answer is told. */
interface Hold {
	/** Its number, or the first of this function. */
	readonly at: number | keyof ObjectStore;
	readonly when: "request" | "answer";
}

const changing: ReadonlySet<string> = new Set([
	"put",
	"delete",
	"deleteMany",
	"copy",
	"createMultipart",
	"uploadPart",
	"completeMultipart",
]);

/** A bucket's folder with a filesystem on it. */
class World {
	readonly filesystem: S3Filesystem;
	/** Requests since the last `hold`, by the store's functions. */
	requests: string[] = [];
	readonly #prefix = `world-${++worlds}/`;
	#hold: Hold | undefined;
	#held = Promise.withResolvers<void>();
	#free = Promise.withResolvers<void>();

	constructor() {
		this.filesystem = createS3Filesystem(
			[
				{
					...plainVolume,
					store: this.#slowStore(),
					identity: "writing",
					prefix: this.#prefix,
					contentTypes: false,
					ttlMs: 0,
				},
			],
			{
				memoryBytes: 32 * 1024 ** 2,
				readAheadBytes: 1024 ** 2,
				stagingDirectory: join(folder, String(worlds)),
				stagingLimitBytes: 64 * 1024 ** 2,
			},
		);
	}

	static async create(): Promise<World> {
		const world = new World();
		const keys = ["f", "g", "d/1", "d/e/2", "implied/only", "empty/"];
		for (const key of keys) await bucket.put(world.#prefix + key, Buffer.from(key.endsWith("/") ? "" : `of ${key}`));
		return world;
	}

	async node(path: string): Promise<number> {
		let node = 1;
		for (const name of path.split("/")) ({ node } = await this.filesystem.lookup(node, name, createCaller().context));
		return node;
	}

	/** From now on; resolves when a request is held. */
	hold(hold: Hold): Promise<void> {
		this.#hold = hold;
		this.requests = [];
		return this.#held.promise;
	}

	free(): void {
		this.#hold = undefined;
		this.#free.resolve();
	}

	/** Keys, with what they hold and their modes. */
	async state(): Promise<Record<string, string>> {
		const state: Record<string, string> = {};
		const { objects } = await bucket.store.list({ prefix: this.#prefix });
		for (const { key } of objects) {
			const { metadata } = await bucket.store.head(key);
			const content = (await bucket.minio.get("writing", key)).toString();
			state[key.slice(this.#prefix.length)] = `${content} ${metadata["mode"] ?? ""} ${metadata["xattr"] ?? ""}`;
		}
		return state;
	}

	#slowStore(): ObjectStore {
		return new Proxy(bucket.store, {
			get: (target, name) => {
				const value: unknown = Reflect.get(target, name, target);
				if (typeof value !== "function") return value;
				return async (...given: unknown[]): Promise<unknown> => {
					const { at, when } = this.#hold ?? { at: -1, when: "request" };
					const number = this.requests.push(String(name)) - 1;
					const isHeld = number === at || (name === at && this.requests.indexOf(name) === number);
					if (isHeld && when === "request") await this.#untilFree();
					const answer: unknown = await Reflect.apply(value, target, given);
					if (isHeld && when === "answer") await this.#untilFree();
					return answer;
				};
			},
		});
	}

	async #untilFree(): Promise<void> {
		this.#held.resolve();
		await this.#free.promise;
	}
}

type Operation = (world: World) => Promise<(context: RequestContext) => Promise<unknown>>;

/** With all that is looked up before. */
const operations: Readonly<Record<string, Operation>> = {
	mkdir:
		async ({ filesystem }) =>
		async (context) =>
			filesystem.mkdir?.(1, "new", 0o700, context),
	symlink:
		async ({ filesystem }) =>
		async (context) =>
			filesystem.symlink?.(1, "new", "f", context),
	mknod:
		async ({ filesystem }) =>
		async (context) =>
			filesystem.mknod?.(1, "new", 0o100_600, context),
	unlink: async (world) => {
		const parent = await world.node("implied");
		return async (context) => world.filesystem.unlink?.(parent, "only", context);
	},
	rmdir:
		async ({ filesystem }) =>
		async (context) =>
			filesystem.rmdir?.(1, "empty", context),
	rename:
		async ({ filesystem }) =>
		async (context) =>
			filesystem.rename?.(1, "f", 1, "new", 0, context),
	"rename over another":
		async ({ filesystem }) =>
		async (context) =>
			filesystem.rename?.(1, "f", 1, "g", 0, context),
	"rename of a directory":
		async ({ filesystem }) =>
		async (context) =>
			filesystem.rename?.(1, "d", 1, "new", 0, context),
	chmod: async (world) => {
		const node = await world.node("f");
		return async (context) => world.filesystem.setattr(node, { mode: 0o600 }, undefined, context);
	},
	"chmod of a directory": async (world) => {
		const node = await world.node("d");
		return async (context) => world.filesystem.setattr(node, { mode: 0o700 }, undefined, context);
	},
	truncate: async (world) => {
		const node = await world.node("f");
		return async (context) => world.filesystem.setattr(node, { sizeBytes: 1 }, undefined, context);
	},
	setxattr: async (world) => {
		const node = await world.node("f");
		return async (context) => world.filesystem.setxattr?.(node, "user.a", Buffer.from("value"), 0, context);
	},
	"create, write, flush":
		async ({ filesystem }) =>
		async (context) => {
			const made = await filesystem.create?.(1, "new", 0o600, readWrite, context);
			if (made === undefined) return;
			try {
				await filesystem.write?.(made.node, made.handle, 0, Buffer.from("written"), context);
				await filesystem.flush?.(made.node, made.handle, context);
			} finally {
				await filesystem.release(made.node, made.handle);
			}
		},
	"open that truncates, flush": async (world) => {
		const node = await world.node("f");
		return async (context) => {
			const { handle } = await world.filesystem.open(node, writeAndTruncate, context);
			try {
				await world.filesystem.flush?.(node, handle, context);
			} finally {
				await world.filesystem.release(node, handle);
			}
		};
	},
};

describe.each(Object.keys(operations))("%s, when its caller is killed,", (name) => {
	const operation: Operation = operations[name] ?? (async () => async () => undefined);

	test.each(["request", "answer"] as const)("is done or not done, whichever %s it waits for", async (when) => {
		const undisturbed = await World.create();
		const before = await undisturbed.state();
		const perform = await operation(undisturbed);
		// No request: only to count them.
		void undisturbed.hold({ at: -1, when });
		await perform(createCaller().context);
		const after = await undisturbed.state();
		expect(after).not.toEqual(before);
		for (const [at, request] of undisturbed.requests.entries()) {
			const world = await World.create();
			const begin = await operation(world);
			const caller = createCaller();
			const held = world.hold({ at, when });
			const outcome = begin(caller.context).then(
				() => after,
				(error: unknown) => {
					if (!(error instanceof FuseError && error.errno === "EINTR")) throw error;
					return before;
				},
			);
			// Whether that listed ahead may take away a request.
			await Promise.race([held, outcome]);
			const sent = world.requests.slice(0, when === "request" ? at : at + 1);
			caller.kill();
			world.free();
			const wanted = await outcome;
			expect(await world.state(), `killed at ${sent.join(", ")}`).toEqual(wanted);
			// Nothing is begun by who only looks.
			const isLooking = request === "list" && !sent.some((one) => changing.has(one));
			expect(isLooking && wanted === after, `begun at ${request} ${at}`).toBe(false);
		}
	});
});

test("who is killed while he waits for another changes nothing", async () => {
	const world = await World.create();
	const node = await world.node("f");
	const [first, second] = [createCaller(), createCaller()];
	const held = world.hold({ at: 0, when: "request" });
	const firstDone = world.filesystem.setattr(node, { mode: 0o600 }, undefined, first.context);
	await held;
	const secondDone = Promise.resolve(world.filesystem.setattr(node, { mode: 0o611 }, undefined, second.context));
	const thirdDone = world.filesystem.setattr(node, { uid: 7 }, undefined, createCaller().context);
	second.kill();
	world.free();
	await expect(secondDone).rejects.toMatchObject({ errno: "EINTR" });
	await Promise.all([firstDone, thirdDone]);
	const { mode, uid } = await world.filesystem.getattr(node, undefined, first.context);
	expect([mode & 0o777, uid]).toEqual([0o600, 7]);
});

test("what who is killed has written is stored, although his close waits for another and is not carried out", async () => {
	const world = await World.create();
	const { filesystem } = world;
	const directory = await world.node("d");
	const made = await filesystem.create?.(directory, "new", 0o644, readWrite, createCaller().context);
	if (made === undefined) throw new Error("nothing was made");
	const other = createCaller();
	const held = world.hold({ at: "copy", when: "request" });
	const moved = filesystem.rename?.(1, "d", 1, "moved", 0, other.context);
	await held;
	await filesystem.write?.(made.node, made.handle, 0, Buffer.from("written"), createCaller().context);
	const killed = createCaller();
	const flush = Promise.resolve(filesystem.flush?.(made.node, made.handle, killed.context));
	killed.kill();
	await expect(flush).rejects.toMatchObject({ errno: "EINTR" });
	const released = filesystem.release(made.node, made.handle);
	world.free();
	await Promise.all([moved, released]);
	expect((await world.state())["moved/new"]).toContain("written");
});
