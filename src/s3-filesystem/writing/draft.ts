import type { ByteRange } from "../../bytes.ts";
import type { ReadResult } from "../../fuse/filesystem.ts";
import { Doubt } from "../../s3/doubt.ts";
import {
	S3Error,
	type ObjectMetadata,
	type ObjectProperties,
	type ObjectStore,
	type ObjectVersion,
} from "../../s3/object-store.ts";
import { putWhole, uploadMissingParts, type StillDraft } from "./commit.ts";
import { DraftError } from "./draft-error.ts";
import { DraftParts, isOnlyUploaded, lost, type DraftPart } from "./draft-parts.ts";
import { DraftUpload, isUploadGone, type Description } from "./draft-upload.ts";
import type { PartGrid } from "./part-grid.ts";
import type { Staging, StagingMember } from "./staging.ts";
import { Turns } from "../../turns.ts";

export { DraftError } from "./draft-error.ts";
export { createStaging, type Staging } from "./staging.ts";

export interface Committed extends ObjectVersion {
	/** The server's clock, when it told. */
	readonly modifiedMs: number | undefined;
	/** What the object has; undefined: nothing was to be committed. */
	readonly metadata: ObjectMetadata | undefined;
	readonly properties: ObjectProperties | undefined;
}

export interface DraftOptions {
	readonly store: ObjectStore;
	/** Where a commit goes. May change between commits, see `uploadKey`. */
	readonly key: () => string;
	/**
	 * Who may be about to change the key. Whoever calls `commit`, `truncate`, `hold` or `discard` sees to that himself; what is written is
	 * sent by itself, and must not be sent to a key that goes. Default: nobody.
	 */
	readonly keyLock?: {
		readonly isTaken: boolean;
		/** Runs what stores something when nobody else changes the key, which does not change until that ends. */
		shared<T>(work: () => Promise<T>): Promise<T>;
	};
	/** What is in the bucket now; undefined: nothing. */
	readonly base: ObjectVersion | undefined;
	/** Of the file: the base's size, or 0 when it was opened with O_TRUNC. */
	readonly sizeBytes: number;
	readonly staging: Staging;
	/**
	 * What the object gets. A multipart upload asks for it when its first part is sent, with `isFinal` false: leave out then what
	 * further writes change, such as a time of modification that is only that of the last write. When the answer to that is another at
	 * the commit, the server has to copy the object onto itself to change it.
	 */
	readonly metadata: (isFinal: boolean) => ObjectMetadata;
	/** What else it gets; asked for before the metadata. Default: nothing. */
	readonly properties?: () => Promise<ObjectProperties>;
	/** The first commit throws EXISTS when the bucket has an object of that key by then (O_EXCL). */
	readonly onlyIfAbsent?: boolean;
	/** Told of each new version before `commit` resolves, also when staging had to be freed and nobody called `commit`. */
	readonly onCommit?: (version: Committed) => void;
}

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
	readonly #parts: DraftParts;
	readonly #member: StagingMember;
	readonly #keyLock: NonNullable<DraftOptions["keyLock"]>;
	/** Writing, truncating, committing: one at a time, in the order of asking. */
	readonly #turns = new Turns();
	#base: ObjectVersion | undefined;
	#baseModifiedMs: number | undefined;
	/** As far as the base's content is the file's where nothing is changed; zeros follow. */
	#baseBytes: number;
	#sizeBytes: number;
	#isChanged: boolean;
	#upload: DraftUpload | undefined;
	/** The part that was written last. */
	#activePart: number | undefined;
	#committing: Promise<Committed> | undefined;
	/** Of a part that was sent while the file was written, until somebody is told. */
	#failure: { readonly error: unknown } | undefined;
	#isDiscarded = false;
	#isLost: DraftError | undefined;
	#onlyIfAbsent: boolean;
	/** What the commits since the last that succeeded may have stored after all. */
	#doubt = new Doubt();
	/** Changes when bytes that were read before may be outdated: another base, or a truncation. */
	#epoch = 0;

	constructor(options: DraftOptions) {
		const { base, sizeBytes, staging, onlyIfAbsent = false } = options;
		this.#options = options;
		this.#staging = staging;
		this.#grid = staging.grid;
		this.#parts = new DraftParts(staging);
		this.#base = base;
		this.#baseBytes = Math.min(base?.sizeBytes ?? 0, sizeBytes);
		this.#sizeBytes = sizeBytes;
		this.#isChanged = sizeBytes !== (base?.sizeBytes ?? 0);
		this.#onlyIfAbsent = onlyIfAbsent;
		const parts = this.#parts;
		const turns = this.#turns;
		const { keyLock = free } = options;
		this.#keyLock = keyLock;
		this.#member = {
			server: options.store,
			get stagedBytes() {
				return parts.stagedBytes;
			},
			get isIdle() {
				return turns.isIdle && !keyLock.isTaken;
			},
			relieve: async () => this.#relieve(),
			commit: async () => this.commit(),
		};
	}

	get sizeBytes(): number {
		return this.#sizeBytes;
	}

	/** The object is not there yet, or has other content. */
	get isDirty(): boolean {
		return this.#isChanged || this.#base === undefined;
	}

	/**
	 * Set while parts are uploaded: only an object of this key can be made of them. Commit before the key changes; otherwise the commit
	 * makes the object there, if there is none, copies it to the new key and deletes it.
	 */
	get uploadKey(): string | undefined {
		return this.#upload?.key;
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
		const end = Math.min(offset + sizeBytes, this.#sizeBytes);
		if (offset >= end) return { views: [] };
		this.#check();
		if (this.#isOnlyUploaded(offset, end) || this.#baseHull(offset, end) !== undefined) {
			return this.#readWithBase(offset, sizeBytes);
		}
		return this.#readStaged(Buffer.allocUnsafe(end - offset), offset);
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

	/** The same content has another key or another ETag now. Call it inside `hold` or after `commit`. */
	rebase(base: ObjectVersion): void {
		const { key, etag } = base;
		if (this.#base?.key === key && this.#base.etag === etag) return;
		this.#base = base;
		this.#epoch++;
	}

	/** Forgets everything and aborts its multipart upload. The draft is of no use afterwards. */
	async discard(): Promise<void> {
		this.#isDiscarded = true;
		await this.#turns.take(async () => {
			await this.#uploadsEnd();
			this.#parts.clear();
			this.#staging.leave(this.#member);
			await this.#abortUpload();
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
		if (this.#isLost !== undefined) throw this.#isLost;
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
		this.#throwFailure();
	}

	#throwFailure(): void {
		const failure = this.#failure;
		this.#failure = undefined;
		if (failure !== undefined) throw failure.error;
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
		const part = this.#parts.getOrAdd(index);
		if (part.uploading !== undefined) {
			part.isAwaited = true;
			return { kind: "uploading", until: part.uploading };
		}
		if (!this.#reopen(part) || !this.#reopenEnd(offset + length)) return { kind: "sent" };
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
		this.#isChanged = true;
		this.#sizeBytes = Math.max(this.#sizeBytes, offset + written);
		this.#moveOn(index);
		return written;
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
				this.#sendWhole();
				await this.#staging.untilDiskHasRoom(obstacle.error);
				this.#throwFailure();
				return 0;
			default:
				return obstacle satisfies never;
		}
	}

	/** What was sent of a part is not its content any more. False: it is only there, and has to be committed first. */
	#reopen(part: DraftPart): boolean {
		if (part.uploaded === undefined) return true;
		if (isOnlyUploaded(part)) return false;
		this.#staging.unkeep(part.staged);
		part.uploaded = undefined;
		return true;
	}

	/** The same for the file's last part, which a failed commit may have sent, when the file grows. */
	#reopenEnd(sizeBytes: number): boolean {
		if (this.#sizeBytes === 0 || sizeBytes <= this.#sizeBytes) return true;
		const last = this.#parts.get(this.#grid.indexAt(this.#sizeBytes - 1));
		if (last?.uploaded === undefined || last.uploaded.sizeBytes === this.#grid.sizeOf(last.index)) return true;
		return this.#reopen(last);
	}

	/** Sends the part that the writer has left, if it was written from start to end. */
	#moveOn(index: number): void {
		if (this.#activePart === index) return;
		const left = this.#activePart === undefined ? undefined : this.#parts.get(this.#activePart);
		this.#activePart = index;
		if (left === undefined || this.#keyLock.isTaken) return;
		if (isPending(left) && left.staged.inOrderBytes === this.#grid.sizeOf(left.index)) this.#send(left);
	}

	#send(part: DraftPart): void {
		part.uploading = this.#staging.freeing(this.#sendNow(part));
	}

	async #sendNow(part: DraftPart): Promise<void> {
		const sizeBytes = this.#grid.sizeOf(part.index);
		try {
			part.uploaded = await this.#sendToUpload(part, sizeBytes);
			// The first part stays while there is room: many formats fill in their header at the end.
			if (part.index === 0) this.#staging.keep(part.staged, () => part.staged.remove());
			else if (!part.isAwaited) part.staged.remove();
		} catch (error) {
			part.failure = { error };
			this.#staging.uploadFailed(this.#options.store, error);
			this.#failure ??= part.failure;
		} finally {
			part.uploading = undefined;
			part.isAwaited = false;
		}
	}

	/** When somebody else has ended the upload, another is begun: once, and if what the first one had is still here. */
	async #sendToUpload(part: DraftPart, sizeBytes: number): Promise<DraftPart["uploaded"]> {
		for (let timesGone = 0; ;) {
			const upload = this.#openUpload(false);
			try {
				const sent = await this.#staging.uploads.take(async () => upload.send(part.index, part.staged.body(sizeBytes)));
				// Otherwise another part has found out meanwhile.
				if (this.#upload === upload) return { part: sent, sizeBytes, to: upload };
			} catch (error) {
				if (!isUploadGone(error)) throw error;
				this.#forgetUpload(upload, error);
				if (this.#isLost === undefined && ++timesGone > 1) throw error;
			}
			if (this.#isLost !== undefined) throw this.#isLost;
		}
	}

	/** Makes room by what is least work: sending full parts. */
	async #relieve(): Promise<void> {
		if (!this.#sendWhole()) await this.#commit();
	}

	/** Sends all full parts that only wait for it; false: there are none. */
	#sendWhole(): boolean {
		let isSending = false;
		for (const part of this.#parts.all()) {
			if (!isPending(part) || !part.staged.has(0, this.#grid.sizeOf(part.index))) continue;
			this.#send(part);
			isSending = true;
		}
		return isSending;
	}

	#openUpload(isFinal: boolean): DraftUpload {
		const { store, key } = this.#options;
		const describe = async (): Promise<Description> => this.#describe(isFinal);
		this.#upload ??= new DraftUpload({ store, key: key(), describe, isFinal });
		return this.#upload;
	}

	async #describe(isFinal: boolean): Promise<Description> {
		const { properties, metadata } = this.#options;
		return { properties: (await properties?.()) ?? { headers: {} }, metadata: metadata(isFinal) };
	}

	async #truncate(sizeBytes: number): Promise<void> {
		this.#check();
		this.#checkSize(sizeBytes);
		if (sizeBytes === this.#sizeBytes) return;
		if (sizeBytes > this.#sizeBytes) {
			if (!this.#reopenEnd(sizeBytes)) await this.#commit();
		} else {
			await this.#cut(sizeBytes);
			this.#epoch++;
		}
		this.#baseBytes = Math.min(this.#baseBytes, sizeBytes);
		this.#sizeBytes = sizeBytes;
		this.#isChanged = true;
	}

	/** Drops what is staged or sent from there on. */
	async #cut(sizeBytes: number): Promise<void> {
		const cutIndex = this.#grid.indexAt(sizeBytes);
		const cutStart = this.#grid.startOf(cutIndex);
		await this.#uploadsEnd(cutIndex);
		const part = this.#parts.get(cutIndex);
		if (part !== undefined && cutStart < sizeBytes) {
			if (!this.#reopen(part)) {
				await this.#commit();
				return;
			}
			part.staged.truncate(sizeBytes - cutStart);
			if (part.staged.isEmpty) this.#parts.remove(part);
		}
		for (const other of this.#parts.all()) {
			if (other.index > cutIndex || (other.index === cutIndex && cutStart === sizeBytes)) this.#parts.remove(other);
		}
		if (sizeBytes === 0) await this.#abortUpload();
	}

	async #uploadsEnd(fromIndex = 0): Promise<void> {
		for (const part of this.#parts.all()) {
			if (part.uploading === undefined || part.index < fromIndex) continue;
			part.isAwaited = true;
			await part.uploading;
		}
	}

	async #commit(): Promise<Committed> {
		this.#check();
		const base = this.#base;
		if (base !== undefined && !this.#isChanged) {
			return { ...base, modifiedMs: this.#baseModifiedMs, metadata: undefined, properties: undefined };
		}
		// Staging waits for who completes parts, too.
		this.#staging.join(this.#member);
		try {
			return await ((await this.#fitsOneRequest()) ? this.#put() : this.#completeUpload());
		} finally {
			// Either it did not matter, or the caller is told of the same by now.
			this.#failure = undefined;
			if (this.#parts.stagedBytes === 0) this.#staging.leave(this.#member);
		}
	}

	async #fitsOneRequest(): Promise<boolean> {
		if (this.#sizeBytes > this.#grid.sizeOf(0)) return false;
		await this.#uploadsEnd();
		return ![...this.#parts.all()].some(isOnlyUploaded);
	}

	async #put(): Promise<Committed> {
		const { store } = this.#options;
		const key = this.#options.key();
		const description = await this.#describe(true);
		const { etag, modifiedMs } = await putWhole(this.#still(), async (body) =>
			store.put(key, body, {
				...description,
				...(this.#onlyIfAbsent && { onlyIfAbsent: true }),
				doubt: this.#doubt,
			}),
		);
		const committed = { key, etag, sizeBytes: this.#sizeBytes, modifiedMs, ...description };
		this.#adopt(committed);
		this.#options.onCommit?.(committed);
		// What was cut off had been sent.
		await this.#abortUpload();
		return committed;
	}

	async #completeUpload(): Promise<Committed> {
		const { store } = this.#options;
		for (let attempt = 1; ; attempt++) {
			const upload = this.#openUpload(true);
			const { takesGaps } = store;
			try {
				const parts = await uploadMissingParts(this.#still(), upload);
				const isMoved = upload.key !== this.#options.key();
				const { etag, modifiedMs } = await upload.complete(parts, {
					onlyIfAbsent: this.#onlyIfAbsent || isMoved,
					doubt: this.#doubt,
					sizeBytes: this.#sizeBytes,
				});
				this.#upload = undefined;
				const { key, description } = upload;
				const committed = { key, etag, sizeBytes: this.#sizeBytes, modifiedMs, ...description };
				this.#adopt(committed);
				return await this.#bringUpToDate(committed, upload.isFinal);
			} catch (error) {
				// Each part number is wanted, as has turned out just now.
				if (takesGaps && !store.takesGaps) continue;
				if (!isUploadGone(error)) throw error;
				this.#forgetUpload(upload, error);
				if (this.#isLost !== undefined) throw this.#isLost;
				if (attempt > 1) throw error;
			}
		}
	}

	/** Key and metadata of an upload are those of its beginning: the server copies the object if they are others by now. */
	async #bringUpToDate(committed: Committed & Description, isFinal: boolean): Promise<Committed> {
		const { store } = this.#options;
		const key = this.#options.key();
		const isMoved = key !== committed.key;
		let present = committed;
		try {
			if (isMoved || !isSame(this.#options.metadata(isFinal), committed.metadata)) {
				const metadata = this.#options.metadata(true);
				const { etag, sizeBytes, properties } = committed;
				const { modifiedMs, ...copied } = await store.copy(committed.key, key, {
					etag,
					sizeBytes,
					metadata,
					properties,
				});
				present = { key, etag: copied.etag, sizeBytes, modifiedMs, metadata, properties };
				this.#adopt(present);
				if (isMoved) await store.delete(committed.key);
			}
		} catch (error) {
			// Stored it was, and somebody else has replaced or removed it since.
			if (!isMoved && isReplaced(error)) return present;
			// The next commit makes another object of this one.
			this.#isChanged = true;
			throw error;
		} finally {
			this.#options.onCommit?.(present);
		}
		return present;
	}

	#adopt({ key, etag, sizeBytes, modifiedMs }: Committed): void {
		this.#base = { key, etag, sizeBytes };
		this.#baseModifiedMs = modifiedMs;
		this.#baseBytes = sizeBytes;
		this.#isChanged = false;
		this.#onlyIfAbsent = false;
		this.#doubt = new Doubt();
		this.#activePart = undefined;
		this.#epoch++;
		this.#parts.clear();
		this.#staging.leave(this.#member);
	}

	/** Somebody else ended our multipart upload: what is still staged is sent again. */
	#forgetUpload(upload: DraftUpload, cause: unknown): void {
		// Another may have been begun by a part that has found out first.
		if (this.#upload === upload) this.#upload = undefined;
		for (const part of this.#parts.all()) {
			if (part.uploaded?.to !== upload) continue;
			if (isOnlyUploaded(part)) this.#isLost ??= lost(cause);
			else this.#reopen(part);
		}
	}

	async #abortUpload(): Promise<void> {
		const upload = this.#upload;
		this.#upload = undefined;
		try {
			await upload?.abort();
		} catch (error) {
			// It costs storage until the bucket's lifecycle rule ends it, and does no other harm.
			this.#staging.trouble(error, "could not abort a multipart upload");
		}
	}

	#still(): StillDraft {
		return {
			store: this.#options.store,
			staging: this.#staging,
			parts: this.#parts,
			sizeBytes: this.#sizeBytes,
			base: this.#base,
			baseBytes: this.#baseBytes,
		};
	}

	#isOnlyUploaded(start: number, end: number): boolean {
		return this.#parts.between(start, end).some(isOnlyUploaded);
	}

	/** What only the base has of these bytes. */
	#baseHull(start: number, end: number): ByteRange | undefined {
		const baseEnd = Math.min(end, this.#baseBytes);
		return start < baseEnd ? this.#parts.unstagedHull(start, baseEnd) : undefined;
	}

	async #readWithBase(offset: number, sizeBytes: number): Promise<ReadResult> {
		for (;;) {
			this.#check();
			const end = Math.min(offset + sizeBytes, this.#sizeBytes);
			if (offset >= end) return { views: [] };
			if (this.#isOnlyUploaded(offset, end)) {
				await this.commit();
				continue;
			}
			const into = Buffer.allocUnsafe(end - offset);
			const hull = this.#baseHull(offset, end);
			const epoch = this.#epoch;
			if (hull !== undefined) await this.#readBase(into.subarray(hull.start - offset, hull.end - offset), hull.start);
			// Meanwhile the object was replaced by our own commit, or staged bytes were sent: what was read may be neither old nor new.
			if (epoch !== this.#epoch || this.#isOnlyUploaded(offset, end)) continue;
			return this.#readStaged(into, offset);
		}
	}

	async #readBase(into: Buffer, offset: number): Promise<void> {
		const base = this.#base;
		const epoch = this.#epoch;
		if (base === undefined) return;
		const { key, etag, sizeBytes: objectSizeBytes } = base;
		try {
			await this.#options.store.get(key, { offset, into, etag, objectSizeBytes });
		} catch (error) {
			// A commit of ours may have replaced the object just before it says so.
			await this.#turns.take(async () => undefined);
			if (epoch === this.#epoch) throw error;
		}
	}

	/** Into a buffer that has already what the base has. */
	#readStaged(into: Buffer, offset: number): ReadResult {
		into.fill(0, Math.min(into.length, Math.max(0, this.#baseBytes - offset)));
		this.#parts.readInto(into, offset);
		return { views: [into] };
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

const free: NonNullable<DraftOptions["keyLock"]> = { isTaken: false, shared: async (work) => work() };

/** At most so much room is asked for at once. */
const pieceBytes = 1024 ** 2;

/** Here, and neither sent nor on its way. */
function isPending({ staged, uploaded, uploading, failure }: DraftPart): boolean {
	return !staged.isEmpty && uploaded === undefined && uploading === undefined && failure === undefined;
}

function isReplaced(error: unknown): boolean {
	return error instanceof S3Error && (error.kind === "OBJECT_REPLACED" || error.kind === "NOT_FOUND");
}

function isSame(a: ObjectMetadata, b: ObjectMetadata): boolean {
	const names = Object.keys(a);
	return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}
