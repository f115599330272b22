import { constants } from "node:fs";
import { differenceOfDigests } from "./game.ts";
import { bytesOf, digestOf, type Operation, type Outcome, type Status } from "./operation.ts";
import { PlayerProcess } from "./player-process.ts";
import { Random } from "./random.ts";

const { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC } = constants;

const MiB = 1024 ** 2;
const directories = 6;
const smallBytes = 100_000;
const largeBytes = 12 * MiB;
const openAtMost = 3;
const filesAtMost = 12;
const shownCalls = 40;

/** What only the player changes whose it is. */
interface OwnAttributes {
	mode: number;
	/** Undefined: whenever it was changed. */
	mtimeMs: number | undefined;
	/** In Base64, of its extended attribute; undefined: it has none. */
	note: string | undefined;
}

/** A directory that is renamed by one player, while all work in it. */
interface SharedDirectory {
	/** Also its handle, in each of the players' processes. */
	readonly id: number;
	parent: SharedDirectory | undefined;
	name: string;
	/** Names of files in it that never change, with their content. */
	readonly still: Map<string, Buffer>;
	readonly attributes: OwnAttributes;
}

/** A file of one player, that nobody else changes. */
interface OwnFile {
	directory: SharedDirectory;
	name: string;
	kind: "file" | "symlink" | "directory";
	content: Buffer;
	readonly attributes: OwnAttributes;
	/** As it was seen since it was opened. */
	ino: number | undefined;
	/** It was closed or synchronised once. */
	isStored: boolean;
	/** It was changed since. */
	isInDoubt: boolean;
	/** Removed, and still open. */
	isRemoved: boolean;
	handle: number | undefined;
}

/** What is stored in the end, by paths of the crowd's directory; directories end in a slash. */
export type Stored = ReadonlyMap<string, Buffer>;

/**
 * Players that work in the same directories at once, while these are renamed. What all of them do together has no order that could be compared
 * with a model; but each knows everything of its own files, as nobody else changes them, and of the directories that it alone renames.
 * So each call has exactly one right outcome, on a disk too, and so has what is stored in the end.
 */
