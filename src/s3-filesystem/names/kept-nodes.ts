import { DirectoryListing } from "./listing.ts";
import type { NamesMemory } from "./names-memory.ts";
import type { DirectoryNode, FileNode, Node, NodeTable } from "./nodes.ts";
import type { VolumeOptions } from "./volume.ts";

/** What of a node outlives its process: plain data. Its moments are the machine's, since each process has a clock of its own. */
export type KeptNode = KeptDirectory | KeptFile;

interface Place {
	/** The volume's. */
	readonly folder: string | undefined;
	/** By number. */
	readonly parent: number | undefined;
	/** Which of the parent's maps leads to it. */
	readonly isIn: "children" | "overlay" | undefined;
}

type KeptDirectory = Omit<
	DirectoryNode,
	"volume" | "parent" | "overlay" | "children" | "drafted" | "listing" | "hidden"
> &
	Place;

type KeptFile = Omit<FileNode, "volume" | "parent" | "draft" | "handles" | "hiddenIn"> &
	Place & {
		/** By number. */
		readonly hiddenIn: number | undefined;
		/** It is as this mount has left it, whatever the server lists. */
		readonly isDrafted: boolean;
	};

/** What of all nodes outlives their process. */
export interface KeptNodes {
	readonly nodes: readonly KeptNode[];
	readonly nextId: number;
	readonly numbersOfNames: NodeTable["numbersOfNames"];
}

export function keepNodes(table: NodeTable): KeptNodes {
	const { nextId, numbersOfNames } = table;
	return { nodes: Array.from(table.all(), keepNode), nextId, numbersOfNames };
}

/** `parentId` is 0 where there is none. */
export function placeOf(node: Node): { readonly parentId: number; readonly isIn: Place["isIn"] } {
	const { parent, name } = node;
	if (parent === undefined) return { parentId: 0, isIn: undefined };
	const { id: parentId } = parent;
	if (parent.children.get(name) === node) return { parentId, isIn: "children" };
	return { parentId, isIn: parent.overlay.get(name) === node ? "overlay" : undefined };
}

function keepNode(node: Node): KeptNode {
	const { volume, parent } = node;
	const place = { folder: volume?.folder, parent: parent?.id, isIn: placeOf(node).isIn };
	if (node.kind === "directory") {
		const {
			volume: _volume,
			parent: _parent,
			overlay: _overlay,
			children: _children,
			drafted: _drafted,
			listing: _listing,
			hidden: _hidden,
			...plain
		} = node;
		const posixAt = node.posixAt === undefined ? undefined : toMachineTime(node.posixAt);
		return { ...plain, ...place, knownAt: toMachineTime(node.knownAt), posixAt };
	}
	const { volume: _volume, parent: _parent, draft, handles: _handles, hiddenIn, ...plain } = node;
	return {
		...plain,
		...place,
		knownAt: toMachineTime(node.knownAt),
		hiddenIn: hiddenIn?.id,
		isDrafted: draft !== undefined,
	};
}

/** Makes the nodes again in an empty table, each where it was. Throws when one is of a volume that is not there. */
export function restoreNodes(
	table: NodeTable,
	{ nodes: kept, nextId, numbersOfNames }: KeptNodes,
	volumes: readonly VolumeOptions[],
	memory: NamesMemory | undefined,
): void {
	const byFolder = new Map(volumes.map((volume) => [volume.folder, volume]));
	const nodes = new Map(kept.map((node) => [node.id, restoreNode(node, byFolder, memory)]));
	const directory = (id: number | undefined): DirectoryNode | undefined => {
		const node = id === undefined ? undefined : nodes.get(id);
		return node?.kind === "directory" ? node : undefined;
	};
	for (const { id, parent: parentId, isIn, ...rest } of kept) {
		const node = nodes.get(id);
		const parent = directory(parentId);
		if (node === undefined) continue;
		node.parent = parent;
		if (isIn === "overlay" && node.kind === "directory") parent?.overlay.set(node.name, node);
		else if (isIn === "children") parent?.children.set(node.name, node);
		if (node.kind === "directory" || rest.kind === "directory") continue;
		node.hiddenIn = directory(rest.hiddenIn);
		node.hiddenIn?.hidden.set(node.name, node);
	}
	table.takeOver([...nodes.values()], nextId, numbersOfNames);
}

function restoreNode(
	kept: KeptNode,
	volumes: ReadonlyMap<string, VolumeOptions>,
	memory: NamesMemory | undefined,
): Node {
	const volume = kept.folder === undefined ? undefined : volumes.get(kept.folder);
	if (volume === undefined && kept.folder !== undefined) throw new Error(`there is no folder ${kept.folder} any more`);
	const knownAt = fromMachineTime(kept.knownAt);
	if (kept.kind === "directory") {
		const { folder: _, isIn: __, parent: ___, ...plain } = kept;
		return {
			...plain,
			volume,
			parent: undefined,
			overlay: new Map(),
			children: new Map(),
			drafted: new Set(),
			hidden: new Map(),
			listing: new DirectoryListing(memory),
			knownAt,
			posixAt: kept.posixAt === undefined ? undefined : fromMachineTime(kept.posixAt),
		};
	}
	if (volume === undefined) throw new Error("a file is in no volume");
	const { folder: _, isIn: __, parent: ___, hiddenIn: ____, isDrafted: _____, ...plain } = kept;
	return { ...plain, volume, parent: undefined, draft: undefined, handles: new Set(), hiddenIn: undefined, knownAt };
}

/** From the machine's clock that only goes forward, which all its processes share, to this process's. */
const startedAt = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** Of a moment by performance.now. */
export function toMachineTime(at: number): number {
	return at + startedAt;
}

export function fromMachineTime(ms: number): number {
	return ms - startedAt;
}
