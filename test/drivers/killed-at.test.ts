import { fork, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { DriverSession } from "../../src/drivers/driver.ts";
import { statfs } from "../../src/mounts/statfs.ts";
import { answerOf } from "../support/child-answer.ts";
import { DriverFolder } from "../support/driver-folder.ts";
import { fuseDescriptors } from "../support/fuse-descriptors.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { until } from "../support/pod.ts";
import { prepareNative } from "./prepare-native.ts";

/** Of the moments in which a process can be killed, each so manieth; which of them is another one each time. */
const everyNth = Number(process.env["KILL_EVERY"] ?? 25);
const only = process.env["KILL_ONLY"]?.split(",");
const from = Number(process.env["KILL_FROM"] ?? 1);
const limitMs = 60_000;

type Answer =
	| {
			readonly kind: "did";
			readonly fault: string;
			readonly sums: Readonly<Record<string, string>>;
			readonly others: readonly string[];
	  }
	| { readonly kind: "works"; readonly names: readonly string[] };

let minio: Minio;
let folder: DriverFolder | undefined;
let session: DriverSession | undefined;
let application: ChildProcess | undefined;
const lines: string[] = [];
const data = mkdtempSync(join(tmpdir(), "fluid-fuse-data-"));
const dieAt = mkdtempSync(join(tmpdir(), "fluid-fuse-die-at-"));

beforeAll(async () => {
	minio = await startMinio({ dataDir: data });
	const hook = join(import.meta.dirname, "die-at.ts");
	const start = `#!/bin/sh\nDIE_AT=${dieAt} NODE_OPTIONS=--import=${hook} PATH=$(echo "$PATH" | cut -d: -f2-) exec setpriv "$@"\n`;
	writeFileSync(join(dieAt, "setpriv"), start, { mode: 0o755 });
});
afterAll(async () => {
	await minio.stop();
	for (const path of [data, dieAt]) rmSync(path, { recursive: true });
});
afterEach(async () => {
	application?.kill("SIGKILL");
	await session?.stop({ graceMs: 0 });
	await folder?.remove();
	folder = session = application = undefined;
	lines.length = 0;
});

async function mount(bucket: string, options: Readonly<Record<string, string>> = {}) {
	folder = new DriverFolder();
	const context = {
		...folder.context({ continuesAfterCrash: true }),
		variables: { ...process.env, PATH: `${dieAt}${delimiter}${process.env["PATH"]}` },
		log: pino({ level: "info" }, { write: (line) => void lines.push(line) }),
	};
	const started = await prepareNative(minio, bucket, options).start(context);
	session = started;
	const { mountpoint } = folder;
	await until(
		async () => (await statfs(mountpoint, 2000)).kind === "answered",
		limitMs,
		() => `not mounted: ${lines.join("")}`,
	);
	return { session: started, mountpoint };
}

async function arm(here: DriverSession, moment: number): Promise<void> {
	rmSync(join(dieAt, "is-armed"), { force: true });
	writeFileSync(join(dieAt, "armed"), `${moment}`);
	try {
		process.kill(here.pid, "SIGUSR2");
	} catch {
		// It has died of what it was armed with before.
	}
	await until(
		() => existsSync(join(dieAt, "is-armed")) || existsSync(join(dieAt, "died")),
		limitMs,
		() => `not armed:\n${lines.slice(-10).join("")}`,
	);
}

/** Where it has died since this was asked last; undefined: it has not. */
function death(): string | undefined {
	const file = join(dieAt, "died");
	if (!existsSync(file)) return undefined;
	const where = readFileSync(file, "utf8").trim();
	rmSync(file);
	return where;
}

/** Uploads that nobody has ended, in MinIO's own folder. */
function uploads(): string[] {
	const folder = join(data, ".minio.sys/multipart");
	if (!existsSync(folder)) return [];
	// One that nobody has heard of has no part, and costs nothing.
	return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /part\.\d+$/.test(name));
}

/** Returns what the bucket has below that folder: the sums of files, and directories. */
async function present(bucket: string, folder: string): Promise<{ sums: Record<string, string>; others: string[] }> {
	const keys = (await minio.list(bucket)).filter((key) => key.startsWith(`${folder}/`) && key !== `${folder}/`);
	const sums: Record<string, string> = {};
	for (const key of keys) {
		if (key.endsWith("/")) continue;
		const hash = createHash("sha256").update(await minio.get(bucket, key));
		sums[key.slice(folder.length + 1)] = hash.digest("hex");
	}
	const directories = keys.filter((key) => key.endsWith("/"));
	return { sums, others: directories.map((key) => key.slice(folder.length + 1)) };
}

