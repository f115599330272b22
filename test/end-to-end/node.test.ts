import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startMinio, type Minio } from "../support/minio.ts";
import { until } from "../support/pod.ts";
import { expectedErrors, Life, type Setting } from "./endings.ts";

let minio: Minio;
let life: Life | undefined;

beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("one");
	await minio.put("one", "hello.txt", "hello\n");
});
afterAll(async () => minio.stop());
afterEach(async () => {
	await life?.node.stop();
	life = undefined;
});

async function begin(setting: Partial<Setting> = {}): Promise<Life> {
	const driver = { title: "native", name: "native" } as const;
	life = await Life.begin(minio, { driver, seesNode: true, readOnly: false, several: false, ...setting });
	return life;
}

test("an application heals after a graceful end, and nothing is left when nobody uses the volume any more", async () => {
	const here = await begin();
	await here.startApplication();
	for (const how of [
		"SIGTERM, and a restart in place",
		"rolling update: the next one comes after the last one has gone",
	] as const) {
		const { saw } = await here.end(how);
		expect(saw, how).not.toEqual([]);
		expect(expectedErrors, how).toEqual(expect.arrayContaining([...saw]));
	}
	expect((await here.storage.status()).unseen).toBeUndefined();
	await here.endApplications();
	await here.deletePod();
	expect(here.left()).toEqual([]);
});

test("what is left for an application that goes meanwhile is taken away by the next storage pod, or by Fluid", async () => {
	const here = await begin();
	await here.startApplication();
	await here.deletePod();
	await here.endApplications();
	expect(here.left()).toEqual([here.node.layout.target]);
	await until(
		() => {
			here.node.stage();
			return here.left().length === 0;
		},
		10_000,
		() => "Fluid has not taken it away",
	);
	expect(here.left()).toEqual([]);
	here.startStorage();
	await here.storage.untilReady();
	await here.startApplication();
	await here.deletePod();
	await here.endApplications();
	expect(here.left()).toEqual([here.node.layout.target]);
	here.startStorage();
	await here.storage.untilReady();
	await here.deletePod();
	expect(here.left()).toEqual([]);
});

test("where the node cannot be seen, a storage pod says so and leaves its mount, and a sidecar leaves nothing", async () => {
	const here = await begin({ seesNode: false });
	expect((await here.storage.status()).unseen).toContain("who uses the volume");
	await here.deletePod();
	expect(here.left()).toEqual([here.node.layout.target]);
	here.startStorage({ seesNode: false, isSidecar: true });
	await here.storage.untilReady();
	expect((await here.storage.status()).unseen).toBeUndefined();
	await here.deletePod();
	expect(here.left()).toEqual([]);
});

test("somebody's umount is the end for good, also while applications use the volume", async () => {
	const here = await begin();
	await here.startApplication();
	here.node.run("umount", here.node.layout.target);
	await here.storage.ended();
	expect(here.storage.child.exitCode).toBe(0);
	expect(here.left().filter((path) => path === here.node.layout.target)).toEqual([]);
	await here.endApplications();
	expect(here.left()).toEqual([]);
});

test("who goes takes nothing from other applications, whenever they came, though its volume began before theirs", async () => {
	const here = await begin();
	await here.startApplication();
	await here.startApplication();
	await here.end("SIGTERM, and a restart in place");
	await here.startApplication();
	await here.end("`kill -9` of the driver");
	await here.startApplication();
	const { restarts } = (await here.storage.status()).mounts[0] ?? {};
	// Its CSI plugin unmounts what lies over the first layer, and with that what all others have there.
	await here.endApplications(0, 1);
	await here.untilGood();
	await here.end("`kill -9` of the driver");
	await here.end("SIGTERM, and a restart in place");
	await here.endApplications(1, 1);
	await here.untilGood();
	expect(restarts).toBe(1);
	expect((await here.storage.status()).mounts[0]).toMatchObject({ state: "ready", restarts: 0 });
	await here.endApplications();
	await here.deletePod();
	expect(here.left()).toEqual([]);
});
