import { FuseError, type Filesystem, type ReadResult } from "../fuse/filesystem.ts";
import type { Logger } from "../log.ts";
import type { VolumeCounts } from "./counts.ts";
import { operationNames, operations, type Operation } from "./operation-names.ts";
import type { Places, Tracing } from "./tracing.ts";

type Method = (...args: unknown[]) => unknown;

export interface Observers {
	/** Of the volume that a node is in. */
	readonly countsOf: (node: number) => VolumeCounts;
	readonly log: Logger;
	readonly tracing: Tracing;
}

/**
 * The same filesystem, each operation of which is counted when it is answered, and told to those who look on; at `trace` it is logged: what
 * was asked, how long it took, and the error.
 */
export function observed(filesystem: Filesystem & Places, observers: Observers): Filesystem {
	const methods: Partial<Record<string, Method>> = {};
	for (const name of ["init", "forget", "repeated", "beforeAnswer", "destroy"] as const)
		methods[name] = filesystem[name]?.bind(filesystem) as Method;
	for (const name of operationNames) {
		const method = filesystem[name] as Method | undefined;
		if (method !== undefined) methods[name] = observedMethod(filesystem, name, method, observers);
	}
	return methods as unknown as Filesystem;
}

function observedMethod(
	filesystem: Filesystem & Places,
	name: Operation,
	method: Method,
	{ countsOf, log, tracing }: Observers,
): Method {
	const index = operationNames.indexOf(name);
	const isRead = name === "read";
	const isWrite = name === "write";
	const succeeded = (counts: VolumeCounts, startedAt: number, result: unknown): void => {
		counts.answered(index, undefined, performance.now() - startedAt);
		if (isRead) counts.readBytes += bytesOf(result as ReadResult);
		else if (isWrite) counts.writtenBytes += result as number;
	};
	const failed = (counts: VolumeCounts, startedAt: number, error: unknown): void =>
		counts.answered(index, error instanceof FuseError ? error.errno : "EIO", performance.now() - startedAt);
	const watched = (args: readonly unknown[]): unknown => {
		const work = (): unknown => method.apply(filesystem, [...args]);
		const logging = log.isLevelEnabled("trace") ? (): unknown => logged(log, name, args, work) : work;
		return tracing.isOn ? tracing.follow(name, args, filesystem, logging) : logging();
	};
	// No function for each call, nor a list of what it is given: most are answered at once, and this is on the way of all.
	return (node, b, c, d, e, f, g) => {
		// The node may be gone when it is answered.
		const counts = countsOf(node as number);
		const startedAt = performance.now();
		let result: unknown;
		try {
			result =
				tracing.isOn || log.isLevelEnabled("trace")
					? watched([node, b, c, d, e, f, g])
					: method.call(filesystem, node, b, c, d, e, f, g);
		} catch (error) {
			failed(counts, startedAt, error);
			throw error;
		}
		if (result instanceof Promise) {
			result.then(
				(value) => succeeded(counts, startedAt, value),
				(error: unknown) => failed(counts, startedAt, error),
			);
		} else succeeded(counts, startedAt, result);
		return result;
	};
}

/** Says what was asked when it is answered. */
function logged(log: Logger, operation: Operation, args: readonly unknown[], work: () => unknown): unknown {
	const startedAt = performance.now();
	// Written now: bytes are only valid until the answer.
	const asked = Object.fromEntries(operations[operation].map((argument, index) => [argument, shown(args[index])]));
	const answered = (error?: unknown): void => {
		const ms = Math.round((performance.now() - startedAt) * 1000) / 1000;
		const outcome = error === undefined ? {} : error instanceof FuseError ? { error: error.errno } : { err: error };
		log.trace({ operation, ...asked, ms, ...outcome }, "answered the kernel");
	};
	try {
		const result = work();
		if (result instanceof Promise) result.then(() => answered(), answered);
		else answered();
		return result;
	} catch (error) {
		answered(error);
		throw error;
	}
}

function bytesOf({ views }: ReadResult): number {
	let bytes = 0;
	for (const { length } of views) bytes += length;
	return bytes;
}

/** What is written to files is nobody's business, but how much it is. */
function shown(value: unknown): unknown {
	return Buffer.isBuffer(value) ? value.length : value;
}
