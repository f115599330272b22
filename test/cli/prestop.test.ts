import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { LauncherError } from "../../src/errors.ts";
import { layersAt, readMountinfo } from "../../src/mounts/mountinfo.ts";
import { createRunDirectory, startServer } from "../probe/running-server.ts";
import { program, until } from "../support/pod.ts";

const canMount = existsSync("/dev/fuse") && process.getuid?.() === 0;
if (!canMount) process.stderr.write("skipped: prestop with real mounts, because they need root and /dev/fuse\n");

const stop = async (runDirectory: string, variables: Readonly<Record<string, string>> = {}) => {
	const { exitCode, stdout, stderr } = await execa(program, ["prestop"], {
		env: { FLUID_FUSE_RUN_DIR: runDirectory, FLUID_FUSE_NODE_PROC: "/proc", ...variables },
		reject: false,
	});
	return { exitCode, out: stdout, err: stderr };
};

/** A folder to mount on; whatever is mounted in it goes with the test. */
function createTarget(): string {
	const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-prestop-"));
	const target = join(folder, "thin-fuse");
	mkdirSync(target);
	onTestFinished(async () => {
		for (let tries = 0; tries < 20; tries++) {
			const left = (await readMountinfo()).findLast(({ mountPoint }) => mountPoint.startsWith(`${folder}/`));
			if (left === undefined) break;
			await execa("umount", ["-f", "-l", left.mountPoint], { reject: false });
		}
		rmSync(folder, { recursive: true });
	});
	return target;
}

/** A FUSE mount whose server has ended: whoever looks gets ENOTCONN. */
function mountDead(target: string): void {
	execFileSync("bash", ["-c", `exec 3<>/dev/fuse; ${mountFuse}`, "bash", target]);
}

/** A FUSE mount whose server is alive and answers nothing. */
async function mountHung(target: string): Promise<void> {
	const server = execa("bash", ["-c", `exec 3<>/dev/fuse; ${mountFuse}; exec sleep 60`, "bash", target], {
		reject: false,
	});
	onTestFinished(async () => {
		server.kill("SIGKILL");
		await server;
	});
	await until(
		async () => (await typesAt(target)).length > 0,
		5000,
		() => "not mounted",
	);
}

const mountFuse = 'mount -i -n -t fuse.dead -o fd=3,rootmode=40000,user_id=0,group_id=0 dead "$1"';

const mountTmpfs = (target: string, source: string): void =>
	void execFileSync("mount", ["-i", "-n", "-t", "tmpfs", source, target]);

const typesAt = async (target: string) => layersAt(await readMountinfo(), target).map(({ type }) => type);

describe("prestop with a launcher", () => {
	it("has it drain, and answers 0 when that is done", async () => {
		const drain = vi.fn<() => Promise<void>>(async () => {});
		const { runDirectory } = await startServer({ listen: { kind: "off" }, actions: { prestop: drain } });
		expect(await stop(runDirectory)).toEqual({ exitCode: 0, out: "", err: "" });
		expect(drain).toHaveBeenCalledTimes(1);
		expect(await stop(runDirectory)).toMatchObject({ exitCode: 0 });
		expect(drain).toHaveBeenCalledTimes(1);
	});

	it("fails as the launcher fails, with its code and hint", async () => {
		const failure = new LauncherError("MOUNTPOINT_IN_USE", "somebody holds it", { hint: "Let it go." });
		const { runDirectory } = await startServer({
			listen: { kind: "off" },
			actions: { prestop: () => Promise.reject(failure) },
		});
		expect(await stop(runDirectory)).toEqual({
			exitCode: 73,
			out: "",
			err: "fluid-fuse: somebody holds it\nLet it go.",
		});
	});

	it("waits FLUID_FUSE_STOP_TIMEOUT and one second, and no longer", async () => {
		const drain = (): Promise<void> => new Promise(() => {});
		const { runDirectory } = await startServer({ listen: { kind: "off" }, actions: { prestop: drain } });
		const startedAt = performance.now();
		const { exitCode, err } = await stop(runDirectory, {
			FLUID_FUSE_STOP_TIMEOUT: "2s",
			MOUNT_POINT: "/nowhere/thin-fuse",
		});
		expect({ exitCode, err }).toEqual({ exitCode: 0, err: expect.stringContaining("did not answer within 3 s") });
		expect(performance.now() - startedAt).toBeLessThan(6000);
	});
});

/** A launcher that goes away in the middle, after it has done `last`. */
async function endingLauncher(last: () => void): Promise<string> {
	const runDirectory = await createRunDirectory();
	const server = createServer((socket) => {
		socket.on("error", () => {});
		socket.once("data", () => {
			last();
			socket.destroy();
		});
	});
	onTestFinished(() => void server.close());
	await new Promise<void>((resolve) => {
		server.listen(join(runDirectory, "launcher.sock"), resolve);
	});
	return runDirectory;
}

