import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { watch, type FSWatcher } from "chokidar";
import { within } from "../within.ts";

export interface WatchOptions {
	/** Looks at the files so often though nothing was heard of: some filesystems tell nothing, and a node can run out of watches. */
	readonly pollEveryMs: number;
	/** Told once when the kernel cannot tell of changes, so that only the polls are left. */
	readonly onDeaf: (error: Error) => void;
}

/** Tells when files may have changed, as kubelet changes them or anybody else. */
export class FileWatch {
	readonly #options: WatchOptions;
	readonly #watcher: FSWatcher;
	readonly #folders = new Set<string>();
	#files: readonly string[] = [];
	#seen = "";
	#heard = Promise.withResolvers<void>();
	#isDeaf = false;

	constructor(options: WatchOptions) {
		this.#options = options;
		// Kubernetes swaps the ..data link, so that the file itself never changes: the folders are watched.
		this.#watcher = watch([], { depth: 0, ignoreInitial: true, followSymlinks: false, ignorePermissionErrors: true });
		this.#watcher.on("all", () => this.#heard.resolve());
		this.#watcher.on("error", (error) => {
			if (!this.#isDeaf) options.onDeaf(error instanceof Error ? error : new Error(String(error)));
			this.#isDeaf = true;
		});
	}

	/** From now on these files count; they need not be there yet. What they are now is not known: `changed` resolves at once. */
	follow(files: readonly string[]): void {
		if (files.join("\0") === this.#files.join("\0")) return;
		this.#files = [...files];
		// Not the folders above, where everything would be looked at whenever anything changes: one that is not there yet is waited for.
		const wanted = new Set(files.map((file) => dirname(file)));
		for (const folder of this.#folders) {
			if (wanted.has(folder)) continue;
			this.#watcher.unwatch(folder);
			this.#folders.delete(folder);
		}
		for (const folder of wanted) {
			if (this.#folders.has(folder)) continue;
			this.#watcher.add(folder);
			this.#folders.add(folder);
		}
		this.#heard.resolve();
	}

	/**
	 * Resolves when the files are not what they were the last time it resolved, however long ago that was; true. False: `withinMs` has
	 * passed. Rejects when the signal is aborted.
	 */
	async changed(signal: AbortSignal, withinMs = Number.POSITIVE_INFINITY): Promise<boolean> {
		const deadline = performance.now() + withinMs;
		for (;;) {
			signal.throwIfAborted();
			this.#heard = Promise.withResolvers();
			const now = await this.signature();
			if (now !== this.#seen) {
				this.#seen = now;
				return true;
			}
			const leftMs = deadline - performance.now();
			if (leftMs <= 0) return false;
			await within(this.#heard.promise, Math.min(this.#options.pollEveryMs, leftMs), signal);
		}
	}

	/** Changes with every swap and every write, and says nothing about what is in the files. */
	async signature(): Promise<string> {
		return (await Promise.all(this.#files.map(signatureOf))).join("\n");
	}

	async close(): Promise<void> {
		await this.#watcher.close();
	}
}

/** Of one file; changes with every swap and every write of it. */
export async function signatureOf(file: string): Promise<string> {
	try {
		const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
		return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
	} catch (error) {
		return (error as NodeJS.ErrnoException).code ?? "unknown";
	}
}
