import { isReplacedOrGone, type ObjectStore } from "../../s3/object-store.ts";
import { inParallel } from "../../turns.ts";
import type { PendingLeft } from "./pending-left.ts";
import { againAt, mayPass } from "./pending-tries.ts";
import { withoutRemoved, type RemovedObjects } from "./store-without-removed.ts";
import { RemovalFile, type FoundRemovals, type RemovedObject } from "./removal-file.ts";

/** One request takes so many. */
const perRequest = 1000;
/** Others may come meanwhile, and who waits for one does not wait for that. */
const gatherMs = 20;
/** Each has a place in memory. */
const maximumRemovals = 10_000;
/** Looked at again at once, after another process has left them. */
const looksAtOnce = 16;
/** Of what a server says of when an object was stored. */
const clockMs = 2000;

interface Removal extends RemovedObject {
	readonly batch: Batch;
	failure: unknown;
}

/** Written down in one file, and sent with one request. */
interface Batch {
	readonly file: RemovalFile;
	readonly removals: Map<string, Removal>;
	/** Another process has left it, and the bucket may have changed since. */
	readonly isRecalled: boolean;
	/** Not before that time, by performance.now. */
	notBefore: number;
	tries: number;
	/** Resolves when it has been tried once more. */
	tried: PromiseWithResolvers<void>;
}

interface RemovalOptions {
	/** Where it is written down; there already. */
	readonly directory: string;
	readonly identity: string;
	readonly prefix: string;
	readonly log: ((level: "info" | "warn" | "error", fields: object, message: string) => void) | undefined;
	/** Told which cannot be removed, in words; undefined: none any more. */
	readonly onTrouble: ((message: string | undefined) => void) | undefined;
}

/**
 * Objects of one bucket whose names are gone for everybody here, and which are deleted behind, many with one request: what comes while one is
 * under way goes with the next. Nothing is given up: what cannot be deleted stays written down, is told, and is tried again.
 */
export class PendingRemovals implements RemovedObjects {
	readonly #options: RemovalOptions;
	readonly #removals = new Map<string, Removal>();
	/** The oldest first; others are added to the last, until it is sent. */
	readonly #batches: Batch[] = [];
	/** Each has what has gone since it began. */
	readonly #watchers = new Set<Map<string, string | undefined>>();
	#store: ObjectStore | undefined;
	/** Refused, and not only because the server is out of reach. */
	readonly #failed = new Set<Removal>();
	#sending: Batch | undefined;
	#timer: NodeJS.Timeout | undefined;
	#isDiskTold = false;
	#isLeft = false;

	constructor(options: RemovalOptions) {
		this.#options = options;
	}

	/** Shows this store, in which they are deleted from now on, without them. */
	over(store: ObjectStore): ObjectStore {
		this.#store = store;
		return withoutRemoved(store, this);
	}

