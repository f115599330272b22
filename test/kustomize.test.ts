import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { faultsOf, type CustomResourceDefinition } from "./support/crd.ts";
import { projectRoot } from "./support/pod.ts";

interface Resource {
	readonly kind: string;
	readonly metadata: { readonly name: string; readonly namespace?: string };
	readonly spec: {
		readonly profileName?: string;
		readonly fuse?: { readonly image: string; readonly imageTag: string };
	};
}

const definitions = join(projectRoot, "../shared/fluid-crds");
const haveKubectl = spawnSync("kubectl", ["kustomize", "--help"]).status === 0;
const haveDefinitions = existsSync(definitions);
if (!haveKubectl) process.stderr.write("skipped: examples/kustomize, because kubectl is not here\n");
if (!haveDefinitions)
	process.stderr.write(`skipped: Fluid's definitions on examples/kustomize: they are not in ${definitions}\n`);

function build(folder: string): Resource[] {
	const words = ["kustomize", join(projectRoot, "examples/kustomize", folder)];
	const { status, stdout, stderr } = spawnSync("kubectl", words, { encoding: "utf8", timeout: 30_000 });
	expect(status, stderr).toBe(0);
	return parseAllDocuments(stdout).map((document) => document.toJS() as Resource);
}

describe.skipIf(!haveKubectl)("examples/kustomize", () => {
	test("the cluster gets the profile with its own image, and the team what uses that profile", () => {
		const [profile, ...others] = build("cluster");
		expect(others).toEqual([]);
		expect(profile?.spec.fuse).toMatchObject({ image: "registry.example/storage/fluid-fuse", imageTag: "0.1.0" });
		expect(profile?.metadata.namespace).toBeUndefined();
		const team = build("team-a");
		expect(team.map(({ kind }) => kind).toSorted()).toEqual(["Dataset", "ThinRuntime"]);
		expect(team.map(({ metadata }) => metadata)).toEqual(team.map(() => ({ name: "training", namespace: "team-a" })));
		expect(team.find(({ kind }) => kind === "ThinRuntime")?.spec.profileName).toBe(profile?.metadata.name);
	});

	test.skipIf(!haveDefinitions).each(["base", "cluster", "team-a"])("Fluid's API accepts what %s gives", (folder) => {
		for (const resource of build(folder)) {
			const file = join(definitions, `data.fluid.io_${resource.kind.toLowerCase()}s.yaml`);
			expect(faultsOf(resource, parse(readFileSync(file, "utf8")) as CustomResourceDefinition)).toEqual([]);
		}
	});
});
