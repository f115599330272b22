import { AsyncLocalStorage } from "node:async_hooks";
import { matchesGlob } from "node:path/posix";
import { opcodes } from "../fuse/abi.ts";
import { bytesOf } from "../fuse/call.ts";
import { errnoNameOf } from "../fuse/errno.ts";
import type { StoreEvent } from "../s3/object-store.ts";
import type { Report } from "./messages.ts";
import { operations, type Operation } from "./operation-names.ts";
import type { TracedEvent, TracedRequest } from "./traced-event.ts";

/** What somebody wants to see. */
export interface TraceWish {
	/** Only of that one. Default: of all. */
	readonly folder?: string | undefined;
	/** Of the paths in the mount; without a slash, of the names. Default: all. */
	readonly path?: string | undefined;
	/** Only what takes longer. Default: everything. */
	readonly slowMs?: number | undefined;
}

interface Tracer {
	readonly wish: TraceWish;
	events: TracedEvent[];
	lost: number;
	/** What was told last has not left yet. */
	isTelling: boolean;
}

/** One that is under way, or whose requests are. */
interface Running {
	readonly operation: Operation;
	readonly folder: string;
	readonly path: string | undefined;
	readonly requests: TracedRequest[];
	moreRequests: number;
	isAnswered: boolean;
}

const tellEveryMs = 100;
/** What is more is counted: who looks on must not slow down what they look at. */
const maximumEvents = 2000;
/** Of one operation, and what is more is counted, too: the rename of a directory has some for each object below it. */
const maximumRequests = 100;

export interface Places {
	/** Where a node is in the mount; undefined: it has no name any more. */
	pathOf(node: number): string | undefined;
	folderOf(node: number): string;
}

/** Tells those who look on of each operation, with the requests to the server that it caused. Costs nothing while nobody does. */
export class Tracing {
	readonly #tell: (report: Report, onGone: () => void) => void;
	readonly #tracers = new Map<number, Tracer>();
	/** Follows an operation through everything that it waits for. */
	readonly #running = new AsyncLocalStorage<Running>();
	#isToTell = false;

	/** `onGone` is called when a report has left, or cannot. */
	constructor(tell: (report: Report, onGone: () => void) => void) {
		this.#tell = tell;
	}

	get isOn(): boolean {
		return this.#tracers.size > 0;
	}

