import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { parseArguments } from "../src/cli/arguments.ts";
import { manifestsFor } from "../src/cli/manifests.ts";
import { parseEnvironment } from "../src/config/environment.ts";
import { loadFluidFile } from "../src/config/load.ts";
import { planMounts } from "../src/config/plan.ts";
import { drivers as builtIn } from "../src/drivers/index.ts";
import { loadDrivers } from "../src/vendor/load.ts";
import { faultsOf, type CustomResourceDefinition } from "./support/crd.ts";
import { renderFluidConfig, volumesOf, type Dataset, type ThinRuntime } from "./support/fluid-config.ts";
import { projectRoot, writeAtomically } from "./support/pod.ts";

interface Secret {
	readonly metadata: { readonly name: string };
	readonly stringData: Readonly<Record<string, string>>;
}

interface Profile {
	readonly metadata: { readonly name: string };
	readonly spec: {
		readonly fileSystemType: string;
		readonly volumes: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[];
		readonly fuse: {
			readonly volumeMounts: readonly object[];
			readonly command: readonly string[];
			readonly env?: readonly { readonly name: string; readonly value: string }[];
			readonly readinessProbe: Probe;
			readonly livenessProbe: Probe;
			readonly resources: { readonly requests: { readonly cpu: string } };
			readonly lifecycle: { readonly preStop: Exec };
		};
	};
}

interface Exec {
	readonly exec: { readonly command: readonly string[] };
}

type Probe = Exec | { readonly httpGet: { readonly path: string; readonly port: number } };

interface PodSpec {
	readonly volumes: readonly { readonly persistentVolumeClaim: { readonly claimName: string } }[];
}

/** A Pod, or what makes Pods. */
interface Application {
	readonly spec: PodSpec | { readonly template: { readonly spec: PodSpec } };
}

const examples = join(projectRoot, "examples");
const names = readdirSync(examples, { withFileTypes: true }).flatMap((entry) =>
	// Folders without a config file hold no scenario: they are for what surrounds one.
	entry.isDirectory() && existsSync(join(examples, entry.name, "config.json")) ? [entry.name] : [],
);

const definitions = join(projectRoot, "../shared/fluid-crds");
const haveDefinitions = existsSync(definitions);

const [, shownProbes = ""] =
	/^```yaml\n(readinessProbe:[^]*?)^```$/m.exec(readFileSync(join(projectRoot, "docs/probes.md"), "utf8")) ?? [];
const advice = parse(shownProbes) as Profile["spec"]["fuse"];

const temporary = mkdtempSync(join(tmpdir(), "fluid-fuse-examples-"));
afterAll(() => rmSync(temporary, { recursive: true }));

test("there are examples", () => {
	expect(names).toContain("minio");
});

