import type { Environment } from "../config/environment.ts";
import {
	examine,
	hashOf,
	hasTargetPath,
	refuseMoves,
	withFaultsOfMounts,
	type WantedMount,
} from "../config/examine.ts";
import { loadFluidFile, type LoadedFile } from "../config/load.ts";
import { planMounts, type Plan } from "../config/plan.ts";
import { FileWatch, signatureOf } from "../config/watch.ts";
import type { Driver } from "../drivers/driver.ts";
import { toLauncherError, type ErrorCode } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { ConfigStatus, MountStatus } from "../probe/status.ts";
import type { Redactor } from "../secrets/redact.ts";
import type { DriverFileFault } from "../vendor/load.ts";
import type { Fleet } from "./fleet.ts";
import { keepWhatIsRefused, refuseIfAllFaulty, RefusedMounts } from "./refused-mounts.ts";
import { reportError } from "./report.ts";

/** A rotated secret is to be in use five seconds after it is there, also where the kernel tells nothing of files. */
const pollEveryMs = 2000;
/** A file that was rejected is read again though it looks the same. */
const readAgainMs = 10_000;

export interface FollowedConfigOptions {
	readonly environment: Environment;
	readonly drivers: readonly Driver[];
	/** Driver files that cannot be used. */
	readonly driverFileFaults: readonly DriverFileFault[];
	readonly log: Logger;
	readonly redactor: Redactor;
	/** Aborted at the end. */
	readonly signal: AbortSignal;
	readonly events: {
		/** `mount` is empty for what is wrong with all of it. */
		error(mount: string, code: ErrorCode): void;
		reloaded(result: "applied" | "unchanged" | "rejected"): void;
	};
}

interface Examined {
	readonly plan: Plan;
	readonly mounts: readonly WantedMount[];
}

/** The config that the mounts go by: the one that they start with, and whatever its files become. */
export class FollowedConfig {
	readonly #options: FollowedConfigOptions;
	readonly #watch: FileWatch;
	readonly #refused: RefusedMounts;
	#plan: Plan | undefined;
	#status: ConfigStatus | undefined;
	#hasTargetPath = false;
	#isFirst = true;
	/** Signature of the config file as it was read. */
	#seen = "";
	#applying: Promise<unknown> = Promise.resolve();

