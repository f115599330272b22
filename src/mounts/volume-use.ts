import { mountOf, type MountEntry } from "./mountinfo.ts";

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

/** Who has files or folders of these filesystems open, wherever on the node. */
export function holdersOf(view: NodeView, devices: ReadonlySet<string>): Holder[] {
	return view.namespaces.flatMap(({ entries, processes }) => {
		const mounts = new Set(entries.filter(({ device }) => devices.has(device)).map(({ id }) => id));
		return processes.flatMap(({ pid, command, pod, container, workingDirectory, openFiles }) => {
			const open = openFiles.find(({ mountId }) => mounts.has(mountId))?.path;
			if (open === undefined && !devices.has(mountOf(entries, workingDirectory)?.device ?? "")) return [];
			const path = open ?? workingDirectory;
			return [{ pid, command, path, isOpen: open !== undefined, ...named({ pod, container }) }];
		});
	});
}

/** Reads the text of /proc/PID/cgroup: https://kubernetes.io/docs/concepts/architecture/cgroups/ */
export function inhabitantOf(cgroup: string): Inhabitant {
	const pod = /pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})/.exec(cgroup)?.[1]?.replaceAll("_", "-");
	return named({ pod, container: /[0-9a-f]{64}/.exec(cgroup)?.[0] });
}

function named({ pod, container }: { [Key in keyof Inhabitant]: Inhabitant[Key] | undefined }): Inhabitant {
	return { ...(pod !== undefined && { pod }), ...(container !== undefined && { container }) };
}
