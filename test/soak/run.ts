import { fork, type ChildProcess } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { native } from "../../src/drivers/native.ts";
import type { SharedSession } from "../../src/drivers/driver.ts";
import { statfs } from "../../src/mounts/statfs.ts";
import { prepareNative } from "../drivers/prepare-native.ts";
import { answerOf } from "../support/child-answer.ts";
import { DriverFolder } from "../support/driver-folder.ts";
import { fuseDescriptors } from "../support/fuse-descriptors.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { until } from "../support/pod.ts";

/** Applications of all kinds on one mount of four buckets, whose process is killed again and again. */

export interface SoakOptions {
	readonly minutes: number;
	/** It is over when so many have died. Default: when the time is. */
	readonly kills?: number;
	/** Of the mount. */
	readonly options?: Readonly<Record<string, string>>;
	/** MinIO is started anew after so many kills. Default: never. */
	readonly restartEvery?: number;
	/** The process is stopped instead of killed after so many kills. Default: never. */
	readonly stopEvery?: number;
	readonly say?: (line: string) => void;
}

export interface Soaked {
	readonly kills: number;
	/** How long applications waited, of those that were killed, in seconds. */
	readonly waits: readonly number[];
	readonly counts: Readonly<Record<string, number>>;
	readonly faults: readonly string[];
	/** What is there that nobody needs. */
	readonly left: readonly string[];
	/** Of each process in its last moment, in bytes. */
	readonly residentBytes: readonly number[];
	/** Of this process, which holds the mount. */
	readonly heapGrownBytes: number;
}

interface Server {
	readonly dataDir: string;
	readonly rootPassword: string;
	readonly port: number;
	minio: Minio;
}

interface Done {
	readonly kind: "done";
	readonly counts: Readonly<Record<string, number>>;
	readonly faults: readonly string[];
	readonly logged?: string;
	readonly sums?: Readonly<Record<string, string>>;
}

const MiB = 1024 ** 2;
const names = 1200;
const buckets = ["reading", "work", "writing", "programs"] as const;
/** For applications to end when they are told to. */
const endMs = 300_000;

export async function soak(options: SoakOptions): Promise<Soaked> {
	const { say = () => undefined } = options;
	const scratch = mkdtempSync(join(tmpdir(), "fluid-fuse-soak-"));
	const made = { dataDir: join(scratch, "data"), rootPassword: randomBytes(20).toString("base64url") };
	const minio = await startMinio(made);
	const server: Server = { ...made, minio, port: minio.port };
	const folder = new DriverFolder();
	const applications: ChildProcess[] = [];
	let session: SharedSession | undefined;
	const lines: string[] = [];
	const waits: number[] = [];
	try {
		const large = await fill(minio);
		const write = (line: string): void => {
			lines.push(line);
			if (lines.length > 300) lines.shift();
		};
		const log = pino({ level: "info" }, { write });
		const onContinued = (seconds: number): void => void waits.push(seconds);
		const context = { ...folder.context({ continuesAfterCrash: true, onContinued }), log, hangTimeoutMs: 60_000 };
		const members = buckets.map((bucket) => {
			return { folder: bucket, mount: prepareNative(minio, bucket, { "write-buffer": "128Mi", ...options.options }) };
		});
		session = await native.startTogether?.(members, { ...context, readOnly: false });
		if (session === undefined) throw new Error("native shows several buckets");
		const here = session;
		const { mountpoint } = folder;
		await until(
			async () => (await statfs(mountpoint, 2000)).kind === "answered",
			60_000,
			() => `not mounted: ${lines.join("")}`,
		);
		const digest = createHash("sha256").update(large).digest("hex");
		const faults: string[] = [];
		const start = (file: string, ...args: string[]): Promise<Done> => {
			const child = fork(join(import.meta.dirname, file), args, { stdio: "inherit", cwd: "/" });
			child.on("message", (message: { kind: string; fault?: string }) => {
				if (message.kind === "fault") say(`FAULT ${message.fault}\n${lines.slice(-12).join("")}`);
			});
			applications.push(child);
			return answerOf<Done, "done">(child, "done", { limitMs: options.minutes * 60_000 + 2 * endMs, log: lines });
		};
		const done = Promise.all([
			start("../drivers/at-reading.ts", join(mountpoint, "reading"), `${names}`, digest),
			start("../drivers/at-work.ts", join(mountpoint, "work"), `${names}`, digest),
			start("../drivers/at-writing.ts", join(mountpoint, "writing")),
			start("at-programs.ts", join(mountpoint, "programs"), scratch),
		]);
		done.catch((error: unknown) => faults.push(String(error)));
		await until(
			() => (here.stats?.()["open_files"] ?? 0) >= 5,
			120_000,
			() => `no application: ${lines.join("")}`,
		);
		const heapBefore = process.memoryUsage().heapUsed;
		const residentBytes = await kill(here, server, options, lines, say);
		await sleep(1000);
		for (const application of applications) application.send("end");
		const all = await done;
		faults.push(...all.flatMap((each) => each.faults));
		const left = await leftovers(here, server.minio, {
			data: made.dataDir,
			staging: join(folder.directory, "writing"),
		});
		await check(server.minio, all, faults);
		await here.stop({ graceMs: 30_000 });
		if (fuseDescriptors() > 0) left.push(`${fuseDescriptors()} descriptors of /dev/fuse`);
		left.push(...zombies());
		const counts = Object.assign({}, ...all.map((each) => each.counts)) as Record<string, number>;
		return {
			kills: residentBytes.length,
			waits,
			counts,
			faults,
			left,
			residentBytes,
			heapGrownBytes: process.memoryUsage().heapUsed - heapBefore,
		};
	} finally {
		for (const application of applications) application.kill("SIGKILL");
		await session?.stop({ graceMs: 0 });
		await folder.remove();
		await server.minio.stop();
		rmSync(scratch, { recursive: true });
	}
}

