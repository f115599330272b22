import { fork } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { DriverSession } from "../../src/drivers/driver.ts";
import { statfs } from "../../src/mounts/statfs.ts";
import { DriverFolder } from "../support/driver-folder.ts";
import { OpenFile } from "../support/application.ts";
import { answerOf } from "../support/child-answer.ts";
import { fuseDescriptors } from "../support/fuse-descriptors.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { until } from "../support/pod.ts";
import { prepareNative } from "./prepare-native.ts";

const MiB = 1024 ** 2;
const names = 1200;
const large = randomBytes(24 * MiB);

interface Done {
	readonly kind: "done";
	readonly counts: Readonly<Record<string, number>>;
	readonly faults: readonly string[];
	readonly logged: string;
}

let minio: Minio;
let folder: DriverFolder | undefined;
let session: DriverSession | undefined;
const lines: string[] = [];
const files: OpenFile[] = [];
/** In front of the PATH of what is started. */
const programs = mkdtempSync(join(tmpdir(), "fluid-fuse-programs-"));

beforeAll(async () => {
	minio = await startMinio();
});
afterAll(async () => {
	rmSync(programs, { recursive: true });
	await minio.stop();
});
afterEach(async () => {
	for (const file of files.splice(0)) file.kill();
	await session?.stop({ graceMs: 0 });
	await folder?.remove();
	folder = session = undefined;
	lines.length = 0;
});

async function mount(
	bucket: string,
	options: Readonly<Record<string, string>> = {},
	variables: NodeJS.ProcessEnv = process.env,
) {
	folder = new DriverFolder();
	const context = {
		...folder.context(),
		variables,
		log: pino({ level: "info" }, { write: (line) => void lines.push(line) }),
	};
	const started = await prepareNative(minio, bucket, options).start(context);
	session = started;
	const { mountpoint } = folder;
	await until(
		async () => (await statfs(mountpoint, 2000)).kind === "answered",
		30_000,
		() => `not mounted: ${lines.join("")}`,
	);
	const exchange = async (): Promise<number> => {
		const { pid } = started;
		const waitedMs = (await started.exchange?.(AbortSignal.timeout(60_000))) ?? Number.NaN;
		expect(started.pid).not.toBe(pid);
		return waitedMs;
	};
	return { session: started, mountpoint, exchange };
}

test.each(["0", "2"])(
	"its process, with %s threads, is exchanged while applications use the mount, and they see a pause and nothing else",
	{ timeout: 180_000 },
	async (threads) => {
		const bucket = `work-${threads}`;
		await minio.createBucket(bucket);
		await minio.put(bucket, "large", large);
		await minio.put(bucket, "removed", "removed");
		await Promise.all(Array.from({ length: names }, async (_, index) => minio.put(bucket, `many/${index}`, "x")));
		const { session: here, mountpoint, exchange } = await mount(bucket, { threads });
		const digest = createHash("sha256").update(large).digest("hex");
		const application = fork(join(import.meta.dirname, "at-work.ts"), [mountpoint, `${names}`, digest], {
			stdio: "inherit",
		});
		const done = answerOf<Done, "done">(application, "done", { limitMs: 170_000, log: lines });
		await until(
			() => here.stats?.()["open_files"] === 3 || lines.some((line) => line.includes('"error"')),
			60_000,
			() => lines.join(""),
		);
		const waits: number[] = [];
		for (let round = 0; round < 3; round++) waits.push(await exchange());
		application.send("end");
		const { counts, faults, logged } = await done;
		expect(faults, lines.join("")).toEqual([]);
		for (const name of ["read", "list", "append", "change", "look"]) expect(counts[name], name).toBeGreaterThan(0);
		expect((await minio.get(bucket, "log")).toString()).toBe(logged);
		// It goes with the last close, which does not wait for that.
		await expect.poll(async () => minio.list(bucket)).not.toContain("removed");
		expect(Math.max(...waits)).toBeLessThan(10_000);
	},
);

/** In a process of its own: who keeps the mount alive must not have to wait for it. */
function opened(...args: ConstructorParameters<typeof OpenFile>): OpenFile {
	const file = new OpenFile(...args);
	files.push(file);
	return file;
}

