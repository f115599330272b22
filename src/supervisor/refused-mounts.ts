import type { WantedMount } from "../config/examine.ts";
import type { Plan, RefusedMount } from "../config/plan.ts";
import type { ErrorCode } from "../errors.ts";
import type { Logger } from "../log.ts";
import { ConfigError } from "../options/faults.ts";
import type { MountStatus } from "../probe/status.ts";
import type { Fleet } from "./fleet.ts";

/** What `/status` says of mounts that the config asks for and that cannot be served. Each is logged when it is refused. */
export class RefusedMounts {
	readonly #log: Logger;
	readonly #onRefused: (name: string, code: ErrorCode) => void;
	#statuses: readonly MountStatus[] = [];

	constructor(log: Logger, onRefused: (name: string, code: ErrorCode) => void) {
		this.#log = log;
		this.#onRefused = onRefused;
	}

	get statuses(): readonly MountStatus[] {
		return this.#statuses;
	}

	/** Those of the config that the pod starts with. */
	begin(refused: readonly RefusedMount[]): void {
		this.#statuses = refused.map((mount) => this.#refusedStatus(mount));
	}

	/** Those of a later config: what is refused as before is not said again. */
	change(refused: readonly RefusedMount[]): void {
		const told = new Map(this.#statuses.map((status) => [status.name, status]));
		this.#statuses = refused.map((mount) => {
			const known = told.get(mount.name);
			const { message } = new ConfigError(mount.faults, mount.path);
			return known?.reason === message ? known : { ...this.#refusedStatus(mount), joining: true as const };
		});
	}

	#refusedStatus(mount: RefusedMount): MountStatus {
		const error = new ConfigError(mount.faults, mount.path);
		const now = new Date().toISOString();
		const { message, hint } = error;
		this.#log.error({ mount: mount.name, code: error.code, error: message, hint }, "mount refused");
		this.#onRefused(mount.name, error.code);
		return {
			name: mount.name,
			driver: "",
			source: mount.source,
			target: "",
			readOnly: true,
			state: "failed",
			since: now,
			ready: false,
			reason: message,
			restarts: 0,
			layers: 0,
			lastError: { code: error.code, class: error.class, message, at: now, ...(hint !== undefined && { hint }) },
			droppedLines: 0,
		};
	}
}

/** Faults of one mount are that mount's; a config in which nothing can work is refused as a whole, with all its faults. */
export function refuseIfAllFaulty({ mounts, refused, configFile }: Plan, wanted: readonly WantedMount[]): void {
	if (mounts.length + refused.length === 0) return;
	// What is not a fault of the config, such as a secret that is not there yet, is for the supervisor to handle.
	const faults = wanted.flatMap(({ prepared }) => (prepared instanceof ConfigError ? [prepared.faults] : []));
	if (faults.length < wanted.length) return;
	throw new ConfigError([...refused.flatMap((mount) => mount.faults), ...faults.flat()], configFile);
}

/** A mount that runs goes on as it is when what the config says of it now cannot be. */
export function keepWhatIsRefused(
	fleet: Fleet,
	plan: Plan,
	examined: readonly WantedMount[],
): { wanted: WantedMount[]; refused: RefusedMount[] } {
	const wanted: WantedMount[] = [];
	const refused: RefusedMount[] = [];
	const { sharedDriver } = fleet;
	// What was refused before may have been mended.
	for (const running of fleet.mounts) running.refuse(undefined);
	const refuse = (mount: RefusedMount): void => {
		const running = fleet.mounts.find(({ name }) => name === mount.name);
		const isPlaceFree = !wanted.some(({ planned }) => planned.target === running?.target);
		if (running === undefined || !isPlaceFree) refused.push(mount);
		else {
			running.refuse(new ConfigError(mount.faults, mount.path));
			wanted.push(running.wanted);
		}
	};
	for (const mount of examined) {
		const { path, name, source, driver } = mount.planned;
		if (sharedDriver === undefined || driver === sharedDriver) wanted.push(mount);
		else {
			const message = `the mounts that run are folders of one mount of ${sharedDriver.name}, into which ${driver.name} cannot mount: start the pods again for it, or choose the driver ${sharedDriver.name}`;
			refuse({ path, name, source, faults: [{ path, message }] });
		}
	}
	for (const mount of plan.refused) refuse(mount);
	return { wanted, refused };
}
