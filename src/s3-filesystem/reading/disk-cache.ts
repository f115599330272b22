import { randomBytes } from "node:crypto";
import { unlinkSync } from "node:fs";
import { lstat, mkdir, open, readdir, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { ObjectVersion } from "../../s3/object-store.ts";
import { inParallel, Turns } from "../../turns.ts";
import { within } from "../../within.ts";
import { DiskTrouble, fileErrorCode, isDiskFull, type DiskProblem } from "../disks/disk-trouble.ts";
import {
	blockBytes,
	blockId,
	carefully,
	headerBytes,
	headerOf,
	isBlock,
	isOurs,
	isOursSync,
	type BlockId,
} from "./block-file.ts";

export { blockBytes } from "./block-file.ts";

export interface DiskCacheOptions {
	/** Made if it is missing; other files in it are left alone. */
	readonly directory: string;
	readonly limitBytes: number;
	/** Told when the disk begins to be of no use, and when that is over. */
	readonly onTrouble?: (problem: DiskProblem | undefined) => void;
}

/**
 * Blocks of objects on a disk, that outlive the process: each version's bytes from a multiple of `blockBytes` on, the last block as long as is left.
 * Never a reason to fail or to hang: what cannot be read or written, or not soon, is fetched.
 */
export interface DiskCache {
	/** Those of an earlier process are found once this has resolved; a disk that is slow is not waited for. Never rejects. */
	readonly ready: Promise<void>;
	readonly usedBytes: number;
	readonly limitBytes: number;
	/** That made room for others. */
	readonly evictedBlocks: number;
	/** Files that were not what they were taken for. */
	readonly damagedBlocks: number;
	/** Whether it is worth trying to read the block. */
	has(identity: string, version: ObjectVersion, start: number): boolean;
	/** `into` holds the bytes if they were there; they are checked. Otherwise it holds anything. */
	read(identity: string, version: ObjectVersion, start: number, into: Buffer): Promise<BlockRead>;
	/** Keeps the block if there is time and room for it. */
	write(identity: string, version: ObjectVersion, start: number, bytes: Buffer): Promise<void>;
	/** Somebody needs the disk more: removes so much, as far as there is so much, and keeps nothing more for a while. False: there was nothing. */
	giveWay(bytes: number): boolean;
}

export type BlockRead =
	| { readonly kind: "read" }
	| { readonly kind: "absent" }
	/** The disk takes too long, and may write into the buffer until this has resolved. Never rejects. */
	| { readonly kind: "late"; readonly ended: Promise<void> };

export function createDiskCache(options: DiskCacheOptions): DiskCache {
	return new FolderOfBlocks(options);
}

const blockName = /^[0-9a-f]{64}\.part$/;
const temporaryName = /^[0-9a-f]{64}\.part\.[0-9a-f]{12}$/;
/** What a file takes of a disk beside its bytes. */
const diskBlockBytes = 4096;
// The kernel's requests, and the look-up of the server's name, need threads of the pool, also when a disk holds all of these.
const readsTogether = 4;
const writesTogether = 2;
const lookedAtTogether = 2;
/** More would only queue up in memory. */
const maximumWrites = 4;
/** A disk that takes longer is slower than the server. */
const answerMs = 3000;
/** After the disk was full, failed or did not answer. */
const pauseMs = 30_000;
/** Until a disk that was full is asked again for all that it may be asked for. */
const fullMs = 600_000;
/** No write takes as long. */
const abandonedAfterMs = 3_600_000;
/** Small blocks fill the memory with names before they fill a disk. */
const leastFiles = 65_536;
/** A folder, a link or a pipe is where one block is to be: that says nothing about the disk. */
const namesSomethingElse: ReadonlySet<string> = new Set(["EISDIR", "ELOOP", "ENXIO"]);

const absent: BlockRead = { kind: "absent" };

class FolderOfBlocks implements DiskCache {
	readonly ready: Promise<void>;
	usedBytes = 0;
	damagedBlocks = 0;
	evictedBlocks = 0;
	readonly limitBytes: number;
	readonly #directory: string;
	readonly #maximumFiles: number;
	readonly #trouble: DiskTrouble;
	/** What it costs that the disk is slow, cannot be read, cannot be written to, or is full. */
	readonly #costs: { readonly [Name in "slow" | "unread" | "unwritten" | "full"]: string };
	/** Names with what they take of the disk, longest unused first. */
	readonly #files = new Map<string, number>();
	/** Those of them that have only been seen: somebody else's file may have such a name. */
	readonly #unread = new Set<string>();
	readonly #reads = new Turns(readsTogether);
	readonly #writing = new Turns(writesTogether);
	#writes = 0;
	/** The disk had no room for all that it may be asked for. */
	#full: { readonly bytes: number; readonly until: number } | undefined;
	/** Nothing is written until then. */
	#pausedUntil = 0;
	/** Nor read until then: it did not answer in time. */
	#silentUntil = 0;
	/** Calls that it has not answered in time, nor since. */
	#overdue = 0;
	#preparing: Promise<void> | undefined;
	#isSearched = false;

	constructor({ directory, limitBytes, onTrouble }: DiskCacheOptions) {
		this.#directory = directory;
		this.limitBytes = limitBytes;
		this.#maximumFiles = Math.max(leastFiles, (2 * limitBytes) / blockBytes);
		this.#costs = {
			slow: `${directory} does not answer: parts of objects are fetched`,
			unread: `parts of objects cannot be read in ${directory}, and are fetched`,
			unwritten: `parts of objects cannot be kept in ${directory}, and are fetched again`,
			full: `the disk of ${directory} has no room for all that cache-size allows`,
		};
		this.#trouble = new DiskTrouble((problem) => onTrouble?.(problem));
		const prepared = this.#prepare().catch(async (error: unknown) => this.#failed(error));
		this.ready = within(prepared, answerMs);
	}

	has(identity: string, version: ObjectVersion, start: number): boolean {
		return this.#files.size > 0 && this.#answers() && this.#files.has(blockId(identity, version, start).name);
	}

	async read(identity: string, version: ObjectVersion, start: number, into: Buffer): Promise<BlockRead> {
		const block = blockId(identity, version, start);
		const size = this.#files.get(block.name);
		if (size === undefined || !this.#answers()) return absent;
		// The youngest comes last.
		this.#files.delete(block.name);
		this.#files.set(block.name, size);
		const { promise, resolve } = Promise.withResolvers<BlockRead>();
		let isTooLate = false;
		let reading: Promise<BlockRead> | undefined;
		const timer = setTimeout(() => {
			isTooLate = true;
			resolve(reading === undefined ? absent : { kind: "late", ended: reading.then(() => undefined) });
		}, answerMs);
		void this.#reads
			.take(async () => {
				if (isTooLate || !this.#answers()) return absent;
				reading = this.#read(block, into);
				return reading;
			})
			.then(resolve);
		const read = await promise;
		clearTimeout(timer);
		return read;
	}

	async write(identity: string, version: ObjectVersion, start: number, bytes: Buffer): Promise<void> {
		const block = blockId(identity, version, start);
		const { name } = block;
		const size = diskBytes(headerBytes + bytes.length);
		const isPaused = !this.#answers() || performance.now() < this.#pausedUntil;
		if (isPaused || this.#writes >= maximumWrites || this.#files.has(name) || size > this.#roomBytes()) return;
		this.#writes++;
		// Counted from now on, so that several writes together keep to the limit.
		this.usedBytes += size;
		let isKept = false;
		try {
			await this.#prepare();
			await this.#shrinkTo(this.#roomBytes());
			// The others that are being written take all of it.
			if (this.usedBytes > this.#roomBytes()) return;
			await this.#writing.take(async () => this.#write(block, bytes));
			isKept = !this.#files.has(name);
			this.#files.set(name, size);
			if (this.#full === undefined) this.#trouble.worked();
		} catch (error) {
			await this.#failed(error);
		} finally {
			if (!isKept) this.usedBytes -= size;
			this.#writes--;
		}
	}

	giveWay(bytes: number): boolean {
		this.#pausedUntil = performance.now() + pauseMs;
		let freedBytes = 0;
		for (const [name, size] of this.#files) {
			if (freedBytes >= bytes) break;
			const isUnread = this.#unread.has(name);
			this.#forget(name);
			try {
				if (isUnread && !isOursSync(this.#path(name))) continue;
				unlinkSync(this.#path(name));
				freedBytes += size;
				this.evictedBlocks++;
			} catch {
				// Somebody else has removed it.
			}
		}
		return freedBytes > 0;
	}

	#answers(): boolean {
		return this.#overdue === 0 && performance.now() >= this.#silentUntil;
	}

	#roomBytes(): number {
		if (this.#full !== undefined && performance.now() >= this.#full.until) this.#full = undefined;
		return Math.min(this.limitBytes, this.#full?.bytes ?? Infinity);
	}

	/** Notices when the disk does not answer. */
	async #watched<T>(call: Promise<T>): Promise<T> {
		let isOverdue = false;
		const timer = setTimeout(() => {
			isOverdue = true;
			this.#overdue++;
			this.#trouble.found(this.#costs.slow, undefined);
		}, answerMs);
		try {
			return await call;
		} finally {
			clearTimeout(timer);
			if (isOverdue) {
				this.#overdue--;
				this.#silentUntil = performance.now() + pauseMs;
			}
		}
	}

	/** Never rejects. */
	async #read(block: BlockId, into: Buffer): Promise<BlockRead> {
		try {
			const header = Buffer.alloc(headerBytes);
			const readBytes = await this.#watched(readWhole(this.#path(block.name), [header, into]));
			if (readBytes === headerBytes + into.length && isBlock(block, header, into)) {
				this.#unread.delete(block.name);
				this.#trouble.worked([this.#costs.slow, this.#costs.unread]);
				return { kind: "read" };
			}
			this.damagedBlocks++;
		} catch (error) {
			const code = fileErrorCode(error) ?? "";
			// Otherwise another process that uses the directory needed the room.
			if (code !== "ENOENT") this.damagedBlocks++;
			if (code !== "ENOENT" && !namesSomethingElse.has(code)) this.#trouble.found(this.#costs.unread, error);
		}
		// Whatever it is, its name says that it is ours.
		this.#unread.delete(block.name);
		await this.#remove(block.name);
		return absent;
	}

	async #write(block: BlockId, bytes: Buffer): Promise<void> {
		const path = this.#path(block.name);
		const temporary = `${path}.${randomBytes(6).toString("hex")}`;
		try {
			await this.#watched(writeWhole(temporary, [headerOf(block, bytes), bytes]));
			await this.#watched(rename(temporary, path));
		} catch (error) {
			await this.#watched(unlink(temporary)).catch(() => undefined);
			throw error;
		}
	}

	/** Nothing is kept for a while: what is wrong may pass. Never rejects. */
	async #failed(error: unknown): Promise<void> {
		if (namesSomethingElse.has(fileErrorCode(error) ?? "") || performance.now() < this.#pausedUntil) return;
		const now = performance.now();
		this.#pausedUntil = now + pauseMs;
		if (isDiskFull(error)) {
			const bytes = this.usedBytes * 0.9;
			this.#full = { bytes, until: now + fullMs };
			this.#trouble.found(this.#costs.full, error);
			await this.#shrinkTo(bytes);
			return;
		}
		// Somebody may have taken it away.
		this.#preparing = undefined;
		this.#trouble.found(this.#costs.unwritten, error);
	}

	async #prepare(): Promise<void> {
		this.#preparing ??= this.#find();
		await this.#preparing;
	}

	async #find(): Promise<void> {
		await this.#watched(mkdir(this.#directory, { recursive: true, mode: 0o700 }));
		if (this.#isSearched) return;
		const found: { readonly name: string; readonly size: number; readonly usedMs: number }[] = [];
		await inParallel(await this.#watched(readdir(this.#directory)), lookedAtTogether, async (name) => {
			const isTemporary = temporaryName.test(name);
			if (!isTemporary && !blockName.test(name)) return;
			const path = this.#path(name);
			try {
				const file = await this.#watched(lstat(path));
				if (!file.isFile()) return;
				if (!isTemporary)
					found.push({ name, size: diskBytes(file.size), usedMs: Math.max(file.atimeMs, file.mtimeMs) });
				// Left by a process that was killed while it wrote; others may be writing to the same directory.
				else if (file.mtimeMs < Date.now() - abandonedAfterMs && (await isOurs(path))) await unlink(path);
			} catch {
				// Somebody else has removed it.
			}
		});
		this.#isSearched = true;
		const written = [...this.#files];
		this.#files.clear();
		for (const { name, size } of found.toSorted((a, b) => a.usedMs - b.usedMs)) {
			this.#files.set(name, size);
			this.usedBytes += size;
			this.#unread.add(name);
		}
		for (const [name, size] of written) {
			this.usedBytes -= this.#files.get(name) ?? 0;
			this.#files.set(name, size);
			this.#unread.delete(name);
		}
		await this.#shrinkTo(this.limitBytes);
	}

	async #shrinkTo(bytes: number): Promise<void> {
		for (const name of this.#files.keys()) {
			if (this.usedBytes <= bytes && this.#files.size < this.#maximumFiles) return;
			await this.#remove(name);
			this.evictedBlocks++;
		}
	}

	async #remove(name: string): Promise<void> {
		const isUnread = this.#unread.has(name);
		this.#forget(name);
		const path = this.#path(name);
		try {
			if (!isUnread || (await this.#watched(isOurs(path)))) await this.#watched(unlink(path));
		} catch {
			// Somebody else has removed it.
		}
	}

	#forget(name: string): void {
		this.usedBytes -= this.#files.get(name) ?? 0;
		this.#files.delete(name);
		this.#unread.delete(name);
	}

	#path(name: string): string {
		return join(this.#directory, name);
	}
}

/** Returns how much of it there was. */
async function readWhole(path: string, into: readonly Buffer[]): Promise<number> {
	const file = await open(path, carefully);
	try {
		const { bytesRead } = await file.readv(into, 0);
		return bytesRead;
	} finally {
		await file.close();
	}
}

async function writeWhole(path: string, pieces: readonly Buffer[]): Promise<void> {
	const file = await open(path, "wx", 0o600);
	try {
		const { bytesWritten } = await file.writev(pieces, 0);
		const sizeBytes = pieces.reduce((sum, { length }) => sum + length, 0);
		// A disk that is nearly full takes what it can, and says so when it is to take the rest.
		if (bytesWritten < sizeBytes) {
			const rest = await file.write(Buffer.concat(pieces), bytesWritten, sizeBytes - bytesWritten, bytesWritten);
			if (bytesWritten + rest.bytesWritten < sizeBytes) throw new Error("a block was written in part");
		}
	} finally {
		await file.close();
	}
}

function diskBytes(sizeBytes: number): number {
	return Math.ceil(sizeBytes / diskBlockBytes) * diskBlockBytes;
}
