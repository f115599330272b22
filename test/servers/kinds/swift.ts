import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { execa } from "execa";
import { freePort } from "../../support/listen.ts";
import { until } from "../../support/pod.ts";
import { firstMatch } from "../first-match.ts";
import type { ServerKind } from "../server.ts";

const parts = ["account", "container", "object"] as const;

/** Debian's, with the middleware that speaks S3, and one disk. */
export const swift: ServerKind = {
	name: "swift",
	title: "Swift",
	cannot: {
		"rename a directory of 2,500 files":
			"it takes 35 to 80 ms for each request, however many there are at once: the ten minutes that the step has are not enough on two processors",
		"extended attributes": "it keeps no more than 256 bytes of one metadata value",
		"an extended attribute of 1,000 bytes": "it keeps no more than 256 bytes of one metadata value",
	},
	needs: [
		"/usr/bin/swift-proxy-server",
		"/usr/bin/swift-ring-builder",
		...parts.map((part) => `/usr/bin/swift-${part}-server`),
	],
	version: async () => firstMatch("dpkg-query", ["-f", "${Version}", "-W", "swift-proxy"], /^[\d.]+/),
	async start({ port, folder, spawn }) {
		const devices = join(folder, "devices");
		await mkdir(join(devices, "disk"), { recursive: true });
		const config = (name: string, text: string) => writeFile(join(folder, `${name}.conf`), text);
		const common = `bind_ip = 127.0.0.1
user = root
swift_dir = ${folder}
log_address = /dev/null
workers = 0
`;
		const partPorts: number[] = [];
		for (const part of parts) {
			const partPort = await freePort();
			partPorts.push(partPort);
			const builder = join(folder, `${part}.builder`);
			const ring = async (...args: readonly string[]) =>
				execa("/usr/bin/swift-ring-builder", [builder, ...args], {
					extendEnv: false,
					env: { PATH: "/usr/bin:/bin", HOME: folder },
					timeout: 30_000,
				});
			// 16 partitions, of which one copy is kept.
			await ring("create", "4", "1", "1");
			await ring("add", `r1z1-127.0.0.1:${partPort}/disk`, "1");
			await ring("rebalance");
			await config(
				part,
				`[DEFAULT]
${common}bind_port = ${partPort}
devices = ${devices}
mount_check = false
[pipeline:main]
pipeline = ${part}-server
[app:${part}-server]
use = egg:swift#${part}
`,
			);
			spawn(`/usr/bin/swift-${part}-server`, [join(folder, `${part}.conf`), "-v"]);
		}
		const keys = { accessKey: "account:user", secretKey: "secret-of-the-steps" };
		await config(
			"proxy",
			`[DEFAULT]
${common}bind_port = ${port}
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_account_user = ${keys.secretKey} .admin
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:${await freePort()}
${["catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "copy", "slo", "dlo", "versioned_writes"]
	.map((filter) => `[filter:${filter}]\nuse = egg:swift#${filter}`)
	.join("\n")}
`,
		);
		spawn("/usr/bin/swift-proxy-server", [join(folder, "proxy.conf"), "-v"]);
		// Until each of them listens, the proxy makes a bucket and answers 503 to what is to be put into it.
		await Promise.all([port, ...partPorts].map(async (each) => untilListening(each)));
		return { keys };
	},
};

async function untilListening(port: number): Promise<void> {
	const isListening = async (): Promise<boolean> => {
		const socket = connect(port, "127.0.0.1");
		try {
			await once(socket, "connect");
			return true;
		} catch {
			return false;
		} finally {
			socket.destroy();
		}
	};
	await until(isListening, 60_000, () => `nothing listens at ${port}`);
}
