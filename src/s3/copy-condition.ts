import type { Ability } from "./abilities.ts";
import { isKind } from "./answers.ts";
import type { Bucket } from "./bucket.ts";
import type { Heads } from "./heads.ts";
import { S3Error } from "./object-store.ts";
import { printable } from "./printable.ts";

export function otherVersion(key: string): S3Error {
	return new S3Error("OBJECT_REPLACED", `CopyObject ${printable(key, 300)}: the object has another version now`);
}

/**
 * Runs what copies that version of an object, with the version to be compared by the server. Of a server that says of each version that it is
 * another one, `copy` is run without, and the version is looked at before and, where the copy does not replace it, after that.
 */
export async function copyVersion<T>(
	{ knowledge }: Bucket,
	heads: Heads,
	from: { readonly key: string; readonly etag: string; readonly isReplaced: boolean },
	work: {
		readonly copy: (etag: string | undefined) => Promise<T>;
		/** Takes back what may be a copy of another version. */
		readonly undo: (copied: T) => Promise<void>;
	},
): Promise<T> {
	const { key, etag } = from;
	const isThis = async (): Promise<boolean> => (await heads.head(key)).etag === etag;
	const compared = async (): Promise<T> => {
		const copied = await work.copy(undefined);
		if (from.isReplaced || (await isThis())) return copied;
		await work.undo(copied);
		throw otherVersion(key);
	};
	const ability: Ability = etag.includes("-") ? "copy-conditions-of-parts" : "copy-conditions";
	if (knowledge.lacks(ability)) {
		if (!(await isThis())) throw otherVersion(key);
		return compared();
	}
	try {
		return await work.copy(etag);
	} catch (error) {
		if (!isKind(error, "OBJECT_REPLACED") || !(await isThis())) throw error;
		const copied = await compared();
		knowledge.concede(ability, error);
		return copied;
	}
}