export class Crowd {
	readonly #seed: number;
	readonly #root: SharedDirectory = {
		id: 0,
		parent: undefined,
		name: "",
		still: new Map(),
		attributes: attributesOf(0o755),
	};
	readonly #all: SharedDirectory[] = [this.#root];
	readonly #players: Player[];
	calls = 0;
	/** Directories that were renamed. */
	renames = 0;

	/** `target` is an empty directory. */
	constructor(seed: number, target: string, players: number, name = "") {
		this.#seed = seed;
		for (let id = 1; id <= directories; id++) {
			const attributes = attributesOf(0o755);
			this.#all.push({ id, parent: this.#root, name: `d${id}`, still: new Map(), attributes });
		}
		const crowd: Shared = {
			directories: this.#all,
			called: () => this.calls++,
			renamed: () => this.renames++,
			moves: { underWay: 0, ended: 0 },
		};
		this.#players = Array.from({ length: players }, (_, index) => {
			const own = this.#all.filter(({ id }) => id > 0 && id % players === index);
			return new Player(`${name}${index}`, seed * 100 + index, target, crowd, own);
		});
	}

	/** Makes what all work in. */
	async begin(): Promise<void> {
		const [first] = this.#players;
		await first?.open(this.#root);
		for (const directory of this.#all) await first?.make(directory);
		await Promise.all(this.#players.slice(1).map(async (player) => player.openAll()));
	}

	/** All of them end when one has failed, and before that is told. */
	async play(until: () => boolean): Promise<void> {
		let hasFailed = false;
		const outcomes = await Promise.allSettled(
			this.#players.map(async (player) => {
				try {
					await player.play(() => hasFailed || until());
				} catch (error) {
					hasFailed = true;
					throw error;
				}
			}),
		);
		for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
	}

	/** Closes everything; then all of it has to be stored. */
	async end(): Promise<void> {
		await Promise.all(this.#players.map(async (player) => player.end()));
	}

	kill(): void {
		for (const player of this.#players) player.kill();
	}

	/** Where one of the directories is, as far as is known, and a file in it that stays as it is. */
	somewhere(random: Random): { readonly path: string; readonly name: string; readonly content: Buffer } {
		const directory = random.pick(this.#all) ?? this.#root;
		const [name = "", content = Buffer.alloc(0)] = random.pick([...directory.still]) ?? [];
		return { path: pathOf(directory), name, content };
	}

	/** Compares everything that is there in the end; `others` are names that somebody else has made. */
	check(stored: Stored, others: (path: string) => boolean = () => false): void {
		const wanted = new Map<string, Buffer>();
		for (const directory of this.#all) {
			if (directory.id > 0) wanted.set(`${pathOf(directory)}/`, Buffer.alloc(0));
			for (const [name, content] of directory.still) wanted.set(pathIn(directory, name), content);
		}
		for (const { files } of this.#players) {
			for (const { directory, name, kind, content } of files) {
				wanted.set(pathIn(directory, name) + (kind === "directory" ? "/" : ""), content);
			}
		}
		const missing = [...wanted.keys()].filter((path) => !stored.has(path));
		const more = [...stored.keys()].filter((path) => !wanted.has(path) && !others(path));
		const wrong = [...wanted].flatMap(([path, content]) => {
			const found = stored.get(path);
			const difference = found && differenceOfDigests(digestOf(content), digestOf(found));
			return difference === undefined ? [] : [`${path}: ${difference}`];
		});
		this.#report({ missing, more, wrong });
	}

	/** Compares what everything has beside its content in the end; `target` is the directory, mounted by somebody else perhaps. */
	async checkAttributes(target: string): Promise<void> {
		const looker = new PlayerProcess(target);
		const wrong: string[] = [];
		try {
			const files = [...this.#players].flatMap((player) => [...player.files]);
			const directories = this.#all.filter(({ id }) => id > 0);
			for (const one of [...files, ...directories]) {
				const path = "still" in one ? pathOf(one) : pathIn(one.directory, one.name);
				const status = await looker.call({ op: "lstat", path });
				const difference = "status" in status ? statusDifference(one, status.status) : JSON.stringify(status);
				if (difference !== undefined) wrong.push(`${path}: ${difference}`);
				const { note } = one.attributes;
				const found = note === undefined ? { text: note } : await looker.call({ op: "getxattr", path, name: noteName });
				if (!("text" in found) || found.text !== note) wrong.push(`${path}: the note is ${JSON.stringify(found)}`);
			}
		} finally {
			looker.kill();
		}
		this.#report({ missing: [], more: [], wrong });
	}

	/**
	 * Compares what is there after the filesystem was killed in the middle: whatever is closed or synchronised is somewhere, whole. While a
	 * directory or a file is renamed it may be in both places.
	 */
	checkKilled(stored: Stored): void {
		const places = new Map<string, Buffer[]>();
		for (const [path, content] of stored) {
			const name = path.split("/").at(-1) ?? "";
			places.set(name, [...(places.get(name) ?? []), content]);
		}
		const missing: string[] = [];
		const wrong: string[] = [];
		const look = (name: string, content: Buffer, isInDoubt: boolean): void => {
			const found = places.get(name);
			if (found === undefined) missing.push(name);
			else if (!isInDoubt && !found.some((bytes) => bytes.equals(content))) wrong.push(`${name}: not what was stored`);
		};
		for (const { still } of this.#all) for (const [name, content] of still) look(name, content, false);
		for (const player of this.#players) {
			for (const file of player.files) {
				// Of the call that was under way nobody knows the outcome.
				if (file !== player.touching && file.isStored) look(file.name, file.content, file.isInDoubt);
			}
		}
		this.#report({ missing, more: [], wrong });
	}

	#report(faults: Readonly<Record<"missing" | "more" | "wrong", readonly string[]>>): void {
		const all = Object.entries(faults).flatMap(([kind, paths]) => paths.map((path) => `${kind}: ${path}`));
		if (all.length === 0) return;
		const names = all.map((fault) => /[a-z]*\d+-\d+|d\d+|still-\d+/.exec(fault)?.[0] ?? "");
		const calls = this.#players.flatMap(({ history }) =>
			history.filter((call) => names.some((name) => call.includes(name))),
		);
		throw new Error(
			[`crowd of seed ${this.#seed}:`, ...all, "calls that name them:", ...calls.slice(-shownCalls)].join("\n"),
		);
	}
}

/** What the players know of each other. */
interface Shared {
	readonly directories: readonly SharedDirectory[];
	readonly called: () => void;
	readonly renamed: () => void;
	/** Of directories. */
	readonly moves: { underWay: number; ended: number };
}

class Player {
	readonly files = new Set<OwnFile>();
	readonly history: string[] = [];
	/** Of the call that is under way. */
	touching: OwnFile | undefined;
	readonly #name: string;
	readonly #random: Random;
	readonly #shared: Shared;
	/** Those that this player renames. */
	readonly #own: readonly SharedDirectory[];
	readonly #process: PlayerProcess;
	readonly #removed = new Set<OwnFile>();
	readonly #appending = new Set<OwnFile>();
	/** Names that directories had. Another node that does not know yet may put something there. */
	readonly #former = new Set<string>();
	#nextName = 1;
	#nextSeed: number;
	#nextHandle = 1000;

	constructor(name: string, seed: number, target: string, shared: Shared, own: readonly SharedDirectory[]) {
		this.#name = name;
		this.#random = new Random(seed);
		this.#nextSeed = seed * 100_000;
		this.#shared = shared;
		this.#own = own;
		this.#process = new PlayerProcess(target);
	}

	async open(directory: SharedDirectory): Promise<void> {
		const path = directory.parent === undefined ? "." : directory.name;
		await this.#done({ op: "open", handle: directory.id, path, flags: O_RDONLY | O_DIRECTORY, mode: 0 });
	}

	async openAll(): Promise<void> {
		for (const directory of this.#shared.directories) await this.open(directory);
	}

	/** Makes a directory of the beginning, with files that stay as they are. */
	async make(directory: SharedDirectory): Promise<void> {
		if (directory.parent !== undefined) {
			await this.#done({ op: "mkdir", path: directory.name, mode: 0o755 });
			await this.open(directory);
		}
		for (const lengthBytes of [10, 70_000]) {
			const [handle, seed] = [this.#nextHandle++, this.#nextSeed++];
			const name = `still-${directory.id}${this.#nextName++}`;
			const path = `@${directory.id}/${name}`;
			await this.#done({ op: "open", handle, path, flags: O_RDWR | O_CREAT | O_EXCL, mode: 0o644 });
			await this.#done({ op: "write", handle, offset: 0, lengthBytes, pieceBytes: MiB, seed });
			await this.#done({ op: "close", handle });
			directory.still.set(name, bytesOf(seed, lengthBytes));
		}
	}

	async play(until: () => boolean): Promise<void> {
		while (!until()) {
			const play = this.#random.weighted(weights);
			await this[play]();
			this.touching = undefined;
		}
	}

	async end(): Promise<void> {
		for (const file of Array.from(this.#opened())) await this.close(file);
		await this.#process.end();
	}

	kill(): void {
		this.#process.kill();
	}

	/** Renames a directory into another one, perhaps over an empty one. */
	async move(): Promise<void> {
		const { moves, directories: all } = this.#shared;
		const directory = this.#random.pick(this.#own);
		const into = this.#random.pick(all);
		const from = directory?.parent;
		if (directory === undefined || into === undefined || from === undefined) return;
		const [path, name] = [`@${from.id}/${directory.name}`, this.#newName()];
		const to = `@${into.id}/${name}`;
		const isOver = this.#random.chance(0.2);
		if (isOver) await this.#done({ op: "mkdir", path: to, mode: 0o700 });
		const wasBelow = isIn(into, directory);
		const [underWay, ended] = [moves.underWay, moves.ended];
		moves.underWay++;
		const outcome = await this.#call({ op: "rename", path, to });
		moves.underWay--;
		moves.ended++;
		const isAlone = underWay === 0 && moves.underWay === 0 && moves.ended === ended + 1;
		const isRefused = "error" in outcome && outcome.error === "EINVAL";
		if (!isRefused && !("done" in outcome)) this.#fail(`a directory could not be moved: ${JSON.stringify(outcome)}`);
		// While others are moved it may have been below itself, or not any more.
		if (isAlone && isRefused !== wasBelow) this.#fail(`a directory was ${isRefused ? "not " : ""}moved`);
		if (isRefused) {
			if (isOver) await this.#done({ op: "rmdir", path: to });
			return;
		}
		this.#former.add(directory.name);
		directory.parent = into;
		directory.name = name;
		this.#shared.renamed();
	}

	async create(): Promise<void> {
		if (this.files.size >= filesAtMost) return this.remove();
		const directory = this.#random.pick(this.#shared.directories);
		if (directory === undefined) return;
		const kind = this.#random.weighted({ file: 8, symlink: 1, directory: 1 });
		const file: OwnFile = {
			directory,
			name: this.#newName(),
			kind,
			content: Buffer.alloc(0),
			attributes: attributesOf(kind === "directory" ? 0o755 : 0o644),
			ino: undefined,
			isStored: false,
			isInDoubt: true,
			isRemoved: false,
			handle: undefined,
		};
		this.touching = file;
		this.files.add(file);
		const path = inHandle(file);
		if (kind === "directory") await this.#done({ op: "mkdir", path, mode: 0o755 });
		else if (kind === "symlink") {
			file.content = Buffer.from(`to ${file.name}`);
			await this.#done({ op: "symlink", path, target: file.content.toString() });
			stored(file);
		} else {
			await this.#openFile(file, O_CREAT | O_EXCL);
			await this.#write(file);
			if (this.#random.chance(0.7)) await this.close(file);
		}
	}

	async change(): Promise<void> {
		const file = this.#pick("file");
		if (file === undefined) return this.create();
		if (file.handle === undefined) {
			if ([...this.#opened()].length >= openAtMost) return this.synchronise();
			await this.#openFile(file, this.#random.pick([0, 0, O_APPEND, O_TRUNC]));
		}
		if (this.#random.chance(0.8)) await this.#write(file);
		else {
			const sizeBytes = this.#random.below(file.content.length + 5000);
			file.isInDoubt = true;
			file.attributes.mtimeMs = undefined;
			await this.#done({ op: "ftruncate", handle: file.handle ?? 0, sizeBytes });
			file.content = resized(file.content, sizeBytes);
		}
		if (this.#random.chance(0.5)) await this.synchronise(file);
	}

	async synchronise(file = this.#random.pick([...this.#opened()])): Promise<void> {
		if (file?.handle === undefined) return;
		this.touching = file;
		if (this.#random.chance(0.5)) return this.close(file);
		await this.#done({ op: "fsync", handle: file.handle, dataOnly: this.#random.chance(0.5) });
		stored(file);
	}

	async close(file: OwnFile): Promise<void> {
		if (file.handle === undefined) return;
		this.touching = file;
		const { handle } = file;
		file.handle = file.ino = undefined;
		await this.#done({ op: "close", handle });
		stored(file);
		if (file.isRemoved) this.#removed.delete(file);
	}

	/** Gives one of its own files another name, in another directory perhaps. */
	async rename(): Promise<void> {
		const file = this.#pick();
		const into = this.#random.pick(this.#shared.directories);
		if (file === undefined || into === undefined) return;
		const from = inHandle(file);
		const over = this.#random.chance(0.2) ? this.#pick("file") : undefined;
		const isReplacing = over !== undefined && over !== file && over.handle === undefined && file.kind !== "directory";
		const [directory, name] = isReplacing ? [over.directory, over.name] : [into, this.#newName()];
		this.touching = file;
		if (isReplacing) this.files.delete(over);
		// It may be at both names when the filesystem is killed now: the old one is looked for as well.
		await this.#done({ op: "rename", path: from, to: `@${directory.id}/${name}` });
		file.directory = directory;
		file.name = name;
	}

	async remove(): Promise<void> {
		const file = this.#pick();
		if (file === undefined) return;
		this.touching = file;
		this.files.delete(file);
		await this.#done({ op: file.kind === "directory" ? "rmdir" : "unlink", path: inHandle(file) });
		if (file.handle === undefined) return;
		file.isRemoved = true;
		this.#removed.add(file);
		await this.#compareOpen(file);
		if (this.#random.chance(0.5)) await this.#write(file);
		await this.#compareOpen(file);
		if (this.#random.chance(0.7)) await this.close(file);
	}

	async attributes(): Promise<void> {
		const directory = this.#random.pick(this.#own);
		if (directory !== undefined && this.#random.chance(0.3)) {
			await this.#changeAttributes(`@${directory.id}`, directory.attributes, this.#random.pick(["mode", "note"]));
			return this.#compareAttributes(`@${directory.id}/.`, directory);
		}
		const file = this.#pick();
		if (file === undefined) return;
		this.touching = file;
		const what = file.kind === "symlink" ? "mtimeMs" : this.#random.pick(["mode", "mtimeMs", "note"] as const);
		await this.#changeAttributes(inHandle(file), file.attributes, what);
		await this.#compareAttributes(inHandle(file), file);
	}

	async #changeAttributes(path: string, attributes: OwnAttributes, what: keyof OwnAttributes): Promise<void> {
		if (what === "mode") {
			attributes.mode = this.#random.pick([0o700, 0o744, 0o755]);
			await this.#done({ op: "chmod", path, mode: attributes.mode });
		} else if (what === "mtimeMs") {
			const mtimeMs = (attributes.mtimeMs = 1_600_000_000_000 + this.#random.below(2 ** 30));
			await this.#done({ op: "utimes", path, atimeMs: mtimeMs, mtimeMs });
		} else {
			const value = (attributes.note = bytesOf(this.#nextSeed++, 30).toString("base64"));
			await this.#done({ op: "setxattr", path, name: noteName, value });
		}
	}

	/** Looks at one of its own. */
	async look(): Promise<void> {
		const file = this.#pick();
		if (file === undefined) return;
		await this.#compareAttributes(inHandle(file), file);
		if (file.kind === "symlink") {
			const outcome = await this.#call({ op: "readlink", path: inHandle(file) });
			if (!("text" in outcome) || outcome.text !== file.content.toString())
				this.#fail(`${file.name} leads elsewhere: ${JSON.stringify(outcome)}`);
		}
		if (file.kind === "file") await this.#compareContent(inHandle(file), file.content);
		if (file.handle !== undefined) await this.#compareOpen(file);
	}

	/** Reads what nobody changes. */
	async read(): Promise<void> {
		const directory = this.#random.pick(this.#shared.directories);
		const [name, content] = this.#random.pick([...(directory?.still ?? [])]) ?? [];
		if (directory !== undefined && content !== undefined)
			await this.#compareContent(`@${directory.id}/${name}`, content);
	}

	/** Names that nobody changes, and the player's own, are listed, once each. */
	async list(): Promise<void> {
		const directory = this.#random.pick(this.#shared.directories);
		if (directory === undefined) return;
		const outcome = await this.#call({ op: "readdir", path: `@${directory.id}` });
		if (!("names" in outcome)) return this.#fail(`it could not be listed: ${JSON.stringify(outcome)}`);
		const own = [...this.files].filter((file) => file.directory === directory);
		const wanted = [
			...[...directory.still.keys()].map((name) => `file ${name}`),
			...own.map(({ kind, name }) => `${kind} ${name}`),
			...this.#own.filter(({ parent }) => parent === directory).map(({ name }) => `directory ${name}`),
		];
		const found = new Set(outcome.names);
		if (found.size < outcome.names.length) this.#fail(`names are listed twice: ${outcome.names.join(", ")}`);
		const missing = wanted.filter((name) => !found.has(name));
		if (missing.length > 0) this.#fail(`not listed: ${missing.join(", ")}\n  but ${outcome.names.join(", ")}`);
		const mine = outcome.names.filter((name) => name.includes(` ${this.#name}-`));
		const more = mine.filter((name) => !wanted.includes(name) && !this.#former.has(name.replace("directory ", "")));
		if (more.length > 0) this.#fail(`listed, and not there: ${more.join(", ")}`);
	}

	*#opened(): Generator<OwnFile> {
		for (const file of this.files) if (file.handle !== undefined) yield file;
		for (const file of this.#removed) if (file.handle !== undefined) yield file;
	}

	#pick(kind?: OwnFile["kind"]): OwnFile | undefined {
		const file = this.#random.pick([...this.files].filter((each) => kind === undefined || each.kind === kind));
		this.touching = file;
		return file;
	}

	#newName(): string {
		return `${this.#name}-${this.#nextName++}`;
	}

	async #openFile(file: OwnFile, flags: number): Promise<void> {
		const handle = this.#nextHandle++;
		file.isInDoubt ||= (flags & (O_TRUNC | O_CREAT)) !== 0;
		await this.#done({ op: "open", handle, path: inHandle(file), flags: O_RDWR | flags, mode: 0o644 });
		file.handle = handle;
		if ((flags & O_TRUNC) !== 0) {
			file.content = Buffer.alloc(0);
			file.attributes.mtimeMs = undefined;
		}
		this.#appending.delete(file);
		if ((flags & O_APPEND) !== 0) this.#appending.add(file);
	}

	async #write(file: OwnFile): Promise<void> {
		const sizeBytes = file.content.length;
		const isLarge =
			this.#random.chance(0.02) && ![...this.files].some(({ content }) => content.length > smallBytes * 10);
		const offset = this.#appending.has(file) ? sizeBytes : this.#random.below(sizeBytes + 1);
		const lengthBytes = this.#random.between(1, isLarge ? largeBytes : this.#random.pick([100, 5000, smallBytes]));
		const seed = this.#nextSeed++;
		const pieceBytes = this.#random.pick([65_536, 131_072, MiB]);
		file.isInDoubt = true;
		file.attributes.mtimeMs = undefined;
		await this.#done({ op: "write", handle: file.handle ?? 0, offset, lengthBytes, pieceBytes, seed });
		const content = resized(file.content, Math.max(sizeBytes, offset + lengthBytes));
		bytesOf(seed, lengthBytes).copy(content, offset);
		file.content = content;
	}

	async #compareAttributes(path: string, one: OwnFile | SharedDirectory): Promise<void> {
		const outcome = await this.#call({ op: "lstat", path });
		const difference = "status" in outcome ? statusDifference(one, outcome.status) : JSON.stringify(outcome);
		if (difference !== undefined) this.#fail(`the status of ${one.name}: ${difference}`);
		const { note } = one.attributes;
		if (note === undefined || this.#random.chance(0.7)) return;
		const found = await this.#call({ op: "getxattr", path, name: noteName });
		if (!("text" in found) || found.text !== note) this.#fail(`the note of ${one.name}: ${JSON.stringify(found)}`);
	}

	async #compareContent(path: string, content: Buffer): Promise<void> {
		const outcome = await this.#call({ op: "readFile", path, pieceBytes: 131_072 });
		const difference =
			"digest" in outcome ? differenceOfDigests(digestOf(content), outcome.digest) : JSON.stringify(outcome);
		if (difference !== undefined) this.#fail(`the content of ${path}: ${difference}`);
	}

	async #compareOpen(file: OwnFile): Promise<void> {
		const { handle, content, name } = file;
		if (handle === undefined) return;
		const status = await this.#call({ op: "fstat", handle });
		const other = "status" in status ? statusDifference(file, status.status) : JSON.stringify(status);
		if (other !== undefined) this.#fail(`the status of what is open as ${name}: ${other}`);
		const outcome = await this.#call({ op: "read", handle, offset: 0, lengthBytes: content.length + 10 });
		const difference =
			"digest" in outcome ? differenceOfDigests(digestOf(content), outcome.digest) : JSON.stringify(outcome);
		if (difference !== undefined) this.#fail(`what is open as ${name}: ${difference}`);
	}

	async #done(operation: Operation): Promise<void> {
		const outcome = await this.#call(operation);
		if (!("done" in outcome)) this.#fail(`${JSON.stringify(operation)} came to ${JSON.stringify(outcome)}`);
	}

	async #call(operation: Operation): Promise<Outcome> {
		this.#shared.called();
		const at = this.history.push(`${this.#name}: ${JSON.stringify(operation)}`) - 1;
		const outcome = await this.#process.call(operation);
		this.history[at] += ` -> ${"digest" in outcome ? `${outcome.digest.lengthBytes} bytes` : JSON.stringify(outcome)}`;
		return outcome;
	}

	#fail(message: string): never {
		throw new Error(
			[`player ${this.#name}: ${message}`, "the last calls:", ...this.history.slice(-shownCalls)].join("\n"),
		);
	}
}

/** How often a player does what. */
const weights = {
	move: 6,
	create: 8,
	change: 16,
	synchronise: 4,
	rename: 6,
	remove: 4,
	attributes: 4,
	look: 8,
	read: 6,
	list: 5,
} satisfies Partial<Record<keyof Player, number>>;

function stored(file: OwnFile): void {
	file.isStored = true;
	file.isInDoubt = false;
}

function inHandle({ directory, name }: OwnFile): string {
	return `@${directory.id}/${name}`;
}

function pathOf(directory: SharedDirectory): string {
	const names: string[] = [];
	for (let at = directory; at.parent !== undefined && names.length <= directories; at = at.parent)
		names.unshift(at.name);
	return names.join("/");
}

function pathIn(directory: SharedDirectory, name: string): string {
	return directory.parent === undefined ? name : `${pathOf(directory)}/${name}`;
}

function isIn(directory: SharedDirectory, top: SharedDirectory): boolean {
	// What two players know for the moment may be a circle.
	const seen = new Set<SharedDirectory>();
	for (let at: SharedDirectory | undefined = directory; at !== undefined && !seen.has(at); at = at.parent) {
		if (at === top) return true;
		seen.add(at);
	}
	return false;
}

function resized(content: Buffer, sizeBytes: number): Buffer {
	const other = Buffer.alloc(sizeBytes);
	content.copy(other);
	return other;
}

const noteName = "user.note";

function attributesOf(mode: number): OwnAttributes {
	return { mode, mtimeMs: undefined, note: undefined };
}

function statusDifference(one: OwnFile | SharedDirectory, status: Status): string | undefined {
	const { attributes } = one;
	const kind = "still" in one ? "directory" : one.kind;
	if (status.kind !== kind) return `a ${status.kind}`;
	if (kind !== "symlink" && status.mode !== attributes.mode) return `mode ${status.mode.toString(8)}`;
	const { mtimeMs } = attributes;
	if (mtimeMs !== undefined && Math.abs(status.mtimeMs - mtimeMs) > 0.01)
		return `mtime ${status.mtimeMs}, not ${mtimeMs}`;
	if ("still" in one || one.kind === "directory") return undefined;
	if (status.sizeBytes !== one.content.length) return `${status.sizeBytes} bytes, not ${one.content.length}`;
	const nlink = one.isRemoved ? 0 : 1;
	if (status.nlink !== nlink) return `${status.nlink} links, not ${nlink}`;
	if (one.handle === undefined) return undefined;
	if (one.ino !== undefined && status.ino !== one.ino) return `inode number ${status.ino}, not ${one.ino}`;
	one.ino = status.ino;
	return undefined;
}
