import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { Chooser } from "./chooser.ts";
import { differenceOf, Model, settleTime, type Expected, type ModelFile } from "./model.ts";
import {
	bytesOf,
	digestBlockBytes,
	digestOf,
	type Digest,
	type ElsewhereOperation,
	type Operation,
	type Outcome,
} from "./operation.ts";
import { PlayerProcess } from "./player-process.ts";
import { Random } from "./random.ts";

/** Of what is done by another client, where that is seen at once. */
const elsewhereShare = 0.05;
const shownOperations = 60;
const durableBytesAtMost = 4 * 1024 ** 2;

/** The bucket as another client has it, by paths of the mount. */
export interface Elsewhere {
	get(path: string): Promise<Buffer>;
	put(path: string, bytes: Buffer): Promise<void>;
	delete(path: string): Promise<void>;
}

/** One player: a process that makes calls, and the model that they are compared with. */
export class Game {
	readonly seed: number;
	/** The player's own directory in the mount. */
	readonly directory: string;
	readonly model = new Model();
	operations = 0;
	readonly #random: Random;
	readonly #chooser: Chooser;
	readonly #given = new Set<ModelFile>();
	readonly #history: string[] = [];
	readonly #elsewhere: Elsewhere;
	#player: PlayerProcess | undefined;
	#onlyListed = false;
	#seesOthers = false;

	constructor(seed: number, directory: string, elsewhere: Elsewhere) {
		this.seed = seed;
		this.directory = directory;
		this.#random = new Random(seed);
		this.#chooser = new Chooser(this.#random, this.model, this.#given);
		this.#elsewhere = elsewhere;
	}

	/** Begins to play in a mount; of `attributes` as the filesystem has them, and whether it sees at once what others do. */
	start(target: string, options: { readonly attributes: "listed" | "all"; readonly seesOthers: boolean }): void {
		this.#onlyListed = options.attributes === "listed";
		this.#seesOthers = options.seesOthers;
		this.#player = new PlayerProcess(join(target, this.directory));
		this.#history.push("--- mounted");
	}

