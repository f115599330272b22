import type { Past, Recalled } from "./recall.ts";
import type { KeptReader } from "./names/directory-reader.ts";
import type { KeptNodes } from "./names/kept-nodes.ts";
import type { KeptFile } from "./names/nodes.ts";
import type { VolumeOptions } from "./names/volume.ts";
import type { KeptDraft } from "./writing/draft-options.ts";

/** What of a filesystem outlives its process: plain data. */
export interface KeptFilesystem {
	readonly nodes: KeptNodes;
	readonly nextHandle: number;
	/** By the numbers of their nodes. */
	readonly files: readonly KeptFile[];
	readonly directories: readonly { readonly handle: number; readonly node: number; readonly reader: KeptReader }[];
	/** Of a process that has died. */
	readonly past?: Past;
	readonly drafts?: ReadonlyMap<number, KeptDraft>;
}

/** What is to go on of a process that has died. Throws when what it served is not what is to be served. */
export function keptFrom(recalled: Recalled, volumes: readonly VolumeOptions[]): KeptFilesystem {
	const { nodes, nextId, numbersOfNames, nextHandle, files, directories, past, drafts } = recalled;
	const present = identitiesOf(volumes);
	for (const [folder, identity] of recalled.volumes)
		if (present.get(folder) !== identity) throw new Error(`the folder "${folder}" shows another bucket`);
	return { nodes: { nodes, nextId, numbersOfNames }, nextHandle, files, directories, past, drafts };
}

/** What identifies the buckets, by their folders. */
export function identitiesOf(volumes: Iterable<VolumeOptions>): Map<string, string> {
	return new Map(Array.from(volumes, ({ folder, identity, prefix }) => [folder, `${identity} ${prefix}`]));
}
