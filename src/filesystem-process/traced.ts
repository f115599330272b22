import { FuseError, type Filesystem } from "../fuse/filesystem.ts";
import type { Logger } from "../log.ts";

/** What the kernel asks for, with the names of what it says first; what comes after them is said in other ways. */
const operations: Readonly<Partial<Record<keyof Filesystem, readonly string[]>>> = {
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
};

/** The same filesystem, each operation of which is logged at `trace` when it is answered: what was asked, how long it took, and the error. */
export function traced<T extends Filesystem>(filesystem: T, log: Logger): T {
	return new Proxy(filesystem, {
		get(target, property) {
			const method: unknown = Reflect.get(target, property);
			if (typeof method !== "function") return method;
			const names = Object.hasOwn(operations, property) ? operations[property as keyof Filesystem] : undefined;
			if (names === undefined) return method.bind(target) as unknown;
			return (...args: unknown[]): unknown => {
				const startedAt = performance.now();
				// Written now: bytes are only valid until the answer.
				const asked = Object.fromEntries(names.map((name, index) => [name, shown(args[index])]));
				const answered = (error?: unknown): void => {
					const ms = Math.round((performance.now() - startedAt) * 1000) / 1000;
					const outcome =
						error === undefined ? {} : error instanceof FuseError ? { error: error.errno } : { err: error };
					log.trace({ operation: property, ...asked, ms, ...outcome }, "answered the kernel");
				};
				try {
					const result: unknown = method.apply(target, args);
					if (result instanceof Promise) result.then(() => answered(), answered);
					else answered();
					return result;
				} catch (error) {
					answered(error);
					throw error;
				}
			};
		},
	});
}

/** What is written to files is nobody's business, but how much it is. */
function shown(value: unknown): unknown {
	return Buffer.isBuffer(value) ? value.length : value;
}
