import { posix } from "node:path";
import { isEmptyRoot, mountOf, type MountEntry } from "./mountinfo.ts";

/** What can be seen on the node of whoever may use a volume. */
export interface NodeView {
	/** The pod that this process is in; undefined where that cannot be told. */
	readonly pod: string | undefined;
	/** The node's own mounts, those of CSI plugins among them. */
	readonly entries: readonly MountEntry[];
	/** Those in which the volume is mounted. */
	readonly namespaces: readonly MountNamespace[];
}

/** Processes that have the same mounts. */
export interface MountNamespace {
	readonly entries: readonly MountEntry[];
	readonly processes: readonly SeenProcess[];
}

export interface SeenProcess extends Inhabitant {
	readonly pid: number;
	readonly command: string;
	readonly workingDirectory: string;
	readonly openFiles: readonly { readonly path: string; readonly mountId: number }[];
}

/** Where a process or a mount belongs, as far as Kubernetes has named it. */
export interface Inhabitant {
	/** The pod's uid. */
	readonly pod?: string;
	readonly container?: string;
}

/** Somebody who has something of the volume open, or is in it. For messages. */
export interface Holder extends Inhabitant {
	readonly pid: number;
	readonly command: string;
	/** One of the paths that it holds. */
	readonly path: string;
	/** Not only a working directory. */
	readonly isOpen: boolean;
}

/** A process that has files of some filesystems open. */
export interface Opener extends Inhabitant {
	readonly pid: number;
	readonly command: string;
	/** Each with where it is in its filesystem. */
	readonly files: readonly { readonly device: string; readonly path: string }[];
}

/** Somewhere else that the volume is mounted. */
export interface Use extends Inhabitant {
	readonly path: string;
}

/** The filesystems that are mounted at the target or in it, by their devices. */
export function devicesAt(entries: readonly MountEntry[], target: string): Set<string> {
	return new Set(
		entries
			.filter((entry) => entry.mountPoint === target || entry.mountPoint.startsWith(`${target}/`))
			// Fluid may have mounted a folder of the node's own disk at the target.
			.filter((entry) => entry.type.startsWith("fuse") || isEmptyRoot(entry))
			.map(({ device }) => device),
	);
}

/** Who has files or folders of these filesystems open, wherever on the node. */
export function holdersOf(view: NodeView, devices: ReadonlySet<string>): Holder[] {
	return view.namespaces.flatMap(({ entries, processes }) => {
		const mounts = new Set(entries.filter(({ device }) => devices.has(device)).map(({ id }) => id));
		return processes.flatMap(({ pid, command, pod, container, workingDirectory, openFiles }) => {
			// What it runs is open, too.
			const program = devices.has(mountOf(entries, command)?.device ?? "") ? command : undefined;
			const open = openFiles.find(({ mountId }) => mounts.has(mountId))?.path ?? program;
			if (open === undefined && !devices.has(mountOf(entries, workingDirectory)?.device ?? "")) return [];
			const path = open ?? workingDirectory;
			return [{ pid, command, path, isOpen: open !== undefined, ...named({ pod, container }) }];
		});
	});
}

/** Who has which files of these filesystems open, wherever on the node. */
export function openersOf(view: NodeView, devices: ReadonlySet<string>): Opener[] {
	return view.namespaces.flatMap(({ entries, processes }) => {
		const mounts = new Map(entries.filter(({ device }) => devices.has(device)).map((entry) => [entry.id, entry]));
		return processes.flatMap(({ pid, command, pod, container, openFiles }) => {
			const files = openFiles.flatMap(({ path, mountId }) => {
				const mount = mounts.get(mountId);
				if (mount === undefined) return [];
				const { device, root, mountPoint } = mount;
				return [{ device, path: posix.join(root, posix.relative(mountPoint, path)) }];
			});
			return files.length === 0 ? [] : [{ pid, command, files, ...named({ pod, container }) }];
		});
	});
}

