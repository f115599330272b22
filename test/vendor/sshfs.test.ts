import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { program, Pod, projectRoot, until } from "../support/pod.ts";
import { listen } from "../support/listen.ts";

const drivers = join(projectRoot, "examples/sshfs");

describe("examples/sshfs", () => {
	const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-sshd-"));
	const data = join(folder, "data");
	let server: ChildProcess | undefined;
	let port: number;
	let options: { readonly "host-key": string; readonly "private-key": string };

	beforeAll(async () => {
		mkdirSync(data);
		writeFileSync(join(data, "hello.txt"), "hello\n");
		for (const name of ["host", "user"])
			execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", join(folder, name)]);
		const free = createServer();
		port = await listen(free);
		await new Promise((resolve) => free.close(resolve));
		mkdirSync("/run/sshd", { recursive: true });
		const settings = {
			ListenAddress: `127.0.0.1:${port}`,
			HostKey: join(folder, "host"),
			AuthorizedKeysFile: join(folder, "user.pub"),
			StrictModes: "no",
			UsePAM: "no",
			PermitRootLogin: "prohibit-password",
			PidFile: "none",
			Subsystem: "sftp internal-sftp",
		};
		const lines = Object.entries(settings).map(([name, value]) => `${name} ${value}\n`);
		writeFileSync(join(folder, "sshd_config"), lines.join(""));
		server = spawn("/usr/sbin/sshd", ["-D", "-e", "-f", join(folder, "sshd_config")], { stdio: "ignore" });
		const [type, key] = readFileSync(join(folder, "host.pub"), "utf8").trim().split(" ");
		options = {
			"host-key": `${type} ${key}`,
			"private-key": readFileSync(join(folder, "user")).toString("base64"),
		};
		await until(
			async () => (await execa("ssh-keyscan", ["-p", String(port), "127.0.0.1"], { reject: false })).stdout !== "",
			10_000,
			() => "sshd does not answer",
		);
	});
	afterAll(() => {
		server?.kill();
		rmSync(folder, { recursive: true });
	});

	let pod: Pod | undefined;
	afterEach(async () => {
		await pod?.cleanup();
		pod = undefined;
	});

	/** The secret is in a file, as the Dataset's encryptOptions have it. */
	function podWith(changes: Readonly<Record<string, string>> = {}, path = data): Pod {
		pod = new Pod({
			mounts: [],
			secrets: { login: { key: options["private-key"] } },
			env: { FLUID_FUSE_DRIVERS_DIR: drivers },
		});
		const given = { ...options, "private-key": join(pod.secretsDirectory, "login/key"), ...changes };
		const mounts = [{ mountPoint: `sftp://root@127.0.0.1:${port}${path}`, name: "share", options: given }];
		pod.writeConfig(pod.renderConfig({ mounts, accessModes: ["ReadWriteMany"] }));
		return pod;
	}

	test("serves a folder of a real SSH server, for reading and writing", async () => {
		const running = podWith();
		running.start();
		await running.untilReady();
		const { stdout } = await execa("cat", [join(running.target, "hello.txt")], { timeout: 10_000 });
		expect(stdout).toBe("hello");
		await execa("cp", [join(running.target, "hello.txt"), join(running.target, "copy.txt")], { timeout: 10_000 });
		expect(readFileSync(join(data, "copy.txt"), "utf8")).toBe("hello\n");
		expect(await running.stop()).toBe(0);
		expect(await running.layers()).toEqual([]);
	});

	test("keeps the driver contract", async () => {
		const { configFile, secretsDirectory } = podWith();
		const { stdout, exitCode } = await execa(program, ["conformance", "sshfs", configFile], {
			env: { FLUID_FUSE_DRIVERS_DIR: drivers, FLUID_FUSE_SECRETS_DIR: secretsDirectory },
			reject: false,
			timeout: 55_000,
		});
		expect(exitCode, stdout).toBe(0);
		expect(stdout).toContain("sshfs keeps the contract");
	});

	test("says that the server has another key", async () => {
		const running = podWith({
			"host-key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJnb6lmt9WxmQE0wZ4e7cQ0cOe3vdVqnKcCDzHPZrqFf",
		});
		running.start();
		await expect.poll(() => running.output, { timeout: 15_000 }).toContain("the server has another key than host-key");
	});
});