describe("prestop without a launcher", () => {
	it("has nothing to do when nothing is mounted, and says that no launcher is there", async () => {
		const runDirectory = await createRunDirectory();
		for (const variables of [{}, { MOUNT_POINT: createTarget() }, { MOUNT_POINT: "/nowhere/thin-fuse" }]) {
			expect(await stop(runDirectory, variables)).toEqual({
				exitCode: 0,
				out: "",
				err: expect.stringContaining("no launcher answers"),
			});
		}
	});

	it.skipIf(!canMount)("takes away every dead FUSE mount at the target, however often it is called", async () => {
		const target = createTarget();
		mountDead(target);
		const runDirectory = await createRunDirectory();
		expect(await typesAt(target)).toEqual(["fuse.dead"]);
		expect(await stop(runDirectory, { MOUNT_POINT: `${target}/` })).toMatchObject({ exitCode: 0 });
		expect(await typesAt(target)).toEqual([]);
		expect(await stop(runDirectory, { MOUNT_POINT: target })).toMatchObject({ exitCode: 0 });
	});

	it.skipIf(!canMount)("takes away dead layers over each other", async () => {
		const target = createTarget();
		const other = createTarget();
		for (let layer = 0; layer < 3; layer++) {
			mountDead(other);
			execFileSync("mount", ["-i", "-n", "--bind", other, target]);
			execFileSync("umount", ["-i", "-n", "-l", other]);
		}
		expect(await typesAt(target)).toEqual(["fuse.dead", "fuse.dead", "fuse.dead"]);
		expect(await stop(await createRunDirectory(), { MOUNT_POINT: target })).toMatchObject({ exitCode: 0 });
		expect(await typesAt(target)).toEqual([]);
	});

	it.skipIf(!canMount)("leaves a live filesystem alone and says so", async () => {
		const target = createTarget();
		mountTmpfs(target, "somebody");
		const { exitCode, err } = await stop(await createRunDirectory(), { MOUNT_POINT: target });
		expect(exitCode).toBe(73);
		expect(err).toContain(`a tmpfs filesystem (somebody) is still mounted at ${target}\n`);
		expect(err).toContain("left alone");
		expect(await typesAt(target)).toEqual(["tmpfs"]);
	});

	it.skipIf(!canMount)("leaves one that only hangs alone, and does not hang with it", async () => {
		const target = createTarget();
		await mountHung(target);
		const startedAt = performance.now();
		expect(await stop(await createRunDirectory(), { MOUNT_POINT: target })).toMatchObject({ exitCode: 73 });
		expect(performance.now() - startedAt).toBeLessThan(6000);
		expect(await typesAt(target)).toEqual(["fuse.dead"]);
	});

	it.skipIf(!canMount)("takes away the empty root of several mounts, with what is dead in it", async () => {
		const target = createTarget();
		mountTmpfs(target, "thin-fuse.s3fs");
		for (const name of ["a", "b"]) {
			mkdirSync(join(target, name));
			mountDead(join(target, name));
		}
		expect(await stop(await createRunDirectory(), { MOUNT_POINT: target })).toMatchObject({ exitCode: 0 });
		expect(await typesAt(target)).toEqual([]);
	});

	it.skipIf(!canMount)("but not while something in it is alive", async () => {
		const target = createTarget();
		mountTmpfs(target, "thin-fuse.s3fs");
		for (const name of ["a", "b"]) mkdirSync(join(target, name));
		mountDead(join(target, "a"));
		mountTmpfs(join(target, "b"), "somebody");
		expect(await stop(await createRunDirectory(), { MOUNT_POINT: target })).toMatchObject({ exitCode: 73 });
		expect(await typesAt(target)).toEqual(["tmpfs"]);
		expect(await typesAt(join(target, "b"))).toEqual(["tmpfs"]);
	});

	it.skipIf(!canMount)(
		"counts a launcher that ends before its answer as done when nothing is mounted any more",
		async () => {
			const target = createTarget();
			mountTmpfs(target, "served");
			const clean = await endingLauncher(() => void execFileSync("umount", [target]));
			expect(await stop(clean, { MOUNT_POINT: target })).toMatchObject({
				exitCode: 0,
				err: expect.stringContaining("closed the connection"),
			});
			const crashed = await endingLauncher(() => mountDead(target));
			expect(await stop(crashed, { MOUNT_POINT: target })).toMatchObject({ exitCode: 0 });
			expect(await typesAt(target)).toEqual([]);
			const unclean = await endingLauncher(() => mountTmpfs(target, "served"));
			expect(await stop(unclean, { MOUNT_POINT: target })).toMatchObject({ exitCode: 73 });
		},
	);
});