	/** The object is to go, and is gone for everybody here. Returns false where its caller has to wait for the bucket. `maximumAgeMs`: of others. */
	remove(removed: Omit<RemovedObject, "sinceMs">, maximumAgeMs: number): boolean {
		const sinceMs = Date.now();
		const [oldest] = this.#removals.values();
		if (oldest !== undefined && (this.#removals.size >= maximumRemovals || sinceMs - oldest.sinceMs > maximumAgeMs))
			return false;
		if (this.#isLeft || this.#removals.has(removed.key) || this.#failed.size > 0) return false;
		try {
			const batch = this.#openBatch();
			batch.file.add({ ...removed, sinceMs });
			this.#add(batch, { ...removed, sinceMs });
		} catch (error) {
			if (!this.#isDiskTold)
				this.#options.log?.("warn", { err: error }, "the disk takes no removals, and they wait for the bucket");
			this.#isDiskTold = true;
			return false;
		}
		this.#isDiskTold = false;
		this.#sendNext();
		return true;
	}

	/** Written down by a process before this one. */
	recall({ file, removed }: FoundRemovals): void {
		const batch = this.#newBatch(file, true);
		for (const each of removed) this.#add(batch, each);
		this.#batches.push(batch);
		if (batch.removals.size === 0) this.#writeDown(batch);
	}

	/** Deletes what was recalled. */
	begin(): void {
		this.#sendNext();
	}

	/** That version is to go. */
	has(key: string, etag: string | undefined): boolean {
		const removal = this.#removals.get(key);
		return removal !== undefined && (removal.etag === undefined || removal.etag === etag);
	}

	watch(): ReturnType<RemovedObjects["watch"]> {
		const gone = new Map<string, string | undefined>();
		this.#watchers.add(gone);
		const isGone = (key: string, etag: string): boolean =>
			gone.has(key) && (gone.get(key) === undefined || gone.get(key) === etag);
		return { hides: (key, etag) => this.has(key, etag) || isGone(key, etag), end: () => this.#watchers.delete(gone) };
	}

	/** What is refused for good is given up, since something else takes its place. */
	async settle(key: string): Promise<void> {
		const removal = this.#removals.get(key);
		if (removal === undefined) return;
		await this.#try(removal.batch);
		if (this.#removals.get(key) !== removal) return;
		if (mayPass(removal.failure)) throw removal.failure;
		this.#forget(removal);
		this.#writeDown(removal.batch);
		this.#tellTrouble();
	}

	async settleBelow(prefix: string): Promise<void> {
		await this.#settle(({ key }) => key.startsWith(prefix));
	}

	isAnyBelow(prefix: string): boolean {
		return this.#removals.keys().some((key) => key.startsWith(prefix));
	}

	/** Deletes all that is to go now. Throws what is in the way. */
	async drain(): Promise<void> {
		await this.#settle(() => true);
	}

	/** Resolves when the disk has what is written down about the key. */
	async sync(key: string): Promise<void> {
		const removal = this.#removals.get(key);
		await removal?.batch.file.sync().catch((error: unknown) => {
			if (this.#removals.get(key) === removal) throw error;
		});
	}

	async #settle(isMeant: (removal: Removal) => boolean): Promise<void> {
		const meant = this.#removals.values().filter(isMeant).toArray();
		for (const batch of new Set(meant.map((removal) => removal.batch))) await this.#try(batch);
		const left = meant.find((removal) => this.#removals.get(removal.key) === removal);
		if (left !== undefined) throw left.failure;
	}

	/** Nothing more becomes of it here: whoever comes next finds it on the disk. */
	leave(): void {
		this.#isLeft = true;
		clearTimeout(this.#timer);
	}

	left(): PendingLeft {
		const removals = [...this.#removals.values()];
		const [oldest] = removals;
		return {
			files: removals.length,
			seconds: oldest === undefined ? 0 : Math.max(0, Math.round((Date.now() - oldest.sinceMs) / 1000)),
			keys: removals.slice(0, 20).map(({ key }) => key),
			failures: new Map(Array.from(this.#failed, ({ key, failure }) => [key, String(failure)])),
			isStuck: this.#sending === undefined && this.#batches.every(({ tries }) => tries > 0),
		};
	}

	#openBatch(): Batch {
		const last = this.#batches.at(-1);
		const isOpen = last !== undefined && last !== this.#sending && last.tries === 0 && !last.isRecalled;
		if (isOpen && last.removals.size < perRequest) return last;
		const batch = this.#newBatch(RemovalFile.create(this.#options.directory, this.#options), false);
		this.#batches.push(batch);
		return batch;
	}

	#newBatch(file: RemovalFile, isRecalled: boolean): Batch {
		const notBefore = isRecalled ? 0 : performance.now() + gatherMs;
		return { file, removals: new Map(), isRecalled, notBefore, tries: 0, tried: Promise.withResolvers() };
	}

	#add(batch: Batch, removed: RemovedObject): void {
		const removal = { ...removed, batch, failure: undefined };
		// Two processes may have removed it, one after the other.
		this.#removals.get(removed.key)?.batch.removals.delete(removed.key);
		this.#removals.set(removed.key, removal);
		batch.removals.set(removed.key, removal);
	}

	/** Resolves when it has been tried, at once. */
	async #try(batch: Batch): Promise<void> {
		const { promise } = batch.tried;
		batch.notBefore = 0;
		this.#sendNext();
		await promise;
	}

	#sendNext(): void {
		clearTimeout(this.#timer);
		if (this.#sending !== undefined || this.#isLeft) return;
		const now = performance.now();
		const batch = this.#batches.find(({ notBefore }) => notBefore <= now);
		if (batch !== undefined) void this.#send(batch);
		else if (this.#batches.length > 0) {
			const next = Math.min(...this.#batches.map(({ notBefore }) => notBefore));
			this.#timer = setTimeout(() => this.#sendNext(), next - now + 1).unref();
		}
	}

	async #send(batch: Batch): Promise<void> {
		this.#sending = batch;
		const { tried } = batch;
		const failedBefore = this.#failed.size;
		batch.tries++;
		for (const [key, error] of await this.#delete(batch)) {
			const removal = batch.removals.get(key);
			if (removal === undefined) continue;
			if (error === undefined || isReplacedOrGone(error)) this.#gone(removal);
			else {
				removal.failure = error;
				if (mayPass(error)) this.#failed.delete(removal);
				else this.#failed.add(removal);
			}
		}
		this.#writeDown(batch);
		batch.notBefore = againAt(batch.tries);
		if (batch.removals.size > 0) this.#keepFailed(batch);
		if (this.#failed.size !== failedBefore) this.#tellTrouble();
		batch.tried = Promise.withResolvers();
		this.#sending = undefined;
		tried.resolve();
		this.#sendNext();
	}

	/** What became of each key; undefined: it is gone. Never rejects. */
	async #delete(batch: Batch): Promise<ReadonlyMap<string, unknown>> {
		const answers = new Map<string, unknown>();
		try {
			if (batch.isRecalled) await this.#lookAgain(batch);
			const removals = [...batch.removals.values()];
			for (const { key } of removals) answers.set(key, undefined);
			const etags = new Map(removals.flatMap(({ key, etag }) => (etag === undefined ? [] : [[key, etag]])));
			const failures = removals.length === 0 ? [] : await this.#store?.deleteMany([...answers.keys()], { etags });
			for (const { key, error } of failures ?? []) answers.set(key, error);
		} catch (error) {
			for (const key of batch.removals.keys()) answers.set(key, error);
		}
		return answers;
	}

	/** Leaves out what somebody else has stored since, also if it has the same content. */
	async #lookAgain({ removals }: Batch): Promise<void> {
		await inParallel([...removals.values()], looksAtOnce, async (removal) => {
			const { key, etag, modifiedMs = Number.POSITIVE_INFINITY } = removal;
			if (etag === undefined) return;
			try {
				const found = await this.#store?.head(key, { as: etag });
				if (found?.etag !== etag || found.modifiedMs > modifiedMs + clockMs) this.#gone(removal);
			} catch (error) {
				if (!isReplacedOrGone(error)) throw error;
				this.#gone(removal);
			}
		});
	}

	#gone(removal: Removal): void {
		for (const gone of this.#watchers) gone.set(removal.key, removal.etag);
		this.#forget(removal);
	}

	#forget(removal: Removal): void {
		removal.batch.removals.delete(removal.key);
		this.#removals.delete(removal.key);
		this.#failed.delete(removal);
	}

	/** Before anybody is told that something has gone, or it could go once more when it is there again. */
	#writeDown(batch: Batch): void {
		const { file, removals } = batch;
		try {
			if (removals.size > 0) {
				file.keep(removals.values(), this.#options);
				return;
			}
			const index = this.#batches.indexOf(batch);
			if (index === -1) return;
			this.#batches.splice(index, 1);
			file.remove();
		} catch (error) {
			const facts = { err: error, file: file.path };
			this.#options.log?.(
				"error",
				facts,
				"that objects are gone cannot be written down: a process after this one tries again",
			);
		}
	}

	/** When it takes longer, the disk is to have it at least. */
	#keepFailed({ file, removals, tries }: Batch): void {
		const [first] = removals.values();
		file.sync().catch(() => undefined);
		if (first === undefined || tries > 1) return;
		const { key, failure } = first;
		const facts = { err: failure, key, files: removals.size };
		if (mayPass(failure)) this.#options.log?.("warn", facts, "removed files cannot be deleted in the bucket for now");
		else this.#options.log?.("error", facts, "removed files cannot be deleted in the bucket, and are tried again");
	}

	#tellTrouble(): void {
		const [first, ...others] = this.#failed;
		if (first === undefined) {
			this.#options.onTrouble?.(undefined);
			return;
		}
		const more = others.length === 0 ? "" : `, and ${others.length} more`;
		this.#options.onTrouble?.(
			`removed files cannot be deleted in the bucket: ${first.key}${more}: ${String(first.failure)}`,
		);
	}
}
