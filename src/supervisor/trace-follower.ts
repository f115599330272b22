import type { Tracer } from "../drivers/driver.ts";
import type { TraceWish } from "../probe/routes.ts";
import type { MountSupervisor } from "./supervise.ts";

let lastId = 0;

/** Brings to one onlooker what all drivers tell. What an onlooker who is too slow would miss is counted, not kept. */
export class TraceFollower {
	readonly #wish: TraceWish;
	/** False: there was no room for it. */
	readonly #write: (line: object) => boolean;
	readonly #tracers = new Map<MountSupervisor, Tracer>();
	#lost = 0;

	constructor(wish: TraceWish, write: (line: object) => boolean) {
		this.#wish = wish;
		this.#write = write;
	}

	/** These are all that there are by now. Says also what was lost meanwhile. */
	follow(supervisors: readonly MountSupervisor[]): void {
		for (const supervisor of supervisors) this.#followOne(supervisor);
		if (this.#lost > 0 && this.#write({ kind: "lost", count: this.#lost })) this.#lost = 0;
	}

	end(): void {
		for (const [supervisor, tracer] of this.#tracers) supervisor.untrace(tracer);
	}

	/** Who serves nothing that is looked at is not slowed down. */
	#followOne(supervisor: MountSupervisor): void {
		const { mount } = supervisor;
		const wanted = this.#wish.mount;
		const folder = wanted === undefined ? undefined : mount.folderOf?.(wanted);
		const known = this.#tracers.get(supervisor);
		const isMeant = wanted === undefined || wanted === mount.name || folder !== undefined;
		if (known !== undefined && (!isMeant || known.folder !== folder)) {
			supervisor.untrace(known);
			this.#tracers.delete(supervisor);
		}
		if (isMeant) supervisor.trace(this.#tracers.get(supervisor) ?? this.#tracerOf(supervisor, folder));
	}

	#tracerOf(supervisor: MountSupervisor, folder: string | undefined): Tracer {
		const { path, slowMs, mount: wanted } = this.#wish;
		const tracer: Tracer = {
			id: ++lastId,
			folder,
			path,
			slowMs,
			take: (events, lost) => {
				this.#lost += lost;
				for (const { folder: where = "", ...event } of events) {
					const { mount } = supervisor;
					const name = mount.nameOf?.(where) ?? mount.name;
					if ((wanted === undefined || wanted === name) && !this.#write({ mount: name, ...event })) this.#lost++;
				}
			},
		};
		this.#tracers.set(supervisor, tracer);
		return tracer;
	}
}
