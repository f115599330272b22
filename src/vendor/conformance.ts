import { randomBytes } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { DriverFaults, type CheckContext, type Driver, type PreparedMount } from "../drivers/driver.ts";
import { isSecret } from "../options/option.ts";
import { Secret } from "../secrets/secret.ts";
import { runBounded } from "../mounts/run.ts";
import { unmount } from "../mounts/unmount.ts";
import { Trial } from "./trial.ts";

export interface Subject {
	readonly driver: Driver;
	readonly source: string;
	/** With the access modes of the config. */
	readonly mount: PreparedMount;
	readonly readOnly: boolean;
	/** The same mount, read-only. */
	readonly readOnlyMount: PreparedMount;
	/** Whether a text holds a secret of the mount, in whatever form. */
	readonly holdsSecret: (text: string) => boolean;
	readonly context: CheckContext;
}

export type ConformanceOutcome =
	| { readonly kind: "passed" }
	| { readonly kind: "failed"; readonly reason: string }
	| { readonly kind: "skipped"; readonly reason: string };

class Skip extends Error {}

/** What the launcher expects of every driver, in the order in which it is tried. Each resolves, or throws what is wrong. */
const promises: Readonly<Record<string, (subject: Subject) => Promise<void>>> = {
	"refuses bad options": refusesBadOptions,
	"shows no secret in its command line": async ({ mount, holdsSecret }) => {
		if (holdsSecret(mount.summary.join("\0"))) throw new Error("args hold a secret: put it into files");
	},
	"its check passes": async ({ mount, context }) => {
		if (mount.check === undefined) throw new Skip("it has none: what is wrong is only seen when the program ends");
		await mount.check(context);
	},
	"mounts, under a filesystem type that it declares, and stays in the foreground": async (subject) =>
		tried(subject, async (trial) => {
			const ending = await trial.ending(1500);
			if (ending !== undefined) throw trial.endedEarly(ending);
			const type = (await trial.layers()).at(-1)?.type ?? "none";
			const { filesystemTypes } = subject.driver;
			if (!filesystemTypes.includes(type))
				throw new Error(`the kernel lists ${type}, filesystemTypes has ${filesystemTypes.join(", ")}`);
		}),
	reads: async (subject) => tried(subject, async ({ mountpoint }) => void (await shell('ls -a -- "$1"', mountpoint))),
	"writes, and reads it again after another start": writes,
	"enforces read-only in the mount": async (subject) =>
		tried({ ...subject, mount: subject.readOnlyMount }, async ({ mountpoint }) => {
			const outcome = await runBounded("touch", [join(mountpoint, testName())], 10_000);
			if (outcome.kind === "stuck") throw new Error("touch hangs");
			if (!outcome.stderr.includes("Read-only file system"))
				throw new Error(
					`expected "Read-only file system", touch says ${JSON.stringify(outcome.stderr)}: mount.readOnly is for the command`,
				);
		}),
	"ends when it is stopped, also twice": async (subject) =>
		tried(subject, async ({ session }) => {
			const endings = await Promise.all([session.stop({ graceMs: 10_000 }), session.stop({ graceMs: 10_000 })]);
			if (endings.some(({ kind }) => kind !== "stopped")) throw new Error("it has not ended as stopped");
			if (isAlive(session.pid)) throw new Error("its process is still there");
		}),
	"ends by itself when it is unmounted": async (subject) =>
		tried(subject, async (trial) => {
			await unmount(trial.mountpoint);
			if ((await trial.ending(10_000)) === undefined) throw new Error("its process goes on 10 s after umount");
		}),
	"dies with its process": async (subject) =>
		tried(subject, async (trial) => {
			process.kill(trial.session.pid, "SIGKILL");
			if ((await trial.ending(5000))?.kind !== "failed") throw new Error("its death is not seen");
			const outcome = await runBounded("stat", ["-f", "--", trial.mountpoint], 5000);
			if (outcome.kind === "done" && outcome.exitCode === 0 && (await trial.layers()).length > 0)
				throw new Error("its mount still answers: another process serves it, which nobody supervises");
		}),
	"is ended though it hangs": async (subject) =>
		tried(subject, async ({ session }) => {
			process.kill(session.pid, "SIGSTOP");
			const startedAt = performance.now();
			await session.stop({ graceMs: 300 });
			if (performance.now() - startedAt > 5000) throw new Error("it took more than 5 s");
		}),
	"leaks no secret into processes, files or the log": leaksNothing,
};

