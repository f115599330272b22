import { join } from "node:path";
import { expect, test } from "vitest";
import { execa } from "execa";
import { program, projectRoot } from "../support/pod.ts";
import { writeFileSync } from "node:fs";
import { temporaryFolder } from "../config/planning.ts";

/** In Fluid's secret mode the values stand in the file: nothing is needed but the file. */
async function validated(driver: string, mountPoint: string, options: Readonly<Record<string, string>>) {
	const file = join(temporaryFolder(), "config.json");
	writeFileSync(file, JSON.stringify({ mounts: [{ mountPoint, options }], targetPath: "/mnt/target" }));
	const { stdout, stderr } = await execa(program, ["validate", file], {
		env: { FLUID_FUSE_DRIVERS_DIR: join(projectRoot, "examples", driver) },
		reject: false,
		timeout: 30_000,
	});
	return { command: /command {2}(.*)/.exec(stdout)?.[1], output: stdout + stderr };
}

test("examples/cephfs keeps the key in a file", async () => {
	const { command, output } = await validated("cephfs", "ceph:///data", {
		"mon-host": "10.0.0.1:6789",
		key: "AQDsecretsecret==",
	});
	expect(command).toBe(
		"ceph-fuse -f --id=admin --conf=PRIVATE/ceph.conf --client_mountpoint=/data -o allow_other,ro MOUNTPOINT",
	);
	expect(output).not.toContain("AQDsecretsecret");
});

test("examples/cephfs says what it needs", async () => {
	const { output } = await validated("cephfs", "ceph://host/data", {});
	expect(output).toContain("mounts[0].mountPoint: expected ceph:///folder");
	expect(output).toContain("mounts[0].options.mon_host: is needed");
	expect(output).toContain("mounts[0].options.key: is needed with cephx");
});

test("examples/juicefs keeps the password out of the address", async () => {
	const { command, output } = await validated("juicefs", "juicefs://training/sub", {
		metaurl: "redis://user:p@ss:word@redis:6379/1",
		"cache-size": "1Gi",
	});
	expect(command).toBe(
		"juicefs mount --foreground --no-usage-report --cache-dir=/var/cache/juicefs --cache-size=1024 --subdir=/sub -o allow_other --read-only redis://user@redis:6379/1 MOUNTPOINT",
	);
	expect(output).not.toContain("p@ss");
});

test("examples/juicefs refuses the keys that the addon put on the command line", async () => {
	const { output } = await validated("juicefs", "juicefs://training", { metaurl: "redis://redis/1", token: "t" });
	expect(output).toContain("mounts[0].options.token: refused: it belongs to the enterprise edition");
});