describe.each(names)("examples/%s", (name) => {
	const read = (file: string): unknown => parse(readFileSync(join(examples, name, file), "utf8"));
	const profile = read("profile.yaml") as Profile;
	const secret = read("secret.yaml") as Secret;
	const dataset = read("dataset.yaml") as Dataset;
	const runtime = read("runtime.yaml") as ThinRuntime;
	const pod = read("pod.yaml") as Application;
	const { fuse } = profile.spec;
	const variables = Object.fromEntries((fuse.env ?? []).map((variable) => [variable.name, variable.value]));

	test("the launcher finds no fault in config.json with the profile's environment", async () => {
		const secrets = join(temporary, name);
		writeAtomically(join(secrets, secret.metadata.name), secret.stringData);
		const environment = parseEnvironment({
			...variables,
			FLUID_FUSE_CONFIG: join(examples, name, "config.json"),
			FLUID_FUSE_SECRETS_DIR: secrets,
		});
		const { drivers, faults } = await loadDrivers(join(examples, name), builtIn);
		expect(faults).toEqual([]);
		const plan = planMounts(await loadFluidFile(environment), { environment, drivers, onSecret: () => undefined });
		expect(plan.refused).toEqual([]);
		expect(plan.mounts).toHaveLength(dataset.spec.mounts?.length ?? 0);
		for (const mount of plan.mounts) {
			await mount.prepare();
			// Fluid looks for the profile's type as a part of the mount's real one.
			for (const type of mount.driver.filesystemTypes) expect(type).toContain(profile.spec.fileSystemType);
		}
	});

	test("config.json is what Fluid writes for the Dataset and the ThinRuntime", () => {
		const rendered = renderFluidConfig(dataset, runtime, volumesOf(join(examples, name)));
		expect(readFileSync(join(examples, name, "config.json"), "utf8")).toBe(rendered);
	});

	test("the manifests refer to each other", () => {
		expect(runtime.metadata).toEqual(dataset.metadata);
		expect(runtime.spec.profileName).toBe(profile.metadata.name);
		const { volumes } = "template" in pod.spec ? pod.spec.template.spec : pod.spec;
		expect(volumes[0]?.persistentVolumeClaim.claimName).toBe(dataset.metadata.name);
		const { mounts = [], sharedEncryptOptions = [] } = dataset.spec;
		const options = [...sharedEncryptOptions, ...mounts.flatMap(({ encryptOptions = [] }) => encryptOptions)];
		for (const { valueFrom } of options) {
			expect(valueFrom.secretKeyRef.name).toBe(secret.metadata.name);
			expect(Object.keys(secret.stringData)).toContain(valueFrom.secretKeyRef.key);
		}
	});

	test("the profile runs commands that exist", () => {
		expect(commandOf(fuse.command)).toMatchObject({ kind: "command", call: { name: "run" } });
		expect(questionOf(fuse.readinessProbe, variables)).toBe("ready");
		expect(questionOf(fuse.livenessProbe, variables)).toBe("live");
		expect(commandOf(fuse.lifecycle.preStop.exec.command)).toMatchObject({
			kind: "command",
			call: { name: "prestop" },
		});
	});

	test("the profile is as patient as docs/probes.md says, and asks for CPU", () => {
		expect(numbersOf(fuse.readinessProbe)).toEqual(numbersOf(advice.readinessProbe));
		expect(numbersOf(fuse.livenessProbe)).toEqual(numbersOf(advice.livenessProbe));
		expect(fuse.resources.requests.cpu).toMatch(/^\d+m$/);
	});

	// A sidecar's application is in its own pod.
	test.skipIf(name === "sidecar")(
		"the storage pod sees who uses the volume, and can change nothing of the node's /proc",
		() => {
			const { name: volume } = profile.spec.volumes.find(({ hostPath }) => hostPath?.path === "/proc") ?? {};
			expect(fuse.volumeMounts).toContainEqual({
				name: volume,
				mountPath: parseEnvironment({}).FLUID_FUSE_NODE_PROC,
				readOnly: true,
			});
		},
	);

	test.skipIf(!haveDefinitions)("Fluid's API accepts the manifests", () => {
		const changed = join(examples, name, "two-buckets.yaml");
		const resources: [string, unknown][] = [
			["thinruntimeprofiles", profile],
			["datasets", dataset],
			["thinruntimes", runtime],
			...(existsSync(changed) ? [["datasets", read("two-buckets.yaml")] satisfies [string, unknown]] : []),
		];
		for (const [plural, resource] of resources) {
			const file = join(definitions, `data.fluid.io_${plural}.yaml`);
			const definition = parse(readFileSync(file, "utf8")) as CustomResourceDefinition;
			expect(faultsOf(resource, definition), plural).toEqual([]);
		}
	});
});

if (!haveDefinitions)
	process.stderr.write(`skipped: the examples' manifests, because Fluid's CRDs are not in ${definitions}\n`);

describe.each(["native", "goofys", "s3fs", "read-write"])("examples/%s", (name) => {
	const readme = readFileSync(join(examples, name, "README.md"), "utf8");
	const [, line = ""] = /^fluid-fuse (manifests (?:.*\\\n)*.*)$/m.exec(readme) ?? [];

	test("is what the command prints that its README shows", async () => {
		const invocation = parseArguments(line.split(/[\s\\]+/));
		if (invocation.kind !== "command" || invocation.call.name !== "manifests")
			throw new Error(`not manifests: ${line}`);
		const { words, flags } = invocation.call;
		const manifests = await manifestsFor(words[0] ?? "", flags, {
			environment: parseEnvironment({}),
			variables: { AWS_ACCESS_KEY_ID: "minioadmin", AWS_SECRET_ACCESS_KEY: "minioadmin" },
			drivers: { drivers: builtIn, faults: [] },
		});
		expect(Object.keys(manifests)).toEqual(["profile", "secret", "dataset", "runtime", "pod"]);
		// `vitest run -u` writes them.
		for (const [kind, text] of Object.entries(manifests))
			await expect(text).toMatchFileSnapshot(join(examples, name, `${kind}.yaml`));
	});
});

describe.skipIf(!haveDefinitions)("the check against Fluid's definitions", () => {
	const definition = (plural: string): CustomResourceDefinition =>
		parse(readFileSync(join(definitions, `data.fluid.io_${plural}.yaml`), "utf8")) as CustomResourceDefinition;

	test("finds unknown fields, wrong types and missing fields", () => {
		const profile = {
			apiVersion: "data.fluid.io/v1alpha1",
			kind: "ThinRuntimeProfile",
			metadata: { name: "p" },
			spec: {
				fuse: {
					comand: ["a"],
					args: "b",
					env: [{ value: "1" }],
					options: { a: 1 },
					livenessProbe: { periodSeconds: "5" },
				},
			},
		};
		expect(faultsOf(profile, definition("thinruntimeprofiles")).toSorted()).toEqual([
			"spec.fileSystemType: missing",
			"spec.fuse.args: expected a list",
			"spec.fuse.comand: unknown field",
			"spec.fuse.env[0].name: missing",
			"spec.fuse.livenessProbe.periodSeconds: expected an integer",
			"spec.fuse.options.a: expected a string",
		]);
	});

	test("finds a wrong kind and version", () => {
		const dataset = { apiVersion: "data.fluid.io/v1alpha1", kind: "Dataset", metadata: { name: "d" }, spec: {} };
		expect(faultsOf(dataset, definition("datasets"))).toEqual([]);
		expect(faultsOf({ ...dataset, kind: "Dateset" }, definition("datasets"))).toEqual([
			'kind: expected Dataset, found "Dateset"',
		]);
		expect(faultsOf({ ...dataset, apiVersion: "v1" }, definition("datasets"))).toEqual([
			'apiVersion: "v1" is not defined',
		]);
		expect(faultsOf({ ...dataset, metadata: {} }, definition("datasets"))).toEqual(["metadata.name: missing"]);
	});
});