/** Returns what `large` is in it. */
async function fill(minio: Minio): Promise<Buffer> {
	const large = randomBytes(24 * MiB);
	for (const bucket of buckets) await minio.createBucket(bucket);
	for (const bucket of ["reading", "work"]) {
		await minio.put(bucket, "large", large);
		await Promise.all(Array.from({ length: names }, async (_, index) => minio.put(bucket, `many/${index}`, "x")));
	}
	await minio.put("work", "removed", "removed");
	await Promise.all(
		Array.from({ length: 400 }, async (_, index) => minio.put("reading", `tree/${index % 20}/${index}`, `${index}`)),
	);
	return large;
}

/** Returns what each process had of memory when it was killed. */
async function kill(
	here: SharedSession,
	server: Server,
	{ minutes, kills = Infinity, restartEvery = Infinity, stopEvery = Infinity }: SoakOptions,
	lines: readonly string[],
	say: (line: string) => void,
): Promise<number[]> {
	const endAt = performance.now() + minutes * 60_000;
	const resident: number[] = [];
	let restarting = Promise.resolve();
	let waitedMs = 0;
	while (performance.now() < endAt && resident.length < kills) {
		// On a busy machine, too, applications are to get on between two kills.
		await sleep(200 + Math.random() * 2000 + waitedMs);
		const { pid } = here;
		const killedAt = performance.now();
		resident.push(residentBytes(pid));
		const count = resident.length;
		if (count % restartEvery === 0) restarting = restarting.then(async () => restarted(server));
		process.kill(pid, count % stopEvery === 0 ? "SIGSTOP" : "SIGKILL");
		await until(
			() => here.pid !== pid,
			60_000,
			() => `no other process:\n${lines.slice(-20).join("")}`,
		);
		waitedMs = performance.now() - killedAt;
		if (count % 10 === 0) say(`${count} kills`);
	}
	await restarting;
	return resident;
}

/** The same server again, after a while without one. */
async function restarted(server: Server): Promise<void> {
	const { port, dataDir, rootPassword } = server;
	await server.minio.stop();
	await sleep(2000);
	server.minio = await startMinio({ dataDir, port, rootPassword });
}

function residentBytes(pid: number): number {
	const pages = Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]);
	return pages * 4096;
}

/** What the bucket has is what the applications have written. */
async function check(minio: Minio, all: readonly Done[], faults: string[]): Promise<void> {
	const logged = all.find((each) => each.logged !== undefined)?.logged;
	if ((await minio.get("work", "log")).toString() !== logged) faults.push("the log is not what was written");
	for (const [name, sum] of Object.entries(all.find((each) => each.sums !== undefined)?.sums ?? {})) {
		const found = createHash("sha256")
			.update(await minio.get("writing", name))
			.digest("hex");
		if (found !== sum) faults.push(`${name} is not what was written`);
	}
}

async function leftovers(
	here: SharedSession,
	minio: Minio,
	{ data, staging }: { readonly data: string; readonly staging: string },
): Promise<string[]> {
	const look = async (): Promise<string[]> => {
		await here.measure?.();
		const stats = here.stats?.() ?? {};
		const open = ["open_files", "open_directories", "dirty_bytes"].filter((name) => stats[name] !== 0);
		const objects = (await Promise.all(buckets.map(async (bucket) => minio.list(bucket)))).flat();
		const parts = join(data, ".minio.sys/multipart");
		return [
			...open.map((name) => `${name}: ${stats[name]}`),
			...objects.filter((key) => /unlinked|nameless|\.new|^removed|^git-|^tar-/.test(key)),
			// One that nobody has heard of has no part, and costs nothing.
			...(existsSync(parts) ? readdirSync(parts, { recursive: true, encoding: "utf8" }) : []).filter((name) =>
				/part\.\d+$/.test(name),
			),
			// What the next who appends will need may be kept.
			...(existsSync(staging) ? readdirSync(staging).slice(8) : []),
		];
	};
	let left: string[] = [];
	// What is asynchronous after close(2) comes to its end.
	for (const end = performance.now() + 20_000; performance.now() < end; await sleep(200)) {
		left = await look();
		if (left.length === 0) break;
	}
	return left;
}

/** Children of this process that nobody has asked about. */
function zombies(): string[] {
	return readdirSync("/proc").flatMap((pid) => {
		try {
			const [, name = "", state, parent] =
				/^\d+ \((.*)\) (\w) (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
			return state === "Z" && Number(parent) === process.pid ? [`zombie ${name}`] : [];
		} catch {
			return [];
		}
	});
}
