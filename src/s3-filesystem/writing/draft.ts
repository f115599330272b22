import type { ReadResult } from "../../fuse/filesystem.ts";
import type { ObjectVersion } from "../../s3/object-store.ts";
import { Turns } from "../../turns.ts";
import { describe, DraftCommit } from "./draft-commit.ts";
import { DraftContent } from "./draft-content.ts";
import { DraftError } from "./draft-error.ts";
import type { Committed, DraftOptions, KeptDraft, KeptPart, KeyLock } from "./draft-options.ts";
import type { DraftPart } from "./draft-parts.ts";
import { PartSender } from "./part-sender.ts";
import type { PartGrid } from "./part-grid.ts";
import type { Staging, StagingMember } from "./staging.ts";

/**
 * The changed content of one file, shared by all its open handles. Safe for concurrent calls.
 *
 * Bytes are staged in files and leave them as parts of a multipart upload. A part that was written in order is sent as soon as
 * something else is written; others at the commit, or when staging is full. A part that was sent cannot be read back from the
 * server: to read or change it again, the present content is committed first, and the draft goes on from there.
 *
 * A commit takes the content as it is when its turn comes. Writes and truncations that arrive while it runs wait for its end and
 * belong to the next; reads go on.
 *
 * When sending a part fails while the file is being written, the next write throws that error, once, and the next commit sends the
 * part again: if that goes well, the earlier error is forgotten, as nothing is lost.
 */
export class Draft {
	readonly #options: DraftOptions;
	readonly #staging: Staging;
	readonly #grid: PartGrid;
	readonly #content: DraftContent;
	readonly #sender: PartSender;
	readonly #commits: DraftCommit;
	readonly #member: StagingMember;
	readonly #keyLock: KeyLock;
	/** Writing, truncating, committing: one at a time, in the order of asking. */
	readonly #turns = new Turns();
	#committing: Promise<Committed> | undefined;
	#isDiscarded = false;
	/** What is beyond goes at this moment. */
	#cutTo: number | undefined;