/** A folder with a setpriv that does this instead of starting anything; `$@` is what it was to start. */
function insteadOfSetpriv(script: string): void {
	writeFileSync(join(programs, "setpriv"), `#!/bin/bash\nPATH=\${PATH#*:}\n${script}\n`, { mode: 0o755 });
}

const failures: readonly (readonly [what: string, script: string, reason: RegExp])[] = [
	["cannot be started", "exit 1", /no other one can be started/],
	[
		"dies before it takes over",
		`exec setpriv "\${@:1:4}" --import 'data:text/javascript,process.on("message", ({ kind }) => { if (kind === "serve") process.abort(); })' "\${@:5}"`,
		/could not take over/,
	],
];

test.each(failures)("goes on in its process when the other one %s", async (_, script, reason) => {
	await minio.createBucket("goes-on").catch(() => undefined);
	await minio.put("goes-on", "file", "content");
	const variables = { ...process.env, PATH: `${programs}${delimiter}${process.env["PATH"]}` };
	const { session: here, mountpoint, exchange } = await mount("goes-on", {}, variables);
	const { pid } = here;
	const file = opened(join(mountpoint, "file"), "r");
	expect(await file.step("open")).toBe('ok ""');
	insteadOfSetpriv(script);
	const error: unknown = await here.exchange?.(AbortSignal.timeout(60_000)).catch((thrown: unknown) => thrown);
	expect(error).toMatchObject({ code: "EXCHANGE_REFUSED", message: expect.stringMatching(reason) as unknown });
	expect(here.pid).toBe(pid);
	expect(await file.step("read", 100)).toBe('ok "content"');
	rmSync(join(programs, "setpriv"));
	await exchange();
	expect(await file.step("read", 100)).toBe('ok "content"');
});

/** What it prints are lines; each of ours lets it go on. */
const numbersOfFiles = `
import os, sys
# By what made it: where it is now, if it has a name, and its descriptor, if it is open.
paths, opened, numbers = {}, {}, {}
def made(label, path, descriptor=None):
    paths[label] = path
    if descriptor is not None: opened[label] = descriptor
def check(moment):
    found = {}
    for label in paths.keys() | opened.keys():
        by = [os.stat(paths[label]).st_ino] if label in paths else []
        by += [os.fstat(opened[label]).st_ino] if label in opened else []
        assert len(set(by)) == 1, "%s: %s is %s by its name and its descriptor" % (moment, label, by)
        found[label] = by[0]
    for label, number in numbers.items():
        assert found[label] == number, "%s: %s was %d and is %d" % (moment, label, number, found[label])
    assert len(set(found.values())) == len(found), "%s: two share a number: %s" % (moment, sorted(found.items(), key=lambda one: one[1]))
    for path in {os.path.dirname(path) or "." for path in paths.values()}:
        for each in os.scandir(path):
            assert each.inode() == os.stat(each.path).st_ino, "%s: %s is listed with another number" % (moment, each.path)
    numbers.update(found)
def write(path):
    with open(path, "w") as file: file.write(path)
def move(old, new):
    os.rename(old, new)
    for label, path in paths.items():
        if path == old or path.startswith(old + "/"): paths[label] = new + path[len(old):]
for turn in range(3):
    label = lambda kind: "%s of %d" % (kind, turn)
    for kind in "closed", "open", "removed", "replaced":
        write(kind); made(label(kind), kind, None if kind == "closed" else os.open(kind, os.O_RDONLY))
    for kind in "directory", "emptied":
        os.mkdir(kind); made(label(kind), kind, os.open(kind, os.O_RDONLY))
    write("directory/file"); made(label("file below"), "directory/file", os.open("directory/file", os.O_RDONLY))
    os.mkdir("directory/inner"); made(label("inner"), "directory/inner", os.open("directory/inner", os.O_RDONLY))
    check("made in %d" % turn)
    for kind in "closed", "open", "directory": move(kind, "%s-%d" % (kind, turn))
    os.unlink("removed"); del paths[label("removed")]
    write("other"); made(label("other"), "other")
    del paths[label("replaced")]; move("other", "replaced")
    os.rmdir("emptied"); del paths[label("emptied")]
    # What is moved into one that has its name, and two that change places.
    if turn > 0: move("directory-%d" % (turn - 1), "directory-%d/directory" % turn)
    if turn > 0: move("closed-%d" % (turn - 1), "between"); move("closed-%d" % turn, "closed-%d" % (turn - 1)); move("between", "closed-%d" % turn)
    move("replaced", "replaced-%d" % turn)
    check("moved in %d" % turn)
    print("ready", flush=True); sys.stdin.readline()
    check("served by another after %d" % turn)
print(len(numbers), flush=True)`;

