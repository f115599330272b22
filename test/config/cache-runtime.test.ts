import { describe, expect, it } from "vitest";
import { parseEnvironment } from "../../src/config/environment.ts";
import { parseFluidFile } from "../../src/config/load.ts";
import { readTieredStore } from "../../src/config/tiered-store.ts";
import type { CommandDriver } from "../../src/vendor/contract.ts";
import { toDriver } from "../../src/vendor/definition.ts";
import { faultsOf, fixture, optionsOf, planOf, secretsFolder } from "./planning.ts";

const targetPath = "/runtime-mnt/cache/team-a/training/cache-fuse";
const tiers = "/etc/fluid/mount/tiered-store";

/** The client of the file, with other fields. */
function clientWith(name: string, client: Readonly<Record<string, unknown>>): string {
	const file = JSON.parse(fixture(name)) as { client: object };
	return JSON.stringify({ ...file, client: { ...file.client, ...client } });
}

const variables = () => ({
	FLUID_FUSE_SECRETS_DIR: secretsFolder({
		"minio-login": { "access-key": "AKIAEXAMPLE", "secret-key": "secret-key-example" },
	}),
});

describe("a CacheRuntime's mounts", () => {
	const targetsOf = (name: string, given: Readonly<Record<string, string>> = {}) =>
		planOf(fixture(name), given).mounts.map(({ target }) => target.replace(targetPath, "target"));

	it("are where the unified namespace has them, also when there is only one", () => {
		expect(targetsOf("cache-runtime.json")).toEqual(["target/training"]);
		expect(targetsOf("cache-runtime-tiers.json")).toEqual(["target"]);
		expect(targetsOf("cache-runtime-components.json")).toEqual(["target", "target/out/results", "target/logs"]);
		expect(planOf(fixture("cache-runtime-no-mounts.json"))).toMatchObject({ layout: "named", mounts: [], refused: [] });
	});

	it("are where FLUID_FUSE_LAYOUT says", () => {
		expect(targetsOf("cache-runtime.json", { FLUID_FUSE_LAYOUT: "root" })).toEqual(["target"]);
	});

	it("have the client's options below their own, and none of master and worker", async () => {
		const options = await optionsOf(fixture("cache-runtime.json"), variables());
		expect(options).toMatchObject({ region: "eu-west-1", endpoint: "http://minio.storage:9000" });
		const { mounts } = planOf(fixture("cache-runtime-components.json"));
		const [first] = await Promise.all(mounts.map(async (mount) => mount.inspect()));
		expect(first?.options.map(({ name }) => name)).toEqual(["region"]);
		expect(mounts.map(({ readOnly }) => readOnly)).toEqual([false, false, true]);
		expect(mounts.map(({ tieredStore }) => tieredStore)).toEqual([[], [], []]);
	});
});

