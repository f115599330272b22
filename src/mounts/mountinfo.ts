import { readFile } from "node:fs/promises";

/** One line of /proc/self/mountinfo: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html */
export interface MountEntry {
	readonly id: number;
	readonly parentId: number;
	/** `major:minor`: the same for all binds of one filesystem. */
	readonly device: string;
	/** What of the filesystem is mounted: `/` unless it is a bind of a folder. */
	readonly root: string;
	readonly mountPoint: string;
	/** The peer group when mounts propagate from and to here. */
	readonly shared: boolean;
	/** Such as `fuse.s3fs`. */
	readonly type: string;
	readonly source: string;
	readonly readOnly: boolean;
}

// [^ ], not \S: the kernel leaves every other kind of space in a path as it is.
const line = /^(\d+) (\d+) (\d+:\d+) ([^ ]+) ([^ ]+) ([^ ]+)((?: [^ ]+)*?) - ([^ ]+) ([^ ]*) (.*)$/s;

/** Parses the file's text. A line that has another form is left out. */
export function parseMountinfo(text: string): MountEntry[] {
	const entries: MountEntry[] = [];
	for (const row of text.split("\n")) {
		const match = line.exec(row);
		if (match === null) continue;
		const [
			,
			id,
			parentId,
			device = "",
			root = "",
			mountPoint = "",
			options = "",
			tags = "",
			type = "",
			source = "",
			superOptions = "",
		] = match;
		entries.push({
			id: Number(id),
			parentId: Number(parentId),
			device,
			root: unescape(root),
			mountPoint: unescape(mountPoint),
			shared: / shared:/.test(tags),
			type: unescape(type),
			source: unescape(source),
			readOnly: [options, superOptions].some((list) => list.split(",").includes("ro")),
		});
	}
	return entries;
}

/** The kernel writes space, tab, newline, backslash and # as three octal digits; other bytes are UTF-8 as they are. */
function unescape(text: string): string {
	return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

export async function readMountinfo(): Promise<MountEntry[]> {
	return parseMountinfo(await readFile("/proc/self/mountinfo", "utf8"));
}

/** The same for who goes on without: undefined when it cannot be read, as with too many files open. */
export async function mountsIfReadable(): Promise<MountEntry[] | undefined> {
	return readMountinfo().catch(() => undefined);
}

/** The source under which an empty root is mounted; by it a later launcher knows it as ours. */
export const rootSourcePrefix = "thin-";

/** The root of several mounts, by which a later launcher knows that it is one's of ours. */
export function isEmptyRoot({ type, source }: MountEntry): boolean {
	return type === "tmpfs" && source.startsWith(rootSourcePrefix);
}

/**
 * What is mounted exactly at `path`, bottom first, as a path lookup meets it: mounts that others hide are left out.
 * The last is what applications see.
 */
export function layersAt(entries: readonly MountEntry[], path: string): MountEntry[] {
	return walk(entries, path).filter(({ mountPoint }) => mountPoint === path);
}

/**
 * The same without the folder itself: a volume that is mounted at `path`, as Fluid's CacheRuntime mounts targetPath from the node, is a
 * place to mount on and nobody's filesystem.
 */
export function layersOn(entries: readonly MountEntry[], path: string): MountEntry[] {
	const layers = layersAt(entries, path);
	const first = layers.findIndex((layer) => !isFolderOfNode(layer));
	return first === -1 ? [] : layers.slice(first);
}

/** Whether a volume is mounted at `path` itself. */
export function isVolume(entries: readonly MountEntry[], path: string): boolean {
	const [lowest] = layersAt(entries, path);
	return lowest !== undefined && isFolderOfNode(lowest);
}

/** A bind of a folder, of whatever filesystem the node keeps it in. What somebody has mounted there shows its root. */
function isFolderOfNode({ type, root }: MountEntry): boolean {
	return root !== "/" && !type.startsWith("fuse");
}

/** Whether the mount is one of these. The kernel uses ids again, so that the filesystem has to be the same too. */
export function isAmong(entry: MountEntry | undefined, layers: readonly MountEntry[]): boolean {
	return layers.some(({ id, device }) => id === entry?.id && device === entry.device);
}

/** The mount that `path` lies in. */
export function mountOf(entries: readonly MountEntry[], path: string): MountEntry | undefined {
	return walk(entries, path).at(-1);
}

/** Every mount that a lookup of `path` enters, in order. */
function walk(entries: readonly MountEntry[], path: string): MountEntry[] {
	const ids = new Set(entries.map(({ id }) => id));
	// The root of the tree has a parent that is not listed, or itself.
	const parentOf = ({ id, parentId }: MountEntry): number | undefined =>
		ids.has(parentId) && parentId !== id ? parentId : undefined;
	const places = [...prefixes(path)];
	const onTheWay = new Set(places);
	// Of several on one mount at one place, the first.
	const found = new Map<string, MountEntry>();
	const keyOf = (parentId: number | undefined, mountPoint: string): string => `${parentId} ${mountPoint}`;
	for (const entry of entries.toReversed())
		if (onTheWay.has(entry.mountPoint)) found.set(keyOf(parentOf(entry), entry.mountPoint), entry);
	const entered: MountEntry[] = [];
	for (const place of places) {
		for (;;) {
			const next = found.get(keyOf(entered.at(-1)?.id, place));
			if (next === undefined) break;
			entered.push(next);
		}
	}
	return entered;
}

/** `/`, `/a`, `/a/b` for `/a/b`. */
function* prefixes(path: string): Generator<string> {
	yield "/";
	for (let end = path.indexOf("/", 1); end !== -1; end = path.indexOf("/", end + 1)) yield path.slice(0, end);
	if (path !== "/") yield path;
}
