import { mkdir, writeFile } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { execa } from "execa";
import { freePort } from "../../support/listen.ts";
import { until } from "../../support/pod.ts";
import { firstMatch } from "../first-match.ts";
import type { ServerKind } from "../server.ts";

const limitMs = 30_000;

/** Debian's, with one disk that is memory. */
export const ceph: ServerKind = {
	name: "ceph",
	title: "Ceph RGW",
	needs: ["/usr/bin/radosgw", "/usr/bin/radosgw-admin", "/usr/bin/ceph-mon", "/usr/bin/ceph-osd", "/usr/bin/ceph"],
	everyChange: true,
	version: async () => firstMatch("radosgw", ["--version"], /\d+\.\d+\.\d+/),
	async start({ port, folder, keys, spawn }) {
		const config = join(folder, "ceph.conf");
		const keyring = join(folder, "keyring");
		const monmap = join(folder, "monmap");
		const [cluster, disk] = [randomUUID(), randomUUID()];
		const monitor = `[v2:127.0.0.1:${await freePort()}]`;
		const run = async (file: string, ...args: readonly string[]) =>
			execa(file, args, { extendEnv: false, env: { PATH: process.env["PATH"] ?? "", HOME: folder }, timeout: limitMs });
		for (const each of ["mon", "osd", "rgw"]) await mkdir(join(folder, each));
		await writeFile(
			config,
			`[global]
fsid = ${cluster}
mon host = ${monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = ${keyring}
run dir = ${folder}
admin socket =
pid file =
log file =
log to stderr = true
mon data = ${folder}/mon
mon data avail crit = 0
osd data = ${folder}/osd
osd objectstore = memstore
memstore device bytes = ${4 * 1024 ** 3}
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
rgw data = ${folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:${port}
`,
		);
		const all = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"];
		await run("ceph-authtool", keyring, "--create-keyring", "--gen-key", "-n", "mon.", ...all);
		await run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", ...all);
		await run("ceph-authtool", keyring, "--gen-key", "-n", "osd.0", ...all);
		await run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", monitor, monmap);
		await run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring, "-c", config);
		spawn("ceph-mon", ["-f", "-i", "a", "-c", config]);
		await run("ceph", "-c", config, "osd", "new", disk, "0");
		await run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", disk, "-c", config);
		spawn("ceph-osd", ["-f", "-i", "0", "-c", config]);
		await until(
			async () => (await run("ceph", "-c", config, "osd", "stat")).stdout.includes("1 up"),
			limitMs,
			() => "its disk is not used",
		);
		const name = ["--uid=steps", "--display-name=steps"];
		const { accessKey, secretKey } = keys;
		// It makes the pools of the gateway, which two at once would both do.
		await run(
			"radosgw-admin",
			"-c",
			config,
			"user",
			"create",
			...name,
			"--access-key",
			accessKey,
			"--secret",
			secretKey,
		);
		spawn("radosgw", ["-f", "-n", "client.admin", "-c", config]);
		return {};
	},
};
