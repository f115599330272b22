import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { renderFluidConfig, volumesOf, type Dataset, type ThinRuntime } from "../support/fluid-config.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, projectRoot, until } from "../support/pod.ts";

interface Profile {
	readonly spec: {
		readonly fileSystemType: string;
		readonly fuse: { readonly env?: readonly { readonly name: string; readonly value: string }[] };
	};
}

const examples = join(projectRoot, "examples");

/** Each scenario with a bucket on S3, its folders as applications see them, and what is listed in them. */
const scenarios = [
	{ name: "minio", dataset: "dataset.yaml", folders: [""] },
	{ name: "native", dataset: "dataset.yaml", folders: [""] },
	{ name: "goofys", dataset: "dataset.yaml", folders: [""] },
	{ name: "s3fs", dataset: "dataset.yaml", folders: [""] },
	{ name: "read-write", dataset: "dataset.yaml", folders: [""] },
	{ name: "several-buckets", dataset: "dataset.yaml", folders: ["first", "second"] },
	{ name: "dynamic-mounts", dataset: "dataset.yaml", folders: ["first"] },
	{ name: "dynamic-mounts", dataset: "two-buckets.yaml", folders: ["first", "second"] },
	{ name: "sidecar", dataset: "dataset.yaml", folders: [""] },
	{ name: "pvc", dataset: "dataset.yaml", folders: [""] },
	{ name: "http-probes", dataset: "dataset.yaml", folders: [""] },
];

let minio: Minio;
let pod: Pod | undefined;

beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("my-first-bucket");
	await minio.put("my-first-bucket", "hello.txt", "hello from the bucket\n");
	await minio.createBucket("my-second-bucket");
	await minio.put("my-second-bucket", "models/hello.txt", "hello from the bucket\n");
});
afterAll(async () => minio.stop());
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
});

/** The pod that Fluid would make of a folder's manifests, with the test's server and keys in place of the guide's. */
function podOf(folder: string, datasetFile: string): { here: Pod; profile: Profile; dataset: Dataset } {
	const read = (file: string): string => readFileSync(join(examples, folder, file), "utf8");
	const profile = parse(read("profile.yaml")) as Profile;
	const secret = parse(read("secret.yaml")) as { metadata: { name: string }; stringData: Record<string, string> };
	const value = (key: string, written: string): string => {
		if (written !== "minioadmin") return written.replace("http://minio:9000", minio.endpoint);
		return key.includes("secret") ? minio.secretKey : minio.accessKey;
	};
	const variables = profile.spec.fuse.env ?? [];
	const here = new Pod({
		mounts: [],
		secrets: {
			[secret.metadata.name]: Object.fromEntries(
				Object.entries(secret.stringData).map(([key, written]) => [key, value(key, written)]),
			),
		},
		env: Object.fromEntries(variables.map(({ name, value }) => [name, value])),
	});
	pod = here;
	// The application is not root, and passes through this folder.
	chmodSync(here.folder, 0o711);
	const cache = join(here.folder, "cache");
	mkdirSync(cache);
	const dataset = parse(
		read(datasetFile).replaceAll("http://minio:9000", minio.endpoint).replaceAll("/var/cache/fluid-fuse", cache),
	) as Dataset;
	const config = renderFluidConfig(
		dataset,
		parse(read("runtime.yaml")) as ThinRuntime,
		volumesOf(join(examples, folder)),
	);
	here.writeConfig(config.replace(/"targetPath":"[^"]*"/, () => `"targetPath":${JSON.stringify(here.target)}`).trim());
	return { here, profile, dataset };
}

/** As the application's user, in a process of its own: a mount that hangs must not hang the test. */
function asUser(script: string, path: string): { status: number | null; stdout: string; stderr: string } {
	const words = ["--reuid", "1000", "--clear-groups", "sh", "-c", script, "sh", path];
	return spawnSync("setpriv", words, { encoding: "utf8", timeout: 20_000 });
}

test("every S3 scenario is run here", () => {
	// A scenario with a driver file of its own is not one of the image's drivers, and tested with that driver.
	const served = readdirSync(examples).filter((name) => {
		const files = existsSync(join(examples, name, "config.json")) ? readdirSync(join(examples, name)) : [];
		return files.length > 0 && !files.some((file) => file.endsWith(".ts"));
	});
	expect(served.toSorted()).toEqual([...new Set(scenarios.map(({ name }) => name))].toSorted());
});

describe.each(scenarios)("examples/$name, $dataset", ({ name, dataset: file, folders }) => {
	test("an application reads, writes only if it may, and the launcher ends well", { timeout: 90_000 }, async () => {
		const { here, profile, dataset } = podOf(name, file);
		here.start();
		await here.untilReady();

		// As Fluid's CSI plugin looks for it.
		expect((await here.layers()).at(-1)?.type).toContain(profile.spec.fileSystemType);
		const writes = dataset.spec.accessModes?.includes("ReadWriteMany") ?? false;
		for (const folder of folders) {
			const path = join(here.target, folder);
			expect(asUser('cat "$1/hello.txt"', path)).toMatchObject({ status: 0, stdout: "hello from the bucket\n" });
			const { status, stderr } = asUser('echo written > "$1/new.txt"', path);
			// In folders of one mount the folder's own permissions come first.
			const refused = /Read-only file system|Permission denied/.test(stderr);
			expect({ written: status === 0, refused }).toEqual({ written: writes, refused: !writes });
		}
		expect((await minio.list("my-first-bucket")).includes("new.txt")).toBe(writes);

		expect((await here.command("prestop")).exitCode).toBe(0);
		expect(await here.ended()).toBe(0);
		expect(await here.layers()).toEqual([]);
		await minio.delete("my-first-bucket", "new.txt");
	});
});

test(
	"examples/http-probes: Kubernetes' own probes are answered at the profile's port",
	{ timeout: 60_000 },
	async () => {
		const { here } = podOf("http-probes", "dataset.yaml");
		here.start();
		for (const path of ["/livez", "/readyz"]) {
			const ask = async (): Promise<number> =>
				fetch(`http://127.0.0.1:9181${path}`, { signal: AbortSignal.timeout(3000) }).then(
					({ status }) => status,
					() => 0, // It does not listen yet.
				);
			await until(
				async () => (await ask()) === 200,
				20_000,
				() => `${path} never answered 200:\n${here.output}`,
			);
		}
		// The answers were this launcher's: nobody else had the port.
		expect((await here.status()).warnings).toEqual([]);
		await here.stop();
	},
);
