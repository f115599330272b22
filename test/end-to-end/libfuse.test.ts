import { execFileSync, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
	cpSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	readlinkSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { readMountinfo } from "../../src/mounts/mountinfo.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, projectRoot, until, type FluidMount, type PodOptions, unmountAll } from "../support/pod.ts";

const mebibyte = 1024 ** 2;

let minio: Minio;
let pod: Pod | undefined;
const folders: string[] = [];

beforeAll(async () => {
	minio = await startMinio();
	for (const bucket of ["one", "two"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "hello.txt", `hello from ${bucket}\n`);
	}
});
afterAll(async () => {
	await minio.stop();
});
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
	for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function mount(name: string, options: Readonly<Record<string, string>> = {}): FluidMount {
	return {
		mountPoint: `s3://${name}`,
		name,
		options: {
			endpoint: minio.endpoint,
			"access-key": "/etc/fluid/secrets/one/access-key",
			"secret-key": "/etc/fluid/secrets/one/secret-key",
			...options,
		},
	};
}

function createPod(mounts: readonly FluidMount[], more: Partial<PodOptions> = {}): Pod {
	pod = new Pod({
		mounts,
		secrets: { one: { "access-key": minio.accessKey, "secret-key": minio.secretKey } },
		accessModes: ["ReadWriteMany"],
		runtimeOptions: { transport: "libfuse" },
		...more,
	});
	pod.start();
	return pod;
}

/** Runs a shell's script in the mount; never longer than its limit. */
function sh(here: Pod, script: string): { status: number | null; out: string } {
	const { status, stdout, stderr } = spawnSync("bash", ["-c", `cd "$M" || exit 99\n${script}`], {
		env: { PATH: process.env["PATH"], M: here.target, LC_ALL: "C" },
		cwd: "/",
		// bash reads its start files when its input is a socket.
		stdio: ["ignore", "pipe", "pipe"],
		encoding: "utf8",
		timeout: 30_000,
	});
	return { status, out: stdout + stderr };
}

/** How many descriptors of /dev/fuse the process has. */
function devicesOf(pid: number): number {
	return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
		try {
			return readlinkSync(`/proc/${pid}/fd/${fd}`) === "/dev/fuse";
		} catch {
			// Closed meanwhile.
			return false;
		}
	}).length;
}