/**
 * Where these filesystems are mounted besides `target`: by a CSI plugin for a pod, or in another pod itself where that plugin only links.
 * What a container has of the node's mounts only because it has a whole folder of the node is no use.
 */
export function usesOf(
	view: NodeView,
	devices: ReadonlySet<string>,
	{ target, runDirectory }: { readonly target: string; readonly runDirectory: string },
): Use[] {
	// Dataset's namespace, name, and the folder: a node may show one of its folders at several places.
	const tail = `/${target.split("/").slice(-3).join("/")}`;
	const elsewhere = (entries: readonly MountEntry[]): string[] =>
		entries
			.filter(({ device }) => devices.has(device))
			.map(({ mountPoint }) => mountPoint)
			.filter((path) => !`${path}/`.includes(`${tail}/`) && !path.startsWith(`${runDirectory}/`));
	const byNode = elsewhere(view.entries).map((path) => ({ path, ...named({ pod: kubeletPod.exec(path)?.[1] }) }));
	const byPods = view.namespaces.flatMap(({ entries, processes }) => {
		const { pod, container } = processes.find((process) => process.pod !== undefined) ?? {};
		if (pod === undefined || pod === view.pod) return [];
		return elsewhere(entries).flatMap((path) =>
			kubeletPod.test(path) ? [] : [{ path, ...named({ pod, container }) }],
		);
	});
	return unique([...byNode, ...byPods]);
}

/**
 * Whether the mount at targetPath is to stay there, dead, when its server ends. Then the next one is mounted over it, which all see who have
 * it mounted; one on the bare folder nobody would see. Where the node cannot be seen, a storage pod takes the side on which applications
 * heal, and a sidecar, whose application ends with it, the one on which nothing is left.
 */
export function isToStay({ uses, isSidecar }: { uses: readonly Use[] | undefined; isSidecar: boolean }): boolean {
	return uses === undefined ? !isSidecar : uses.length > 0;
}

/**
 * Which of these filesystems are the lowest of what somebody else has mounted at a place: there a later one is seen only as long as it is
 * mounted on the same one at the target, too. `own`: the mounts of this container, which another may have a copy of.
 */
export function beginnings(
	{ entries: onNode, namespaces }: NodeView,
	devices: ReadonlySet<string>,
	own: readonly MountEntry[],
): Set<string> {
	const found = [onNode, ...namespaces.map(({ entries }) => entries)].flatMap((entries) => {
		const places = new Map(entries.map(({ id, mountPoint }) => [id, mountPoint]));
		return entries.filter(
			(entry) =>
				devices.has(entry.device) &&
				places.get(entry.parentId) !== entry.mountPoint &&
				!own.some(({ device, mountPoint }) => device === entry.device && mountPoint === entry.mountPoint),
		);
	});
	return new Set(found.map(({ device }) => device));
}

/** Whether this container is one of an application's own pod: only there Fluid's webhook puts its check of the mount. */
export function isSidecar(entries: readonly MountEntry[]): boolean {
	return entries.some(({ mountPoint }) => mountPoint === "/check-mount.sh");
}

/** Where kubelet has a pod's volumes mounted. */
const kubeletPod = /\/pods\/([0-9a-f-]{36})\/volumes\//;

/** Reads the text of /proc/PID/cgroup: https://kubernetes.io/docs/concepts/architecture/cgroups/ */
export function inhabitantOf(cgroup: string): Inhabitant {
	const pod = /pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})/.exec(cgroup)?.[1]?.replaceAll("_", "-");
	return named({ pod, container: /[0-9a-f]{64}/.exec(cgroup)?.[0] });
}

function named({ pod, container }: { [Key in keyof Inhabitant]: Inhabitant[Key] | undefined }): Inhabitant {
	return { ...(pod !== undefined && { pod }), ...(container !== undefined && { container }) };
}

/** Layers that lie over each other are one use. */
function unique(uses: readonly Use[]): Use[] {
	return [...new Map(uses.map((use) => [JSON.stringify(use), use])).values()];
}
