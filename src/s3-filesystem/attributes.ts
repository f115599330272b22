import {
	FuseError,
	type AttributeChanges,
	type Attributes,
	type Reply,
	type RequestContext,
	type Timed,
} from "../fuse/filesystem.ts";
import { currentTime } from "../fuse/time.ts";
import { attempt } from "./errors.ts";
import type { FileContents } from "./file-contents.ts";
import type { Markers } from "./markers.ts";
import { isOpenForWriting, isReplaced, type Node } from "./names/nodes.ts";
import { posixChanges, refuseIfTooLarge } from "./names/posix-changes.ts";
import type { PosixMetadata } from "./names/posix-metadata.ts";
import { areAttributesKnown } from "./names/validity.ts";
import type { Tree } from "./tree.ts";

// setxattr(2) of Linux.
const xattrFlags = { create: 1, replace: 2 } as const;

/** What stat(2) and getxattr(2) show: asked for where the listing has not said it, and changed in the metadata of objects. */
export class NodeAttributes {
	readonly #tree: Tree;
	readonly #contents: FileContents;
	readonly #markers: Markers;

	constructor(tree: Tree, contents: FileContents, markers: Markers) {
		this.#tree = tree;
		this.#contents = contents;
		this.#markers = markers;
	}

	get(id: number): Reply<Timed<Attributes>> {
		const node = this.#tree.node(id);
		if (areAttributesKnown(node)) return this.#tree.attributes(node);
		return attempt(async () => {
			await this.#askForMetadata(node);
			return this.#tree.attributes(node);
		});
	}

	async #askForMetadata(node: Node): Promise<void> {
		await this.#tree.paths.reading(node, this.#tree.namespace.metadata.ensure(node));
	}

	async set(
		id: number,
		changes: AttributeChanges,
		handle: number | undefined,
		caller: RequestContext,
	): Promise<Timed<Attributes>> {
		return this.#tree.changeNode(id, caller, async (node) => {
			if (changes.sizeBytes !== undefined) {
				if (node.kind === "directory") throw new FuseError("EISDIR");
				if (isReplaced(node)) throw new FuseError("ESTALE");
				await this.#contents.truncate(node, changes.sizeBytes);
				// Without an open file nobody would write it later.
				const isOpen = handle !== undefined || isOpenForWriting(node);
				if (!isOpen) await this.#contents.commitClosed(node);
			}
			const now = currentTime();
			const isOnly = changes.sizeBytes === undefined;
			await this.#change(node, posixChanges(node, changes, now), isOnly ? caller : undefined);
			node.statusChanged = now;
			this.#tree.namespace.nodes.changed(node);
			return this.#tree.attributes(node);
		});
	}

	/** Stores other metadata, with the content when that is to be written anyway. Not for a caller who is gone, if there is one. */
	async #change(node: Node, changes: PosixMetadata, caller?: RequestContext): Promise<void> {
		if (Object.keys(changes).length === 0) return;
		// What the object has must not get lost beside what changes.
		await this.#tree.namespace.metadata.ensure(node);
		caller?.signal.throwIfAborted();
		if (node.kind === "directory") {
			await this.#markers.put(node, changes);
			return;
		}
		const posix = { ...node.posix, ...changes };
		refuseIfTooLarge(posix);
		const before = node.posix;
		node.posix = posix;
		if (node.draft !== undefined || node.version === undefined) {
			this.#contents.attributesChanged(node);
			return;
		}
		try {
			await this.#contents.replaceMetadata(node);
		} catch (error) {
			node.posix = before;
			this.#tree.namespace.nodes.changed(node);
			throw error;
		}
	}

	async getExtended(id: number, name: string): Promise<Buffer> {
		const node = this.#tree.node(id);
		refuseIfSystemAttribute(name);
		await attempt(async () => this.#askForMetadata(node));
		const value = node.posix.xattrs?.get(name);
		if (value === undefined) throw new FuseError("ENODATA");
		return value;
	}

	async listExtended(id: number): Promise<readonly string[]> {
		const node = this.#tree.node(id);
		await attempt(async () => this.#askForMetadata(node));
		return [...(node.posix.xattrs?.keys() ?? [])].filter((name) => !isSystemAttribute(name));
	}

	async setExtended(id: number, name: string, value: Buffer, flags: number, caller: RequestContext): Promise<void> {
		refuseIfSystemAttribute(name);
		// The buffer is the request's own.
		const kept = Buffer.from(value);
		const isBegun = this.#tree.stepOf(caller)?.kind === "changing";
		await this.#changeExtended(id, caller, (xattrs) => {
			if ((flags & xattrFlags.create) !== 0 && xattrs.has(name) && !isBegun) throw new FuseError("EEXIST");
			if ((flags & xattrFlags.replace) !== 0 && !xattrs.has(name)) throw new FuseError("ENODATA");
			xattrs.set(name, kept);
		});
	}

	async removeExtended(id: number, name: string, caller: RequestContext): Promise<void> {
		refuseIfSystemAttribute(name);
		const isBegun = this.#tree.stepOf(caller)?.kind === "changing";
		await this.#changeExtended(id, caller, (xattrs) => {
			if (!xattrs.delete(name) && !isBegun) throw new FuseError("ENODATA");
		});
	}

	async #changeExtended(
		id: number,
		caller: RequestContext,
		change: (xattrs: Map<string, Buffer>) => void,
	): Promise<void> {
		await this.#tree.changeNode(id, caller, async (node) => {
			await this.#tree.namespace.metadata.ensure(node);
			caller.signal.throwIfAborted();
			const xattrs = new Map(node.posix.xattrs);
			change(xattrs);
			this.#tree.begins({ kind: "changing" }, caller);
			await this.#change(node, { xattrs });
			node.statusChanged = currentTime();
			this.#tree.namespace.nodes.changed(node);
		});
	}
}

/** With a meaning to the system, such as an access control list, that nothing here would give it. s3fs keeps some in the metadata. */
function isSystemAttribute(name: string): boolean {
	return /^(system|security|trusted)\./.test(name);
}

function refuseIfSystemAttribute(name: string): void {
	if (isSystemAttribute(name)) throw new FuseError("ENOTSUP");
}
