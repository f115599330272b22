import { parseAllDocuments } from "yaml";
import { describe, expect, test } from "vitest";
import { parseArguments } from "../../src/cli/arguments.ts";
import { printManifests } from "../../src/cli/manifests.ts";
import { parseEnvironment } from "../../src/config/environment.ts";
import { drivers } from "../../src/drivers/index.ts";
import { captured } from "./captured.ts";

interface Printed {
	readonly kinds: readonly string[];
	readonly profile: { spec: { fileSystemType: string; fuse: Readonly<Record<string, unknown>> } };
	readonly secret: { metadata: object; stringData: object };
	readonly dataset: { metadata: { name: string; namespace?: string }; spec: Readonly<Record<string, unknown>> };
	readonly text: string;
	readonly err: string;
}

const keys = { AWS_ACCESS_KEY_ID: "AKIAEXAMPLE", AWS_SECRET_ACCESS_KEY: 'odd "secret": #1' };

async function printed(words: string, variables: Readonly<Record<string, string>> = keys): Promise<Printed> {
	const invocation = parseArguments(["manifests", ...words.split(" ")]);
	if (invocation.kind !== "command" || invocation.call.name !== "manifests") throw new Error(words);
	const { call } = invocation;
	const { out, err, exitCode } = await captured((output) =>
		printManifests(
			call.words,
			call.flags,
			{ environment: parseEnvironment({}), variables, drivers: { drivers, faults: [] } },
			output,
		),
	);
	expect(exitCode).toBe(0);
	const documents = parseAllDocuments(out).map((document) => document.toJS() as { kind: string });
	const of = (kind: string): never => documents.find((document) => document.kind === kind) as never;
	return {
		kinds: documents.map(({ kind }) => kind),
		profile: of("ThinRuntimeProfile"),
		secret: of("Secret"),
		dataset: of("Dataset"),
		text: out,
		err,
	};
}

test("are everything that Fluid needs, in the order in which it needs it", async () => {
	const { kinds, secret, dataset, err } = await printed("s3://My.Bucket/models --keys-from-env --namespace team-a");
	expect(kinds).toEqual(["ThinRuntimeProfile", "Secret", "Dataset", "ThinRuntime", "Pod"]);
	expect(dataset.metadata).toEqual({ name: "my-bucket", namespace: "team-a" });
	expect(secret.stringData).toEqual({ "access-key": "AKIAEXAMPLE", "secret-key": 'odd "secret": #1' });
	expect(err).toContain("--image");
	expect(err).not.toContain("odd");
});

test("name the image, and cite a Secret and a profile that are there", async () => {
	const image = await printed("s3://bucket --secret login --image registry.example:5000/a/fluid-fuse:1.2");
	expect(image.profile.spec.fuse).toMatchObject({ image: "registry.example:5000/a/fluid-fuse", imageTag: "1.2" });
	expect(image.kinds).not.toContain("Secret");
	expect(image.text).toContain("name: login\n");
	expect(image.err).toBe("");
	expect((await printed("s3://bucket --secret login --profile shared")).kinds).toEqual([
		"Dataset",
		"ThinRuntime",
		"Pod",
	]);
});

test("have no keys where the storage pod signs as itself, and say so", async () => {
	const { dataset, kinds, err } = await printed("s3://bucket --image a:1");
	expect(JSON.stringify(dataset)).not.toContain("encryptOptions");
	expect(kinds).not.toContain("Secret");
	expect(err).toContain("signs as itself");
});

test.each([
	["--memory 1Gi", { requests: { cpu: "500m", memory: "2Gi" }, limits: { memory: "4Gi" } }],
	["--memory 2e9", { requests: { cpu: "500m", memory: "4e9" }, limits: { memory: "8e9" } }],
	["--option memory=1Gi", { requests: { cpu: "500m", memory: "2Gi" }, limits: { memory: "4Gi" } }],
	["--memory 512Mi", { requests: { cpu: "500m", memory: "1Gi" }, limits: { memory: "2Gi" } }],
	["--region eu-west-1", { requests: { cpu: "500m", memory: "512Mi" }, limits: { memory: "2Gi" } }],
])("give the container what docs/install.md recommends, with %s", async (words, resources) => {
	const { profile } = await printed(`s3://bucket ${words}`);
	expect(profile.spec.fuse["resources"]).toEqual(resources);
});

test("choose the driver in the profile, and the type that its mounts have", async () => {
	const { profile } = await printed("s3://bucket --driver goofys");
	expect(profile.spec.fileSystemType).toBe("fuse");
	expect(profile.spec.fuse["env"]).toEqual([{ name: "FLUID_FUSE_DRIVER", value: "goofys" }]);
});

describe("are refused, with the reason, when", () => {
	test.each([
		[
			"the launcher would not take an option",
			"s3://bucket --option regoin=x",
			"CONFIG_INVALID",
			'did you mean "region"',
		],
		["the driver has no such option", "s3://bucket --driver goofys --cache-dir /c", "CONFIG_INVALID", "cache-dir"],
		["the source is no bucket", "s3://a", "CONFIG_INVALID", "not a bucket's name"],
		["a name is none of Kubernetes", "s3://bucket --name A_b", "USAGE", "not a name of Kubernetes"],
		["keys are given twice", "s3://bucket --secret a --keys-from-env", "USAGE", "one place"],
		["a key is an argument", "s3://bucket --option secret-key=visible", "USAGE", "could read its value"],
	])("%s", async (_, words, code, message) => {
		const failure: unknown = await printed(words).catch((error: unknown) => error);
		expect(failure).toMatchObject({ code, message: expect.stringContaining(message) });
		expect(String(failure)).not.toContain("visible");
	});

	test("the environment has no keys", async () => {
		await expect(printed("s3://bucket --keys-from-env", {})).rejects.toMatchObject({ code: "USAGE" });
	});
});