describe("a mount by libfuse", () => {
	test("is read, listed and written, and leaves nothing behind when it is stopped", async () => {
		const content = randomBytes(20 * mebibyte);
		await minio.put("one", "folder/big.bin", content);
		const here = createPod([mount("one")]);
		await here.untilReady();
		const [layer] = await here.layers();
		expect(layer).toMatchObject({ type: "fuse.thin-s3", source: "s3://one/", readOnly: false });
		const { pid } = await here.mount();
		// The launcher must not keep alive what its process serves.
		expect([devicesOf(here.pid), devicesOf(pid ?? 0)]).toEqual([0, 1]);
		const sum = createHash("sha1").update(content).digest("hex");
		expect(sh(here, "cat hello.txt; ls; ls folder; sha1sum <folder/big.bin")).toEqual({
			status: 0,
			out: `hello from one\nfolder\nhello.txt\nbig.bin\n${sum}  -\n`,
		});
		const script =
			"mkdir new; cp folder/big.bin new/copy; echo text >new/text; mv new/text new/moved; rm folder/big.bin";
		expect(sh(here, script)).toEqual({ status: 0, out: "" });
		expect((await minio.get("one", "new/copy")).equals(content)).toBe(true);
		expect((await minio.list("one")).filter((key) => key !== "hello.txt")).toEqual([
			"folder/",
			"new/",
			"new/copy",
			"new/moved",
		]);
		// libfuse's own way would leave a name there, and an object in the bucket.
		const removed = "mkdir d; echo text >d/file; exec 3<d/file; rm d/file; ls -A d; cat <&3; rmdir d; ls -A";
		expect(sh(here, removed)).toEqual({ status: 0, out: "text\nfolder\nhello.txt\nnew\n" });
		expect(await here.mount()).toMatchObject({ state: "ready", restarts: 0, driverStats: { open_files: 0 } });
		expect(await here.stop()).toBe(0);
		expect(await here.layers()).toEqual([]);
		expect((await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(`${here.runDirectory}/`))).toEqual(
			[],
		);
	});

	test("comes back when its process is killed, and heals who had it mounted", async () => {
		const here = createPod([mount("one")]);
		await here.untilReady();
		const application = join(here.folder, "application");
		mkdirSync(application);
		execFileSync("mount", ["--bind", here.target, application]);
		execFileSync("mount", ["--make-slave", application]);
		for (const kill of [1, 2, 3]) {
			process.kill((await here.mount()).pid ?? 0, "SIGKILL");
			await until(
				async () => {
					const { ready, restarts } = await here.mount();
					return ready && restarts === kill;
				},
				15_000,
				() => here.output,
			);
			expect(sh(here, `cat hello.txt ${application}/hello.txt; echo ${kill} >written`).out).toBe(
				"hello from one\nhello from one\n",
			);
		}
		expect((await minio.get("one", "written")).toString()).toBe("3\n");
		await unmountAll(application);
		expect(await here.stop()).toBe(0);
		expect(await here.layers()).toEqual([]);
	});

	test("has what is being written in the bucket when the pod is stopped", async () => {
		const here = createPod([mount("one")]);
		await here.untilReady();
		// Its descriptor stays open until it is killed.
		const writer = execFileSync(
			"sh",
			["-c", `(dd if=/dev/zero bs=1M count=20 2>/dev/null; exec sleep 60) >${here.target}/open.bin & echo $!`],
			{ encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] },
		).trim();
		try {
			await until(
				() => sh(here, "stat -c %s open.bin").out.trim() === String(20 * mebibyte),
				10_000,
				() => "not written",
			);
			expect(await here.stop()).toBe(0);
			expect((await minio.get("one", "open.bin")).length).toBe(20 * mebibyte);
		} finally {
			process.kill(Number(writer), "SIGKILL");
		}
	});

	test("serves who still uses it after it was detached, and ends the launcher when it is unmounted from outside", async () => {
		const here = createPod([mount("one")]);
		await here.untilReady();
		expect(sh(here, `exec 3<>late; umount -l "$M"; sleep 4; echo later >&3`)).toEqual({ status: 0, out: "" });
		expect(await here.ended()).toBe(0);
		expect((await minio.get("one", "late")).toString()).toBe("later\n");
		expect(await here.layers()).toEqual([]);
	});

	test("is read-only when the Dataset is", async () => {
		const here = createPod([mount("one")], { accessModes: ["ReadOnlyMany"] });
		await here.untilReady();
		expect(sh(here, "cat hello.txt; echo x >absent").out).toMatch(/^hello from one\n.*: Read-only file system\n$/);
		expect((await here.layers())[0]?.readOnly).toBe(true);
		expect(await here.stop()).toBe(0);
	});
});

describe("several mounts by libfuse", () => {
	test("are folders of one mount, and one comes in when its secret does", async () => {
		const login = { "access-key": "/etc/fluid/secrets/two/id", "secret-key": "/etc/fluid/secrets/two/key" };
		const here = createPod([mount("one"), mount("two", login)]);
		await until(
			async () => (await here.mount("one").catch(() => undefined))?.ready === true,
			15_000,
			() => here.output,
		);
		const entries = (await readMountinfo()).filter(({ mountPoint }) => mountPoint.startsWith(here.target));
		expect(entries.map(({ mountPoint, type }) => [mountPoint, type])).toEqual([[here.target, "fuse.thin-s3"]]);
		expect(sh(here, "ls; cat one/hello.txt; ls two").out).toBe(
			"one\nhello from one\nls: cannot access 'two': No such file or directory\n",
		);
		here.writeSecret("two", { id: minio.accessKey, key: minio.secretKey });
		await here.untilReady(30_000);
		await until(
			() => sh(here, "ls").out === "one\ntwo\n",
			5000,
			() => sh(here, "ls").out,
		);
		expect(sh(here, "cat two/hello.txt; cp two/hello.txt one/from-two").out).toBe("hello from two\n");
		expect((await minio.get("one", "from-two")).toString()).toBe("hello from two\n");
		process.kill((await here.mount("one")).pid ?? 0, "SIGKILL");
		await until(
			async () => (await here.status()).mounts.every(({ ready, restarts }) => ready && restarts === 1),
			15_000,
			() => here.output,
		);
		expect(sh(here, "cat one/hello.txt two/hello.txt").out).toBe("hello from one\nhello from two\n");
		expect(await here.stop()).toBe(0);
		expect(await here.layers()).toEqual([]);
	});

	test("are served without one that wants another transport", async () => {
		const here = createPod([mount("one"), mount("two", { transport: "direct" })]);
		await until(
			async () => (await here.mount("one").catch(() => undefined))?.ready === true,
			15_000,
			() => here.output,
		);
		expect(sh(here, "ls").out).toBe("one\n");
		expect(await here.mount("two")).toMatchObject({
			state: "failed",
			lastError: { code: "CONFIG_INVALID" },
			reason: expect.stringContaining(
				'mounts[1].options.transport: found "direct", but mounts[0] has "libfuse", and both are folders of one mount: give it at the runtime',
			),
		});
		expect(await here.stop()).toBe(0);
	});
});