/** Plays the contract against a driver and its backend. Without a mount the rest is not tried. */
export async function conformance(
	subject: Subject,
	onOutcome: (name: string, outcome: ConformanceOutcome) => void,
): Promise<void> {
	let cannotMount = false;
	for (const [name, keep] of Object.entries(promises)) {
		if (cannotMount) {
			onOutcome(name, { kind: "skipped", reason: "it does not mount" });
			continue;
		}
		try {
			await keep(subject);
			onOutcome(name, { kind: "passed" });
		} catch (thrown) {
			const reason = thrown instanceof Error ? thrown.message : String(thrown);
			onOutcome(name, { kind: thrown instanceof Skip ? "skipped" : "failed", reason });
			cannotMount ||= name.startsWith("mounts,");
		}
	}
}

async function tried(subject: Subject, use: (trial: Trial) => Promise<void>): Promise<void> {
	const trial = await Trial.mount(subject.mount, subject.context);
	try {
		await use(trial);
	} catch (error) {
		// What is found wrong is what is asked for, whatever comes of this.
		await trial.remove().catch(() => undefined);
		throw error;
	}
	await trial.remove();
}

async function refusesBadOptions({ driver, source }: Subject): Promise<void> {
	const taken: string[] = [];
	for (const [name, schema] of Object.entries(driver.options.shape)) {
		const value = isSecret(schema as Parameters<typeof isSecret>[0]) ? new Secret("a\nb", "bad") : "a\nb";
		try {
			driver.prepare({ source, readOnly: true }, { [name]: value });
			taken.push(name);
		} catch (thrown) {
			const faults = thrown instanceof DriverFaults ? thrown.faults : [];
			if (!faults.some(({ at }) => at.kind === "option" && at.name === name)) taken.push(name);
		}
	}
	if (taken.length > 0)
		throw new Error(`takes a line break in ${taken.join(", ")}: make options with fluid-fuse's own types`);
}

async function writes(subject: Subject): Promise<void> {
	if (subject.readOnly) throw new Skip("the config's mount is read-only; accessModes: [ReadWriteMany] has it tried");
	const name = testName();
	await tried(subject, async ({ mountpoint, session }) => {
		await shell('printf %s "$2" > "$1/$2"', mountpoint, name);
		await unmount(mountpoint);
		await session.stop({ graceMs: 15_000 });
	});
	await tried(subject, async ({ mountpoint }) => {
		const found = await shell('cat -- "$1/$2"; rm -f -- "$1/$2"', mountpoint, name);
		if (found !== name) throw new Error(`wrote ${name}, and found ${JSON.stringify(found)} after another start`);
	});
}

async function leaksNothing(subject: Subject): Promise<void> {
	await tried(subject, async (trial) => {
		const { session, directory, mountpoint } = trial;
		await shell('ls -a -- "$1"', mountpoint);
		for (const pid of await processGroup(session.pid)) {
			if (subject.holdsSecret(await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")))
				throw new Error(
					"its command line, which every process of the node can read, holds a secret: put it into files",
				);
		}
		for (const name of await readdir(directory, { recursive: true })) {
			const { mode } = await stat(join(directory, name));
			if ((mode & 0o077) !== 0) throw new Error(`others may read ${name} in its private directory`);
		}
		await unmount(mountpoint);
		await session.stop({ graceMs: 10_000 });
		if (subject.holdsSecret(trial.log)) throw new Error("the program prints a secret");
	});
}

/** It leads a group of its own. */
async function processGroup(leader: number): Promise<string[]> {
	const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
	const groups = await Promise.all(
		pids.map(async (pid) => {
			const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
			// The name stands in parentheses and may hold anything.
			return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[2]);
		}),
	);
	return pids.filter((_, index) => groups[index] === leader);
}

async function shell(script: string, ...words: string[]): Promise<string> {
	const outcome = await runBounded("sh", ["-c", script, "sh", ...words], 20_000);
	if (outcome.kind === "stuck") throw new Error(`does not answer: ${script}`);
	if (outcome.exitCode !== 0) throw new Error(outcome.stderr.trim().slice(0, 300));
	return outcome.stdout;
}

function testName(): string {
	return `fluid-fuse-conformance-${randomBytes(4).toString("hex")}`;
}

function isAlive(pid: number): boolean {
	try {
		process.kill(pid, 0);
		return true;
	} catch {
		// ESRCH.
		return false;
	}
}
