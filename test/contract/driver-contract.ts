import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { DriverFaults, type Driver, type RawOptions, type DriverSession } from "../../src/drivers/driver.ts";
import { layersAt, readMountinfo } from "../../src/mounts/mountinfo.ts";
import { statfs } from "../../src/mounts/statfs.ts";
import { createIdentity } from "../../src/s3/identity/identity.ts";
import { DriverFolder } from "../support/driver-folder.ts";
import { until } from "../support/pod.ts";

export interface DriverFixture {
	readonly driver: Driver;
	/** A source that works, holding `hello.txt` with "hello\n". */
	readonly source: () => string;
	readonly options: () => RawOptions;
	/** One that does not exist; absent where the driver cannot tell. */
	readonly missingSource?: string;
	/** Absent where it takes any. */
	readonly badOptions?: RawOptions;
}

/** What every driver promises to the launcher. A driver is not in the list of drivers until it passes. */
export function testDriver(title: string, { driver, source, options, missingSource, badOptions }: DriverFixture): void {
	describe(`${title} keeps the driver contract`, () => {
		let folder: DriverFolder | undefined;
		let session: DriverSession | undefined;

		afterEach(async () => {
			await session?.stop({ graceMs: 0 });
			session = undefined;
			await folder?.remove();
			folder = undefined;
		});

		async function start(readOnly = false): Promise<{ session: DriverSession; mountpoint: string; directory: string }> {
			folder = new DriverFolder();
			const prepared = driver.prepare({ source: source(), readOnly }, options());
			session = await prepared.start(folder.context());
			const { mountpoint, directory } = folder;
			return { session, mountpoint, directory };
		}

		async function untilMounted(mountpoint: string): Promise<void> {
			const isThere = async (): Promise<boolean> => {
				const top = layersAt(await readMountinfo(), mountpoint).at(-1);
				return (
					top !== undefined &&
					(driver.filesystemTypes.includes(top.type) || driver.filesystemTypes.includes("*")) &&
					(await statfs(mountpoint, 2000)).kind === "answered"
				);
			};
			await until(isThere, 60_000, () => "not mounted");
		}

		async function mounted(readOnly = false) {
			const started = await start(readOnly);
			await untilMounted(started.mountpoint);
			return started;
		}

		const read = (path: string): string => execFileSync("cat", [path], { encoding: "utf8", timeout: 10_000 });

		test("serves a file, under one of the filesystem types that it declares", async () => {
			const { mountpoint } = await mounted();
			expect(read(join(mountpoint, "hello.txt"))).toBe("hello\n");
		});

		test("ends with 'stopped' when it is asked to, also twice", async () => {
			const { session: running } = await mounted();
			const endings = await Promise.all([running.stop({ graceMs: 5000 }), running.stop({ graceMs: 5000 })]);
			expect(endings).toEqual([{ kind: "stopped" }, { kind: "stopped" }]);
			expect(await running.stop({ graceMs: 0 })).toEqual({ kind: "stopped" });
			expect(() => process.kill(running.pid, 0)).toThrow("ESRCH");
		});

		test("ends by itself when its mount is unmounted", async () => {
			const { session: running, mountpoint } = await mounted();
			execFileSync("umount", [mountpoint]);
			const ending = await Promise.race([running.ended, sleep(10_000)]);
			expect(ending).toBeDefined();
		});

		test("ends with 'failed' and a cause when its process is killed", async () => {
			const { session: running } = await mounted();
			process.kill(running.pid, "SIGKILL");
			const ending = await running.ended;
			expect(ending).toMatchObject({ kind: "failed", cause: { code: "DRIVER_KILLED" } });
		});

		test("is ended by SIGKILL when it does not react in its grace time", async () => {
			const { session: running } = await mounted();
			process.kill(running.pid, "SIGSTOP");
			const startedAt = performance.now();
			await running.stop({ graceMs: 300 });
			expect(performance.now() - startedAt).toBeLessThan(3000);
		});

		test("enforces read-only in the mount itself", async () => {
			const { mountpoint } = await mounted(true);
			expect(() => execFileSync("touch", [join(mountpoint, "new")], { stdio: "pipe" })).toThrow(
				"Read-only file system",
			);
		});

		test("mounts so that what is in the bucket gives nobody rights: nosuid, nodev", async () => {
			const { mountpoint } = await mounted();
			const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
			const flags = lines.find((line) => line.split(" ")[4] === mountpoint)?.split(" ")[5];
			expect(flags?.split(",")).toEqual(expect.arrayContaining(["nosuid", "nodev"]));
		});

		test("does not start when it is not wanted any more", async () => {
			const prepared = driver.prepare({ source: source(), readOnly: false }, options());
			folder = new DriverFolder();
			await expect(prepared.start({ ...folder.context(), signal: AbortSignal.abort() })).rejects.toThrow("aborted");
		});

		test("writes its files for root alone", async () => {
			const { directory } = await mounted();
			for (const name of readdirSync(directory)) expect(statSync(join(directory, name)).mode & 0o077, name).toBe(0);
		});

		test.runIf(missingSource !== undefined)("its check passes for what works and says what is missing", async () => {
			const signal = AbortSignal.timeout(20_000);
			await driver
				.prepare({ source: source(), readOnly: false }, options())
				.check?.({ signal, variables: {}, identity: createIdentity({}) });
			const missing = driver.prepare({ source: missingSource ?? "", readOnly: false }, options());
			await expect(missing.check?.({ signal, variables: {}, identity: createIdentity({}) })).rejects.toMatchObject({
				code: "BUCKET_MISSING",
			});
		});

		test.runIf(driver.startTogether !== undefined)(
			"serves several mounts as folders of one, each with its own mode, and takes another one while it runs",
			async () => {
				folder = new DriverFolder();
				const { mountpoint } = folder;
				const member = (name: string, readOnly: boolean) => ({
					folder: name,
					mount: driver.prepare({ source: source(), readOnly }, options()),
				});
				const shared = await driver.startTogether?.([member("a", true), member("b/c", false)], {
					...folder.context(),
					readOnly: false,
				});
				session = shared;
				await untilMounted(mountpoint);
				for (const name of ["a", "b/c"]) expect(read(join(mountpoint, name, "hello.txt"))).toBe("hello\n");
				const touch = (name: string): string =>
					spawnSync("touch", [join(mountpoint, name, "new")], { encoding: "utf8", timeout: 10_000 }).stderr;
				expect(touch("a")).toContain("Read-only file system");
				expect(touch("b")).toContain("Read-only file system");
				expect(touch("b/c")).toBe("");
				execFileSync("rm", [join(mountpoint, "b/c/new")]);
				shared?.put(member("b", true));
				await until(
					() => spawnSync("test", ["-e", join(mountpoint, "b/hello.txt")], { timeout: 10_000 }).status === 0,
					5000,
					() => "not added",
				);
				expect(read(join(mountpoint, "b/c/hello.txt"))).toBe("hello\n");
				execFileSync("umount", [mountpoint]);
				expect(await Promise.race([session?.ended, sleep(10_000)])).toBeDefined();
			},
		);

		test.runIf(badOptions !== undefined)("refuses bad options before anything is started", () => {
			expect(() => driver.prepare({ source: source(), readOnly: false }, badOptions ?? {})).toThrow(DriverFaults);
		});

		test("shows no secret in its summary", () => {
			const { summary } = driver.prepare({ source: source(), readOnly: false }, options());
			const secrets = Object.values(options()).filter((value) => typeof value !== "string");
			expect(secrets.filter((secret) => summary.join(" ").includes(secret.reveal()))).toEqual([]);
		});
	});
}
