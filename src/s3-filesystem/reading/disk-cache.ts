import { hash, randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { FileVersion } from "./cached-file.ts";
import { inParallel, Turns } from "../../turns.ts";

export interface DiskCacheOptions {
	/** Made if it is missing; other files in it are left alone. */
	readonly directory: string;
	readonly limitBytes: number;
	readonly log?: (level: "info" | "warn" | "error", fields: Readonly<Record<string, unknown>>, message: string) => void;
}

/**
 * Blocks of objects on a disk, that outlive the process: each version's bytes from a multiple of `blockBytes` on, the last block as long as is left.
 * Never a reason to fail: what cannot be read or written is fetched.
 */
export interface DiskCache {
	/** Those of an earlier process are found once this has resolved. Never rejects. */
	readonly ready: Promise<void>;
	readonly usedBytes: number;
	/** Whether it is worth trying to read the block. */
	has(identity: string, version: FileVersion, start: number): boolean;
	/** Whether the bytes were there; they are checked. `into` holds anything after a failure. */
	read(identity: string, version: FileVersion, start: number, into: Buffer): Promise<boolean>;
	/** Keeps the block if there is time and room for it. */
	write(identity: string, version: FileVersion, start: number, bytes: Buffer): Promise<void>;
}

/** Of one file on the disk. */
export const blockBytes = 1024 ** 2;

/** Throws if the directory can neither be found nor made. */
export function createDiskCache(options: DiskCacheOptions): DiskCache {
	return new FolderOfBlocks(options);
}

const blockName = /^[0-9a-f]{64}\.part$/;
const temporaryName = /^[0-9a-f]{64}\.part\.[0-9a-f]{12}$/;
/** Version of the format, length, CRC-32: four bytes each. */
const headerBytes = 12;
const format = 0x46_46_50_31;
/** What a file takes of a disk beside its bytes. */
const diskBlockBytes = 4096;
/** More would only queue up in memory. */
const maximumWrites = 4;
/** The kernel's requests need threads of the pool, too. */
const maximumReads = 8;
/** After the disk was full, or failed. */
const pauseMs = 30_000;
/** No write takes as long. */
const abandonedAfterMs = 3_600_000;
/** Small blocks fill the memory with names before they fill a disk. */
const leastFiles = 65_536;
const filesAtOnce = 16;

class FolderOfBlocks implements DiskCache {
	readonly ready: Promise<void>;
	usedBytes = 0;
	readonly #options: DiskCacheOptions;
	readonly #maximumFiles: number;
	/** Names with what they take of the disk, longest unused first. */
	readonly #files = new Map<string, number>();
	readonly #reads = new Turns(maximumReads);
	#writes = 0;
	#pausedUntil = 0;

	constructor(options: DiskCacheOptions) {
		this.#options = options;
		this.#maximumFiles = Math.max(leastFiles, (2 * options.limitBytes) / blockBytes);
		mkdirSync(options.directory, { recursive: true, mode: 0o700 });
		this.ready = this.#find();
	}

	has(identity: string, version: FileVersion, start: number): boolean {
		return this.#files.size > 0 && this.#files.has(nameOf(identity, version, start));
	}

	async read(identity: string, version: FileVersion, start: number, into: Buffer): Promise<boolean> {
		const name = nameOf(identity, version, start);
		const size = this.#files.get(name);
		if (size === undefined) return false;
		// The youngest comes last.
		this.#files.delete(name);
		this.#files.set(name, size);
		try {
			if (await this.#reads.take(async () => isRead(this.#path(name), into))) return true;
		} catch {
			// As good as not there.
		}
		await this.#remove(name);
		return false;
	}

	async write(identity: string, version: FileVersion, start: number, bytes: Buffer): Promise<void> {
		const name = nameOf(identity, version, start);
		const size = diskBytes(headerBytes + bytes.length);
		const isPaused = performance.now() < this.#pausedUntil;
		if (isPaused || this.#writes >= maximumWrites || this.#files.has(name) || size > this.#options.limitBytes) return;
		this.#writes++;
		// Counted from now on, so that several writes together keep to the limit.
		this.usedBytes += size;
		const temporary = `${this.#path(name)}.${randomBytes(6).toString("hex")}`;
		let isKept = false;
		try {
			await this.#shrinkTo(this.#options.limitBytes);
			// The others that are being written take all of it.
			if (this.usedBytes > this.#options.limitBytes) return;
			await writeBlock(temporary, bytes);
			await rename(temporary, this.#path(name));
			isKept = !this.#files.has(name);
			this.#files.set(name, size);
		} catch (error) {
			await rm(temporary, { force: true }).catch(() => undefined);
			await this.#pause(error);
		} finally {
			if (!isKept) this.usedBytes -= size;
			this.#writes--;
		}
	}

	/** A full disk, most likely: others need it more. */
	async #pause(error: unknown): Promise<void> {
		if (performance.now() < this.#pausedUntil) return;
		this.#pausedUntil = performance.now() + pauseMs;
		const { directory, log } = this.#options;
		log?.("warn", { err: error, directory }, "the disk cache cannot be written to for now");
		await this.#shrinkTo(this.usedBytes * 0.9);
	}

	async #find(): Promise<void> {
		const { directory, limitBytes, log } = this.#options;
		try {
			const found: { readonly name: string; readonly size: number; readonly usedMs: number }[] = [];
			await inParallel(await readdir(directory), filesAtOnce, async (name) => {
				const isTemporary = temporaryName.test(name);
				if (!isTemporary && !blockName.test(name)) return;
				try {
					const { size, atimeMs, mtimeMs } = await stat(this.#path(name));
					if (!isTemporary) found.push({ name, size: diskBytes(size), usedMs: Math.max(atimeMs, mtimeMs) });
					// Left by a process that was killed while it wrote; others may be writing to the same directory.
					else if (mtimeMs < Date.now() - abandonedAfterMs) await rm(this.#path(name), { force: true });
				} catch {
					// Somebody else has removed it.
				}
			});
			const written = [...this.#files];
			this.#files.clear();
			for (const { name, size } of found.toSorted((a, b) => a.usedMs - b.usedMs)) this.#files.set(name, size);
			for (const [name, size] of written) this.#files.set(name, size);
			this.usedBytes = this.#files.values().reduce((sum, size) => sum + size, 0);
			await this.#shrinkTo(limitBytes);
		} catch (error) {
			log?.("warn", { err: error, directory }, "the disk cache cannot be read");
		}
	}

	async #shrinkTo(bytes: number): Promise<void> {
		for (const name of this.#files.keys()) {
			if (this.usedBytes <= bytes && this.#files.size < this.#maximumFiles) return;
			await this.#remove(name);
		}
	}

	async #remove(name: string): Promise<void> {
		const size = this.#files.get(name);
		if (size === undefined) return;
		this.#files.delete(name);
		this.usedBytes -= size;
		await rm(this.#path(name), { force: true }).catch(() => undefined);
	}

	#path(name: string): string {
		return join(this.#options.directory, name);
	}
}

async function isRead(path: string, into: Buffer): Promise<boolean> {
	const file = await open(path, "r");
	try {
		const header = Buffer.alloc(headerBytes);
		const { bytesRead } = await file.readv([header, into], 0);
		return (
			bytesRead === headerBytes + into.length &&
			header.readUInt32BE(0) === format &&
			header.readUInt32BE(4) === into.length &&
			header.readUInt32BE(8) === crc32(into)
		);
	} finally {
		await file.close();
	}
}

async function writeBlock(path: string, bytes: Buffer): Promise<void> {
	const header = Buffer.alloc(headerBytes);
	header.writeUInt32BE(format, 0);
	header.writeUInt32BE(bytes.length, 4);
	header.writeUInt32BE(crc32(bytes), 8);
	const file = await open(path, "wx", 0o600);
	try {
		const { bytesWritten } = await file.writev([header, bytes], 0);
		// A disk that is nearly full takes what it can.
		if (bytesWritten < headerBytes + bytes.length) throw new Error("the disk is full");
	} finally {
		await file.close();
	}
}

function diskBytes(sizeBytes: number): number {
	return Math.ceil(sizeBytes / diskBlockBytes) * diskBlockBytes;
}

function nameOf(identity: string, { key, etag, sizeBytes }: FileVersion, start: number): string {
	const lengthBytes = Math.min(blockBytes, sizeBytes - start);
	return `${hash("sha256", JSON.stringify([identity, key, etag, start, lengthBytes]))}.part`;
}
