import type { DriverSession } from "../drivers/driver.ts";
import { remountReadOnly } from "../mounts/mount.ts";
import { firstOf, within } from "../within.ts";
import { endDriver, removeDirectory, stagingOf, type Remains } from "./take-down.ts";

export interface RetiredDriverOptions extends Pick<
	Remains,
	"target" | "directory" | "readOnly" | "nodeProc" | "log" | "onForcedAbort"
> {
	readonly session: DriverSession;
	/** How long readers may go on after the last writer has closed its files. */
	readonly readersMs: number;
}

/** That go on at a time; of more, the oldest one's readers have to go. */
const maximumRetired = 3;

const lookEveryMs = 1000;
const graceMs = 5000;

/**
 * A driver over whose mount another one was bound: nobody new comes to it. Who has files open there for writing can finish, however
 * long that takes, and who reads has some minutes. Then its mount stays below the other one, dead and unseen.
 */
class RetiredDriver {
	/** When nothing of it is left but that layer. Never rejects. */
	readonly ended: Promise<void>;
	readonly #options: RetiredDriverOptions;
	readonly #hurry = new AbortController();
	readonly #finishing = Promise.withResolvers<void>();
	#patientUntil: (() => number) | undefined;

	constructor(options: RetiredDriverOptions) {
		this.#options = options;
		this.ended = this.#run().catch((error: unknown) => options.log.error({ err: error }, "clean-up failed"));
	}

	/** Readers have had their time. */
	endReaders(): void {
		this.#hurry.abort();
	}

	/** The end of the mount itself: what is not written by then is lost. The layer at the target must be gone. */
	async finish(patientUntil: () => number): Promise<void> {
		this.#patientUntil = patientUntil;
		this.#hurry.abort();
		this.#finishing.resolve();
		await this.ended;
	}

	async #run(): Promise<void> {
		const { session, directory, log, readersMs } = this.#options;
		const over = firstOf([session.ended, this.#finishing.promise]).then(() => true);
		await firstOf([over, this.#untilUnwritten(over)]);
		await within(over, readersMs, this.#hurry.signal);
		if (this.#patientUntil === undefined) {
			await session.stop({ graceMs });
		} else {
			await endDriver({ ...this.#options, layers: [], wasBound: true, hung: false }, this.#patientUntil);
		}
		log.info({ pid: session.pid }, "driver of before the change ended");
		await removeDirectory(directory);
	}

	/** The kernel makes a filesystem read-only when nothing in it is open for writing, whoever may have it mounted. */
	async #untilUnwritten(over: Promise<boolean>): Promise<void> {
		const staging = stagingOf(this.#options.directory);
		while (!(await remountReadOnly(staging))) {
			if ((await within(over, lookEveryMs)) === true) return;
		}
	}
}

/** Those of one mount. */
export class RetiredDrivers {
	readonly #drivers = new Set<RetiredDriver>();

	get count(): number {
		return this.#drivers.size;
	}

	add(options: RetiredDriverOptions): void {
		const driver = new RetiredDriver(options);
		this.#drivers.add(driver);
		void driver.ended.then(() => this.#drivers.delete(driver));
		if (this.#drivers.size > maximumRetired) this.#drivers.values().next().value?.endReaders();
	}

	/** RetiredDriver.finish, for all. */
	async finish(patientUntil: () => number): Promise<void> {
		await Promise.all([...this.#drivers].map(async (driver) => driver.finish(patientUntil)));
	}
}
