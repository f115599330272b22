import { makeDirectory, makeFolderInRoot, mountEmptyRoot, removeFolderInRoot } from "../mounts/mount.ts";
import { isAmong, layersAt, readMountinfo, type MountEntry } from "../mounts/mountinfo.ts";
import { unmount } from "../mounts/unmount.ts";
import { Turns } from "../turns.ts";

/** The empty folder at targetPath that several mounts lie in, or none: Fluid waits for a mount at targetPath in any case. */
export class EmptyRoot {
	readonly #target: string;
	#entry: MountEntry | undefined;
	/** One change of its folders after the other: it is writable for that moment. */
	readonly #turns = new Turns();

	constructor(target: string) {
		this.#target = target;
	}

	/** Mounts it where it is not. `source` tells Fluid what kind of filesystem is in it. */
	async ensure(source: string): Promise<void> {
		await this.#turns.take(async () => {
			if (this.#entry !== undefined && this.isThere(await readMountinfo())) return;
			this.#entry = await mountEmptyRoot(this.#target, source);
		});
	}

	get isMounted(): boolean {
		return this.#entry !== undefined;
	}

	isThere(entries: readonly MountEntry[]): boolean {
		return isAmong(this.#entry, layersAt(entries, this.#target));
	}

	/** Somebody else has unmounted it. */
	forget(): void {
		this.#entry = undefined;
	}

	async makeFolder(folder: string): Promise<void> {
		if (this.#entry === undefined) await makeDirectory(folder);
		else await this.#turns.take(async () => makeFolderInRoot(this.#target, folder));
	}

	async removeFolder(folder: string): Promise<void> {
		if (this.#entry !== undefined) await this.#turns.take(async () => removeFolderInRoot(this.#target, folder));
	}

	async unmount(): Promise<void> {
		const isThere = this.isThere(await readMountinfo());
		this.#entry = undefined;
		if (!isThere) return;
		const outcome = await unmount(this.#target);
		if (outcome.kind !== "done") await unmount(this.#target, { lazy: true });
	}
}
