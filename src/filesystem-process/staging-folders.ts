import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
	closeSync,
	constants,
	existsSync,
	futimesSync,
	mkdirSync,
	openSync,
	readdirSync,
	readSync,
	renameSync,
	rmSync,
	unlinkSync,
	writeFileSync,
} from "node:fs";
import { lstat, open, readdir, rmdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isRecordName } from "../s3-filesystem/index.ts";

/** In each folder, and locked for as long as its process lives. */
const markName = "owner";
const markText = "Here fluid-fuse keeps what is not in its bucket yet. Unlocked, nobody needs it any more.\n";
/** Of a process that another one goes on for when it dies. */
const heritableMarkText =
	"Here fluid-fuse keeps what is not in its bucket yet. Unlocked for a minute, nobody needs it any more.\n";
/** Of a process that stores closed files behind. */
const pendingMarkText =
	"Here fluid-fuse keeps closed files that are not in their bucket yet. Its next process uploads them.\n";
const markTexts = [markText, heritableMarkText];
/** Longer than another process may take to be there. */
const heirMs = 60_000;
const folderName = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Where one process keeps what is written until it is in its bucket, beside those of other processes. */
export class StagingFolder {
	readonly #path: string;
	readonly #markText: string;
	#lock: number | undefined;
	#isMade = false;
	#isLocked = false;

	constructor(
		path: string,
		{
			isHeritable = false,
			keepsPending = false,
		}: { readonly isHeritable?: boolean; readonly keepsPending?: boolean } = {},
	) {
		this.#path = path;
		this.#markText = keepsPending ? pendingMarkText : isHeritable ? heritableMarkText : markText;
	}

