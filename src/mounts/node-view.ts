import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { parseMountinfo, type MountEntry } from "./mountinfo.ts";
import { inhabitantOf, type MountNamespace, type NodeView, type SeenProcess } from "./volume-use.ts";

/** Whether the node's own mounts and processes can be seen through this folder, which is its /proc. */
export function canSeeNode(proc: string): boolean {
	return mountsOfNode(proc) !== "";
}

function mountsOfNode(proc: string): string {
	return read(join(proc, "1/mountinfo"));
}

/**
 * What the node's /proc says of these filesystems now; undefined where it cannot be seen. Nothing here touches what is mounted: not even
 * stat, which a mount that hangs would never answer.
 */
export function viewNode(proc: string, devices: ReadonlySet<string>): NodeView | undefined {
	const mounts = mountsOfNode(proc);
	return mounts === "" ? undefined : { ...viewProcesses(proc, devices), entries: parseMountinfo(mounts) };
}

/** The same of the processes that this container sees. */
export function viewContainer(devices: ReadonlySet<string>): NodeView {
	return { ...viewProcesses("/proc", devices), entries: [] };
}

function viewProcesses(proc: string, devices: ReadonlySet<string>): Omit<NodeView, "entries"> {
	// In one go, without waiting in between: it takes some microseconds a file, through promises ten times as much.
	const byNamespace = Map.groupBy(
		names(proc).filter((name) => /^\d+$/.test(name)),
		(pid) => link(join(proc, pid, "ns/mnt")),
	);
	const namespaces: MountNamespace[] = [];
	for (const [namespace, pids] of byNamespace) {
		if (namespace === "") continue;
		// Any of them may have ended meanwhile.
		const text = pids
			.values()
			.map((pid) => read(join(proc, pid, "mountinfo")))
			.find((found) => found !== "");
		const entries = parseMountinfo(text ?? "");
		const paths = entries.filter(({ device }) => devices.has(device)).map(({ mountPoint }) => mountPoint);
		if (paths.length === 0) continue;
		namespaces.push({ entries, processes: pids.map((pid) => viewProcess(join(proc, pid), Number(pid), paths)) });
	}
	return { pod: inhabitantOf(read(join(proc, "self/cgroup"))).pod, namespaces };
}

/** `paths`: where the filesystems are mounted. What is open elsewhere, thousands of files on a node, is left out. */
function viewProcess(folder: string, pid: number, paths: readonly MountEntry["mountPoint"][]): SeenProcess {
	return {
		pid,
		command: link(join(folder, "exe")),
		workingDirectory: link(join(folder, "cwd")),
		// Looked for only when somebody asks: where a volume is used needs none of them, and a process may have thousands.
		get openFiles() {
			return names(join(folder, "fd")).flatMap((fd) => {
				const path = link(join(folder, "fd", fd));
				if (!paths.some((mounted) => path === mounted || path.startsWith(`${mounted}/`))) return [];
				const mountId = /^mnt_id:\s*(\d+)$/m.exec(read(join(folder, "fdinfo", fd)))?.[1];
				return mountId === undefined ? [] : [{ path, mountId: Number(mountId) }];
			});
		},
		...inhabitantOf(read(join(folder, "cgroup"))),
	};
}

// A process may end while it is looked at, and a thread of the kernel has neither program nor files.

function read(file: string): string {
	try {
		return readFileSync(file, "utf8");
	} catch {
		return "";
	}
}

function link(file: string): string {
	try {
		return readlinkSync(file);
	} catch {
		return "";
	}
}

function names(folder: string): string[] {
	try {
		return readdirSync(folder);
	} catch {
		return [];
	}
}
