import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { parseEnvironment } from "../src/config/environment.ts";
import { parseFluidFile } from "../src/config/load.ts";
import { planMounts } from "../src/config/plan.ts";
import { drivers } from "../src/drivers/index.ts";
import { renderRuntimeConfig, type CacheRuntime, type CacheRuntimeClass } from "./support/cache-runtime.ts";
import { faultsOf, type CustomResourceDefinition } from "./support/crd.ts";
import type { Dataset } from "./support/fluid-config.ts";
import { projectRoot } from "./support/pod.ts";

const folder = join(projectRoot, "examples/cache-runtime");
const text = (file: string): string => readFileSync(join(folder, file), "utf8");
const runtimeClass = parse(text("class.yaml")) as CacheRuntimeClass;
const runtime = parse(text("runtime.yaml")) as CacheRuntime;
const dataset = parse(text("dataset.yaml")) as Dataset;

const definitions = join(projectRoot, "../shared/fluid-crds");
const haveDefinitions = existsSync(definitions);
if (!haveDefinitions)
	process.stderr.write(`skipped: the manifests of a CacheRuntime, because Fluid's CRDs are not in ${definitions}\n`);

describe("examples/cache-runtime", () => {
	test("runtime.json is what Fluid writes for the three, and the launcher finds no fault in it", () => {
		const rendered = renderRuntimeConfig(dataset, runtime, runtimeClass);
		expect(text("runtime.json").trim()).toBe(rendered);
		const environment = parseEnvironment({});
		const file = parseFluidFile(rendered, "runtime.json");
		const { mounts, refused } = planMounts(file, { environment, drivers, onSecret: () => undefined });
		expect(refused).toEqual([]);
		expect(mounts.map(({ target }) => target)).toEqual(["/runtime-mnt/cache/default/cache-demo/cache-fuse"]);
		expect(mounts[0]?.tieredStore.map(({ gives }) => gives)).toEqual([
			["cache-dir=/etc/fluid/mount/tiered-store/level-0-index-0-hostpath", "cache-size=14336Mi", "write-buffer=4096Mi"],
		]);
		for (const type of mounts[0]?.driver.filesystemTypes ?? []) expect(type).toContain(runtimeClass.fileSystemType);
	});

	test("the manifests refer to each other, and mount the Dataset's Secret", () => {
		const pod = parse(text("pod.yaml")) as {
			spec: { volumes: { persistentVolumeClaim: { claimName: string } }[] };
		};
		const secret = parse(text("secret.yaml")) as { metadata: { name: string }; stringData: Record<string, string> };
		expect(runtime.metadata).toEqual(dataset.metadata);
		expect(runtime.spec.runtimeClassName).toBe(runtimeClass.metadata.name);
		expect(pod.spec.volumes[0]?.persistentVolumeClaim.claimName).toBe(dataset.metadata.name);
		expect(runtimeClass.topology.client.dependencies?.secretMount?.enabled).toBe(true);
		for (const { valueFrom } of dataset.spec.mounts?.[0]?.encryptOptions ?? []) {
			expect(valueFrom.secretKeyRef.name).toBe(secret.metadata.name);
			expect(Object.keys(secret.stringData)).toContain(valueFrom.secretKeyRef.key);
		}
	});

	test("the pod is given the time that the launcher takes, and asked where it answers", () => {
		const { terminationGracePeriodSeconds, containers, volumes } = runtimeClass.topology.client.template.spec;
		const [container] = containers;
		const environment = parseEnvironment(Object.fromEntries(container.env.map(({ name, value }) => [name, value])));
		expect(terminationGracePeriodSeconds * 1000).toBeGreaterThanOrEqual(environment.FLUID_FUSE_STOP_TIMEOUT + 5000);
		const port = Number(environment.FLUID_FUSE_PROBE_ADDRESS.split(":").at(-1));
		expect(container).toMatchObject({
			command: ["fluid-fuse"],
			securityContext: { privileged: true },
			startupProbe: { httpGet: { path: "/startupz", port } },
			readinessProbe: { httpGet: { path: "/readyz", port } },
			livenessProbe: { exec: { command: ["fluid-fuse", "probe", "live"] } },
			lifecycle: { preStop: { exec: { command: ["fluid-fuse", "prestop"] } } },
		});
		expect(container.volumeMounts.map(({ name }) => name)).toEqual(volumes.map(({ name }) => name));
	});

	test.skipIf(!haveDefinitions)("Fluid's API accepts the manifests", () => {
		for (const [plural, file] of [
			["cacheruntimeclasses", "class.yaml"],
			["cacheruntimes", "runtime.yaml"],
			["datasets", "dataset.yaml"],
		] as const) {
			const definition = parse(
				readFileSync(join(definitions, `data.fluid.io_${plural}.yaml`), "utf8"),
			) as CustomResourceDefinition;
			expect(faultsOf(parse(text(file)), definition), plural).toEqual([]);
		}
	});
});
