import { opcodes } from "../fuse/abi.ts";
import { bytesOf, type Observe } from "../fuse/call.ts";
import { errnoNameOf } from "../fuse/errno.ts";
import { FuseError, type Filesystem } from "../fuse/filesystem.ts";
import type { Logger } from "../log.ts";
import type { VolumeCounts } from "./counts.ts";
import { operationNames, operationNumbers, operations, type Operation } from "./operation-names.ts";
import type { Places, Tracing } from "./tracing.ts";

type Method = (...args: unknown[]) => unknown;

/** Counts each call in the volume that its node is in. */
export function counting(countsOf: (node: number) => VolumeCounts): Observe {
	return (opcode, node) => {
		const operation = operationNumbers[opcode];
		if (operation === undefined) return undefined;
		const counts = countsOf(node);
		const startedAt = performance.now();
		return (errno, bytes) => {
			counts.answered(operation, errno, performance.now() - startedAt);
			if (opcode === opcodes.read) counts.readBytes += bytes;
			else if (opcode === opcodes.write) counts.writtenBytes += bytes;
		};
	};
}

/** The same filesystem, each operation of which is a call: for libfuse, whose own are of paths, and each of them several of these. */
export function counted(filesystem: Filesystem, observe: Observe): Filesystem {
	return withOperations(filesystem, (name, method) => (node, ...args) => {
		const answered = observe(opcodes[name], node as number);
		const failed = (error: unknown): void => answered?.(errnoNameOf(error), 0);
		try {
			const result = method.call(filesystem, node, ...args);
			const succeeded = (value: unknown): void => answered?.(undefined, bytesOf(opcodes[name], value));
			if (result instanceof Promise) result.then(succeeded, failed);
			else succeeded(result);
			return result;
		} catch (error) {
			failed(error);
			throw error;
		}
	});
}

export interface Observers {
	readonly log: Logger;
	readonly tracing: Tracing;
}

/** The same filesystem, each operation of which is told to those who look on; at `trace` it is logged: what was asked, how long it took, and the error. */
export function observed(filesystem: Filesystem & Places, { log, tracing }: Observers): Filesystem {
	return withOperations(filesystem, (name, method) => {
		const watched = (args: readonly unknown[]): unknown => {
			const work = (): unknown => method.apply(filesystem, [...args]);
			const logging = log.isLevelEnabled("trace") ? (): unknown => logged(log, name, args, work) : work;
			return tracing.isOn ? tracing.follow(name, args, filesystem, logging) : logging();
		};
		// No list of what it is given, and nothing caught to be thrown again: this is on the way of all.
		return (node, b, c, d, e, f, g) =>
			tracing.isOn || log.isLevelEnabled("trace")
				? watched([node, b, c, d, e, f, g])
				: method.call(filesystem, node, b, c, d, e, f, g);
	});
}

/** With other methods for what the kernel asks for. */
function withOperations(filesystem: Filesystem, replaced: (name: Operation, method: Method) => Method): Filesystem {
	const methods: Partial<Record<string, Method>> = {};
	for (const name of ["init", "forget", "repeated", "beforeAnswer", "destroy"] as const)
		methods[name] = filesystem[name]?.bind(filesystem) as Method;
	for (const name of operationNames) {
		const method = filesystem[name] as Method | undefined;
		if (method !== undefined) methods[name] = replaced(name, method);
	}
	return methods as unknown as Filesystem;
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

/** What is written to files is nobody's business, but how much it is. */
function shown(value: unknown): unknown {
	return Buffer.isBuffer(value) ? value.length : value;
}