test("no file has another inode number for an exchange, or that of another file, whatever is renamed before and after it", async () => {
	await minio.createBucket("numbers");
	const { mountpoint, exchange } = await mount("numbers", { ttl: "0s" });
	const program = execa("python3", ["-c", numbersOfFiles], { cwd: mountpoint, timeout: 120_000 });
	let turn = 0;
	let last = "";
	try {
		for await (const line of program) {
			last = line;
			if (line !== "ready") continue;
			// The kernel forgets what nobody has open.
			if (turn++ % 2 === 1) await execa("mount", ["-i", "-o", "remount", mountpoint], { timeout: 10_000 });
			await exchange();
			program.stdin.write("\n");
		}
		await program;
	} finally {
		program.kill("SIGKILL");
	}
	expect(last).toBe("27");
}, 180_000);

test("what is written to a file that was removed keeps the process, until it is closed", async () => {
	await minio.createBucket("removed");
	const { session: here, mountpoint, exchange } = await mount("removed");
	const file = opened(join(mountpoint, "temporary"), "w+");
	for (const word of ["open", "unlink"] as const) expect(await file.step(word)).toBe('ok ""');
	expect(await file.step("write", 3)).toBe('ok ""');
	const error: unknown = await here.exchange?.(AbortSignal.timeout(60_000)).catch((thrown: unknown) => thrown);
	expect(error).toMatchObject({
		code: "EXCHANGE_REFUSED",
		message: expect.stringContaining("were removed") as unknown,
	});
	expect(await file.step("read", 100)).toBe('ok "xxx"');
	expect(await file.step("close")).toBe('ok ""');
	await exchange();
	expect(await minio.list("removed")).toEqual([]);
});

test("a file that is open for writing goes on, and is complete when it is closed", async () => {
	await minio.createBucket("written");
	const { mountpoint, exchange } = await mount("written");
	const file = opened(join(mountpoint, "file"), "w");
	expect(await file.step("open")).toBe('ok ""');
	const numbers = 2 * MiB;
	for (let piece = 0; piece < 4; piece++) {
		expect(await file.step("count", numbers)).toBe('ok ""');
		await exchange();
	}
	expect(await file.step("count", 1)).toBe('ok ""');
	expect(await file.step("close")).toBe('ok ""');
	const expected = Uint32Array.from({ length: 4 * numbers + 1 }, (_, index) => index);
	expect(Buffer.compare(await minio.get("written", "file"), new Uint8Array(expected.buffer))).toBe(0);
});

test("an end of either process, and a stop meanwhile, leave no descriptor of the mount", async () => {
	await minio.createBucket("ends");
	const { session: here, mountpoint, exchange } = await mount("ends");
	await exchange();
	process.kill(here.pid, "SIGKILL");
	expect(await here.ended).toMatchObject({ kind: "failed", cause: { code: "DRIVER_KILLED" } });
	expect(fuseDescriptors()).toBe(0);
	expect(await statfs(mountpoint, 2000)).toEqual({ kind: "dead" });
	await folder?.remove();
	for (const delayMs of [0, 300, 800]) {
		const { session: next } = await mount("ends");
		const exchanging = next.exchange?.(AbortSignal.timeout(60_000)).catch((error: unknown) => error);
		await sleep(delayMs);
		expect(await next.stop({ graceMs: 2000 })).toEqual({ kind: "stopped" });
		await exchanging;
		expect(fuseDescriptors(), `after ${delayMs} ms`).toBe(0);
		await folder?.remove();
	}
	folder = undefined;
});
