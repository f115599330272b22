import { expect } from "vitest";
import type { ReadResult } from "../../../src/fuse/filesystem.ts";
import type { Reader } from "../../../src/s3-filesystem/reading/reading.ts";

export const KiB = 1024;
export const MiB = 1024 ** 2;

/** A copy of the bytes, which are given back. */
export async function readOf(reader: Reader, offset: number, sizeBytes: number, signal?: AbortSignal): Promise<Buffer> {
	return take(await reader.read(offset, sizeBytes, signal && { signal }));
}

/** The same for bytes that are there. */
export function readNow(reader: Reader, offset: number, sizeBytes: number): Buffer {
	const result = reader.read(offset, sizeBytes);
	expect(result, "the bytes are not there").not.toBeInstanceOf(Promise);
	return take(result as ReadResult);
}

export function take(result: ReadResult): Buffer {
	const bytes = Buffer.concat(result.views);
	result.release?.();
	return bytes;
}

/** As the kernel reads in order: requests of 1 MiB, so many at a time. */
export async function readInOrder(
	reader: Reader,
	options: {
		readonly start?: number;
		readonly end: number;
		readonly readBytes?: number;
		readonly atATime?: number;
		/** Shown each view before it is given back. */
		readonly see: (offset: number, bytes: Buffer) => void | Promise<void>;
	},
): Promise<void> {
	const { start = 0, end, readBytes = MiB, atATime = 3, see } = options;
	let next = start;
	const one = async (): Promise<void> => {
		while (next < end) {
			let offset = next;
			next += readBytes;
			const result = await reader.read(offset, Math.min(readBytes, end - offset));
			for (const { buffer, byteOffset, byteLength } of result.views) {
				await see(offset, Buffer.from(buffer, byteOffset, byteLength));
				offset += byteLength;
			}
			result.release?.();
			await new Promise((resolve) => {
				setImmediate(resolve);
			});
		}
	};
	await Promise.all(Array.from({ length: atATime }, one));
}
