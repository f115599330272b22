/**
 * A filesystem in memory in a process of its own, for tests: serves the mount that it inherits as descriptor 3, or mounts itself with
 * libfuse. Told what to do, and asked for its numbers, over Node's channel.
 *
 * Some names are special. `slow…`: an open waits until it is interrupted. `wait…`: each read takes a moment. `broken…`: an open fails
 * in a way that no filesystem should, `long…`: a read answers more than it was asked for. `late…`: what is
 * written is there a while later, when it is answered.
 */
import { flushCompileCache } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import {
	FuseError,
	type Created,
	type Entry,
	type Opened,
	type ReadResult,
	type Reply,
	type RequestContext,
} from "../../src/fuse/filesystem.ts";
import { serveLibfuse } from "../../src/fuse/libfuse.ts";
import { serve, type FuseSession } from "../../src/fuse/session.ts";
import { MemoryFilesystem } from "../support/memory-filesystem.ts";
import type { FromServer, ServedMemory, ToServer } from "./mounted-memory.ts";

const say = (message: FromServer): void => void process.send?.(message);

class TestFilesystem extends MemoryFilesystem {
	mostReads = 0;
	mostWrites = 0;
	interrupted = 0;
	readonly #special = new Map<number, string>();
	#reads = 0;
	#writes = 0;

	override lookup(parent: number, name: string): Reply<Entry> {
		return this.#marked(name, super.lookup(parent, name) as Entry);
	}

	override create(parent: number, name: string, mode: number, flags: number, context: RequestContext): Reply<Created> {
		return this.#marked(name, super.create(parent, name, mode, flags, context) as Created);
	}

	override open(id: number, flags: number, context: RequestContext): Reply<Opened> {
		const kind = this.#special.get(id);
		if (kind === "broken") throw new TypeError("a bug");
		return kind === "slow" ? this.#untilInterrupted(context) : super.open(id, flags, context);
	}

	override read(id: number, handle: number, offset: number, sizeBytes: number): Reply<ReadResult> {
		const kind = this.#special.get(id);
		if (kind === "long") return { views: [Buffer.alloc(sizeBytes + 1)] };
		return kind === "wait" ? this.#slowRead(id, handle, offset, sizeBytes) : super.read(id, handle, offset, sizeBytes);
	}

	override write(id: number, handle: number, offset: number, data: Buffer, context: RequestContext): Reply<number> {
		const kind = this.#special.get(id);
		if (kind === "late") return sleep(500).then(() => super.write(id, handle, offset, data));
		return kind === "wait" ? this.#slowWrite(id, handle, offset, data) : super.write(id, handle, offset, data, context);
	}

	#marked<E extends Entry>(name: string, entry: E): E {
		const kind = /^(slow|wait|broken|long|late)/.exec(name)?.[0];
		if (kind !== undefined) this.#special.set(entry.node, kind);
		return entry;
	}

	async #untilInterrupted({ signal }: RequestContext): Promise<Opened> {
		await new Promise((resolve) => {
			if (signal.aborted) resolve(undefined);
			signal.addEventListener("abort", resolve, { once: true });
		});
		this.interrupted++;
		throw new FuseError("EINTR");
	}

	async #slowRead(id: number, handle: number, offset: number, sizeBytes: number): Promise<ReadResult> {
		this.mostReads = Math.max(this.mostReads, ++this.#reads);
		await sleep(50);
		this.#reads--;
		return super.read(id, handle, offset, sizeBytes);
	}

	async #slowWrite(id: number, handle: number, offset: number, data: Buffer): Promise<number> {
		this.mostWrites = Math.max(this.mostWrites, ++this.#writes);
		await sleep(50);
		this.#writes--;
		return super.write(id, handle, offset, data);
	}
}

/** Lets the results of operations wait, as if what is behind the filesystem were slow. */
class Gate {
	waiting = 0;
	#held: ReadonlySet<string> = new Set();
	#opened = Promise.withResolvers<void>();

	hold(operations: readonly string[]): void {
		this.#held = new Set(operations);
		this.#opened.resolve();
		this.#opened = Promise.withResolvers();
	}

	/** The filesystem with this gate in front of it. */
	before(filesystem: TestFilesystem): TestFilesystem {
		return new Proxy(filesystem, {
			get: (target, property) => {
				const value: unknown = Reflect.get(target, property, target);
				if (typeof value !== "function") return value;
				const operation = (...given: unknown[]): unknown => Reflect.apply(value, target, given);
				if (!this.#held.has(String(property))) return operation;
				return async (...given: unknown[]) => {
					const result = await operation(...given);
					await this.#untilFree();
					return result;
				};
			},
		});
	}

	async #untilFree(): Promise<void> {
		this.waiting++;
		await this.#opened.promise;
		this.waiting--;
	}
}

/** What INIT of Linux 4.18 knows: FUSE 7.27, flags up to FUSE_ABORT_ERROR. */
const linux418 = { minor: 27, flags: (1n << 22n) - 1n };

process.once("message", (served: ServedMemory) => {
	run(served).catch((error: unknown) => say({ kind: "failed", reason: String(error) }));
});

async function run(served: ServedMemory): Promise<void> {
	const filesystem = new TestFilesystem(served.validMs);
	const gate = new Gate();
	const log = (level: string, fields: object, message: string): void => say({ kind: "log", level, message, fields });
	const session =
		served.libfuse !== undefined
			? await serveLibfuse({
					target: served.libfuse,
					source: "memory, by libfuse",
					subtype: "memory",
					readOnly: false,
					allowOther: true,
					validMs: 1000,
					filesystem,
					log,
				})
			: serve({
					fd: 3,
					filesystem: gate.before(filesystem),
					log,
					...(served.asLinux418 === true && {
						mask: (offer) => ({ ...offer, minor: linux418.minor, flags: offer.flags & linux418.flags }),
					}),
				});
	process.on("message", (message: ToServer) => say(answer(message, filesystem, session, gate)));
	say({ kind: "serving" });
	// Most are killed, and would keep nothing for the next.
	flushCompileCache();
	const ending = await session.ended;
	say({
		kind: "ended",
		how: ending.kind === "unmounted" ? "unmounted" : String(ending.cause),
		isDestroyed: filesystem.isDestroyed,
	});
	process.disconnect();
}

function answer(message: ToServer, filesystem: TestFilesystem, session: FuseSession, gate: Gate): FromServer {
	switch (message.kind) {
		case "stats": {
			const { remembered, nodeCount, openFiles, openDirectories, mostReads, mostWrites, interrupted } = filesystem;
			const { requests, errors, inFlight, notifications, connection } = session;
			return {
				kind: "stats",
				stats: {
					remembered,
					nodeCount,
					openFiles,
					openDirectories,
					mostReads,
					mostWrites,
					interrupted,
					requests,
					errors,
					inFlight,
					notifications,
					held: gate.waiting,
				},
				...(connection !== undefined && { connection }),
			};
		}
		case "replace":
			filesystem.kernel?.invalidateNode(filesystem.replace(message.name, Buffer.from(message.content)));
			return { kind: "done" };
		case "unlink":
			filesystem.unlink(1, message.name);
			filesystem.kernel?.invalidateEntry(1, message.name);
			return { kind: "done" };
		case "hold":
			gate.hold(message.operations);
			return { kind: "done" };
		default:
			throw new Error(message satisfies never);
	}
}