describe("where fuse-native", () => {
	/** The program as an image has it, and its copy of fuse-native, if it has one. */
	function installed(changePackage?: (folder: string) => void): string {
		const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-image-"));
		folders.push(folder);
		for (const part of ["bin", "dist"]) cpSync(join(projectRoot, part), join(folder, part), { recursive: true });
		if (changePackage !== undefined) {
			const modules = [
				"fuse-native",
				"fuse-shared-library",
				"fuse-shared-library-linux",
				"nanoresource",
				"inherits",
				"node-gyp-build",
			];
			for (const name of modules)
				cpSync(join(projectRoot, "node_modules", name), join(folder, "node_modules", name), { recursive: true });
			changePackage(join(folder, "node_modules/fuse-native"));
		}
		return join(folder, "bin/fluid-fuse");
	}

	test("is not installed, the launcher ends and says so, and the other transport works", async () => {
		const program = installed();
		const here = createPod([mount("one")], { program });
		expect(await here.ended()).toBe(78);
		expect(here.terminationMessage).toMatchObject({
			reason: "DRIVER_MISSING",
			message: "one: transport=libfuse needs the npm package fuse-native, which is not in this image",
			hint: 'Install fuse-native 2.2.6, or leave the option "transport" out.',
		});
		expect(await here.layers()).toEqual([]);
		await here.cleanup();
		const direct = createPod([mount("one")], { program, runtimeOptions: {} });
		await direct.untilReady();
		expect(sh(direct, "cat hello.txt").out).toBe("hello from one\n");
		expect(await direct.stop()).toBe(0);
	});

	test("is not built for the machine, the launcher ends and says so", async () => {
		const program = installed((folder) => rmSync(join(folder, "prebuilds"), { recursive: true }));
		const here = createPod([mount("one")], { program });
		expect(await here.ended()).toBe(78);
		expect(here.terminationMessage).toMatchObject({
			reason: "DRIVER_MISSING",
			message: expect.stringMatching(
				/^one: transport=libfuse needs the npm package fuse-native, which does not load here \(linux \w+\): No native build was found/,
			),
			hint: expect.stringContaining("x64 with glibc"),
		});
	});

	test("finds no libfuse 2, the launcher ends and says so", async () => {
		const program = installed((folder) => {
			const addon = join(folder, "prebuilds/linux-x64/node.napi.node");
			// As in an image without it: the loader looks for a name that is not there.
			const bytes = readFileSync(addon).toString("latin1").replaceAll("libfuse.so.2\0", "libfuse.so.0\0");
			writeFileSync(addon, bytes, "latin1");
		});
		const here = createPod([mount("one")], { program });
		expect(await here.ended()).toBe(78);
		expect(here.terminationMessage).toMatchObject({
			reason: "DRIVER_MISSING",
			message: "one: transport=libfuse needs the library libfuse.so.2, which is not in this image",
			hint: `Install Debian's libfuse2, or leave the option "transport" out.`,
		});
	});
});