	async play(until: () => boolean): Promise<void> {
		while (!until()) {
			if (this.#seesOthers && this.#random.chance(elsewhereShare)) await this.#doElsewhere();
			const operation = this.#chooser.next();
			const outcome = await this.#do(operation);
			if (!("error" in outcome)) await this.#checkDurable(operation);
			this.operations++;
			if (this.operations % 300 === 0) await this.checkAll();
		}
	}

	/** Compares everything that there is. */
	async checkAll(): Promise<void> {
		await this.#do({ op: "readdir", path: "." });
		for (const { path, node } of Array.from(this.model.walk())) {
			await this.#do({ op: "lstat", path });
			if (node.kind === "symlink") await this.#do({ op: "readlink", path });
			if (node.kind === "file") await this.#do({ op: "readFile", path, pieceBytes: 131_072 });
			if (node.kind === "directory") await this.#do({ op: "readdir", path });
			if (node.kind === "symlink") continue;
			if (node.xattrs.size === 0 && !this.#random.chance(0.1)) continue;
			await this.#do({ op: "listxattr", path });
			for (const name of node.xattrs.keys()) await this.#do({ op: "getxattr", path, name });
		}
	}

	/** Closes what is open, and ends the process. */
	async stop(): Promise<void> {
		for (const handle of Array.from(this.model.handles.keys())) await this.#do({ op: "close", handle });
		await this.#player?.end();
	}

	kill(): void {
		this.#player?.kill();
	}

	async #doElsewhere(): Promise<void> {
		const operation = this.#chooser.elsewhere();
		if (operation === undefined) return;
		this.model.applyElsewhere(operation);
		const path = `${this.directory}/${operation.path}`;
		if (operation.op === "delete-elsewhere") await this.#elsewhere.delete(path);
		else await this.#elsewhere.put(path, bytesOf(operation.seed, operation.lengthBytes));
		for (const { node } of this.model.walk()) settleTime(node);
		this.#history.push(JSON.stringify(operation satisfies ElsewhereOperation));
	}

	async #do(operation: Operation): Promise<Outcome> {
		const file = "handle" in operation ? this.model.handles.get(operation.handle)?.file : undefined;
		const expected = this.model.apply(operation);
		const outcome = await this.#call(operation);
		for (const { node } of this.model.walk()) settleTime(node);
		if (file !== undefined) settleTime(file);
		this.#history.push(`${JSON.stringify(operation)} -> ${describe(outcome)}`);
		if (file !== undefined && this.#given.has(file)) return outcome;
		const mismatch = compare(expected, outcome, { onlyListed: this.#onlyListed });
		if (mismatch !== undefined) this.#fail(`${mismatch}\n  of ${JSON.stringify(operation)}`);
		if (file !== undefined && "error" in outcome && outcome.error === "ESTALE") this.#given.add(file);
		return outcome;
	}

	async #call(operation: Operation): Promise<Outcome> {
		try {
			return await (this.#player ?? fail()).call(operation);
		} catch (error) {
			return this.#fail(`${String(error)}\n  in ${JSON.stringify(operation)}`);
		}
	}

	/** What was closed or synchronised is in the bucket, at that moment. */
	async #checkDurable(operation: Operation): Promise<void> {
		if (operation.op !== "fsync" && operation.op !== "close") return;
		if (!this.#random.chance(0.3)) return;
		const files = [...this.model.walk()].filter(
			({ node }) => node.kind === "file" && node.content.length < durableBytesAtMost,
		);
		const handle = operation.op === "fsync" ? this.model.handles.get(operation.handle) : undefined;
		const isOpen = new Set([...this.model.handles.values()].map(({ file }) => file));
		const found = files.find(({ node }) =>
			handle === undefined ? !isOpen.has(node as ModelFile) : node === handle.file,
		);
		if (found?.node.kind !== "file") return;
		const path = `${this.directory}/${found.path}`;
		const bytes = await this.#elsewhere
			.get(path)
			.catch((error: unknown) => this.#fail(`${path} is not in the bucket: ${String(error)}`));
		const mismatch = differenceOfDigests(digestOf(found.node.content), digestOf(bytes));
		if (mismatch !== undefined) this.#fail(`the object of ${path}: ${mismatch}`);
	}

	#fail(message: string): never {
		const file = join(tmpdir(), `fluid-fuse-model-${this.seed}-${this.directory}.log`);
		writeFileSync(file, `${this.#history.join("\n")}\n`);
		throw new Error(
			[
				`player ${this.directory} of seed ${this.seed}, operation ${this.operations}: ${message}`,
				`the last calls (all are in ${file}):`,
				...this.#history.slice(-shownOperations),
			].join("\n"),
		);
	}
}

function fail(): never {
	throw new Error("not started");
}

function compare(expected: Expected, outcome: Outcome, options: { readonly onlyListed: boolean }): string | undefined {
	if (expected.kind === "status") {
		if (!("status" in outcome)) return `a status was expected, not ${describe(outcome)}`;
		return differenceOf(expected.node, outcome.status, options);
	}
	if ("error" in outcome && outcome.error === expected.orError) return undefined;
	const wanted = expected.outcome;
	if ("digest" in wanted && "digest" in outcome) return differenceOfDigests(wanted.digest, outcome.digest);
	if ("names" in wanted && "names" in outcome) {
		const [left, right] = [wanted.names.toSorted(), outcome.names.toSorted()];
		return isDeepStrictEqual(left, right)
			? undefined
			: `names are ${JSON.stringify(right)}, not ${JSON.stringify(left)}`;
	}
	return isDeepStrictEqual(wanted, outcome) ? undefined : `it came to ${describe(outcome)}, not ${describe(wanted)}`;
}

export function differenceOfDigests(wanted: Digest, found: Digest): string | undefined {
	if (wanted.lengthBytes !== found.lengthBytes) return `${found.lengthBytes} bytes, not ${wanted.lengthBytes}`;
	const wrong = wanted.blocks.flatMap((sum, index) => (sum === found.blocks[index] ? [] : [index]));
	if (wrong.length === 0) return undefined;
	const [first = 0, last = 0] = [wrong[0], wrong.at(-1)];
	return `${wrong.length} of ${wanted.blocks.length} blocks of ${digestBlockBytes} bytes are wrong, from block ${first} to ${last}`;
}

function describe(outcome: Outcome): string {
	return "digest" in outcome ? `${outcome.digest.lengthBytes} bytes` : JSON.stringify(outcome);
}
