import { execFileSync } from "node:child_process";
import { chmodSync, globSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { renderRuntimeConfig, type CacheRuntime, type CacheRuntimeClass } from "../support/cache-runtime.ts";
import type { Dataset } from "../support/fluid-config.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, projectRoot, until, type FluidMount } from "../support/pod.ts";
import { testedDrivers } from "../support/s3-drivers.ts";

let minio: Minio;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	for (const bucket of ["data", "more"]) {
		await minio.createBucket(bucket);
		await minio.put(bucket, "hello.txt", `hello from ${bucket}\n`);
	}
});
afterAll(async () => minio.stop());
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

/** As Fluid writes it: paths of secrets apart from the options. */
const mountOf = (bucket: string, path?: string): FluidMount & { readonly encryptOptions: object } => ({
	mountPoint: `s3://${bucket}`,
	name: bucket,
	...(path !== undefined && { path }),
	encryptOptions: {
		"access-key": "/etc/fluid/secrets/login/access-key",
		"secret-key": "/etc/fluid/secrets/login/secret-key",
	},
});

function createPod(mounts: readonly FluidMount[], client: Readonly<Record<string, unknown>> = {}, env = {}): Pod {
	pod = new Pod({
		mounts,
		client: {
			enabled: true,
			name: "demo-client",
			options: { endpoint: minio.endpoint },
			service: { name: "" },
			...client,
		},
		secrets: { login: { "access-key": minio.accessKey, "secret-key": minio.secretKey } },
		env,
	});
	return pod;
}

/** In another process: a mount that hangs must not hang the tests. */
const read = (...path: string[]): string => execFileSync("cat", [join(...path)], { encoding: "utf8", timeout: 5000 });

describe.each(testedDrivers())("a CacheRuntime's pod with $title", ({ name, programs }) => {
	test("serves its one mount at the root, and leaves nothing on the node", { timeout: 60_000 }, async () => {
		const path = programs === undefined ? {} : { PATH: `${programs}:${process.env["PATH"]}` };
		const here = createPod([mountOf("data", "/")], {}, { FLUID_FUSE_DRIVER: name, ...path });
		here.start();
		await here.untilReady();
		expect(read(here.targetOnNode, "hello.txt")).toBe("hello from data\n");
		expect((await here.status()).dataset).toEqual({ namespace: "default", name: "demo" });
		expect((await here.ask("/metrics")).body).toContain(
			'fluid_fuse_dataset_info{namespace="default",dataset="demo"} 1\n',
		);
		expect(here.log.find(({ msg }) => msg === "launcher started")?.["dataset"]).toEqual({
			namespace: "default",
			name: "demo",
		});
		expect(await here.command("prestop")).toMatchObject({ exitCode: 0 });
		expect(await here.ended()).toBe(0);
		expect(await here.layers(here.targetOnNode)).toEqual([]);
	});
});

test("mounts come and go with the Dataset, each at its place", { timeout: 60_000 }, async () => {
	const here = createPod([mountOf("data")]);
	here.start();
	await here.untilReady();
	expect(read(here.targetOnNode, "data/hello.txt")).toBe("hello from data\n");
	here.writeConfig(here.renderConfig({ mounts: [mountOf("data"), mountOf("more", "/deep/more")] }));
	const found = async (path: string): Promise<boolean> =>
		(await execa("cat", [join(here.targetOnNode, path)], { reject: false, timeout: 5000 })).exitCode === 0;
	await until(
		async () => found("deep/more/hello.txt"),
		20_000,
		() => here.output,
	);
	expect(read(here.targetOnNode, "data/hello.txt")).toBe("hello from data\n");
	here.writeConfig(here.renderConfig({ mounts: [mountOf("more", "/deep/more")] }));
	await until(
		async () => !(await found("data/hello.txt")),
		20_000,
		() => here.output,
	);
	expect(read(here.targetOnNode, "deep/more/hello.txt")).toBe("hello from more\n");
	expect(await here.stop()).toBe(0);
	expect(await here.layers(here.targetOnNode)).toEqual([]);
});