describe("a CacheRuntime's tiered store", () => {
	it("gives the native driver its largest disk, and says what becomes of each place", async () => {
		expect(await optionsOf(fixture("cache-runtime-tiers.json"), variables())).toMatchObject({
			"cache-dir": `${tiers}/level-1-index-1-hostpath`,
			// A quarter of the half of 20G that may be filled, and the rest.
			"write-buffer": "2384Mi",
			"cache-size": "7152Mi",
		});
		expect(planOf(fixture("cache-runtime-tiers.json")).mounts[0]?.tieredStore).toEqual([
			{
				path: "client.tieredStoreLevels[0].mountPaths[0]",
				folder: "/dev/shm",
				gives: [],
				unused: `the cache is in one folder, and ${tiers}/level-1-index-1-hostpath is on a disk`,
			},
			{
				path: "client.tieredStoreLevels[1].mountPaths[0]",
				folder: `${tiers}/level-1-index-0-hostpath`,
				gives: [],
				unused: `the cache is in one folder, and ${tiers}/level-1-index-1-hostpath is the largest`,
			},
			{
				path: "client.tieredStoreLevels[1].mountPaths[1]",
				folder: `${tiers}/level-1-index-1-hostpath`,
				gives: [`cache-dir=${tiers}/level-1-index-1-hostpath`, "cache-size=7152Mi", "write-buffer=2384Mi"],
			},
			{
				path: "client.tieredStoreLevels[2].mountPaths[0]",
				folder: `${tiers}/level-2-index-0-emptydir`,
				gives: [],
				unused: `the cache is in one folder, and ${tiers}/level-1-index-1-hostpath is the largest`,
			},
		]);
	});

	const level = (folder: string, quota: string, more: object = {}) => ({
		mountPaths: [folder],
		mediumType: "HDD",
		quotas: [quota],
		...more,
	});
	const optionsWith = async (client: Readonly<Record<string, unknown>>) =>
		optionsOf(clientWith("cache-runtime.json", client), variables());

	it("is memory where there is no disk", async () => {
		const shared = level("/dev/shm", "1Gi", { mediumType: "MEM" });
		expect(await optionsWith({ tieredStoreLevels: [shared] })).toMatchObject({
			"cache-dir": "/dev/shm",
			"cache-size": "768Mi",
			"write-buffer": "256Mi",
		});
		const disk = level("/disk", "512Mi");
		expect(await optionsWith({ tieredStoreLevels: [shared, disk] })).toMatchObject({ "cache-dir": "/disk" });
	});

	it.each([
		["1Gi", "768Mi"],
		["500M", "357Mi"],
		["2e9", "1430Mi"],
		["2E9", "1430Mi"],
		["1.5Gi", "1152Mi"],
		["1073741824", "768Mi"],
		["0.001E", "953670220Mi"],
		["1Pi", "1073737728Mi"],
	])("has a quota of %s, as Kubernetes writes one, for cache and writing: a cache of %s", async (quota, cacheSize) => {
		const options = await optionsWith({ tieredStoreLevels: [level("/disk", quota)] });
		expect(options["cache-size"]).toBe(cacheSize);
	});

	it("keeps what is written at what it is without a place, at the most", async () => {
		const options = await optionsWith({ tieredStoreLevels: [level("/disk", "100Gi")] });
		expect(options).toMatchObject({ "write-buffer": "4096Mi", "cache-size": "98304Mi" });
	});

	it("gives way to options that somebody has given", async () => {
		const tieredStoreLevels = [level("/disk", "1Gi")];
		expect(await optionsWith({ tieredStoreLevels, options: { "cache-size": "100Mi" } })).toMatchObject({
			"cache-dir": "/disk",
			"cache-size": "100Mi",
			"write-buffer": "256Mi",
		});
		const own = clientWith("cache-runtime.json", { tieredStoreLevels, options: { "cache-dir": "/my/disk" } });
		const options = await optionsOf(own, variables());
		expect(options).toMatchObject({ "cache-dir": "/my/disk" });
		expect(options).not.toHaveProperty("cache-size");
		expect(planOf(own).mounts[0]?.tieredStore).toMatchObject([
			{ gives: [], unused: "cache-dir is given as an option" },
		]);
	});

	const unusedBy = (driver: string, file = fixture("cache-runtime-tiers.json")) => {
		const [mount] = planOf(file, { FLUID_FUSE_DRIVER: driver }).mounts;
		return new Set(mount?.tieredStore.map(({ unused }) => unused));
	};

	it("is of no use to goofys and s3fs, which is said", () => {
		expect(unusedBy("goofys")).toEqual(new Set(["goofys keeps no cache that it could be given a place for"]));
		expect(unusedBy("s3fs")).toEqual(new Set(["the cache of s3fs, use_cache, knows no limit but the disk's end"]));
		const given = clientWith("cache-runtime-tiers.json", { options: { use_cache: "/disk" } });
		expect(unusedBy("s3fs", given)).toEqual(new Set(["use_cache is given as an option"]));
	});

	it("gives a driver file's driver what its cachePlace makes of it", () => {
		const { file } = parseFluidFile(fixture("cache-runtime-tiers.json"), "runtime.json");
		const places = (cachePlace: CommandDriver<Record<string, never>>["cachePlace"], ...given: string[]) => {
			const driver = toDriver({
				name: "acme",
				schemes: ["acme"],
				filesystemTypes: ["fuse.acmefs"],
				options: {},
				command: () => ({ file: "acmefs", args: [] }),
				...(cachePlace !== undefined && { cachePlace }),
			});
			return readTieredStore(file, driver, new Set(given));
		};
		const folder = `${tiers}/level-1-index-1-hostpath`;
		const { options, places: found } = places(({ folder: dir, bytes }) => ({ dir, limit: String(bytes) }));
		expect(options).toEqual([
			{ name: "dir", value: folder, from: "client.tieredStoreLevels[1].mountPaths[1]" },
			{ name: "limit", value: "10000000000", from: "client.tieredStoreLevels[1].quotas[1]" },
		]);
		expect(found.map(({ gives }) => gives.length)).toEqual([0, 0, 2, 0]);
		expect(places(({ folder: dir }) => ({ dir }), "dir").places[2]?.unused).toBe("dir is given as an option");
		const broken = places(() => {
			throw new Error("oh no");
		});
		expect(broken.places[2]?.unused).toContain("the driver acme fails in cachePlace");
		expect(places(undefined).places[2]?.unused).toBe("acme keeps no cache that it could be given a place for");
	});

	it("is refused by its JSON path where its sizes are none, or too small", async () => {
		const faults = async (...levels: object[]) =>
			faultsOf(clientWith("cache-runtime.json", { tieredStoreLevels: levels }), variables());
		expect(await faults(level("/disk", "much"))).toEqual([
			"client.tieredStoreLevels[0].quotas[0]: expected a size such as 512Mi, 1Gi or 500M",
		]);
		expect(await faults(level("/disk", "1Gi", { high: "90%" }))).toEqual([
			"client.tieredStoreLevels[0].high: expected a ratio from 0 to 1, such as 0.9",
		]);
		expect(await faults(level("/disk", "32Mi"))).toEqual([
			'client.tieredStoreLevels[0].quotas[0]: expected at least 64Mi, found "24Mi"',
			'client.tieredStoreLevels[0].quotas[0]: expected at least 16Mi, found "8Mi"',
		]);
	});

	it("may have a place without a quota, or be null, as Go writes what is empty", async () => {
		expect(await optionsWith({ tieredStoreLevels: null })).not.toHaveProperty("cache-dir");
		const file = clientWith("cache-runtime.json", { tieredStoreLevels: [{ mountPaths: ["/disk"] }] });
		expect(planOf(file).mounts[0]?.tieredStore).toMatchObject([{ unused: "it has no quota" }]);
	});
});

describe("a CacheRuntime's variables", () => {
	it("tell targetPath, where Fluid sets no MOUNT_POINT", () => {
		expect(parseEnvironment({ FLUID_RUNTIME_MOUNT_PATH: targetPath }).MOUNT_POINT).toBe(targetPath);
		expect(parseEnvironment({ FLUID_RUNTIME_MOUNT_PATH: targetPath, MOUNT_POINT: "/other" }).MOUNT_POINT).toBe(
			"/other",
		);
	});

	it.each(["master", "worker"])("of a %s are refused, with what to do", (component) => {
		expect(() => parseEnvironment({ FLUID_RUNTIME_COMPONENT_TYPE: component })).toThrow(
			`FLUID_RUNTIME_COMPONENT_TYPE: fluid-fuse is the client of a CacheRuntime and nothing else: set master.disabled and worker.disabled to true in the CacheRuntime, found "${component}"`,
		);
		expect(() => parseEnvironment({ FLUID_RUNTIME_COMPONENT_TYPE: "client" })).not.toThrow();
	});
});