/** What is there that nobody needs, when all that is asynchronous after close(2) had the time to end. */
async function leftovers(here: DriverSession, bucket: string, place: string): Promise<string[]> {
	let left: string[] = [];
	const look = async (): Promise<boolean> => {
		const objects = (await minio.list(bucket)).filter((key) => key.startsWith(place) || key.startsWith(".fluid"));
		// What the next who appends will need may be kept.
		const staged = readdirSync(join(folder?.directory ?? "", "writing")).slice(8);
		await here.measure?.();
		const { dirty_bytes: dirtyBytes = 0 } = here.stats?.() ?? {};
		left = [...objects, ...uploads(), ...staged, ...(dirtyBytes > 0 ? [`${dirtyBytes} dirty bytes`] : [])];
		return left.length === 0;
	};
	await until(look, 3000, () => "").catch(() => undefined);
	return left;
}

/** Does all works again and again, each time killed in another moment. `diesTwice`: who goes on is killed, too, in one of its first moments. */
async function faults(options: Readonly<Record<string, string>>, diesTwice = false): Promise<string[]> {
	const bucket = `killed-${Date.now()}`;
	await minio.createBucket(bucket);
	const { session: here, mountpoint } = await mount(bucket, options);
	const child = (application = fork(join(import.meta.dirname, "at-places.ts"), [mountpoint], { stdio: "inherit" }));
	const { names } = await answerOf<Answer, "works">(child, "works", { limitMs, log: lines });
	const found: string[] = [];
	let deathsOfHeirs = 0;
	for (const name of names.filter((each) => only?.includes(each) ?? true)) {
		const step = name.includes("much") ? 8 * everyNth : everyNth;
		let isOver = false;
		for (let moment = from + Math.floor(Math.random() * step); !isOver; moment += step) {
			const place = `${name.replaceAll(" ", "-")}-${moment}`;
			const does = async (part: string) => {
				const answer = answerOf<Answer, "did">(child, "did", { limitMs, log: lines });
				child.send({ step: part, name, folder: place });
				return answer;
			};
			const { pid } = here;
			const before = await does("before");
			await arm(here, moment);
			if (diesTwice) writeFileSync(join(dieAt, "at-start"), `${1 + Math.floor(Math.random() * 40)}`);
			const done = await does("act");
			await arm(here, Infinity);
			const where = death();
			isOver = where === undefined;
			if (where?.includes("\n") === true) deathsOfHeirs++;
			rmSync(join(dieAt, "at-start"), { force: true });
			await until(
				() => isOver || here.pid !== pid,
				limitMs,
				() => `no other process:\n${lines.join("")}`,
			);
			const after = await does("after");
			const inBucket = await present(bucket, place);
			const removed = await does("remove");
			const left = await leftovers(here, bucket, place);
			for (const key of left) await minio.delete(bucket, key);
			const isSame =
				isDeepStrictEqual(inBucket.sums, after.sums) &&
				inBucket.others.toSorted().join(" ") === after.others.toSorted().join(" ");
			const wrong = [before, done, after, removed].map(({ fault }) => fault).filter(Boolean);
			if (!isSame) wrong.push(`the bucket has ${Object.keys(inBucket.sums).join(" ")} ${inBucket.others.join(" ")}`);
			if (left.length > 0) wrong.push(`left over: ${left.join(" ")}`);
			if (wrong.length > 0) found.push(`${name} ${moment} ${where}: ${wrong.join("; ")}`);
		}
	}
	if (diesTwice && deathsOfHeirs === 0) found.push("nobody died who had gone on");
	if (fuseDescriptors() !== 1) found.push(`${fuseDescriptors()} descriptors of /dev/fuse`);
	return found;
}

const limits = { timeout: 1_500_000 };

test("nobody notices when in their work a process is killed", limits, async () => {
	expect(await faults({ "write-buffer": "64Mi" })).toEqual([]);
});

test("nor when the one that goes on is killed, too", limits, async () => {
	expect(await faults({ "write-buffer": "64Mi", ttl: "0" }, true)).toEqual([]);
});