	constructor(options: DraftOptions) {
		const { store, staging, key, keyLock = free, watcher, kept } = options;
		const content = new DraftContent(staging, options);
		const turns = this.#turns;
		this.#options = options;
		this.#staging = staging;
		this.#grid = staging.grid;
		this.#keyLock = keyLock;
		this.#content = content;
		this.#sender = new PartSender({
			content,
			store,
			staging,
			key,
			describe: async (isFinal) => describe(options, isFinal),
			watcher,
			kept,
		});
		this.#commits = new DraftCommit(options, content, this.#sender, () => staging.leave(this.#member));
		this.#member = {
			server: store,
			get stagedBytes() {
				return content.parts.stagedBytes;
			},
			get isIdle() {
				return turns.isIdle && !keyLock.isTaken;
			},
			relieve: async () => this.#relieve(),
			commit: async () => this.commit(),
		};
		if (kept === undefined) return;
		if (content.parts.stagedBytes > 0) staging.join(this.#member);
		// Before anybody changes what was to become an object, and may be one. Whoever commits next is told what is wrong.
		if (kept.committing?.parts !== undefined) this.#change(async () => this.#commit()).catch(() => undefined);
	}

	/** For the process in place of this one, all but its parts. */
	keep(): Omit<KeptDraft, "parts"> {
		const { base, baseModifiedMs, baseBytes, sizeBytes, isChanged, parts } = this.#content;
		return {
			id: parts.id,
			limitBytes: this.#staging.limitBytes,
			base,
			baseModifiedMs,
			baseBytes,
			sizeBytes,
			isChanged,
			onlyIfAbsent: this.#commits.onlyIfAbsent,
			upload: this.#sender.keep(),
			committing: this.#commits.committing,
		};
	}

	keepPart(index: number): KeptPart | undefined {
		return this.#content.parts.keepPart(index);
	}

	/** All of it: of one that is being cut off, only what it will have. */
	keepAll(): KeptDraft {
		const kept = this.keep();
		const end = this.#cutTo ?? Infinity;
		const indexes = this.partIndexes.filter((index) => this.#grid.startOf(index) < end);
		const parts = indexes.map((index) => this.keepPart(index)).filter((part) => part !== undefined);
		const [sizeBytes, baseBytes] = [Math.min(kept.sizeBytes, end), Math.min(kept.baseBytes, end)];
		return { ...kept, sizeBytes, baseBytes, isChanged: kept.isChanged || sizeBytes < kept.sizeBytes, parts };
	}

	/** Resolves when the disk has what is staged. Call it inside `hold`. */
	async sync(): Promise<void> {
		await Promise.all(Array.from(this.#content.parts.all(), async ({ staged }) => staged.sync()));
	}

	/** All bytes of the file, if they are staged and not more than that. */
	stagedContent(limitBytes: number): Buffer | undefined {
		const sizeBytes = Math.min(this.#content.sizeBytes, this.#cutTo ?? Infinity);
		const part = this.#content.parts.get(0);
		if (sizeBytes > limitBytes || part?.staged.has(0, sizeBytes) !== true) return undefined;
		const content = Buffer.allocUnsafe(sizeBytes);
		part.staged.readInto(content, 0);
		return content;
	}

	/** Those that are changed. */
	get partIndexes(): number[] {
		return Array.from(this.#content.parts.all(), ({ index }) => index);
	}

	get sizeBytes(): number {
		return this.#content.sizeBytes;
	}

	get stagedBytes(): number {
		return this.#content.parts.stagedBytes;
	}

	/** The object is not there yet, or has other content. */
	get isDirty(): boolean {
		return this.#content.isChanged || this.#content.base === undefined;
	}

	/**
	 * Set while parts are uploaded: only an object of this key can be made of them. Commit before the key changes; otherwise the commit
	 * makes the object there, if there is none, copies it to the new key and deletes it.
	 */
	get uploadKey(): string | undefined {
		return this.#sender.uploadKey;
	}

	/**
	 * Returns how many bytes were taken, at once if nothing has to be waited for; fewer than asked for when an error came in between,
	 * which the next write is told. `data` is only used until then. Throws NO_SPACE, TOO_LARGE, and what the server said when room
	 * had to be made.
	 */
	write(offset: number, data: Buffer): number | Promise<number> {
		if (!this.#turns.isIdle) return this.#writeSlowly(offset, data, 0);
		const done = this.#placeAll(offset, data, 0);
		return typeof done === "number" ? done : this.#writeSlowly(offset, data, done.already);
	}

	/** Zeros in holes; fewer bytes than asked for at the end of the file. Throws OBJECT_REPLACED when the base is gone. */
	read(offset: number, sizeBytes: number): ReadResult | Promise<ReadResult> {
		const end = Math.min(offset + sizeBytes, this.#content.sizeBytes);
		if (offset >= end) return { views: [] };
		this.#check();
		if (this.#content.isOnlyUploaded(offset, end) || this.#content.baseHull(offset, end) !== undefined) {
			return this.#readWithBase(offset, sizeBytes);
		}
		return this.#staged(Buffer.allocUnsafe(end - offset), offset);
	}

	async truncate(sizeBytes: number): Promise<void> {
		await this.#change(async () => this.#truncate(sizeBytes));
	}

	/**
	 * Makes the present content the object. Calls while one is under way share it. When it throws, everything is still there for the
	 * next attempt.
	 */
	async commit(): Promise<Committed> {
		this.#committing ??= this.#change(async () => this.#commit()).finally(() => {
			this.#committing = undefined;
		});
		return this.#committing;
	}

	/**
	 * Runs `work` while nothing is written and nothing committed: to give the object another key, for example. It must not call what
	 * writes or commits, which would wait for its end.
	 */
	async hold<T>(work: () => Promise<T>): Promise<T> {
		return this.#change(work);
	}

	/** A process before this one has stored it as this version, and has not lived to say so. */
	async stored(committed: Committed): Promise<void> {
		await this.#change(async () => this.#commits.stored(committed));
	}

	/** What is in the bucket as far as it is known here; undefined: nothing. */
	get base(): ObjectVersion | undefined {
		return this.#content.base;
	}

	/** The same content has another key or another ETag now. Call it inside `hold` or after `commit`. */
	rebase(base: ObjectVersion): void {
		this.#content.rebase(base);
	}

	/** Forgets everything and aborts its multipart upload. The draft is of no use afterwards. */
	async discard(): Promise<void> {
		this.#isDiscarded = true;
		await this.#turns.take(async () => {
			await this.#sender.partsEnd();
			this.#content.parts.clear();
			this.#staging.leave(this.#member);
			await this.#sender.abortUpload();
		});
	}

	/** One after the other; who waits for room elsewhere learns when it is over. */
	async #change<T>(work: () => Promise<T>): Promise<T> {
		try {
			return await this.#turns.take(work);
		} finally {
			this.#staging.changed();
		}
	}

	#check(): void {
		if (this.#isDiscarded) throw new DraftError("DISCARDED", "the changes were discarded");
		this.#sender.check();
	}

	async #writeSlowly(offset: number, data: Buffer, already: number): Promise<number> {
		let from = already;
		if (this.#keyLock.isTaken) {
			// What only goes into staging need not wait for whoever has the key.
			const done = await this.#change(async () => this.#placeAll(offset, data, from));
			if (typeof done === "number") return done;
			from = done.already;
		}
		return this.#keyLock.shared(async () => this.#change(async () => this.#write(offset, data, from)));
	}

	/** Stages it as far as nothing has to happen first; a number, when that is all or there was an error after some of it. */
	#placeAll(offset: number, data: Buffer, already: number): number | { readonly already: number } {
		let done = already;
		try {
			this.#checkWrite(offset, data);
			while (done < data.length) {
				const written = this.#place(offset + done, data.subarray(done));
				if (typeof written !== "number") return { already: done };
				done += written;
			}
		} catch (error) {
			if (done === 0) throw error;
		}
		return done;
	}

	async #write(offset: number, data: Buffer, already: number): Promise<number> {
		let done = already;
		let reservedBytes = 0;
		try {
			this.#checkWrite(offset, data);
			while (done < data.length) {
				// Taken again right away, as much as is needed by now: nobody can come in between.
				this.#staging.useReserved(reservedBytes);
				reservedBytes = 0;
				const written = this.#place(offset + done, data.subarray(done));
				if (typeof written === "number") done += written;
				else reservedBytes = await this.#overcome(written);
			}
		} catch (error) {
			if (done === 0) throw error;
		}
		return done;
	}

	#checkWrite(offset: number, data: Buffer): void {
		this.#check();
		this.#checkSize(offset + data.length);
		if (this.#options.isPatient?.() !== true) this.#sender.throwFailure();
	}

	#checkSize(sizeBytes: number): void {
		const { maximumSizeBytes } = this.#grid;
		if (sizeBytes > maximumSizeBytes) {
			throw new DraftError("TOO_LARGE", `a file can have ${maximumSizeBytes} bytes at most`);
		}
	}

	/** Stages as much of the data as one part takes, or says what has to happen first. */
	#place(offset: number, data: Buffer): number | Obstacle {
		const index = this.#grid.indexAt(offset);
		const partBytes = this.#grid.sizeOf(index);
		const start = offset - this.#grid.startOf(index);
		const length = Math.min(data.length, partBytes - start, pieceBytes);
		const part = this.#content.parts.get(index) ?? this.#addPart(index);
		if (part.uploading !== undefined) {
			part.isAwaited = true;
			return { kind: "uploading", until: part.uploading };
		}
		if (!this.#sender.reopen(part) || !this.#sender.reopenEnd(offset + length)) return { kind: "sent" };
		let written: number;
		try {
			const bytes = part.staged.cost(start, start + length);
			if (!this.#staging.tryReserve(bytes)) return { kind: "room", bytes };
			written = part.staged.write(start, data.length === length ? data : data.subarray(0, length));
		} catch (error) {
			if (error instanceof DraftError && error.kind === "NO_SPACE") return { kind: "disk", error };
			throw error;
		}
		this.#staging.join(this.#member);
		this.#content.written(offset + written);
		this.#sender.moveOn(index, () => !this.#keyLock.isTaken);
		return written;
	}

	#addPart(index: number): DraftPart {
		const { base, hasWholeBase, parts } = this.#content;
		const { store, tails } = this.#options;
		return parts.add(index, hasWholeBase && base !== undefined ? tails?.take(store, base, index) : undefined);
	}

	/** Returns how much room was reserved for it. */
	async #overcome(obstacle: Obstacle): Promise<number> {
		switch (obstacle.kind) {
			case "uploading":
				await obstacle.until;
				return 0;
			case "sent":
				await this.#commit();
				return 0;
			case "room":
				await this.#staging.reserve(this.#member, obstacle.bytes);
				return obstacle.bytes;
			case "disk":
				this.#sender.sendWhole();
				await this.#staging.untilDiskHasRoom(obstacle.error);
				this.#sender.throwFailure();
				return 0;
			default:
				return obstacle satisfies never;
		}
	}

	/** Makes room by what is least work: sending full parts. */
	async #relieve(): Promise<void> {
		if (!this.#sender.sendWhole()) await this.#commit();
	}

	async #truncate(sizeBytes: number): Promise<void> {
		this.#check();
		this.#checkSize(sizeBytes);
		if (sizeBytes === this.#content.sizeBytes) return;
		try {
			if (sizeBytes < this.#content.sizeBytes) await this.#cut(sizeBytes);
			else if (!this.#sender.reopenEnd(sizeBytes)) await this.#commit();
			this.#content.resized(sizeBytes);
		} finally {
			this.#cutTo = undefined;
		}
	}

	/** Drops what is staged or sent from there on. */
	async #cut(sizeBytes: number): Promise<void> {
		const cutIndex = this.#grid.indexAt(sizeBytes);
		const cutStart = this.#grid.startOf(cutIndex);
		await this.#sender.partsEnd(cutIndex);
		const part = this.#content.parts.get(cutIndex);
		if (part !== undefined && cutStart < sizeBytes) {
			if (!this.#sender.reopen(part)) {
				await this.#commit();
				return;
			}
			this.#cutTo = sizeBytes;
			part.staged.truncate(sizeBytes - cutStart);
			if (part.staged.isEmpty) this.#content.parts.remove(part);
		}
		this.#cutTo = sizeBytes;
		for (const other of this.#content.parts.all()) {
			if (other.index > cutIndex || (other.index === cutIndex && cutStart === sizeBytes))
				this.#content.parts.remove(other);
		}
		if (sizeBytes === 0) await this.#sender.abortUpload();
	}

	async #commit(): Promise<Committed> {
		this.#check();
		const { base, baseModifiedMs, isChanged } = this.#content;
		if (base !== undefined && !isChanged) {
			return { ...base, modifiedMs: baseModifiedMs, metadata: undefined, properties: undefined };
		}
		// Staging waits for who completes parts, too.
		this.#staging.join(this.#member);
		try {
			return await this.#commits.commit();
		} finally {
			// Either it did not matter, or the caller is told of the same by now.
			this.#sender.forgetFailure();
			if (this.#content.parts.stagedBytes === 0) this.#staging.leave(this.#member);
		}
	}

	async #readWithBase(offset: number, sizeBytes: number): Promise<ReadResult> {
		for (;;) {
			this.#check();
			const end = Math.min(offset + sizeBytes, this.#content.sizeBytes);
			if (offset >= end) return { views: [] };
			if (this.#content.isOnlyUploaded(offset, end)) {
				await this.commit();
				continue;
			}
			const into = Buffer.allocUnsafe(end - offset);
			const hull = this.#content.baseHull(offset, end);
			const epoch = this.#content.epoch;
			if (hull !== undefined) await this.#readBase(into.subarray(hull.start - offset, hull.end - offset), hull.start);
			// Meanwhile the object was replaced by our own commit, or staged bytes were sent: what was read may be neither old nor new.
			if (epoch !== this.#content.epoch || this.#content.isOnlyUploaded(offset, end)) continue;
			return this.#staged(into, offset);
		}
	}

	#staged(into: Buffer, offset: number): ReadResult {
		this.#content.readStaged(into, offset);
		return { views: [into] };
	}

	async #readBase(into: Buffer, offset: number): Promise<void> {
		const { base, epoch } = this.#content;
		if (base === undefined) return;
		const { key, etag, sizeBytes: objectSizeBytes } = base;
		try {
			await this.#options.store.get(key, { offset, into, etag, objectSizeBytes });
		} catch (error) {
			// A commit of ours may have replaced the object just before it says so.
			await this.#turns.take(async () => undefined);
			if (epoch === this.#content.epoch) throw error;
		}
	}
}

/** Why a write cannot go on. */
type Obstacle =
	| { readonly kind: "uploading"; readonly until: Promise<void> }
	/** Only the server has the part, where it cannot be changed. */
	| { readonly kind: "sent" }
	| { readonly kind: "room"; readonly bytes: number }
	/** The limit leaves room that the disk does not have. */
	| { readonly kind: "disk"; readonly error: DraftError };

const free: KeyLock = { isTaken: false, shared: async (work) => work() };

/** At most so much room is asked for at once. */
const pieceBytes = 1024 ** 2;
