import { opcodes } from "../fuse/abi.ts";
import type { Filesystem } from "../fuse/filesystem.ts";

/** What the kernel asks for, with the names of what it says first, a node before all; what comes after them is said in other ways. */
export const operations = {
	lookup: ["parent", "name"],
	getattr: ["node"],
	setattr: ["node", "changes", "handle"],
	readlink: ["node"],
	symlink: ["parent", "name"],
	mknod: ["parent", "name", "mode"],
	mkdir: ["parent", "name", "mode"],
	unlink: ["parent", "name"],
	rmdir: ["parent", "name"],
	rename: ["parent", "name", "newParent", "newName", "flags"],
	link: ["node", "newParent", "newName"],
	open: ["node", "flags"],
	create: ["parent", "name", "mode", "flags"],
	read: ["node", "handle", "offset", "sizeBytes"],
	write: ["node", "handle", "offset", "data"],
	flush: ["node", "handle"],
	release: ["node", "handle"],
	fsync: ["node", "handle", "dataOnly"],
	fsyncdir: ["node", "handle", "dataOnly"],
	opendir: ["node", "flags"],
	readdir: ["node", "handle", "offset"],
	releasedir: ["node", "handle"],
	statfs: ["node"],
	getxattr: ["node", "name"],
	setxattr: ["node", "name", "value", "flags"],
	listxattr: ["node"],
	removexattr: ["node", "name"],
	fallocate: ["node", "handle", "offset", "lengthBytes", "mode"],
} as const satisfies Partial<Record<keyof Filesystem, readonly string[]>>;

export type Operation = keyof typeof operations;
/** By their numbers in counts. */
export const operationNames = Object.keys(operations) as readonly Operation[];

/** The launcher itself asks for statfs. */
export function isOfApplications(operation: string | undefined): boolean {
	return operation !== "statfs";
}

/** That a name is not there is an ordinary answer. */
export function isAbsentName(operation: string | undefined, errno: string | undefined): boolean {
	return operation === "lookup" && errno === "ENOENT";
}

/** Their numbers in counts, by those that the kernel has for them. */
export const operationNumbers: readonly (number | undefined)[] = (() => {
	const numbers: number[] = [];
	for (const [number, name] of operationNames.entries()) numbers[opcodes[name]] = number;
	numbers[opcodes.readdirplus] = operationNames.indexOf("readdir");
	numbers[opcodes.rename2] = operationNames.indexOf("rename");
	return numbers;
})();
