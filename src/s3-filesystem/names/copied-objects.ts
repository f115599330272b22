import type { Version } from "./nodes.ts";

/** An object that was copied: which version, and what its copy is. */
export interface Copied {
	readonly fromEtag: string;
	readonly fromModifiedMs: number;
	readonly version: Version;
}

/** What was copied, by the new keys. A directory may have millions of objects: packed, each takes less than half the memory. */
export class CopiedObjects {
	readonly #packed = new Map<string, string>();

	keys(): Iterable<string> {
		return this.#packed.keys();
	}

	get(key: string): Copied | undefined {
		const packed = this.#packed.get(key);
		if (packed === undefined) return undefined;
		const [fromEtag, fromModifiedMs, sizeBytes, modifiedMs, etag = fromEtag] = JSON.parse(packed) as Packed;
		return { fromEtag, fromModifiedMs, version: { etag, sizeBytes, modifiedMs } };
	}

	set(key: string, { fromEtag, fromModifiedMs, version }: Copied): void {
		const { etag, sizeBytes, modifiedMs } = version;
		const shared = [fromEtag, fromModifiedMs, sizeBytes, modifiedMs] as const;
		const packed: Packed = etag === fromEtag ? shared : [...shared, etag];
		this.#packed.set(flat(key), flat(JSON.stringify(packed)));
	}

	delete(key: string): void {
		this.#packed.delete(key);
	}
}

type Packed = readonly [fromEtag: string, fromModifiedMs: number, sizeBytes: number, modifiedMs: number, etag?: string];

/** The same text, without the one that it was cut out of, such as a whole list, which would stay in memory with it. */
export function flat(text: string): string {
	return Buffer.from(text).toString();
}
