import { constants } from "node:fs";
import type { Crowd, Stored } from "./crowd.ts";
import { differenceOfDigests } from "./game.ts";
import { bytesOf, digestOf, type Operation, type Outcome } from "./operation.ts";
import { PlayerProcess } from "./player-process.ts";
import { Random } from "./random.ts";

const { O_CREAT, O_EXCL, O_WRONLY } = constants;

/** It may not know yet, or not any more, where a directory is. */
const usual = new Set(["ENOENT", "ESTALE", "ENOTDIR"]);

/**
 * A player on another mount of the bucket, which learns late where the directories of a crowd are. It adds files to them, each once, and reads
 * what the crowd does not change.
 */
export class Guest {
	readonly #crowd: Crowd;
	readonly #random: Random;
	readonly #process: PlayerProcess;
	readonly #made = new Map<string, Buffer>();
	#next = 1;

	/** `target` is the crowd's directory in the other mount. */
	constructor(seed: number, target: string, crowd: Crowd) {
		this.#crowd = crowd;
		this.#random = new Random(seed);
		this.#process = new PlayerProcess(target);
	}

	/** Files that were stored. */
	get made(): number {
		return this.#made.size;
	}

	async play(until: () => boolean): Promise<void> {
		while (!until()) await (this.#random.chance(0.5) ? this.#add() : this.#read());
	}

	async end(): Promise<void> {
		await this.#process.end();
	}

	kill(): void {
		this.#process.kill();
	}

	async #add(): Promise<void> {
		const { path } = this.#crowd.somewhere(this.#random);
		const [handle, name] = [this.#next, `guest-${this.#next}`];
		const [seed, lengthBytes] = [this.#next++, this.#random.between(1, 50_000)];
		const flags = O_WRONLY | O_CREAT | O_EXCL;
		const opened = await this.#call({ op: "open", handle, path: `${path || "."}/${name}`, flags, mode: 0o644 });
		if ("error" in opened) return;
		const written = await this.#call({ op: "write", handle, offset: 0, lengthBytes, pieceBytes: 131_072, seed });
		const closed = await this.#call({ op: "close", handle });
		if (!("error" in written) && !("error" in closed)) this.#made.set(name, bytesOf(seed, lengthBytes));
	}

	async #read(): Promise<void> {
		const { path, name, content } = this.#crowd.somewhere(this.#random);
		const outcome = await this.#call({ op: "readFile", path: `${path || "."}/${name}`, pieceBytes: 131_072 });
		if ("error" in outcome) return;
		const difference =
			"digest" in outcome ? differenceOfDigests(digestOf(content), outcome.digest) : JSON.stringify(outcome);
		if (difference !== undefined) throw new Error(`the guest reads ${path}/${name}: ${difference}`);
	}

	async #call(operation: Operation): Promise<Outcome> {
		const outcome = await this.#process.call(operation);
		if ("error" in outcome && !usual.has(outcome.error))
			throw new Error(`the guest's ${JSON.stringify(operation)} came to ${outcome.error}`);
		return outcome;
	}

	/** Each file that was stored is there, once, wherever its directory is by now; in the middle of a rename it may be in both places. */
	check(stored: Stored, { isInMiddle }: { readonly isInMiddle: boolean }): void {
		const faults = [...this.#made].flatMap(([name, content]) => {
			const found = [...stored].filter(([path]) => path.split("/").at(-1) === name);
			if (found.length === 0 || (found.length > 1 && !isInMiddle))
				return [`${name} is at ${found.length} places: ${found.map(([path]) => path).join(", ")}`];
			return found.flatMap(([path, bytes]) => {
				const difference = differenceOfDigests(digestOf(content), digestOf(bytes));
				return difference === undefined ? [] : [`${path}: ${difference}`];
			});
		});
		if (faults.length > 0) throw new Error(["files of the guest:", ...faults].join("\n"));
	}
}