test("the tiered store is the cache, and status says what is used of it", { timeout: 60_000 }, async () => {
	const level = (folder: string, mediumType: string, quota: string) => ({
		mountPaths: [folder],
		mediumType,
		quotas: [quota],
	});
	const here = createPod([mountOf("data", "/")]);
	const [memory, disk] = ["memory", "disk"].map((name) => join(here.folder, name)) as [string, string];
	for (const folder of [memory, disk]) mkdirSync(folder);
	const tieredStoreLevels = [level(memory, "MEM", "1Gi"), level(disk, "HDD", "500M")];
	here.writeConfig(here.renderConfig({ client: { ...here.options.client, tieredStoreLevels } }));
	here.start();
	await here.untilReady();
	await minio.put("data", "large.bin", Buffer.alloc(9 * 1024 * 1024, "x"));
	execFileSync("cat", [join(here.target, "large.bin")], { timeout: 10_000, stdio: "ignore" });
	await until(
		() => globSync(join(disk, "parts", "**", "*.part")).length > 0,
		10_000,
		() => "nothing is cached",
	);
	expect(globSync(join(memory, "**"))).toEqual([memory]);
	const { stdout } = await here.command("status");
	expect(stdout).toContain(`  cache     ${disk}: cache-dir=${disk}, cache-size=357Mi, write-buffer=119Mi`);
	expect(stdout).toContain(`  unused    ${memory}: the cache is in one folder, and ${disk} is on a disk`);
	const validated = (await here.command("validate")).stdout;
	expect(validated).toContain("client.tieredStoreLevels[1].quotas[0]");
	expect(validated).toContain(`unused   ${memory}: the cache`);
	expect(await here.stop()).toBe(0);
});

test(
	"examples/cache-runtime: an application reads what the class, the runtime and the Dataset make",
	{ timeout: 60_000 },
	async () => {
		const text = (file: string): string => readFileSync(join(projectRoot, "examples/cache-runtime", file), "utf8");
		const runtimeClass = parse(text("class.yaml")) as CacheRuntimeClass;
		const secret = parse(text("secret.yaml")) as { metadata: { name: string }; stringData: Record<string, string> };
		const { env } = runtimeClass.topology.client.template.spec.containers[0];
		const variables = Object.fromEntries(env.map(({ name, value }) => [name, value]));
		const here = createPod([], {}, variables);
		chmodSync(here.folder, 0o711);
		here.writeSecret(secret.metadata.name, { "access-key": minio.accessKey, "secret-key": minio.secretKey });
		const rendered = renderRuntimeConfig(
			parse(text("dataset.yaml")) as Dataset,
			parse(text("runtime.yaml")) as CacheRuntime,
			runtimeClass,
		);
		const tiers = join(here.folder, "tiers");
		mkdirSync(tiers);
		here.writeConfig(
			rendered
				.replace(/"targetPath":"[^"]*"/, () => `"targetPath":${JSON.stringify(here.target)}`)
				.replace("http://minio:9000", minio.endpoint)
				.replace("/etc/fluid/mount/tiered-store/level-0-index-0-hostpath", tiers)
				.replace("s3://my-first-bucket", "s3://data"),
		);
		here.start();
		await here.untilReady();
		expect((await here.layers(here.targetOnNode)).at(-1)?.type).toContain(runtimeClass.fileSystemType);
		const words = ["--reuid", "1000", "--clear-groups", "sh", "-c", 'cat "$1/hello.txt"; echo x >"$1/new.txt"', "sh"];
		const { stdout, stderr } = await execa("setpriv", [...words, here.targetOnNode], {
			reject: false,
			timeout: 10_000,
		});
		expect(stdout).toBe("hello from data");
		expect(stderr).toContain("Read-only file system");
		expect((await here.mount()).tieredStore?.map(({ gives }) => gives[0])).toEqual([`cache-dir=${tiers}`]);
		expect(await here.command("prestop")).toMatchObject({ exitCode: 0 });
		expect(await here.ended()).toBe(0);
		expect(await here.layers(here.targetOnNode)).toEqual([]);
	},
);

test("another component than the client is refused", { timeout: 60_000 }, async () => {
	const here = createPod([mountOf("data")], {}, { FLUID_RUNTIME_COMPONENT_TYPE: "worker" });
	here.start();
	expect(await here.ended()).toBe(64);
	expect(here.output).toContain("set master.disabled and worker.disabled to true in the CacheRuntime");
});

test("a Secret that the class does not mount is waited for, and the class is named", { timeout: 60_000 }, async () => {
	const here = createPod([mountOf("data")], {}, { FLUID_FUSE_SECRETS_DIR: "/nonexistent/secrets" });
	here.start();
	await until(
		() => here.output.includes("secretMount.enabled: true"),
		20_000,
		() => here.output,
	);
	expect(await here.stop()).toBe(0);
});
