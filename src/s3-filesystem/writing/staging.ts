import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, unlinkSync } from "node:fs";
import { access } from "node:fs/promises";
import { dirname, join } from "node:path";

import { S3Error, type S3ErrorKind } from "../../s3/object-store.ts";
import { DiskTrouble, fileErrorCode, isDiskFull, type DiskProblem } from "../disks/disk-trouble.ts";
import { DraftError } from "./draft-error.ts";
import { OpenFiles } from "./descriptors.ts";
import { s3PartGrid, type PartGrid } from "./part-grid.ts";
import { isRecordName } from "./record-name.ts";
import { Turns } from "../../turns.ts";

export interface StagingOptions {
	/**
	 * Private to this process, best on tmpfs: it is read and written synchronously. Made when something is to be written. There should be room for
	 * the limit and one part more.
	 */
	readonly directory: string;
	/** Makes it. Default: as a folder of its owner only. */
	readonly makeDirectory?: () => void;
	/** Frees so much of a disk that is full, at once; false: there is nothing to be freed. */
	readonly giveWay?: (bytes: number) => boolean;
	/** Told when the disk begins to refuse, and when that is over. */
	readonly onDiskTrouble?: (problem: DiskProblem | undefined) => void;
	/** Of all drafts together, in bytes; at least one part. How long a file can get depends on it: see `s3PartGrid`. */
	readonly limitBytes: number;
	/** Parts on their way to the server at once. Default: 8. */
	readonly maximumUploads?: number;
	/** Default: S3's for this limit. */
	readonly grid?: PartGrid;
	/** Told of failures that nobody waits for and that lose nothing. */
	readonly onTrouble?: (error: unknown, message: string) => void;
}

/** What staging asks of a draft that holds some of its bytes. */
export interface StagingMember {
	/** Where its uploads go: what one of them finds out of reach, the others do too. */
	readonly server: object;
	readonly stagedBytes: number;
	/** Nobody writes to it, truncates it or commits it. */
	readonly isIdle: boolean;
	/** Starts uploads or commits, called by the draft's own writer that waits for room. */
	relieve(): Promise<void>;
	/** Commits, on behalf of another draft. */
	commit(): Promise<unknown>;
}

const concernsAll: ReadonlySet<S3ErrorKind> = new Set(["UNAVAILABLE", "THROTTLED", "DENIED", "NO_BUCKET", "NO_SPACE"]);

/** Of a file of some process: see nextPath. */
const stagedName = /^[0-9a-f]{12}-\d+\./;

/** A disk that takes longer may take for ever. */
const answerMs = 3000;

/** What the cache gives back at a time, when the disk is full: less would be asked for again at once. */
const reliefBytes = 8 * 1024 ** 2;

/** Bytes of which the upload needs no more than this at a time. */
const chunkBytes = 1024 ** 2;

/**
 * Where changed bytes are until the server has them, and the bound of how many there are.
 *
 * Who needs room when the limit is reached gets it in this order: copies kept of parts that the server has are dropped; uploads
 * under way are waited for; the draft with the most staged bytes among those at rest, the writer's own included, uploads its full
 * parts or, without any, commits. When nothing of that is possible, or it fails, the writer gets NO_SPACE. A draft at rest has no writer that
 * waits for others, so that no two ever wait for each other.
 *
 * One part at a time may exceed the limit: one that has to be completed with the object's present content for a commit, since
 * that commit is what makes room.
 */
export class Staging {
	readonly limitBytes: number;
	readonly directory: string;
	readonly grid: PartGrid;
	readonly files: OpenFiles;
	readonly maximumUploads: number;
	/** Part uploads and copies, of all drafts. */
	readonly uploads: Turns;
	/** The one part beyond the limit. */
	readonly overdraft = new Turns();
	/** Requests for what is missing in a part. */
	readonly fills = new Turns(4);
	readonly #members = new Set<StagingMember>();
	/** Those whose writers wait for room, and those of them that could not make any. */
	readonly #waiting = new Set<StagingMember>();
	readonly #stuck = new Set<StagingMember>();
	/** Staged copies of what the server has; the function drops one. */
	readonly #kept = new Map<object, () => void>();
	readonly #removals = new Set<Promise<void>>();
	/** What uploads to each server failed with last, when it was not about their object. */
	readonly #failures = new WeakMap<object, { readonly at: number; readonly error: unknown }>();
	readonly #chunks: Buffer[] = [];
	readonly #onTrouble: StagingOptions["onTrouble"];
	readonly #makeDirectory: () => void;
	readonly #giveWay: (bytes: number) => boolean;
	readonly #disk: DiskTrouble;
	// Unlike any other process's that had the directory before.
	readonly #name = randomBytes(6).toString("hex");
	/** The disk has not answered, from the start on. */
	#isSilent = false;
	#count = 0;
	#usedBytes = 0;
	/** Work under way that frees staging when it ends. */
	#freeing = 0;
	/** Room that was taken and has nothing in it yet. */
	#reservations = 0;
	#change = Promise.withResolvers<void>();
	#isWaitedFor = false;