	begin(id: number, wish: TraceWish): void {
		if (!this.#tracers.has(id)) this.#tracers.set(id, { wish, events: [], lost: 0, isTelling: false });
	}

	end(id: number): void {
		this.#tracers.delete(id);
	}

	/** Does the work of an operation, and tells of it when it is answered. */
	follow(operation: Operation, args: readonly unknown[], places: Places, work: () => unknown): unknown {
		const [node = 0, name] = args as [number?, unknown?];
		const folder = places.folderOf(node);
		if (!this.#tracers.values().some(({ wish }) => isIn(wish, folder))) return work();
		const path = pathIn(places.pathOf(node), isNamed(operation) && typeof name === "string" ? name : undefined);
		const running: Running = { operation, folder, path, requests: [], moreRequests: 0, isAnswered: false };
		const asked = Object.fromEntries(
			operations[operation].flatMap((argument, index) =>
				shownArguments.has(argument) ? [[argument, shown(args[index])]] : [],
			),
		);
		const to = operation === "rename" ? pathIn(places.pathOf(args[2] as number), String(args[3])) : undefined;
		const caller = args.findLast(isCaller);
		const startedAt = performance.now();
		const at = new Date().toISOString();
		const answered = (result: Pick<TracedEvent, "error" | "bytes">): void => {
			const ms = rounded(performance.now() - startedAt);
			running.isAnswered = true;
			this.#add(
				{
					kind: "operation",
					at,
					folder,
					operation,
					...(path !== undefined && { path }),
					...(to !== undefined && { to }),
					...asked,
					...(caller !== undefined && { pid: caller.pid }),
					...result,
					ms,
					requests: running.requests,
					...(running.moreRequests > 0 && { moreRequests: running.moreRequests }),
				},
				path,
				ms,
			);
		};
		const failed = (error: unknown): void => answered({ error: errnoNameOf(error) });
		try {
			const result = this.#running.run(running, work);
			if (result instanceof Promise) result.then((value) => answered(shownBytes(operation, value)), failed);
			else answered(shownBytes(operation, result));
			return result;
		} catch (error) {
			failed(error);
			throw error;
		}
	}

	/** Called where the request was made, so that it is known for what. */
	request(event: StoreEvent): void {
		const running = this.isOn && event.kind === "request" ? this.#running.getStore() : undefined;
		if (running === undefined || event.kind !== "request") return;
		const { operation, key, status, code, seconds = 0, receivedBytes, sentBytes } = event;
		const request: TracedRequest = {
			operation,
			...(key !== undefined && { key }),
			result: code ?? `${status}`,
			ms: rounded(seconds * 1000),
			receivedBytes,
			sentBytes,
		};
		if (!running.isAnswered) {
			if (running.requests.length < maximumRequests) running.requests.push(request);
			else running.moreRequests++;
			return;
		}
		// Who waits for it may be another operation.
		const { operation: cause, folder, path } = running;
		const at = new Date().toISOString();
		const later = { at, folder, operation: cause, ...(path !== undefined && { path }), requests: [request] };
		this.#add({ kind: "later", ...later }, path, request.ms);
	}

	#add(event: TracedEvent, path: string | undefined, ms: number): void {
		for (const tracer of this.#tracers.values()) {
			if (!isIn(tracer.wish, event.folder) || !isWished(tracer.wish, path, ms)) continue;
			if (tracer.events.length < maximumEvents) tracer.events.push(event);
			else tracer.lost++;
			this.#tellSoon();
		}
	}

	#tellSoon(): void {
		if (this.#isToTell) return;
		this.#isToTell = true;
		setTimeout(() => this.#tellAll(), tellEveryMs).unref();
	}

	#tellAll(): void {
		this.#isToTell = false;
		for (const [id, tracer] of this.#tracers) {
			if (tracer.isTelling || tracer.events.length === 0) continue;
			const { events, lost } = tracer;
			Object.assign(tracer, { events: [], lost: 0, isTelling: true });
			this.#tell({ kind: "traced", id, events, lost }, () => {
				tracer.isTelling = false;
				if (tracer.events.length > 0) this.#tellSoon();
			});
		}
	}
}

/** What is shown of what was asked. Never what is written, nor what attributes hold. */
const shownArguments: ReadonlySet<string> = new Set(["offset", "sizeBytes", "lengthBytes", "mode", "flags"]);

function shown(value: unknown): unknown {
	return typeof value === "number" ? value : undefined;
}

function isNamed(operation: Operation): boolean {
	return (operations[operation] as readonly string[])[0] === "parent";
}

function pathIn(directory: string | undefined, name: string | undefined): string | undefined {
	if (directory === undefined || name === undefined) return directory;
	return directory === "" ? name : `${directory}/${name}`;
}

function isIn(wish: TraceWish, folder: string | undefined): boolean {
	return wish.folder === undefined || wish.folder === folder;
}

function isWished({ path: glob, slowMs }: TraceWish, path: string | undefined, ms: number): boolean {
	if (slowMs !== undefined && ms < slowMs) return false;
	if (glob === undefined) return true;
	return path !== undefined && matchesGlob(glob.includes("/") ? path : path.slice(path.lastIndexOf("/") + 1), glob);
}

function shownBytes(operation: Operation, result: unknown): { readonly bytes?: number } {
	return operation === "read" || operation === "write" ? { bytes: bytesOf(opcodes[operation], result) } : {};
}

function isCaller(value: unknown): value is { readonly pid: number } {
	return typeof value === "object" && value !== null && "pid" in value && typeof value.pid === "number";
}

function rounded(ms: number): number {
	return Math.round(ms * 1000) / 1000;
}
