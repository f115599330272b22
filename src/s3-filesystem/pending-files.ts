import type { RequestContext } from "../fuse/filesystem.ts";
import { S3Error, type S3ErrorKind } from "../s3/object-store.ts";
import type { FileContents } from "./file-contents.ts";
import { isOpenForWriting, keyOf, sizeOf, type FileNode } from "./names/nodes.ts";
import type { FilesystemSettings, VolumeOptions } from "./names/volume.ts";
import type { PendingRecords } from "./pending-records.ts";
import type { PendingLeft } from "./writing/pending-left.ts";
import { againAt, firstAgainMs, mayPass } from "./writing/pending-tries.ts";
import type { Tree } from "./tree.ts";
import { DraftError, type DraftErrorKind } from "./writing/draft-error.ts";

/** On their way to the server at once. */
const atOnce = 16;
/** Each has a place in memory. */
const maximumFiles = 10_000;
/** What one file is refused for, the others of its bucket are, too. */
const concernsAll: ReadonlySet<string> = new Set<S3ErrorKind | DraftErrorKind>([
	"UNAVAILABLE",
	"THROTTLED",
	"DENIED",
	"NO_BUCKET",
	"NO_SPACE",
]);

interface Pending {
	readonly node: FileNode;
	/** By performance.now. */
	readonly since: number;
	isUnderWay: boolean;
	/** Not before that time. */
	notBefore: number;
	tries: number;
	failure: { readonly error: unknown } | undefined;
}

/** Of one bucket. */
interface Server {
	notBefore: number;
	tries: number;
	/** It takes nothing: who closes a file is told so. */
	refuses: boolean;
}

/**
 * Files that were closed and are not in their buckets yet, where closing waits for the disk of the node only: they keep their drafts as if they
 * were open, and are stored behind, the oldest first. Nothing is given up: what cannot be stored stays, is told, and is tried again.
 */
export class PendingFiles {
	readonly #tree: Tree;
	readonly #contents: FileContents;
	readonly #records: PendingRecords;
	readonly #settings: Pick<FilesystemSettings, "log" | "onPendingTrouble">;
	/** The oldest first. */
	readonly #files = new Map<FileNode, Pending>();
	readonly #servers = new WeakMap<VolumeOptions, Server>();
	#underWay = 0;
	#timer: NodeJS.Timeout | undefined;
	#isDiskTold = false;

	constructor(
		tree: Tree,
		contents: FileContents,
		records: PendingRecords,
		settings: Pick<FilesystemSettings, "log" | "onPendingTrouble">,
	) {
		this.#tree = tree;
		this.#contents = contents;
		this.#records = records;
		this.#settings = settings;
	}

	has(node: FileNode): boolean {
		return this.#files.has(node);
	}