	constructor(options: StagingOptions) {
		const { directory, limitBytes, grid = s3PartGrid(limitBytes), maximumUploads = 8, onTrouble } = options;
		if (limitBytes < grid.sizeOf(0)) throw new RangeError(`a staging limit below one part of ${grid.sizeOf(0)} bytes`);
		this.directory = directory;
		this.limitBytes = limitBytes;
		this.grid = grid;
		this.maximumUploads = maximumUploads;
		this.uploads = new Turns(maximumUploads);
		this.#onTrouble = onTrouble;
		this.#makeDirectory = options.makeDirectory ?? (() => void mkdirSync(directory, { recursive: true, mode: 0o700 }));
		this.files = new OpenFiles(this.#makeDirectory);
		this.#giveWay = options.giveWay ?? (() => false);
		this.#disk = new DiskTrouble((problem) => options.onDiskTrouble?.(problem));
	}

	get usedBytes(): number {
		return this.#usedBytes;
	}

	/** Something is going to be written: what is wrong with the disk is told now. Never rejects. */
	async prepare(): Promise<void> {
		// A disk that does not answer holds the thread that asks it. That must not be the one that serves reads.
		const timer = setTimeout(() => {
			this.#isSilent = true;
			this.#disk.found(`${this.directory} does not answer, and writing fails with EIO`, undefined);
		}, answerMs);
		await access(dirname(this.directory)).catch(() => undefined);
		clearTimeout(timer);
		this.#isSilent = false;
		try {
			this.onDisk(() => this.#makeDirectory());
		} catch {
			// Whoever writes gets the error.
		}
	}

	/** Changes something on the disk. What is cached there gives way when it is full. Throws a DraftError when the disk refuses. */
	onDisk<T>(change: () => T): T {
		if (this.#isSilent) throw new DraftError("DISK_FAILED", "the staging directory does not answer");
		for (;;) {
			try {
				const result = change();
				this.#disk.worked();
				return result;
			} catch (error) {
				if (!isDiskFull(error)) throw this.#diskFailed(error);
				if (!this.#giveWay(reliefBytes)) throw new DraftError("NO_SPACE", "the staging directory is full", error);
			}
		}
	}

	/** The same for what changes nothing. */
	fromDisk<T>(read: () => T): T {
		try {
			return read();
		} catch (error) {
			throw this.#diskFailed(error);
		}
	}

	#diskFailed(error: unknown): unknown {
		const code = fileErrorCode(error);
		if (code === undefined) return error;
		this.#disk.found(`changes cannot be kept in ${this.directory}, and writing them fails with EIO`, error);
		return new DraftError("DISK_FAILED", `the staging directory cannot be used: ${code}`, error);
	}

	/** Somebody is told that the disk has no room. */
	diskIsFull(error: DraftError): DraftError {
		this.#disk.found(`the disk of ${this.directory} is full, and writing more fails with ENOSPC`, error.cause);
		return error;
	}

	/** The start of the names of one draft's files. */
	nextPath(): string {
		return join(this.directory, `${this.#name}-${++this.#count}`);
	}

	/** Whatever a process before this one has left there but these. */
	removeOthers(paths: ReadonlySet<string>): void {
		try {
			for (const name of readdirSync(this.directory)) {
				const path = join(this.directory, name);
				if (stagedName.test(name) && !isRecordName(name) && !paths.has(path)) unlinkSync(path);
			}
		} catch (error) {
			if (fileErrorCode(error) !== "ENOENT") this.trouble(error, "could not remove staged files of before");
		}
	}

	/** Of a file that is as good as gone. */
	nextRemovedPath(): string {
		return `${this.nextPath()}.removed`;
	}

	join(member: StagingMember): void {
		this.#members.add(member);
	}

	leave(member: StagingMember): void {
		this.#members.delete(member);
		this.changed();
	}

	/** Takes room if there is some, dropping kept copies for it. */
	tryReserve(bytes: number): boolean {
		// What is staged can be overwritten even while a part exceeds the limit.
		if (bytes === 0) return true;
		if (this.#usedBytes + bytes > this.limitBytes) {
			for (const drop of this.#kept.values()) {
				drop();
				if (this.#usedBytes + bytes <= this.limitBytes) break;
			}
			if (this.#usedBytes + bytes > this.limitBytes) return false;
		}
		this.reserveBeyondLimit(bytes);
		return true;
	}

	/** The same, once files that are being removed are gone. */
	async reserveSoon(bytes: number): Promise<boolean> {
		while (!this.tryReserve(bytes)) {
			if (this.#removals.size === 0) return false;
			await Promise.all(this.#removals);
		}
		return true;
	}

	reserveBeyondLimit(bytes: number): void {
		this.#usedBytes += bytes;
	}

	release(bytes: number): void {
		if (bytes === 0) return;
		this.#usedBytes -= bytes;
		this.changed();
	}

	/** Takes room for a draft's own writer, waiting for it if need be. `useReserved` must follow. */
	async reserve(member: StagingMember, bytes: number): Promise<void> {
		this.#waiting.add(member);
		try {
			await this.#makeRoom(member, bytes);
		} finally {
			this.#waiting.delete(member);
			this.#stuck.delete(member);
			// Others may have hoped for this draft to free something.
			this.changed();
		}
	}

	/** Gives back what was reserved, to be taken at once by what is written now. */
	useReserved(bytes: number): void {
		if (bytes === 0) return;
		this.#reservations--;
		this.release(bytes);
	}

	async #makeRoom(member: StagingMember, bytes: number): Promise<void> {
		const startedAt = performance.now();
		const failed = new Map<StagingMember, unknown>();
		// An upload that fails has been tried for as long as a program may have to wait.
		const failureOf = (other: StagingMember): unknown => {
			const failure = this.#failures.get(other.server);
			return failed.get(other) ?? (failure !== undefined && failure.at >= startedAt ? failure.error : undefined);
		};
		while (!this.tryReserve(bytes)) {
			if (this.#freeing > 0 || this.#reservations > 0) {
				await this.#untilChanged();
				continue;
			}
			if (failureOf(member) !== undefined && !this.#stuck.has(member)) {
				this.#stuck.add(member);
				this.changed();
			}
			const resting = [...this.#members].filter(
				(other) => other.stagedBytes > 0 && (other === member || other.isIdle) && failureOf(other) === undefined,
			);
			const largest = resting.reduce<StagingMember | undefined>(
				(best, other) => (best === undefined || other.stagedBytes > best.stagedBytes ? other : best),
				undefined,
			);
			if (largest !== undefined) {
				try {
					await this.freeing(largest === member ? member.relieve() : largest.commit());
				} catch (error) {
					failed.set(largest, error);
					this.uploadFailed(largest.server, error);
				}
				continue;
			}
			// A writer that waits as this one does will commit its own draft, if it has something to commit.
			const isOtherAtWork = [...this.#members].some(
				(other) =>
					!other.isIdle &&
					(this.#waiting.has(other) ? other.stagedBytes > 0 && !this.#stuck.has(other) && other !== member : true),
			);
			if (!isOtherAtWork) {
				const cause = failureOf(member) ?? [...failed.values()][0];
				throw new DraftError(
					"NO_SPACE",
					"the staging limit is reached and nothing can be uploaded to make room",
					cause,
				);
			}
			await this.#untilChanged();
		}
		// Counted in the same breath as it is taken, or the others would see room that nobody has.
		this.#reservations++;
	}

	/**
	 * The disk is full although the limit is not reached, since others use it: waits for something that is on its way to leave it. Throws
	 * the error when nothing is.
	 */
	async untilDiskHasRoom(error: DraftError): Promise<void> {
		const kept = [...this.#kept.values()];
		for (const drop of kept) drop();
		if (this.#freeing > 0) await this.#untilChanged();
		else if (kept.length === 0) throw this.diskIsFull(error);
	}

	/** So that who waits for room does not try the same server once more, with another draft. */
	uploadFailed(server: object, error: unknown): void {
		if (error instanceof S3Error && concernsAll.has(error.kind))
			this.#failures.set(server, { at: performance.now(), error });
	}

	/** Counts work that frees staging when it ends, so that it is waited for. */
	async freeing<T>(work: Promise<T>): Promise<T> {
		this.#freeing++;
		try {
			return await work;
		} finally {
			this.#freeing--;
			this.changed();
		}
	}

	/** A file is on its way out; what it takes is given back when it is gone. */
	removing(work: Promise<void>): void {
		const removal = this.freeing(work).finally(() => this.#removals.delete(removal));
		this.#removals.add(removal);
	}

	/** A staged copy of what the server has stays until somebody needs the room. */
	keep(owner: object, drop: () => void): void {
		this.#kept.set(owner, drop);
		this.changed();
	}

	unkeep(owner: object): void {
		this.#kept.delete(owner);
	}

	/** Something happened that may have made room, or may make somebody able to. */
	changed(): void {
		if (!this.#isWaitedFor) return;
		this.#isWaitedFor = false;
		const { resolve } = this.#change;
		this.#change = Promise.withResolvers();
		resolve();
	}

	takeChunk(): Buffer {
		return this.#chunks.pop() ?? Buffer.allocUnsafeSlow(chunkBytes);
	}

	giveChunk(chunk: Buffer): void {
		if (this.#chunks.length < this.maximumUploads) this.#chunks.push(chunk);
	}

	trouble(error: unknown, message: string): void {
		this.#onTrouble?.(error, message);
	}

	async #untilChanged(): Promise<void> {
		this.#isWaitedFor = true;
		await this.#change.promise;
	}
}

export function createStaging(options: StagingOptions): Staging {
	return new Staging(options);
}
