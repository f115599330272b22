import { Worker } from "node:worker_threads";

/** What a thread is told, and tells: by `to` it finds who it is for. */
export interface ThreadMessage {
	readonly to: string;
}

/** One of them, from the main thread's side. */
export interface Thread {
	/** What it was given and has not done yet, however much that is: whoever gives counts. */
	tasks: number;
	post(message: ThreadMessage): void;
}

type Told = (error: Error) => void;

/** Another one is started when all have worked for more than this share of the time, since what they wait for is no work. */
const busyShare = 0.5;
const lookEveryMs = 100;

interface RunningThread extends Thread {
	/** Since it was asked before. */
	shareAtWork(): number;
}

/**
 * Worker threads for what can be given away. The first is started when there is work, each other one when those that run are busy; until one
 * runs, whoever has work does it.
 */
export class Threads {
	#maximum: number;
	readonly #program: URL;
	readonly #died: Told;
	readonly #refused: Told;
	readonly #listeners = new Map<string, (message: never) => void>();
	readonly #running: RunningThread[] = [];
	#lookedAt = 0;
	/** Whose it was. */
	#turn = 0;
	#isStarting = false;

	/**
	 * `program` sends a message when it can do something, whoever that is for. `died` is told when one ends by itself: what it was doing is lost. `refused`:
	 * there cannot be more of them; those that there are go on.
	 */
	constructor(options: {
		readonly maximum: number;
		readonly program: URL;
		readonly died: Told;
		readonly refused: Told;
	}) {
		this.#maximum = options.maximum;
		this.#program = options.program;
		this.#died = options.died;
		this.#refused = options.refused;
	}

	/** Whoever is told what threads send to that name. */
	listen<T extends ThreadMessage>(name: T["to"], listener: (message: T) => void): void {
		this.#listeners.set(name, listener);
	}

	/** False: none runs yet, but one is being started. */
	get isRunning(): boolean {
		if (this.#running.length === 0) this.#start();
		return this.#running.length > 0;
	}

	/** The one that has least to do; of several each in its turn. Only when one runs. */
	pick(): Thread {
		const least = Math.min(...this.#running.map(({ tasks }) => tasks));
		this.#look();
		do this.#turn = (this.#turn + 1) % this.#running.length;
		while (this.#running[this.#turn]?.tasks !== least);
		return this.#running[this.#turn] as Thread;
	}

	#look(): void {
		const now = performance.now();
		if (now - this.#lookedAt < lookEveryMs) return;
		this.#lookedAt = now;
		const shares = this.#running.map((thread) => thread.shareAtWork());
		if (Math.min(...shares) > busyShare) this.#start();
	}

	#start(): void {
		if (this.#isStarting || this.#running.length >= this.#maximum) return;
		// They have little to remember: what they carry lies elsewhere. The limit of the young generation is the process's, by `--max-semi-space-size`.
		const resourceLimits = { maxOldGenerationSizeMb: 64 };
		try {
			this.#begin(new Worker(this.#program, { resourceLimits, workerData: { clockMs: clockMs() } }));
		} catch (error) {
			// The container may have as many threads as it is allowed.
			this.#maximum = this.#running.length;
			this.#refused(error as Error);
		}
	}

	#begin(worker: Worker): void {
		this.#isStarting = true;
		worker.once("message", () => {
			this.#isStarting = false;
			let before = worker.performance.eventLoopUtilization();
			this.#running.push({
				tasks: 0,
				// oxlint-disable-next-line unicorn/require-post-message-target-origin -- not a window
				post: (message) => worker.postMessage(message),
				shareAtWork() {
					const now = worker.performance.eventLoopUtilization();
					const { utilization } = worker.performance.eventLoopUtilization(now, before);
					before = now;
					return utilization;
				},
			});
		});
		worker.on("message", (message: ThreadMessage) => this.#listeners.get(message.to)?.(message as never));
		worker.once("error", (error) => this.#died(error as Error));
		worker.once("exit", (code) => this.#died(new Error(`a thread ended by itself (exit code ${code})`)));
		worker.unref();
	}
}

/** What lies between this thread's `performance.now()` and a clock that all threads have. */
export function clockMs(): number {
	// To ask for the first time takes long.
	performance.now();
	const now = Number(process.hrtime.bigint()) / 1e6;
	return now - performance.now();
}
