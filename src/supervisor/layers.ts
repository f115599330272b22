import { bindOver } from "../mounts/mount.ts";
import { isAmong, isEmptyRoot, layersAt, readMountinfo, type MountEntry } from "../mounts/mountinfo.ts";
import { isSidecar } from "../mounts/volume-use.ts";
import { keptFolderOf, stagingOf } from "./take-down.ts";

export interface LayersOptions {
	readonly target: string;
	/** The mount that the target lies in, when it is one of ours too. */
	readonly parent: { readonly generation: number; readonly isReady: boolean } | undefined;
	/** Makes the target's folder, where nothing is mounted. */
	readonly makeTarget: (target: string) => Promise<void>;
	/** RUN_DIR/mounts/<id>. */
	readonly directory: string;
	/** Remains.nodeProc. */
	readonly nodeProc: string;
}

/** What has become of the top layer. */
export type LayerFate =
	/** It is there; `isVisible` says whether applications see it. */
	| "there"
	/** The mount around it was started again and hides it. */
	| "hidden"
	/**
	 * Only what was mounted over another one of ours is gone. That happens when an application goes whose volume began with that one, and
	 * in a sidecar only when the mount is to go.
	 */
	| "lost"
	/** By somebody who wants it to end. */
	| "unmounted";

/** What was bound at a mount's target: the layer that serves on top, and below it those of before, which are dead. */
export class Layers {
	/** Applications see the top one. */
	isVisible = false;
	readonly #options: LayersOptions;
	#entries: readonly MountEntry[] = [];
	#generation = 0;
	#parentGeneration = 0;

	constructor(options: LayersOptions) {
		this.#options = options;
	}

	/** Bottom first. */
	get entries(): readonly MountEntry[] {
		return this.#entries;
	}

	get top(): MountEntry | undefined {
		return this.#entries.at(-1);
	}

	/** Counts the binds, so that mounts inside this one notice that they were hidden by a new one. */
	get generation(): number {
		return this.#generation;
	}

	/** Bound in what the mount around it shows now. */
	get isInParent(): boolean {
		const { parent } = this.#options;
		return parent === undefined || parent.generation === this.#parentGeneration;
	}

	/** Shows what the driver of `directory` has mounted, over everything of ours. `replaced`: what is alive there, of ours. */
	async bind(directory: string, replaced = this.isVisible ? this.top : undefined): Promise<MountEntry> {
		const { target, parent, makeTarget, nodeProc } = this.#options;
		const parentGeneration = parent?.generation ?? 0;
		const entry = await bindOver(stagingOf(directory), target, {
			makeTarget,
			isOurs: (candidate) => isAmong(candidate, this.#entries),
			nodeProc,
			keptFolder: keptFolderOf(this.#options.directory),
			...(replaced !== undefined && { replaces: replaced }),
		});
		const left = layersAt(await readMountinfo(), target);
		// What lies below from before this launcher is dead and ours to pop at the end.
		this.#entries = left.filter(
			(layer) => layer.id === entry.id || layer.type.startsWith("fuse") || (parent === undefined && isEmptyRoot(layer)),
		);
		this.#parentGeneration = parentGeneration;
		this.#generation++;
		return entry;
	}

	/** They are gone, or hidden with the mount around them. */
	forget(): void {
		this.#entries = [];
		this.isVisible = false;
	}

	fateIn(entries: readonly MountEntry[]): LayerFate {
		const { target, parent } = this.#options;
		const here = layersAt(entries, target);
		if (isAmong(this.top, here)) return "there";
		if (parent !== undefined && (!this.isInParent || !parent.isReady)) return "hidden";
		return isAmong(here.at(-1), this.#entries) && !isSidecar(entries) ? "lost" : "unmounted";
	}
}