	constructor(options: FollowedConfigOptions) {
		const { log, events } = options;
		this.#options = options;
		this.#refused = new RefusedMounts(log, (name, code) => events.error(name, code));
		this.#watch = new FileWatch({
			pollEveryMs,
			onDeaf: (error) => log.warn({ err: error }, "changes of files are found by looking every two seconds only"),
		});
	}

	/** What was read last and could be used. */
	get plan(): Plan | undefined {
		return this.#plan;
	}

	get status(): ConfigStatus | undefined {
		return this.#status;
	}

	get refused(): readonly MountStatus[] {
		return this.#refused.statuses;
	}

	/** It was applied, and nothing but this one was. */
	get isFirst(): boolean {
		return this.#status !== undefined && this.#isFirst;
	}

	/** Who stops the mounts waits for this, so that nothing begins after the end. Rejects with what the first config fails with. */
	get applying(): Promise<unknown> {
		return this.#applying;
	}

	/** Reads what to start with. Throws what makes it useless, with all its faults. */
	async begin(): Promise<Examined> {
		const loaded = await this.#load();
		const plan = this.#planFor(loaded, this.#options.environment.FLUID_FUSE_LAYOUT);
		this.#plan = plan;
		this.#hasTargetPath = hasTargetPath(loaded.file);
		this.#seen = await signatureOf(plan.configFile);
		const mounts = await Promise.all(plan.mounts.map(examine));
		refuseIfAllFaulty(plan, mounts);
		return { plan, mounts };
	}

	/** Has the fleet serve that, and then what changes, until the end: the config file, and every secret that it cites. */
	async follow(fleet: Fleet, { plan, mounts }: Examined): Promise<void> {
		const { signal } = this.#options;
		this.#refused.begin(plan.refused);
		this.#applying = this.#apply(fleet, plan, mounts);
		await this.#applying;
		// What has changed meanwhile is found at once.
		this.#watch.follow(filesOf(plan));
		while (!signal.aborted) {
			try {
				await this.#watch.changed(signal, this.#status?.state === "rejected" ? readAgainMs : undefined);
			} catch {
				// It is not wanted any more.
				return;
			}
			const seen = await signatureOf(this.#plan?.configFile ?? "");
			this.#applying = this.#reload(fleet, seen !== this.#seen);
			this.#seen = seen;
			await this.#applying;
		}
	}

	async close(): Promise<void> {
		await this.#watch.close();
	}

	/** Throws all faults at once, those of the mounts too. */
	async #load(): Promise<LoadedFile> {
		const { environment } = this.#options;
		try {
			return await loadFluidFile(environment);
		} catch (error) {
			throw await withFaultsOfMounts(error, (rest) => this.#planFor(rest, environment.FLUID_FUSE_LAYOUT));
		}
	}

	#planFor(loaded: LoadedFile, layout: Environment["FLUID_FUSE_LAYOUT"]): Plan {
		const { environment, drivers, driverFileFaults, redactor } = this.#options;
		return planMounts(loaded, {
			environment: { ...environment, FLUID_FUSE_LAYOUT: layout },
			drivers,
			driverFileFaults,
			onSecret: (secret) => redactor.add(secret),
		});
	}

	/** Reads everything again and goes over to what it says; what is not usable leaves everything as it is. Never rejects. */
	async #reload(fleet: Fleet, isFileNew: boolean): Promise<void> {
		const { environment, events } = this.#options;
		try {
			const before = await this.#watch.signature();
			const loaded = await this.#load();
			const layout = fleet.isEmpty ? undefined : this.#plan?.layout;
			refuseMoves(loaded, { targetPath: this.#plan?.targetPath ?? "", hasTargetPath: this.#hasTargetPath, layout });
			const plan = this.#planFor(loaded, layout ?? environment.FLUID_FUSE_LAYOUT);
			const mounts = await Promise.all(plan.mounts.map(examine));
			// Half of what was read may be of before a swap: then the next round, which has heard of it, reads all of it.
			if ((await this.#watch.signature()) !== before) return;
			this.#watch.follow(filesOf(plan));
			const isApplied = await this.#apply(fleet, plan, mounts);
			if (isFileNew) events.reloaded(isApplied ? "applied" : "unchanged");
		} catch (thrown) {
			if (!this.#options.signal.aborted) this.#reject(thrown);
		}
	}

	/** What runs goes on. The same fault is told once. */
	#reject(thrown: unknown): void {
		const { log, redactor, events } = this.#options;
		const redact = (text: string): string => redactor.redact(text);
		const error = toLauncherError(thrown);
		if (this.#status?.error?.message === redact(error.message)) return;
		events.reloaded("rejected");
		events.error("", error.code);
		const reported = reportError(error, "config rejected, what runs goes on", { log, redact });
		if (this.#status !== undefined) this.#status = { ...this.#status, state: "rejected", error: reported };
	}

	/** Says whether anything is different from before. */
	async #apply(fleet: Fleet, plan: Plan, examined: readonly WantedMount[]): Promise<boolean> {
		const { log, signal } = this.#options;
		if (signal.aborted) return false;
		const { wanted, refused } = keepWhatIsRefused(fleet, plan, examined);
		const hash = hashOf(plan.targetPath, wanted);
		const actions = await fleet.apply(wanted, plan.together);
		const isNew = this.#status?.hash !== hash;
		const isBack = this.#status?.state === "rejected";
		const appliedAt = isNew ? new Date().toISOString() : (this.#status?.appliedAt ?? "");
		if (this.#status !== undefined) this.#refused.change(refused);
		this.#isFirst &&= this.#status === undefined || !isNew;
		this.#status = { state: "applied", hash, appliedAt };
		this.#plan = plan;
		if (isNew || isBack) {
			const { layout, configFile } = plan;
			const steps = actions.map(({ kind, name }) => `${kind} ${name}`);
			log.info({ mounts: wanted.length, refused: refused.length, layout, configFile, hash, steps }, "config applied");
			for (const { name, volume } of plan.mounts)
				if (volume !== undefined) log.info({ mount: name, ...volume }, "serving a PersistentVolume");
		}
		return isNew || isBack || actions.length > 0;
	}
}

/** What decides about the mounts, the config file first. */
function filesOf({ configFile, mounts }: Plan): string[] {
	return [...new Set([configFile, ...mounts.flatMap(({ secretFiles }) => secretFiles)])];
}
