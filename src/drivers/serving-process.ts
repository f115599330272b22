import { spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { LauncherError, toLauncherError } from "../errors.ts";
import type { FilesystemConfig, Order } from "../filesystem-process/messages.ts";
import { statfs } from "../mounts/statfs.ts";
import { Departures } from "./departures.ts";
import { firstOf } from "../within.ts";
import type { Ending } from "./driver.ts";
import { NativeServer, type NativeServerOptions } from "./native-server.ts";

/** For another process to be there. */
const beginMs = 30_000;
/** For what was written to be stored while applications go on. */
const storeMs = 30_000;
/** Twice so long applications may have to wait in vain: for what is under way, and for what was written last. */
const quietMs = 5000;
/** For the other process to read what the kernel knows. */
const takeOverMs = 15_000;
/** For one that goes on where another has died to be there, and to read that. */
const continueMs = 50_000;
/** Who dies more often in so long is not helped by others that do the same. */
const maximumDeaths = 4;
/** From so many on, what all of them had in their hands is refused. */
const deathsOfOne = 2;
const deathsMs = 60_000;

/**
 * The process that serves a mount, which becomes another one while applications use it. This one keeps the mount's descriptor: the mount
 * lives as long as somebody has that.
 */
export class ServingProcess {
	readonly ended: Promise<Ending>;
	readonly departures = new Departures((order) => this.send(order));
	readonly #options: NativeServerOptions;
	readonly #configOf: ConfigOf;
	readonly #end = Promise.withResolvers<Ending>();
	#current: NativeServer;
	/** The other one, while one takes the place of another. */
	#other: NativeServer | undefined;
	/** Orders for whoever serves after that. */
	readonly #later: Order[] = [];
	#isStopping = false;
	#cannotContinue = false;
	#isOpen: boolean;

	/** Of the process that serves. */
	#config: FilesystemConfig;
	/** When processes have died by themselves, by performance.now. */
	#deaths: number[] = [];

	constructor(options: Omit<NativeServerOptions, "onDeparture">, configOf: ConfigOf, first: FilesystemConfig["mount"]) {
		this.#configOf = configOf;
		const config = configOf(first);
		this.#config = config;
		this.#options = { ...options, onDeparture: (message) => this.departures.told(message) };
		this.ended = this.#end.promise;
		this.#isOpen = options.fd !== undefined;
		this.#current = this.#start(config);
		// Secrets go this way: not in arguments, not in the environment.
		this.#current.send({ kind: "serve", config });
	}

	get current(): NativeServer {
		return this.#current;
	}

	send(order: Order): void {
		if (this.#other === undefined) this.#current.send(order);
		else this.#later.push(order);
	}

	/** SIGTERM, and SIGKILL after `graceMs`. */
	async stop(options: { readonly graceMs: number }): Promise<Ending> {
		this.#isStopping = true;
		await Promise.all([this.#current.process.stop(options), this.#other?.process.stop({ graceMs: 0 })]);
		return this.ended;
	}

	/**
	 * Has another process serve, with the config of that moment, while applications wait. Resolves with how long they did, in milliseconds.
	 * Rejects with what was in the way, and then the process that was there serves on.
	 */
	async exchange(signal: AbortSignal): Promise<number> {
		const { directory, log } = this.#options.context;
		const before = this.#current;
		if (this.#other !== undefined) throw refused("it is being exchanged already");
		if (this.#isStopping || before.hasExited) throw refused("it ends");
		if (this.departures.areUnderWay) throw refused("a folder is being removed");
		const file = join(directory, "handed-over");
		// What changes from now on, whoever serves then is told.
		const config = this.#configOf({ kind: "taken-over", file });
		const next = this.#start(config);
		this.#other = next;
		const giveUp = (): void => {
			// Where the other one may have begun already there is no way back.
			if (this.#current !== before) return;
			before.send({ kind: "go-on" });
			void next.process.stop({ graceMs: 0 });
		};
		signal.addEventListener("abort", giveUp, { once: true });
		try {
			signal.throwIfAborted();
			next.send({ kind: "ping" });
			const begun = await firstOf([next.answer(["pong"], beginMs), before.exited]);
			if (before.hasExited) throw refused("it has ended");
			if (begun === undefined) throw refused("no other one can be started");
			const pausedAt = await this.#leave(before, file);
			if (this.#isStopping) throw refused("it ends");
			signal.throwIfAborted();
			[this.#current, this.#other] = [next, before];
			const configBefore = this.#config;
			this.#config = config;
			next.send({ kind: "serve", config });
			if ((await next.answer(["taken-over"], takeOverMs)) === undefined) {
				this.#config = configBefore;
				await this.#takeBack(before, next);
			}
			void before.process.stop({ graceMs: 0 });
			const waitedMs = Math.round(performance.now() - pausedAt);
			log.info({ pid: next.process.pid, before: before.process.pid, waitedMs }, "the mount has another process");
			return waitedMs;
		} catch (error) {
			giveUp();
			throw error;
		} finally {
			signal.removeEventListener("abort", giveUp);
			this.#other = undefined;
			for (const order of this.#later.splice(0)) this.#current.send(order);
			this.#closeIfOver();
			await rm(file, { force: true });
		}
	}

	/** The one that was there serves on, unless the other one has begun: then there is no way back. Throws. */
	async #takeBack(before: NativeServer, next: NativeServer): Promise<never> {
		await next.process.stop({ graceMs: 0 });
		if (next.hasTakenOver) {
			void before.process.stop({ graceMs: 0 });
			throw new LauncherError("DRIVER_FAILED", "the process that had taken over did not say so in time, and was ended");
		}
		[this.#current, this.#other] = [before, next];
		throw refused("the other one could not take over");
	}

	/** Returns since when applications wait. */
	async #leave(server: NativeServer, file: string): Promise<number> {
		const { mountpoint } = this.#options.context;
		const pausing = server.answer(["pausing", "kept"], storeMs + quietMs);
		const answered = server.answer(["handed-over", "kept"], storeMs + 4 * quietMs);
		const over = new AbortController();
		void answered.then(() => over.abort());
		server.send({ kind: "hand-over", file, storeMs, quietMs });
		await pausing;
		const pausedAt = performance.now();
		// What waits there for the kernel is given something to do; the last question waits for whoever serves then.
		while (!over.signal.aborted) await firstOf([answered, statfs(mountpoint, takeOverMs)]);
		const answer = await answered;
		if (answer?.kind === "handed-over") return pausedAt;
		throw refused(answer === undefined ? "it did not answer" : answer.reason);
	}

	#canContinue(): boolean {
		const { fd } = this.#options;
		if (
			this.#cannotContinue ||
			this.#config.journalDirectory === undefined ||
			fd === undefined ||
			!this.#isOpen ||
			this.#isStopping
		)
			return false;
		// One that ends by itself has nothing to do any more.
		if (this.#current.endSignal === undefined || this.departures.areUnderWay) return false;
		const now = performance.now();
		this.#deaths = this.#deaths.filter((at) => at > now - deathsMs);
		return this.#deaths.length < maximumDeaths;
	}

	/** Another process goes on where one has died, with what that has written down; applications wait meanwhile. Never rejects. */
	async #continue(dead: NativeServer): Promise<void> {
		const { log, onContinued } = this.#options.context;
		const diedAt = performance.now();
		const { pid } = dead.process;
		log.warn(
			{ pid, signal: dead.endSignal },
			"the filesystem's process has died, and applications wait for another one",
		);
		this.#died(dead);
		try {
			let next = await this.#startAgain();
			for (let times = 1; !next.hasTakenOver; times++) {
				// One that was ended is no reason to give up; what ends by itself would do so again.
				const isEnded = next.endSignal !== undefined && !this.#isStopping;
				if (!isEnded || times > maximumDeaths) throw new Error("it could not take over");
				this.#died(next);
				next = await this.#startAgain();
			}
			this.#current = next;
			const waitedMs = Math.round(performance.now() - diedAt);
			log.info({ pid: next.process.pid, before: pid, waitedMs }, "another process goes on where it was");
			onContinued?.(waitedMs / 1000);
		} catch (error) {
			this.#cannotContinue = true;
			log.warn({ err: error }, "no other process could go on, and the mount is made anew");
			await this.#other?.process.stop({ graceMs: 0 });
		}
		this.#other = undefined;
		for (const order of this.#later.splice(0)) this.#current.send(order);
		this.#closeIfOver();
	}

	#died({ process: { pid, ended } }: NativeServer): void {
		const { log } = this.#options.context;
		const diedAt = performance.now();
		void ended.then((ending) => {
			const isOutside = ending.kind === "failed" && toLauncherError(ending.cause).code === "DRIVER_KILLED";
			if (ending.kind === "failed" && !isOutside) this.#deaths.push(diedAt);
			if (ending.kind === "failed") log.warn({ err: ending.cause, pid }, "why it has died");
		});
	}

	/** Resolves when it has taken over, has ended, or is too late. */
	async #startAgain(): Promise<NativeServer> {
		const { stagingDirectory } = this.#config;
		const refusesRepeated = this.#deaths.length >= deathsOfOne;
		// What changes from now on, whoever serves then is told.
		const config = { ...this.#configOf({ kind: "continued", refusesRepeated }), stagingDirectory };
		const next = this.#start(config);
		this.#other = next;
		this.#config = config;
		next.send({ kind: "serve", config });
		await next.answer(["taken-over"], continueMs);
		return next;
	}

	#start(config: FilesystemConfig): NativeServer {
		const server = new NativeServer(this.#options);
		void server.exited.then(() => this.#closeIfOver());
		void server.process.ended.then(({ kind }) => {
			// Otherwise the next process finds it.
			if (config.cache !== undefined && config.keepsPending !== true && kind === "stopped")
				removeElsewhere(config.stagingDirectory);
			this.#closeIfOver();
		});
		return server;
	}

	/** Whoever waits for the mount gets an error as soon as no process has the descriptor. */
	#closeIfOver(): void {
		const { hasExited, ending } = this.#current;
		if (this.#other !== undefined || !hasExited) return;
		if (this.#canContinue()) {
			void this.#continue(this.#current);
			return;
		}
		if (this.#isOpen && this.#options.fd !== undefined) closeSync(this.#options.fd);
		this.#isOpen = false;
		if (ending === undefined) return;
		this.departures.end();
		this.#end.resolve(ending);
	}
}

/** With the config of that moment. */
type ConfigOf = (mount: FilesystemConfig["mount"]) => FilesystemConfig;

function refused(why: string): LauncherError {
	return new LauncherError("EXCHANGE_REFUSED", `the process that is there goes on: ${why}`, {
		hint: "What it waits for may be over later: try again then.",
	});
}

/** In a process of its own: a disk that hangs must not hold a thread of this one. */
function removeElsewhere(folder: string): void {
	// Only the files in it, since no others are ours; what else somebody has put there keeps it.
	const script = 'find "$1" -xdev -maxdepth 1 -type f -delete; rmdir -- "$1"';
	spawn("sh", ["-c", script, "sh", folder], { cwd: "/", stdio: "ignore" })
		// What is left is found by the next process that uses the disk.
		.on("error", () => undefined)
		.unref();
}
