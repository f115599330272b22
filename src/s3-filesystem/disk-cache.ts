import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { FileVersion } from "./reading.ts";

export interface DiskCacheOptions {
	/** Made if it is missing; other files in it are left alone. */
	readonly directory: string;
	readonly limitBytes: number;
}

/** Parts of objects on a disk, that outlive the process. Never a reason to fail: what cannot be read or written is fetched. */
export interface DiskCache {
	/** Whether the bytes were there; they are checked. */
	read(identity: string, version: FileVersion, start: number, into: Buffer): Promise<boolean>;
	write(identity: string, version: FileVersion, start: number, bytes: Buffer): Promise<void>;
	readonly usedBytes: number;
}

export function createDiskCache(options: DiskCacheOptions): DiskCache {
	return new Cache(options);
}

const suffix = ".part";
const checksumBytes = 4;
/** More would only queue up in memory. */
const maximumWrites = 4;
/** After the disk was full. */
const pauseMs = 30_000;

class Cache implements DiskCache {
	readonly #options: DiskCacheOptions;
	/** Names with sizes, longest unused first. */
	readonly #files = new Map<string, number>();
	usedBytes = 0;
	#writes = 0;
	#pausedUntil = 0;

	constructor(options: DiskCacheOptions) {
		this.#options = options;
		const { directory } = options;
		mkdirSync(directory, { recursive: true, mode: 0o700 });
		const found: { name: string; size: number; usedMs: number }[] = [];
		for (const name of readdirSync(directory)) {
			const path = join(directory, name);
			// Left by a process that was killed while it wrote.
			if (/^[0-9a-f]{64}\.part\.[0-9a-f]+$/.test(name)) rmSync(path, { force: true });
			if (!/^[0-9a-f]{64}\.part$/.test(name)) continue;
			const { size, atimeMs, mtimeMs } = statSync(path);
			found.push({ name, size, usedMs: Math.max(atimeMs, mtimeMs) });
		}
		for (const { name, size } of found.toSorted((a, b) => a.usedMs - b.usedMs)) this.#add(name, size);
		void this.#shrink(0);
	}

	async read(identity: string, version: FileVersion, start: number, into: Buffer): Promise<boolean> {
		const name = nameOf(identity, version, start, into.length);
		const size = this.#files.get(name);
		if (size === undefined) return false;
		// The youngest comes last.
		this.#files.delete(name);
		this.#files.set(name, size);
		try {
			const file = await open(this.#path(name), "r");
			try {
				const checksum = Buffer.alloc(checksumBytes);
				const { bytesRead } = await file.readv([into, checksum], 0);
				if (bytesRead === into.length + checksumBytes && checksum.readUInt32BE(0) === crc32(into)) return true;
			} finally {
				await file.close();
			}
		} catch {
			// As good as not there.
		}
		await this.#remove(name);
		return false;
	}

	async write(identity: string, version: FileVersion, start: number, bytes: Buffer): Promise<void> {
		const name = nameOf(identity, version, start, bytes.length);
		const size = bytes.length + checksumBytes;
		const isPaused = performance.now() < this.#pausedUntil;
		if (this.#files.has(name) || this.#writes >= maximumWrites || isPaused || size > this.#options.limitBytes) return;
		this.#writes++;
		const temporary = `${this.#path(name)}.${randomBytes(6).toString("hex")}`;
		try {
			await this.#shrink(size);
			const checksum = Buffer.alloc(checksumBytes);
			checksum.writeUInt32BE(crc32(bytes));
			const file = await open(temporary, "wx", 0o600);
			try {
				await file.writev([bytes, checksum]);
			} finally {
				await file.close();
			}
			await rename(temporary, this.#path(name));
			this.#add(name, size);
		} catch {
			// A full disk, most likely: others need it more.
			this.#pausedUntil = performance.now() + pauseMs;
			await rm(temporary, { force: true }).catch(() => undefined);
		} finally {
			this.#writes--;
		}
	}

	#add(name: string, size: number): void {
		this.#files.set(name, size);
		this.usedBytes += size;
	}

	async #shrink(neededBytes: number): Promise<void> {
		for (const name of this.#files.keys()) {
			if (this.usedBytes + neededBytes <= this.#options.limitBytes) return;
			await this.#remove(name);
		}
	}

	async #remove(name: string): Promise<void> {
		this.usedBytes -= this.#files.get(name) ?? 0;
		this.#files.delete(name);
		await rm(this.#path(name), { force: true }).catch(() => undefined);
	}

	#path(name: string): string {
		return join(this.#options.directory, name);
	}
}

function nameOf(identity: string, { key, etag }: FileVersion, start: number, lengthBytes: number): string {
	const text = JSON.stringify([identity, key, etag, start, lengthBytes]);
	return createHash("sha256").update(text).digest("hex") + suffix;
}