test("README.md shows the manifests of examples/minio", () => {
	const files = ["profile", "secret", "dataset", "runtime", "pod"];
	const manifests = files.map(
		(file) => parse(readFileSync(join(examples, "minio", `${file}.yaml`), "utf8")) as unknown,
	);
	const blocks = readFileSync(join(projectRoot, "README.md"), "utf8").matchAll(/^```yaml\n([^]*?)^```$/gm);
	const shown = [...blocks].flatMap(([, block = ""]) =>
		parseAllDocuments(block).map((document) => document.toJS() as unknown),
	);
	expect(shown).toEqual(manifests);
});

test("config.json is rendered byte by byte as Fluid's own code does it", () => {
	// Written by Fluid's code for the Dataset and ThinRuntime below: layers, secrets, escaping, empty and absent fields.
	const written = String.raw`{"mounts":[{"mountPoint":"s3://bucket-a/pfx/","options":{"a":"/etc/fluid/secrets/a-secret/overrides-plain","ak":"/etc/fluid/secrets/shared-secret/ak","endpoint":"http://a","region":"us-east-1","sk":"/etc/fluid/secrets/a-secret/secret.key"},"name":"a","path":"/","readOnly":true,"shared":true},{"mountPoint":"s3://bucket-b","options":{"a":"shared","ak":"/etc/fluid/secrets/shared-secret/ak","endpoint":"http://shared","region":"us-east-1","sk":"/etc/fluid/secrets/shared-secret/sk"},"name":"b"}],"targetPath":"/runtime-mnt/thin/default/demo/thin-fuse","runtimeOptions":{"debug":"","max_read":"131072"},"accessModes":["ReadWriteMany"]}`;
	const secret = (name: string, secretName: string, key: string) => ({
		name,
		valueFrom: { secretKeyRef: { name: secretName, key } },
	});
	const dataset: Dataset = {
		metadata: { name: "demo" },
		spec: {
			accessModes: ["ReadWriteMany"],
			sharedOptions: { region: "us-east-1", endpoint: "http://shared", a: "shared" },
			sharedEncryptOptions: [secret("ak", "shared-secret", "ak"), secret("sk", "shared-secret", "sk")],
			mounts: [
				{
					mountPoint: "s3://bucket-a/pfx/",
					name: "a",
					path: "/",
					readOnly: true,
					shared: true,
					options: { endpoint: "http://a", a: "plain" },
					encryptOptions: [secret("sk", "a-secret", "secret.key"), secret("a", "a-secret", "overrides-plain")],
				},
				{ mountPoint: "s3://bucket-b", name: "b" },
			],
		},
	};
	const runtime: ThinRuntime = {
		metadata: { name: "demo" },
		spec: { fuse: { options: { max_read: "131072", debug: "" } } },
	};
	expect(renderFluidConfig(dataset, runtime)).toBe(`${written}\n`);
	const bare: Dataset = { metadata: { name: "<&>", namespace: "ns" }, spec: {} };
	expect(renderFluidConfig(bare, { metadata: bare.metadata, spec: {} })).toBe(
		String.raw`{"mounts":[],"targetPath":"/runtime-mnt/thin/ns/\u003c\u0026\u003e/thin-fuse","accessModes":["ReadOnlyMany"]}` +
			"\n",
	);
});

/** When it is asked, and for how long. */
function numbersOf(probe: Probe): Record<string, unknown> {
	return Object.fromEntries(Object.entries(probe).filter(([, value]) => typeof value === "number"));
}

function commandOf([program, ...words]: readonly string[]) {
	expect(program).toBe("fluid-fuse");
	return parseArguments(words);
}

/** What the launcher is asked by a probe; an HTTP probe must ask at the launcher's own port. */
function questionOf(probe: Probe, { FLUID_FUSE_PROBE_ADDRESS: address }: Readonly<Record<string, string>>): unknown {
	if ("exec" in probe) {
		const asked = commandOf(probe.exec.command);
		return asked.kind === "command" && asked.call.name === "probe" ? asked.call.words[0] : asked;
	}
	const { path, port } = probe.httpGet;
	return address === `:${port}` && path.endsWith("z") ? path.slice(1, -1) : { path, port, address };
}
