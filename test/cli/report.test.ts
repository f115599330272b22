import { writeFileSync } from "node:fs";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startLyingProxy, type LyingProxy } from "../support/lying-proxy.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, until } from "../support/pod.ts";

let minio: Minio;
let proxy: LyingProxy;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	proxy = await startLyingProxy(minio.endpoint);
	await minio.createBucket("data");
	await minio.put("data", "file", "content");
});
afterAll(async () => {
	await proxy.stop();
	await minio.stop();
});
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

/** Where people put them, and where they must not turn up again. */
const planted = {
	literal: "literal-secret-in-the-config",
	unused: "secret-of-a-file-that-nobody-cites",
	option: "secret/in+MOUNT_OPTIONS",
	token: "token%of&the=environment",
	proxyPassword: "p@ss:word of a proxy",
};

function plantedPod(endpoint: string): Pod {
	return new Pod({
		mounts: [
			{
				mountPoint: "s3://data",
				name: "data",
				options: {
					endpoint,
					"access-key": "/etc/fluid/secrets/login/access-key",
					"secret-key": "/etc/fluid/secrets/login/secret-key",
				},
			},
			{
				mountPoint: "s3://other",
				name: "other",
				options: { endpoint, "access-key": planted.literal, "secret-key": planted.literal },
			},
		],
		secrets: {
			login: { "access-key": minio.accessKey, "secret-key": `${minio.secretKey}\n` },
			other: { unused: planted.unused },
		},
		env: {
			MOUNT_OPTIONS: `read-ahead=1Mi, secret-key=${planted.option}`,
			AWS_SESSION_TOKEN: planted.token,
			HTTPS_PROXY: `http://user:${encodeURIComponent(planted.proxyPassword)}@proxy.invalid:3128`,
		},
	});
}

function expectNoSecret(text: string): void {
	for (const secret of [...Object.values(planted), minio.secretKey, minio.accessKey])
		for (const form of [secret, encodeURIComponent(secret), Buffer.from(secret).toString("base64")])
			expect(text).not.toContain(form);
}

/** The text of each section. */
function sectionsOf(report: string): Record<string, string> {
	const parts = report.split(/^===== (.*)$/m).slice(1);
	return Object.fromEntries(parts.flatMap((part, at) => (at % 2 === 0 ? [[part, parts[at + 1] ?? ""]] : [])));
}

describe("a report", () => {
	test("has what a fault is found by, and no secret, also where the server says one", async () => {
		proxy.manners({
			refuses: ({ url }) =>
				url.includes("/data/file")
					? {
							status: 403,
							body: `<Error><Code>AccessDenied</Code><Message>not with ${minio.secretKey}</Message></Error>`,
						}
					: undefined,
		});
		const here = (pod = plantedPod(proxy.endpoint));
		here.start();
		await until(
			async () => (await here.mount("data").catch(() => undefined))?.ready === true,
			30_000,
			() => here.output,
		);
		await execa("cat", [`${here.target}/data/file`], { reject: false, timeout: 20_000 });
		await until(
			async () => (await here.mount("data")).refusals !== undefined,
			20_000,
			() => here.output,
		);
		const { stdout, exitCode } = await here.command("report");
		expect(exitCode).toBe(0);
		expectNoSecret(stdout);
		const sections = sectionsOf(stdout);
		expect(sections["versions"]).toMatch(/^fluid-fuse \d.*\nnode v24.*\nkernel \d/m);
		expect(sections["environment"]).toMatch(/^HTTPS_PROXY is set$/m);
		expect(sections["environment"]).toContain("MOUNT_OPTIONS=read-ahead=1Mi, secret-key=[redacted]");
		expect(sections["config"]).toContain("s3://data");
		expect(sections["container"]).toMatch(/ok {6}fuse/);
		expect(JSON.parse(sections["status"] ?? "")).toMatchObject({ mounts: [{ name: "data" }, { name: "other" }] });
		expect(sections["status"]).toContain("AccessDenied");
		expect(sections["metrics"]).toContain("fluid_fuse_");
		expect(sections["log"]).toContain('"msg":"launcher started"');
		expect(sections["log"]).toContain("the server has refused a request");
		expect(sections["mounts"]).toContain("fuse.thin-s3");
		expect(sections["limits"]).toContain("Max open files");
	});

	test("is printed without a launcher and with a config that cannot be read, too", async () => {
		const here = (pod = plantedPod(proxy.endpoint));
		writeFileSync(here.configFile, `{ "mounts": [ { "options": { "secret-key": "${planted.literal}"`);
		const { stdout, exitCode } = await here.command("report");
		expect(exitCode).toBe(0);
		expectNoSecret(stdout);
		const sections = sectionsOf(stdout);
		expect(sections["config"]).toContain("not valid JSON");
		expect(sections["status"]).toContain("no launcher answers");
		expect(sections["mounts"]).toContain(" / ");
	});
});
