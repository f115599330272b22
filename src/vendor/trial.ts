import { mkdir, mkdtemp, realpath, rm, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CheckContext, Ending, PreparedMount, DriverSession } from "../drivers/driver.ts";
import { LauncherError } from "../errors.ts";
import { createLogger } from "../log.ts";
import { layersAt, readMountinfo, type MountEntry } from "../mounts/mountinfo.ts";
import { statfs } from "../mounts/statfs.ts";
import { unmount } from "../mounts/unmount.ts";
import { within } from "../within.ts";

const mountLimitMs = 30_000;
const hangTimeoutMs = 60_000;

/** One start of a driver in folders of its own. */
export class Trial {
	readonly mountpoint: string;
	readonly directory: string;
	readonly session: DriverSession;
	readonly #folder: string;
	readonly #lines: string[];

	private constructor(folder: string, session: DriverSession, lines: string[]) {
		this.#folder = folder;
		this.#lines = lines;
		this.session = session;
		this.mountpoint = join(folder, "mountpoint");
		this.directory = join(folder, "private");
	}

	/** Starts the driver and waits until its mount answers. Throws why it does not. */
	static async mount(mount: PreparedMount, context: CheckContext): Promise<Trial> {
		const folder = await realpath(await mkdtemp(join(tmpdir(), "fluid-fuse-conformance-")));
		const [mountpoint, directory] = [join(folder, "mountpoint"), join(folder, "private")];
		for (const path of [mountpoint, directory]) await mkdir(path, { mode: 0o700 });
		const lines: string[] = [];
		const redactor = { add: () => undefined, remove: () => undefined, redact: (text: string) => text };
		const log = createLogger("trace", redactor, { write: (line) => void lines.push(line) });
		try {
			const onDroppedLines = (): void => undefined;
			const session = await mount.start({ ...context, log, mountpoint, directory, hangTimeoutMs, onDroppedLines });
			const trial = new Trial(folder, session, lines);
			try {
				await trial.#untilMounted();
				return trial;
			} catch (error) {
				await trial.remove().catch(() => undefined);
				throw error;
			}
		} catch (error) {
			// Never through a mount that is still there: that would empty a bucket.
			await rmdir(mountpoint)
				.then(async () => rm(folder, { recursive: true }))
				.catch(() => undefined);
			throw error;
		}
	}

	/** Everything that was logged, nothing masked. */
	get log(): string {
		return this.#lines.join("");
	}

	async layers(): Promise<MountEntry[]> {
		return layersAt(await readMountinfo(), this.mountpoint);
	}

	/** How it ended, or undefined when it has not within the limit. */
	async ending(limitMs: number): Promise<Ending | undefined> {
		return within(this.session.ended, limitMs);
	}

	async #untilMounted(): Promise<void> {
		const deadline = performance.now() + mountLimitMs;
		while (performance.now() < deadline) {
			const ending = await this.ending(50);
			if (ending !== undefined) throw this.endedEarly(ending);
			if ((await this.layers()).length > 0 && (await statfs(this.mountpoint, 2000)).kind === "answered") return;
		}
		throw new Error(`is not mounted, or does not answer, ${mountLimitMs / 1000} s after its start`);
	}

	/** Why it ended though nobody has stopped it. */
	endedEarly(ending: Ending): Error {
		// Not whether its mount is there: what it left in the background is ended with it.
		if (ending.kind === "failed" && ending.exitCode === 0)
			return new Error(
				"the program has ended without an error: it went into the background; give it the flag that keeps it in the foreground",
			);
		const { message = "" } = ending.kind === "failed" && ending.cause instanceof Error ? ending.cause : {};
		const hint = ending.kind === "failed" && ending.cause instanceof LauncherError ? ending.cause.hint : undefined;
		return new Error(["the program ended by itself", message, hint ?? ""].filter(Boolean).join(": "));
	}

	/** Ends it and takes down by force what is left. */
	async remove(): Promise<void> {
		await this.session.stop({ graceMs: 0 });
		for (let tries = 0; tries < 20 && (await this.layers()).length > 0; tries++)
			await unmount(this.mountpoint, { lazy: true, force: true });
		// Fails while anything is mounted there, and then nothing is removed.
		await rmdir(this.mountpoint);
		await rm(this.#folder, { recursive: true });
	}
}