	/** Of those that failed, and not only because the server is out of reach. */
	*failed(): Generator<FileNode> {
		for (const { node, failure } of this.#files.values()) if (failure !== undefined) yield node;
	}

	/** A file is closed. Returns whether the disk has it; otherwise the bucket has to. */
	async closed(node: FileNode, caller: RequestContext): Promise<boolean> {
		if (this.#mustReachBucket(node)) return false;
		const { paths, locks } = this.#tree;
		return paths.shared(node, async () => locks.with(node, async () => this.#keep(node)), caller);
	}

	/** Nobody has the file open for writing any more. Returns whether it stays as it is; call it with the file's lock. */
	async released(node: FileNode): Promise<boolean> {
		if (node.isKnownToFail && !this.#records.isPromised(node)) this.#records.drop(node);
		if (this.#records.has(node)) {
			// What came from mapped memory since the close is in no record yet.
			if (!this.#records.isCurrent(node)) await this.#keep(node);
			this.add(node);
			return true;
		}
		return !node.isKnownToFail && !this.#mustReachBucket(node) && this.#keep(node);
	}

	#mustReachBucket(node: FileNode): boolean {
		const { volume, draft, unlinkedKey } = node;
		if (volume.writeBack === undefined || unlinkedKey !== undefined || draft?.isDirty !== true) return true;
		if (this.#files.get(node)?.failure !== undefined || this.#servers.get(volume)?.refuses === true) return true;
		if (this.#files.size >= maximumFiles) return true;
		const oldest = this.#files
			.values()
			.find((file) => file.failure === undefined && file.node.volume === volume && this.#contents.isDirty(file.node));
		return oldest !== undefined && performance.now() - oldest.since > volume.writeBack.maximumAgeMs;
	}

	async #keep(node: FileNode): Promise<boolean> {
		if (node.unlinkedKey !== undefined || node.parent === undefined) return false;
		try {
			await this.#records.keep(node);
		} catch (error) {
			if (!this.#isDiskTold)
				this.#settings.log?.(
					"warn",
					{ err: error },
					"the disk takes no pending files, and closing waits for the bucket",
				);
			this.#isDiskTold = true;
			return false;
		}
		this.#isDiskTold = false;
		if (this.#records.has(node)) this.add(node);
		// It may have been stored meanwhile.
		return this.#records.has(node) || !this.#contents.isDirty(node);
	}

	/** It is to be stored from now on. `since`: by performance.now. */
	add(node: FileNode, since = performance.now()): void {
		const known = this.#files.get(node);
		// Written down once more: it was waited for.
		if (known !== undefined) known.notBefore = Math.min(known.notBefore, againAt(known.tries));
		else this.#files.set(node, { node, since, isUnderWay: false, notBefore: 0, tries: 0, failure: undefined });
		this.#storeNext();
	}

	#storeNext(): void {
		clearTimeout(this.#timer);
		const now = performance.now();
		let next = Number.POSITIVE_INFINITY;
		for (const file of this.#files.values()) {
			if (this.#underWay >= atOnce) return;
			if (file.isUnderWay) continue;
			const server = this.#servers.get(file.node.volume);
			// One is enough to learn that it does not work yet, and nobody waits for the others.
			if (server !== undefined && this.#underWay > 0) continue;
			const at = Math.max(file.notBefore, server?.notBefore ?? 0);
			if (at > now) next = Math.min(next, at);
			else void this.#storeBehind(file);
		}
		if (next !== Number.POSITIVE_INFINITY) this.#timer = setTimeout(() => this.#storeNext(), next - now + 1).unref();
	}

	async #storeBehind(file: Pending): Promise<void> {
		file.isUnderWay = true;
		this.#underWay++;
		try {
			await this.#store(file, true);
		} catch {
			// It is told, and tried again.
		}
		this.#underWay--;
		file.isUnderWay = false;
		this.#storeNext();
	}

	/** Stores it now. Throws what is in the way. */
	async store(node: FileNode): Promise<void> {
		const file = this.#files.get(node);
		if (file !== undefined) await this.#store(file, false);
	}

	async #store(file: Pending, isBehind: boolean): Promise<void> {
		const { node } = file;
		const { paths, locks, namespace } = this.#tree;
		await paths.shared(node, async () => locks.with(node, async () => this.#storeInTurn(file, isBehind)));
		namespace.nodes.dropIfUnused(node);
	}

	async #storeInTurn(file: Pending, isBehind: boolean): Promise<void> {
		const { node } = file;
		if (this.#files.get(node) !== file) return;
		const isGone = node.draft === undefined || node.unlinkedKey !== undefined;
		const waitMs = isBehind && !isGone ? this.#untilWritten(file) : 0;
		if (waitMs > 0) {
			file.notBefore = performance.now() + waitMs;
			return;
		}
		try {
			if (!isGone) await this.#contents.commit(node);
		} catch (error) {
			this.#failed(file, error);
			throw error;
		}
		this.forget(node);
		if (isGone) return;
		this.#servers.delete(node.volume);
		if (!isOpenForWriting(node)) await this.#contents.discard(node);
	}

	/** Somebody has it open still, as a shell that has closed a copy of its descriptor: what is written goes with it, if that does not take too long. */
	#untilWritten({ node, since }: Pending): number {
		if (!isOpenForWriting(node)) return 0;
		return since + (node.volume.writeBack?.maximumAgeMs ?? 0) / 2 - performance.now();
	}

	/** It is stored, removed or given up. */
	forget(node: FileNode): void {
		const file = this.#files.get(node);
		if (file === undefined) return;
		this.#files.delete(node);
		if (file.failure === undefined) return;
		this.#settings.log?.("info", { key: node.name }, "a file that could not be uploaded is pending no more");
		this.#tellFailures();
	}

	#failed(file: Pending, error: unknown): void {
		const { node } = file;
		const kind = error instanceof S3Error || error instanceof DraftError ? error.kind : "";
		const isFirst = concernsAll.has(kind) ? this.#serverFailed(node.volume, error) : file.failure === undefined;
		file.tries++;
		// Later than the server: others have their turn before.
		file.notBefore = againAt(file.tries) + firstAgainMs;
		const facts = this.#facts(file, error);
		if (mayPass(error)) {
			if (isFirst) this.#settings.log?.("warn", facts, "pending files cannot be uploaded for now");
			return;
		}
		if (isFirst) this.#settings.log?.("error", facts, "a closed file cannot be uploaded, and its bytes are kept");
		file.failure = { error };
		this.#tellFailures();
	}

	/** Returns whether it is news. */
	#serverFailed(volume: VolumeOptions, error: unknown): boolean {
		const before = this.#servers.get(volume);
		const tries = (before?.tries ?? 0) + 1;
		const refuses = !mayPass(error);
		this.#servers.set(volume, { tries, notBefore: againAt(tries), refuses });
		return before?.refuses !== refuses;
	}

	#facts({ node, since }: Pending, error: unknown): Readonly<Record<string, unknown>> {
		const seconds = Math.round((performance.now() - since) / 1000);
		return { err: error, key: keyOf(node), sizeBytes: sizeOf(node), seconds, pendingFiles: this.#files.size };
	}

	#tellFailures(): void {
		const failed = this.#files.values().filter(({ failure }) => failure !== undefined);
		const [first, ...others] = failed;
		if (first === undefined) {
			this.#settings.onPendingTrouble?.(undefined);
			return;
		}
		const more = others.length === 0 ? "" : `, and ${others.length} more`;
		this.#settings.onPendingTrouble?.(
			`closed files cannot be uploaded, and their bytes are kept: ${first.node.name}${more}: ${String(first.failure?.error)}`,
		);
	}

	/** Nothing more becomes of it here: whoever comes next finds it on the disk. */
	leave(node: FileNode): void {
		this.#files.delete(node);
		this.#contents.leave(node);
		this.#tellFailures();
	}

	/** What is not in its bucket yet. */
	left(volume?: VolumeOptions): PendingLeft {
		const files = [...this.#files.values()].filter(
			({ node }) => (volume === undefined || node.volume === volume) && this.#records.has(node),
		);
		const [oldest] = files;
		return {
			files: files.length,
			bytes: files.reduce((sum, { node }) => sum + (node.draft?.stagedBytes ?? 0), 0),
			seconds: oldest === undefined ? 0 : Math.round((performance.now() - oldest.since) / 1000),
			keys: files.slice(0, 20).map(({ node }) => keyOf(node)),
			failures: new Map(files.flatMap(({ node, failure }) => (failure ? [[keyOf(node), String(failure.error)]] : []))),
			isStuck: this.#underWay === 0 && files.every(({ node, tries }) => tries > 0 || this.#servers.has(node.volume)),
		};
	}
}
