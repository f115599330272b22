import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { faultsOf, type CustomResourceDefinition } from "../support/crd.ts";
import { startMinio, type Minio } from "../support/minio.ts";
import { Pod, projectRoot, until } from "../support/pod.ts";

interface DataProcess {
	readonly spec: {
		readonly dataset: { readonly name: string; readonly mountPath: string };
		readonly processor: {
			readonly job?: { readonly podSpec: { readonly containers: readonly { readonly command: readonly string[] }[] } };
			readonly script?: { readonly command: readonly string[]; readonly source: string };
		};
	};
}

const folder = join(projectRoot, "examples/data-process");
const read = (name: string) => parse(readFileSync(join(folder, `${name}.yaml`), "utf8")) as DataProcess;

/** More than one round of progress, which comes ten times as often here, and names that a shell could stumble over. */
const files = Array.from({ length: 110 }, (_, index) => `small/${String(index).padStart(4, "0")}`);
const strange = ["a b/c  d.txt", "new\nline", "-rf", "quote\"'$(touch canary)"];

let minio: Minio;
let pod: Pod | undefined;
const cache = mkdtempSync(join(tmpdir(), "fluid-fuse-cache-"));

beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("data");
	const keys = [...files, ...strange, "private/key.txt"];
	while (keys.length > 0)
		await Promise.all(keys.splice(0, 50).map(async (key) => minio.put("data", key, `content of ${key}\n`)));
}, 60_000);
afterAll(async () => {
	await minio.stop();
	rmSync(cache, { recursive: true });
});
afterEach(async () => {
	await pod?.cleanup();
	pod = undefined;
	rmSync(join(cache, "parts"), { recursive: true, force: true });
});

async function createPod(policy?: object): Promise<Pod> {
	const keys =
		policy === undefined
			? { accessKeyId: minio.accessKey, secretAccessKey: minio.secretKey, sessionToken: "" }
			: await minio.temporaryCredentials({ policy });
	const secrets = {
		"access-key": keys.accessKeyId,
		"secret-key": keys.secretAccessKey,
		...(keys.sessionToken !== "" && { "session-token": keys.sessionToken }),
	};
	const here = new Pod({
		mounts: [
			{
				mountPoint: "s3://data",
				name: "data",
				options: {
					endpoint: minio.endpoint,
					"retry-for": "1s",
					"cache-dir": cache,
					...Object.fromEntries(Object.keys(secrets).map((name) => [name, `/etc/fluid/secrets/login/${name}`])),
				},
			},
		],
		secrets: { login: secrets },
	});
	pod = here;
	here.start();
	await here.untilReady();
	return here;
}

/** As the Job runs it, with the mount in the place of the Dataset's volume. */
async function run(name: string, here: Pod) {
	const { dataset, processor } = read(name).spec;
	const script = processor.script?.source ?? processor.job?.podSpec.containers[0]?.command[2] ?? "";
	expect(script).toContain(`folder=${dataset.mountPath}\n`);
	const text = script.replace(`folder=${dataset.mountPath}\n`, () => `folder=${here.target}\n`).replace("1000", "100");
	const work = join(here.folder, "work");
	mkdirSync(work, { recursive: true });
	const { exitCode, stdout, stderr } = await execa("bash", ["-c", text], {
		cwd: work,
		reject: false,
		timeout: 60_000,
	});
	expect(globSync(join(work, "*"))).toEqual([]);
	return { exitCode, lines: stdout.split("\n"), stderr };
}

const all = files.length + strange.length + 1;
const denied = {
	Version: "2012-10-17",
	Statement: [
		{ Effect: "Allow", Action: ["s3:*"], Resource: ["arn:aws:s3:::*"] },
		{ Effect: "Deny", Action: ["s3:GetObject"], Resource: ["arn:aws:s3:::data/private/*"] },
	],
};

describe("examples/data-process", () => {
	test("check reads every file, says how far it is, and ends well", { timeout: 90_000 }, async () => {
		expect(await run("check", await createPod())).toEqual({
			exitCode: 0,
			lines: [`100 of ${all} files`, `${all} of ${all} files can be read, 0 cannot`],
			stderr: "",
		});
	});

	test("check names what cannot be read, reads the rest, and fails", { timeout: 90_000 }, async () => {
		const { exitCode, lines, stderr } = await run("check", await createPod(denied));
		expect({ exitCode, last: lines.at(-1) }).toEqual({
			exitCode: 1,
			last: `${all - 1} of ${all} files can be read, 1 cannot`,
		});
		expect(stderr).toContain("private/key.txt: Permission denied");
	});

	test("warm reads every file, and fails when one cannot be read", { timeout: 90_000 }, async () => {
		const warm = await run("warm", await createPod());
		expect({ exitCode: warm.exitCode, last: warm.lines.at(-1) }).toEqual({
			exitCode: 0,
			last: `${all} files in all`,
		});
		expect(warm.lines.length).toBeGreaterThan(1);
		// A disk that cannot keep up is not waited for: not every file need be there.
		const isCached = (): boolean => globSync(join(cache, "parts/**/*.part")).length > 0;
		await until(isCached, 20_000, () => "nothing is in the cache");
		await pod?.cleanup();
		// What is cached is not asked for again.
		rmSync(join(cache, "parts"), { recursive: true });
		expect(await run("warm", await createPod(denied))).toMatchObject({
			exitCode: 123,
			stderr: expect.stringContaining("private/key.txt"),
		});
	});
});

const definition = join(projectRoot, "../shared/fluid-crds/data.fluid.io_dataprocesses.yaml");
if (!existsSync(definition))
	process.stderr.write(`skipped: the manifests of a DataProcess, because Fluid's CRDs are not in ${definition}\n`);

test.skipIf(!existsSync(definition))("Fluid's API accepts the manifests of examples/data-process", () => {
	const schema = parse(readFileSync(definition, "utf8")) as CustomResourceDefinition;
	for (const name of ["warm", "check"]) expect(faultsOf(read(name), schema), name).toEqual([]);
});