	/** One of a process that has died, if it has made any: before others take it for abandoned. */
	takeOver(): void {
		this.#isMade = existsSync(this.#path);
		const mark = join(this.#path, markName);
		try {
			this.#lock = openSync(mark, "r");
		} catch {
			// There is none, or it could not be marked.
			return;
		}
		// Somebody may look at this moment whether it is locked.
		const { status } = lockMark(this.#lock, waitingLockArguments);
		try {
			if (status !== 0) unlinkSync(mark);
			// Who has seen it unlocked before, and does so again, is not to believe that it was all the time.
			else futimesSync(this.#lock, new Date(), new Date());
		} catch {
			// The disk can be read only: nobody can remove it.
		}
	}

	/** Others know that it is somebody's. */
	get isLocked(): boolean {
		return this.#isLocked;
	}

	/** Throws what the disk says. Where it cannot be locked, it has no mark either, and nobody will remove it. */
	make(): void {
		if (this.#isMade && existsSync(this.#path)) return;
		const unfinished = `${this.#path}.new`;
		mkdirSync(unfinished, { recursive: true, mode: 0o700 });
		let lock: number | undefined;
		try {
			const mark = join(unfinished, markName);
			writeFileSync(mark, this.#markText, { mode: 0o600 });
			// Only to be read: the disk can still be made read-only.
			lock = openSync(mark, "r");
			const { status } = lockMark(lock);
			this.#isLocked = status === 0;
			if (!this.#isLocked) unlinkSync(mark);
			renameSync(unfinished, this.#path);
		} catch (error) {
			if (lock !== undefined) closeSync(lock);
			rmSync(unfinished, { recursive: true, force: true });
			throw error;
		}
		if (this.#lock !== undefined) closeSync(this.#lock);
		// Never closed: the process's end unlocks it.
		this.#lock = lock;
		this.#isMade = true;
	}
}

/** What is pending in one of these is another process's, or was. */
interface PendingFolder {
	readonly path: string;
	/** Nobody has it: it stays so until `unlock`. Undefined: somebody has. */
	readonly unlock: (() => void) | undefined;
}

/** The folders of processes that keep what is pending, each locked if its process is gone. */
export function* pendingFolders(parent: string): Generator<PendingFolder> {
	let turn: number;
	try {
		turn = openSync(parent, constants.O_RDONLY | constants.O_DIRECTORY);
	} catch {
		// There is none, or it cannot be had: nothing is done with it.
		return;
	}
	try {
		// One process after the other: what one only looks at is not to look like somebody's to another.
		lockMark(turn, waitingLockArguments);
		for (const name of readdirSync(parent)) {
			if (!folderName.test(name)) continue;
			const path = join(parent, name);
			let mark: number;
			try {
				mark = openSync(join(path, markName), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
			} catch {
				// It is being made, or removed.
				continue;
			}
			const unlock = (): void => closeSync(mark);
			if (!isPendingMark(mark)) {
				unlock();
				continue;
			}
			if (lockMark(mark).status === 0) yield { path, unlock };
			else {
				unlock();
				yield { path, unlock: undefined };
			}
		}
	} finally {
		closeSync(turn);
	}
}

/** Others may have a folder of such a name, too. */
function isPendingMark(mark: number): boolean {
	const buffer = Buffer.alloc(pendingMarkText.length + 1);
	try {
		return buffer.toString("latin1", 0, readSync(mark, buffer, 0, buffer.length, 0)) === pendingMarkText;
	} catch {
		// It is no file.
		return false;
	}
}

/** Removes what processes have left that are gone: nobody can make objects of it any more. Never rejects: what is in its way is there next time, too. */
export async function removeAbandoned(parent: string, graceMs = heirMs): Promise<void> {
	const names = await readdir(parent).catch(() => []);
	const heritable = new Map<string, number>();
	for (const name of names) {
		const folder = join(parent, name);
		// Another process may be doing the same.
		if (!folderName.test(name)) continue;
		const mark = await removeIfAbandoned(folder, ({ text }) => text === markText).catch(() => undefined);
		if (mark?.text === heritableMarkText) heritable.set(folder, mark.takenMs);
	}
	if (heritable.size === 0) return;
	// Whoever is to go on with it has locked it by then.
	await sleep(graceMs, undefined, { ref: false });
	for (const [folder, before] of heritable)
		await removeIfAbandoned(folder, ({ takenMs }) => takenMs === before).catch(() => undefined);
}

interface Mark {
	readonly text: string;
	/** When a process took the folder for its own. */
	readonly takenMs: number;
}

/** Returns the mark of a folder that nobody uses; undefined: it is in use, or not ours. */
async function removeIfAbandoned(folder: string, isToGo: (mark: Mark) => boolean): Promise<Mark | undefined> {
	if (!(await lstat(folder)).isDirectory()) return undefined;
	const mark = await open(join(folder, markName), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
	try {
		const length = Math.max(...markTexts.map((text) => text.length)) + 1;
		const { buffer, bytesRead } = await mark.read(Buffer.alloc(length), 0, length, 0);
		const text = buffer.toString("latin1", 0, bytesRead);
		if (!markTexts.includes(text)) return undefined;
		const flock = spawn("flock", lockArguments, { env: toolEnvironment(), stdio: stdioWith(mark.fd) });
		const [exitCode] = (await once(flock, "exit")) as [number | null];
		if (exitCode !== 0) return undefined;
		const found = { text, takenMs: (await mark.stat()).mtimeMs };
		if (isToGo(found)) await removeStagingFolder(folder);
		return found;
	} finally {
		await mark.close();
	}
}

/** Only the files in it, since no others are ours; what else somebody has put there keeps it. */
export async function removeStagingFolder(folder: string): Promise<void> {
	const entries = await readdir(folder, { withFileTypes: true });
	const files = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
	// What is pending there is in no bucket.
	if (files.some(isRecordName)) return;
	// The mark last: what is interrupted is found again.
	for (const name of files.toSorted((a, b) => Number(a === markName) - Number(b === markName)))
		await unlink(join(folder, name));
	await rmdir(folder);
}

function lockMark(mark: number, how = lockArguments): { readonly status: number | null } {
	const options = { env: toolEnvironment(), stdio: stdioWith(mark), timeout: 5000 };
	return spawnSync("flock", how, options);
}

/** flock(1) locks what it is given as its descriptor 3, and the lock is that of everybody who has the same open file. */
const lockArguments = ["--exclusive", "--nonblock", "3"];
const waitingLockArguments = ["--exclusive", "--timeout", "3", "3"];

function stdioWith(descriptor: number): ("ignore" | number)[] {
	return ["ignore", "ignore", "ignore", descriptor];
}

function toolEnvironment(): NodeJS.ProcessEnv {
	return { PATH: process.env["PATH"] };
}
