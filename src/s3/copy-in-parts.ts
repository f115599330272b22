import { inParallel } from "../turns.ts";
import type { ObjectStore, Uploaded, UploadedPart } from "./object-store.ts";

/** What CopyObject takes at most. */
export const largestCopyBytes = 5 * 1024 ** 3;

/** Large enough for 5 TiB in 10,000 parts, small enough to be copied side by side. */
const partBytesAtLeast = 640 * 1024 ** 2;
const maximumParts = 10_000;
const partsAtOnce = 4;

/** Copies inside the bucket by parts. What is there of it is given up after a failure. */
export async function copyInParts(
	store: Pick<ObjectStore, "copyPart" | "completeMultipart" | "abortMultipart">,
	options: {
		readonly from: { readonly key: string; readonly etag: string; readonly sizeBytes: number };
		readonly to: string;
		/** Begins the upload at `to`. */
		readonly create: () => Promise<string>;
		readonly onlyIfAbsent: boolean;
		readonly partBytes?: number;
	},
): Promise<Uploaded> {
	const { from, to, create, onlyIfAbsent } = options;
	const { partBytes = Math.max(partBytesAtLeast, Math.ceil(from.sizeBytes / maximumParts)) } = options;
	const uploadId = await create();
	try {
		const count = Math.ceil(from.sizeBytes / partBytes);
		const parts: UploadedPart[] = [];
		const indexes = Array.from({ length: count }, (_, index) => index);
		await inParallel(indexes, partsAtOnce, async (index) => {
			const offset = index * partBytes;
			const lengthBytes = Math.min(partBytes, from.sizeBytes - offset);
			const { key, etag } = from;
			parts[index] = await store.copyPart(to, uploadId, index + 1, { key, etag, offset, lengthBytes });
		});
		return await store.completeMultipart(to, uploadId, parts, { onlyIfAbsent, sizeBytes: from.sizeBytes });
	} catch (error) {
		// Best effort: what stays behind is what the bucket's lifecycle is for.
		await store.abortMultipart(to, uploadId).catch(() => undefined);
		throw error;
	}
}
