import { mebibyte } from "../../bytes.ts";

/** Fills the buffer from there on. */
export type Read = (offset: number, into: Buffer) => Promise<void>;

const chunkBytes = 8 * mebibyte;
export const streams = 8;
/** Of each measurement: enough to tell, and little enough where traffic is paid for. */
const limitMs = 2000;
const limitBytes = { one: 64 * mebibyte, many: 256 * mebibyte };

/** How fast an object of that size comes, asked for by one and by eight at a time: a phrase. */
export async function speedOf(objectSizeBytes: number, read: Read): Promise<string> {
	const one = await measure(objectSizeBytes, read, 1, limitBytes.one);
	const many = await measure(objectSizeBytes, read, streams, limitBytes.many);
	return `one stream ${one}, ${streams} streams ${many}`;
}

async function measure(objectSizeBytes: number, read: Read, readers: number, enoughBytes: number): Promise<string> {
	const lengthBytes = Math.min(chunkBytes, objectSizeBytes);
	const chunks = Math.max(1, Math.floor(objectSizeBytes / lengthBytes));
	const startedAt = performance.now();
	let begun = 0;
	let bytes = 0;
	const readOn = async (): Promise<void> => {
		const into = Buffer.allocUnsafe(lengthBytes);
		// What is begun counts as read: it is waited for.
		do {
			const offset = (begun++ % chunks) * lengthBytes;
			await read(offset, into);
			bytes += lengthBytes;
		} while (performance.now() - startedAt < limitMs && begun * lengthBytes < enoughBytes);
	};
	await Promise.all(Array.from({ length: readers }, readOn));
	return rate(bytes, performance.now() - startedAt);
}

/** Such as `118 MiB/s`. */
export function rate(bytes: number, ms: number): string {
	const mebibytes = bytes / mebibyte / (ms / 1000);
	return `${mebibytes >= 100 ? Math.round(mebibytes) : mebibytes.toPrecision(2)} MiB/s`;
}
