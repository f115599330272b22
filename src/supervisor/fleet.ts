import { join } from "node:path";
import type { Environment } from "../config/environment.ts";
import type { WantedMount } from "../config/examine.ts";
import type { PlannedMount } from "../config/plan.ts";
import type { CheckContext } from "../drivers/driver.ts";
import { toLauncherError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { makeDirectory, makeFolderInMount } from "../mounts/mount.ts";
import { overlap, reconcile, type Action } from "../mounts/reconcile.ts";
import type { Metrics } from "../probe/metrics.ts";
import type { ExchangeOutcome, MountStatus } from "../probe/status.ts";
import type { Redactor } from "../secrets/redact.ts";
import type { ChangeLog, NewChange } from "./change-log.ts";
import type { EmptyRoot } from "./empty-root.ts";
import { FleetMount, type Control, type RemovalLimits } from "./fleet-mount.ts";
import { SharedMount } from "./shared-mount.ts";
import { reportError } from "./report.ts";
import { MountSupervisor } from "./supervise.ts";
import type { Supervised } from "./supervised.ts";
import { defaultTiming } from "./timing.ts";
import { stagingOf } from "./take-down.ts";

export interface FleetOptions {
	readonly targetPath: string;
	readonly root: EmptyRoot;
	readonly rootSource: (mounts: readonly PlannedMount[]) => string;
	readonly environment: Environment;
	readonly variables: NodeJS.ProcessEnv;
	readonly identity: CheckContext["identity"];
	readonly log: Logger;
	readonly redactor: Redactor;
	readonly metrics: Metrics | undefined;
	readonly changes: ChangeLog;
	/** Aborted when everything ends. */
	readonly signal: AbortSignal;
	readonly events: {
		/** Some mount's state. */
		changed(): void;
		/** Somebody unmounted targetPath. */
		unmountedFromOutside(): void;
	};
}

interface Leaving {
	readonly mount: FleetMount;
	readonly detached: Promise<void>;
	readonly ended: Promise<void>;
}

/** A removed mount is in nobody's way, and what is written to it is somebody's work. */
const removalLimits: RemovalLimits = { visibleMs: 30_000, hiddenMs: 600_000 };

/** A name has 255 bytes at most; no target of Fluid's needs more than this. */
const longestPadding = 200;

/** All mounts of the config: carries out what `reconcile` decides, each mount by itself, and in order only where one lies in another. */
export class Fleet {
	readonly #options: FleetOptions;
	/** By target. */
	readonly #mounts = new Map<string, FleetMount>();
	readonly #leaving = new Set<Leaving>();
	/** Each with its end. */
	readonly #supervisions = new Map<MountSupervisor, Promise<void>>();
	/** Mounts with supervisors of their own, by target. */
	readonly #own = new Map<string, MountSupervisor>();
	#shared: { readonly mount: SharedMount; readonly supervisor: MountSupervisor } | undefined;
	#order: readonly string[] = [];
	#isStarted = false;
	#directories = 0;

	constructor(options: FleetOptions) {
		this.#options = options;
		options.signal.addEventListener("abort", () => this.#shared?.mount.stop(), { once: true });
	}

	/** The driver that serves all mounts as folders of one; undefined: each is a mount of its own, or there is none. */
	get sharedDriver(): PlannedMount["driver"] | undefined {
		return this.#shared?.mount.driver;
	}

	get isEmpty(): boolean {
		return this.#mounts.size === 0 && this.#leaving.size === 0;
	}

	/** What runs or is to run. */
	get mounts(): readonly FleetMount[] {
		return this.#order.flatMap((target) => this.#mounts.get(target) ?? []);
	}

	get supervisors(): readonly MountSupervisor[] {
		return [...this.#supervisions.keys()];
	}

	/** Something of ours is to be at targetPath itself, or on the way there. */
	get servesTarget(): boolean {
		const { targetPath } = this.#options;
		return this.#shared !== undefined || this.#own.has(targetPath);
	}

	statuses(): MountStatus[] {
		const leaving = [...this.#leaving].map(({ mount }) => ({ ...mount.status(), leaving: true as const }));
		return [...this.mounts.map((mount) => mount.status()), ...leaving.filter(({ state }) => state !== "stopped")];
	}

	/** Starts what is to be done to have these mounts and returns that; what it leads to, the change log tells. */
	async apply(wanted: readonly WantedMount[], together: boolean): Promise<readonly Action[]> {
		const { targetPath, root, rootSource } = this.#options;
		const planned = wanted.map((mount) => mount.planned);
		const share = together && wanted.length > 0 && this.#shared === undefined && this.isEmpty;
		if (share) this.#share(planned);
		const running = this.mounts.map(({ spec }) => spec);
		const specs = wanted.map(({ planned: { name, target }, content }) => ({ name, target, content }));
		const actions = reconcile(running, specs, this.#shared === undefined ? "stacked" : "folders");
		this.#order = specs.map(({ target }) => target);
		const takesTarget = this.#shared !== undefined || this.#order.includes(targetPath) || this.#own.has(targetPath);
		if (!takesTarget) await root.ensure(rootSource(planned));
		const byTarget = new Map(wanted.map((mount) => [mount.planned.target, mount]));
		for (const action of actions) {
			if (this.#options.signal.aborted) break;
			await this.#carryOut(action, byTarget.get(action.target));
		}
		this.#isStarted = true;
		return actions;
	}

	/** Has other processes serve the mounts, one mount after the other, since for a moment each has two. Never rejects. */
	async exchange(): Promise<readonly ExchangeOutcome[]> {
		const { redactor, log, metrics } = this.#options;
		const outcomes: ExchangeOutcome[] = [];
		for (const supervisor of this.supervisors) {
			const { name } = supervisor.mount;
			try {
				const waitedMs = await supervisor.exchange();
				outcomes.push({ kind: "done", mount: name, waitedMs });
			} catch (thrown) {
				const redact = (text: string): string => redactor.redact(text);
				const error = reportError(
					toLauncherError(thrown),
					"the mount keeps its process",
					{ redact, log },
					{ mount: name },
				);
				outcomes.push({ kind: "refused", mount: name, error });
			}
			metrics?.countExchange(name, outcomes.at(-1)?.kind ?? "refused");
		}
		return outcomes;
	}

	/** Ends everything until `deadline` (of performance.now); what is mounted stays, or is taken down. */
	async drain(deadline: number, { stay }: { readonly stay: boolean }): Promise<void> {
		for (const mount of this.#mounts.values()) mount.stop();
		// Those inside others first: a mount with another one in it is busy. Their drivers may take their time: a bind of an inner
		// mount that an outer one hides, since it was started again, only goes with that.
		const depthOf = ({ mount }: MountSupervisor): number => mount.target.split("/").length;
		const depths = new Set(this.supervisors.map(depthOf));
		for (const depth of [...depths].toSorted((a, b) => b - a)) {
			const level = this.supervisors.filter((supervisor) => depthOf(supervisor) === depth);
			for (const supervisor of level) supervisor.stop(deadline, { stay });
			await Promise.all(level.map(async (supervisor) => supervisor.detached));
		}
		await Promise.all(this.#supervisions.values());
	}

	async #carryOut(action: Action, wanted: WantedMount | undefined): Promise<void> {
		const { target } = action;
		switch (action.kind) {
			case "unmount":
				this.#unmount(action);
				return;
			case "rename":
				if (wanted === undefined) return;
				this.#mounts.get(target)?.rename(wanted);
				this.#begin({ change: "rename", mount: wanted.planned.name, target, reason: `was ${action.from}` })?.done(
					"nothing moved",
				);
				return;
			case "change":
				if (wanted !== undefined) this.#mounts.get(target)?.change(wanted);
				return;
			case "mount":
				if (wanted !== undefined) await this.#mount(action, wanted);
				return;
			default:
				action satisfies never;
		}
	}

	/** Nothing is told of the first mounts: the launcher starts with them. */
	#begin(change: NewChange) {
		return this.#isStarted ? this.#options.changes.begin(change) : undefined;
	}

	async #mount(action: Extract<Action, { kind: "mount" }>, wanted: WantedMount): Promise<void> {
		const { planned } = wanted;
		const { name, target } = planned;
		const isJoining = this.#isStarted && action.isAround !== true;
		const control = this.#shared === undefined ? await this.#superviseOwn(planned) : this.#superviseMember(planned);
		const mount = new FleetMount(wanted, control, (change) => this.#options.changes.begin(change), { isJoining });
		this.#mounts.set(target, mount);
		const change = this.#begin({ change: "mount", mount: name, target, reason: reasonOf(action) });
		if (change !== undefined) void mount.follow(change);
	}

	#unmount(action: Extract<Action, { kind: "unmount" }>): void {
		const { name, target } = action;
		const mount = this.#mounts.get(target);
		if (mount === undefined) return;
		this.#mounts.delete(target);
		const change = this.#begin({ change: "unmount", mount: name, target, reason: reasonOf(action) });
		// Folders of one mount are in nobody's way; and one that waited would go when another has come in its place.
		const before = this.#shared === undefined ? this.#leavingAround(target) : Promise.resolve();
		const gone = before.then(() => mount.remove(removalLimits));
		const detached = gone.then(async (removal) => {
			await removal.detached;
			await this.#tidyAfter(target);
			change?.done("unmounted");
		});
		const ended = gone.then(async (removal) => removal.ended);
		const leaving = { mount, detached, ended };
		this.#leaving.add(leaving);
		void Promise.all([detached, ended]).then(() => this.#leaving.delete(leaving));
	}

	/** Resolves when nothing that is to go is mounted in, at or around the target any more. */
	async #leavingAround(target: string): Promise<void> {
		const around = [...this.#leaving].filter(({ mount }) => overlap(mount.target, target));
		await Promise.all(around.map(async ({ detached }) => detached));
	}

	/** What shows at a place after its mount has gone. */
	async #tidyAfter(target: string): Promise<void> {
		const { targetPath, root, rootSource, signal, log } = this.#options;
		if (this.#shared !== undefined || signal.aborted) return;
		const isUsed = [...this.#mounts.values()].some((other) => overlap(other.target, target));
		try {
			if (target !== targetPath && !isUsed) await root.removeFolder(target);
			if (target === targetPath && !this.#own.has(targetPath)) {
				await root.ensure(rootSource([]));
			}
		} catch (error) {
			log.error({ err: error, target }, "clean-up failed");
		}
	}

	#share(mounts: readonly PlannedMount[]): void {
		const { log, redactor, variables, identity, targetPath, metrics } = this.#options;
		const mount = new SharedMount({
			mounts,
			targetPath,
			variables,
			identity,
			timing: defaultTiming,
			logOf: ({ name, driver }) => log.child({ mount: name, driver: driver.name }),
			redact: (text) => redactor.redact(text),
			events: { error: (name, code) => metrics?.countError(name, code) },
		});
		const supervisor = this.#supervise(mount, () => mount.names);
		this.#shared = { mount, supervisor };
		void this.#run(supervisor);
	}

	#superviseMember(planned: PlannedMount): Control {
		const shared = this.#shared;
		if (shared === undefined) throw new Error("nothing is shared");
		const { mount, supervisor } = shared;
		const member = mount.member(planned.target) ?? mount.add(planned);
		return {
			change: async (next, prepared, options) => member.change(next, prepared, options),
			rename: (next) => member.rename(next),
			remove: (limits) => {
				const { hidden, removed } = mount.remove(member, limits);
				return { detached: hidden, ended: removed.then(() => undefined) };
			},
			status: () => mount.status(member, supervisor.status()),
			get everReady() {
				return member.served !== undefined && supervisor.everReady;
			},
		};
	}

	async #superviseOwn(planned: PlannedMount): Promise<Control> {
		const { targetPath, root } = this.#options;
		const { target } = planned;
		const parent = this.#parentOf(target);
		const supervisor = this.#supervise(planned, () => [supervisor.mount.name], parent);
		this.#own.set(target, supervisor);
		const before = this.#leavingAround(target);
		// Seen from the beginning, also where it cannot be served yet; the supervisor says what keeps it from being made.
		if (parent === undefined && target !== targetPath) await root.makeFolder(target).catch(() => undefined);
		const ended = this.#run(supervisor, before);
		return {
			change: async (next, prepared, options) => supervisor.change(next, prepared, options),
			rename: (next) => supervisor.rename(next),
			remove: (limits) => {
				supervisor.remove(limits);
				void supervisor.detached.then(() => {
					if (this.#own.get(target) === supervisor) this.#own.delete(target);
				});
				return { detached: supervisor.detached, ended };
			},
			status: () => supervisor.status(),
			get everReady() {
				return supervisor.everReady;
			},
		};
	}

	/** The mount that the target lies in. */
	#parentOf(target: string): MountSupervisor | undefined {
		const around = [...this.#mounts.keys()].filter((other) => target.startsWith(`${other}/`));
		const nearest = around.toSorted((a, b) => b.length - a.length).at(0);
		return nearest === undefined ? undefined : this.#own.get(nearest);
	}

	/** Runs it until it ends, and forgets it then. Never rejects. */
	#run(supervisor: MountSupervisor, before: Promise<void> = Promise.resolve()): Promise<void> {
		const ended = before.then(async () => supervisor.run());
		this.#supervisions.set(supervisor, ended);
		void ended.then(() => {
			const { target } = supervisor.mount;
			const isLeft = this.#own.get(target) === supervisor || this.#shared?.supervisor === supervisor;
			if (!isLeft) this.#supervisions.delete(supervisor);
		});
		return ended;
	}

	#supervise(
		mount: Supervised & { readonly id: string },
		names: () => readonly string[],
		parent?: MountSupervisor,
	): MountSupervisor {
		const { environment, log, redactor, metrics, variables, identity, targetPath, events } = this.#options;
		const { id, name, target, driver } = mount;
		return new MountSupervisor({
			mount,
			...(parent !== undefined && { parent }),
			makeTarget: this.#makeTarget(target, parent),
			directory: this.#directoryOf(id, target),
			nodeProc: environment.FLUID_FUSE_NODE_PROC,
			variables,
			identity,
			log: log.child({ mount: name, driver: driver.name }),
			continuesAfterCrash: environment.FLUID_FUSE_AFTER_CRASH === "continue",
			timing: { ...defaultTiming, hangTimeoutMs: environment.FLUID_FUSE_HANG_TIMEOUT },
			redact: (text) => redactor.redact(text),
			events: {
				changed: () => events.changed(),
				error: (code) => {
					for (const each of names()) metrics?.countError(each, code);
				},
				forcedAbort: () => {
					for (const each of names()) metrics?.countForcedAbort(each);
				},
				recovered: ({ kind, seconds }) => {
					for (const each of names()) metrics?.observeRecovery(each, kind, seconds);
				},
				started: (seconds) => metrics?.observeStart(driver.name, seconds),
				unmountedFromOutside: () => {
					if (target === targetPath) events.unmountedFromOutside();
				},
			},
		});
	}

	#makeTarget(target: string, parent: MountSupervisor | undefined): (folder: string) => Promise<void> {
		if (parent !== undefined) return makeFolderInMount;
		const { root, targetPath } = this.#options;
		return target === targetPath ? makeDirectory : async (folder) => root.makeFolder(folder);
	}

	/** Of its own, also when a mount of the same name is still ending. */
	#directoryOf(id: string, target: string): string {
		const folder = join(this.#options.environment.FLUID_FUSE_RUN_DIR, "mounts");
		// Of two mounts of one filesystem df shows the one with the shorter path, and Fluid looks for the target there.
		const length = Math.min(Buffer.byteLength(target) - Buffer.byteLength(stagingOf(folder)), longestPadding);
		// A dot is in no mount's id, and means nothing to any driver.
		const base = join(folder, id.padEnd(length, "."));
		return this.#isStarted ? `${base}.${++this.#directories}` : base;
	}
}

function reasonOf(action: Extract<Action, { kind: "mount" | "unmount" }>): string {
	if (action.isAround === true) return "what it lies in comes or goes";
	if (action.kind === "mount") return action.movedFrom === undefined ? "added" : `moved from ${action.movedFrom}`;
	return action.movedTo === undefined ? "removed" : `moves to ${action.movedTo}`;
}
